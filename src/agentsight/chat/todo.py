"""Five to-do tools as an MCP server, mounted at /mcp or spoken over stdio: `python -m agentsight.chat.todo`.

Whose tasks they are comes from the run or the token, never from arguments: a model can write anything there.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.resolve import Resolve
from pydantic import AfterValidator, AnyHttpUrl, BaseModel, Field

from agentsight.chat.database import Database
from agentsight.chat.errors import Refusal
from agentsight.chat.responder import acting_user
from agentsight.chat.settings import Settings, default_data_dir
from agentsight.chat.tasks import NoSuchTask, Status, Tasks
from agentsight.chat.tokens import LEEWAY_S, Verifier
from agentsight.wire import storable


class Task(BaseModel):
    """One thing to do."""

    id: int
    title: str
    description: str = ""
    completed: bool = False


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return storable(text.strip())


Title = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_not_blank)]
Description = Annotated[str, Field(max_length=2000), AfterValidator(storable)]
TaskId = Annotated[int, Field(ge=1, le=2**31 - 1)]


def current_user() -> str:
    """Who is acting: the bearer of the token, else the user whose run this is, else `TODO_USER` over stdio."""
    token = get_access_token()
    user = (token.subject if token else None) or acting_user.get() or os.environ.get("TODO_USER")
    if not user:
        raise ToolError("Nobody is signed in.")
    return user


def _resolve(ctx: Context) -> str:
    return current_user()


User = Annotated[str, Resolve(_resolve)]


def build(db: Database, tasks: Tasks, **options: Any) -> MCPServer:
    """The server with its five tools over `tasks`."""
    with _logging_left_alone():
        server = MCPServer(
            "todo", instructions="Manage the signed-in user's to-do list.", version="1", log_level="WARNING", **options
        )

    async def call(function: Any, *args: Any, **kwargs: Any) -> Task:
        try:
            return Task(**await db.call(function, *args, **kwargs))
        except NoSuchTask as unknown:
            raise ToolError(str(unknown)) from None

    @server.tool()
    async def add_task(title: Title, user: User, description: Description = "") -> Task:
        """Add a task to the list."""
        return await call(tasks.add, user, title, description)

    @server.tool()
    async def list_tasks(user: User, status: Status = "all") -> list[Task]:
        """List the tasks: all of them, the pending or the completed ones."""
        return [Task(**row) for row in await db.call(tasks.list, user, status)]

    @server.tool()
    async def complete_task(task_id: TaskId, user: User) -> Task:
        """Mark a task as done."""
        return await call(tasks.change, user, task_id, completed=True)

    @server.tool()
    async def update_task(
        task_id: TaskId, user: User, title: Title | None = None, description: Description | None = None
    ) -> Task:
        """Change the title or the description of a task."""
        return await call(tasks.change, user, task_id, title=title, description=description)

    @server.tool()
    async def delete_task(task_id: TaskId, user: User) -> Task:
        """Delete a task for good."""
        return await call(tasks.delete, user, task_id)

    return server


@contextmanager
def _logging_left_alone() -> Iterator[None]:
    """Every MCP server gives the root logger a handler when it has none; where logs go is the program's to say."""
    root, taken = logging.getLogger(), logging.NullHandler()
    root.addHandler(taken)
    try:
        yield
    finally:
        root.removeHandler(taken)


class _TokenDoor(TokenVerifier):
    """The chat backend's tokens, at the door of /mcp."""

    def __init__(self, verifier: Verifier):
        self.verifier = verifier

    async def verify_token(self, token: str) -> AccessToken | None:
        try:
            user, ends_s = await self.verifier.claims(token)
        except Refusal:
            return None
        return AccessToken(
            token=token, client_id="agentsight-chat", scopes=[], expires_at=ends_s + LEEWAY_S, subject=user
        )


def guarded(db: Database, tasks: Tasks, verifier: Verifier) -> MCPServer:
    """The server as it stands at /mcp: nobody gets in without a token of this backend."""
    # MCP names an issuer in every protected server; ours are handed out beforehand, so nothing is published.
    auth = AuthSettings(issuer_url=AnyHttpUrl("http://127.0.0.1"), resource_server_url=None)
    return build(db, tasks, token_verifier=_TokenDoor(verifier), auth=auth)


def main() -> None:
    """Serve the tools over stdio for the user named in `TODO_USER`, on the data folder `AGENTSIGHT_DATA`."""
    settings = Settings.from_env(default_data_dir())
    db = Database(settings.database_url)
    db.migrate()
    build(db, Tasks(db)).run("stdio")


if __name__ == "__main__":
    main()
