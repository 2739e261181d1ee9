"""A chat backend put together: alone as an app, or beside the routes of another one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from agentsight import __version__
from agentsight.chat import api, surfaces, todo
from agentsight.chat.database import Database
from agentsight.chat.http import Door, install_handlers
from agentsight.chat.providers import open_responder
from agentsight.chat.responder import Responder
from agentsight.chat.revocations import Revocations
from agentsight.chat.settings import Settings
from agentsight.chat.store import Store
from agentsight.chat.tasks import Tasks
from agentsight.chat.tokens import Verifier
from agentsight.chat.track import Outbox
from agentsight.chat.turn import Runs


@dataclass(frozen=True, slots=True)
class Chat:
    """The parts of one chat backend."""

    settings: Settings
    db: Database
    store: Store
    tasks: Tasks
    verifier: Verifier
    runs: Runs
    outbox: Outbox | None

    async def delete(self, user_id: str, conversation_id: int) -> None:
        """Hide a conversation and stop what is written in it. Raises Refusal(conversation_not_found)."""
        for run_id in await self.db.call(self.store.delete, user_id, conversation_id):
            self.runs.abandon(run_id)


def create_app(settings: Settings, *, responder: Responder | None = None) -> FastAPI:
    """The chat backend as an app. `responder` wraps your own agent; without it the settings name one.

    Raises:
        ConfigError: a setting cannot be used, or the provider's package is missing.
    """
    db = Database(settings.database_url)
    store, tasks, verifier = Store(db, settings), Tasks(db), Verifier(settings, Revocations(db))
    runs = Runs(db, store, responder or open_responder(settings, todo.build(db, tasks)), settings)
    outbox = Outbox(db, store, settings) if settings.tracking_key else None
    runs.outbox = outbox
    tools = todo.guarded(db, tasks, verifier)
    app = FastAPI(
        title="AgentSight chat", version=__version__, lifespan=_lifespan, docs_url=None, redoc_url=None,
        redirect_slashes=False, middleware=[Middleware(Door)],
    )  # fmt: skip
    app.state.chat, app.state.tools = Chat(settings, db, store, tasks, verifier, runs, outbox), tools
    install_handlers(app)
    app.include_router(api.router)
    app.include_router(surfaces.router)
    app.add_api_route("/healthz", _healthy, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route("/readyz", _ready, methods=["GET", "HEAD"], include_in_schema=False)
    app.router.routes.append(Beside(_mcp_app(tools), ["/mcp"]))
    return app


def attach(host: FastAPI, chat: FastAPI) -> None:
    """Serve `chat` beside the routes of `host`: the host's own paths come first, its start and stop are shared."""
    host.router.routes.append(Beside(chat, ["/api/{user_id}/chat", "/chat", "/mcp"]))
    around = host.router.lifespan_context

    @asynccontextmanager
    async def both(app: Any) -> AsyncIterator[Any]:
        async with around(app) as state, chat.router.lifespan_context(chat):
            yield state

    host.router.lifespan_context = both
    own = host.openapi

    def openapi() -> dict[str, Any]:
        schema, other = own(), chat.openapi()
        schema["paths"] = {path: what for path, what in other["paths"].items() if path != "/"} | schema["paths"]
        parts = schema.setdefault("components", {}).setdefault("schemas", {})
        for name, part in other.get("components", {}).get("schemas", {}).items():
            parts.setdefault(name, part)
        return schema

    host.openapi = openapi  # type: ignore[method-assign]


class Beside(BaseRoute):
    """Another app as a route: it gets the requests under its own paths and nothing else.

    A mount at "/" would swallow every unknown path, a mount at "/mcp" answers "/mcp" with a redirect.
    """

    def __init__(self, app: ASGIApp, paths: Iterable[str]):
        self.app = app
        self.paths = [path.strip("/").split("/") for path in paths]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        steps = scope["path"].strip("/").split("/")
        hit = scope["type"] == "http" and any(_under(path, steps) for path in self.paths)
        return (Match.FULL, {}) if hit else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def _under(path: list[str], steps: list[str]) -> bool:
    return len(steps) >= len(path) and all(own in (step, "{user_id}") for own, step in zip(path, steps, strict=False))


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    chat: Chat = app.state.chat
    await chat.db.call(chat.db.migrate)
    await chat.runs.open()
    if chat.outbox is not None:
        chat.outbox.open()
    try:
        async with app.state.tools.session_manager.run():
            yield
    finally:
        await chat.runs.close()
        if chat.outbox is not None:
            await chat.outbox.close()
        chat.db.close()


def _mcp_app(tools: MCPServer) -> ASGIApp:
    # The host check of MCP guards servers without sign-in against pages that rebind a name; ours asks for a
    # token, and the page's cookie does not count here.
    security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    return tools.streamable_http_app(
        streamable_http_path="/mcp", stateless_http=True, json_response=True, transport_security=security
    )


async def _healthy() -> JSONResponse:
    return JSONResponse({"status": "ok"})


async def _ready(request: Request) -> JSONResponse:
    db: Database = request.app.state.chat.db

    def probe() -> None:
        with db.write():
            pass

    await db.call(probe)
    return JSONResponse({"status": "ok"})
