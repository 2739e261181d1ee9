"""The todo tools over MCP: at /mcp with a token, over stdio, beside a dashboard; identity never from arguments."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from mcp import Client, StdioServerParameters
from starlette.responses import PlainTextResponse

from agentsight.chat.app import attach, create_app
from agentsight.chat.database import Database
from agentsight.chat.settings import Settings
from agentsight.chat.tasks import Tasks
from agentsight.chat.todo import build

from .conftest import SECRET, Backend, Person, Start, httpx
from .model_server import served
from .scripted import Scripted

FIVE = {"add_task", "list_tasks", "complete_task", "update_task", "delete_task"}


def call(person: Person, tool: str, **arguments: Any) -> Any:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    headers = {"Accept": "application/json, text/event-stream"}
    answer = person.http.post("/mcp", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def test_five_tools_for_the_bearer_of_the_token(start: Start, url: str) -> None:
    with start(url=url) as backend:
        ann, bob = backend.person("ann"), backend.person("bob")
        task = call(ann, "add_task", title="milk", description="two")["structuredContent"]
        assert task["title"] == "milk" and task["completed"] is False
        for wrong in ("complete_task", "update_task", "delete_task"):
            refused = call(bob, wrong, task_id=task["id"])
            assert refused["isError"] and f"no task {task['id']}" in refused["content"][0]["text"]
        assert (
            call(ann, "update_task", task_id=task["id"], title="oat milk")["structuredContent"]["description"] == "two"
        )
        assert call(ann, "complete_task", task_id=task["id"])["structuredContent"]["completed"] is True
        assert call(ann, "list_tasks", status="pending")["structuredContent"]["result"] == []
        assert len(call(ann, "list_tasks", status="completed")["structuredContent"]["result"]) == 1
        assert call(bob, "list_tasks")["structuredContent"]["result"] == []
        assert call(ann, "delete_task", task_id=task["id"])["structuredContent"]["title"] == "oat milk"
        assert call(ann, "list_tasks")["structuredContent"]["result"] == []


def test_where_logs_go_is_not_ours_to_say(tmp_path: Path) -> None:
    script = (
        "import logging\nfrom agentsight.chat.app import create_app\nfrom agentsight.chat.settings import Settings\n"
        f"create_app(Settings.from_env({str(tmp_path)!r}, {{}}))\nprint(logging.getLogger().handlers)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_user_in_the_arguments_is_ignored(start: Start) -> None:
    with start() as backend:
        ann, bob = backend.person("ann"), backend.person("bob")
        call(bob, "add_task", title="bob's", user="ann", user_id="ann")
        assert call(ann, "list_tasks", user="bob", user_id="bob")["structuredContent"]["result"] == []


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("add_task", {}), ("add_task", {"title": ""}), ("add_task", {"title": " "}), ("add_task", {"title": "x" * 201}),
        ("add_task", {"title": "x", "description": "y" * 2001}), ("complete_task", {"task_id": 0}),
        ("complete_task", {"task_id": 2**31}), ("complete_task", {"task_id": "x"}), ("list_tasks", {"status": "new"}),
        ("update_task", {"task_id": 1, "title": ""}), ("drop_tables", {}),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_are_the_models_to_mend(
    backend: Backend, tool: str, arguments: dict[str, Any]
) -> None:
    refused = call(backend.person(), tool, **arguments)
    assert refused["isError"] and refused["content"][0]["text"]


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from .conftest import running

    with running(tmp_path_factory.mktemp("mcp"), responder=Scripted()) as started:
        yield started


def test_text_no_database_can_hold_is_mended(backend: Backend) -> None:
    task = call(backend.person(), "add_task", title="a\0b")["structuredContent"]
    assert task["title"] == "a␀b"


def test_the_cookie_of_the_page_does_not_open_mcp(backend: Backend) -> None:
    token = backend.person().token
    answer = httpx.post(f"{backend.address}/mcp", json={}, cookies={"chat": token})
    assert answer.status_code == 401


def test_over_stdio_for_the_user_of_the_process(tmp_path: Path) -> None:
    environment = os.environ | {
        "TODO_USER": "ann", "AGENTSIGHT_DATA": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }  # fmt: skip
    server = StdioServerParameters(command=sys.executable, args=["-m", "agentsight.chat.todo"], env=environment)

    async def talk() -> tuple[set[str], Any, Any]:
        async with Client(server) as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}
            await client.call_tool("add_task", {"title": "milk"})
            return tools, (await client.call_tool("list_tasks", {})).structured_content, None

    tools, listed, _ = asyncio.run(talk())
    assert tools == FIVE and [task["title"] for task in listed["result"]] == ["milk"]
    db = Database(f"sqlite:///{tmp_path / 'chat.db'}")
    assert len(Tasks(db).list("ann")) == 1 and Tasks(db).list("bob") == []
    db.close()


def test_nobody_is_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TODO_USER", raising=False)
    db = Database(f"sqlite:///{tmp_path / 'chat.db'}")
    db.migrate()

    async def talk() -> Any:
        async with Client(build(db, Tasks(db))) as client:
            return await client.call_tool("list_tasks", {})

    refused = asyncio.run(talk())
    assert refused.is_error and "signed in" in refused.content[0].text
    db.close()


def test_beside_another_app_each_keeps_its_own_paths(tmp_path: Path) -> None:
    host = FastAPI()

    @host.get("/")
    def dashboard() -> PlainTextResponse:
        return PlainTextResponse("the dashboard")

    @host.get("/api/conversations/")
    def theirs() -> PlainTextResponse:
        return PlainTextResponse("theirs")

    settings = Settings(data_dir=tmp_path, database_url=f"sqlite:///{tmp_path / 'chat.db'}", secrets=(SECRET,))
    attach(host, create_app(settings, responder=Scripted()))
    with served(host) as address:
        ann = Backend(address, settings, host).person("ann")
        assert ann.http.get("/").text == "the dashboard" and ann.http.get("/api/conversations/").text == "theirs"
        assert ann.http.get("/nope").json() == {"detail": "Not Found"}
        assert ann.said("hello")["response"] == "You said hello."
        assert ann.http.post(f"{ann.base}/", json={"message": "hi"}).status_code == 200
        assert call(ann, "add_task", title="milk")["structuredContent"]["title"] == "milk"
        assert "text/html" in ann.http.get("/chat/", headers={"Accept": "text/html"}).headers["content-type"]
        paths = ann.http.get("/openapi.json").json()["paths"]
        assert "/api/{user_id}/chat" in paths and "/api/conversations/" in paths
