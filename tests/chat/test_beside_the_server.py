"""`serve --chat`: the chat backend beside the real server in one process, tracked by it, seen by it within a second."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from .conftest import SECRET, Backend, httpx, wait_until
from .scripted import Scripted

server_app = pytest.importorskip("agentsight.server.app", reason="the server extra is not installed")

from agentsight.chat.app import attach, create_app  # noqa: E402
from agentsight.chat.settings import Settings  # noqa: E402
from agentsight.core import tenancy  # noqa: E402
from agentsight.server.settings import Settings as ServerSettings  # noqa: E402


def key_of(storage: Any) -> str:
    def make(store: Any) -> str:
        now_us = time.time_ns() // 1000
        organization = tenancy.ensure_organization(store, "acme", now_us)
        agent = tenancy.ensure_agent(store, organization, "chat", now_us)
        return tenancy.issue_key(store, agent, "write", now_us)[0]

    return storage.write(make).result()


@pytest.fixture
def together(tmp_path: Path) -> Iterator[tuple[Backend, Any]]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        host = server_app.open_app(ServerSettings.of(tmp_path, f"sqlite:///{tmp_path / 'agentsight.db'}"))
        key = key_of(host.state.storage)
        settings = Settings(
            data_dir=tmp_path, database_url=f"sqlite:///{tmp_path / 'chat.db'}", secrets=(SECRET,),
            tracking_key=key, tracking_endpoint=address,
        )  # fmt: skip
        attach(host, create_app(settings, responder=Scripted()))
        config = uvicorn.Config(server_app.wrapped(host), log_config=None, access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        wait_until(lambda: server.started)
        with httpx.Client(base_url=address, headers={"Authorization": f"Api-Key {key}"}) as api:
            yield Backend(address, settings, host), api
        server.should_exit = True
        thread.join(15)
        assert not thread.is_alive()


@pytest.mark.timed
def test_a_chat_is_in_the_dashboards_api_within_a_second(together: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    backend, api = together
    ann = backend.person("ann")
    run = ann.said("tool")

    def found() -> Any:
        return api.get("/api/conversations/").json()["results"]

    (conversation,) = wait_until(found, within_s=1)
    assert conversation["customer_id"] == "ann" and conversation["name"] == "tool"
    ann.said("hello", run["conversation_id"])
    wait_until(lambda: "You said hello." in api.get(f"/api/conversations/{conversation['id']}/").text, within_s=1)
    whole = api.get(f"/api/conversations/{conversation['id']}/").text
    assert "look_up" in whole and "Looking." in whole
    assert caplog.records == []


def test_each_keeps_its_paths_its_errors_and_one_request_number(together: Any) -> None:
    backend, api = together
    ann = backend.person("ann")
    for answer in (ann.http.get("/healthz"), ann.http.get("/readyz"), api.get("/api/conversations/")):
        assert answer.status_code == 200
    for path in ("/api/ann/chat/conversations", "/api/ann/chat/conversations/"):
        assert ann.http.get(path).json() == {"items": [], "next_before": None}
    refused = ann.http.post(ann.base, json={"message": ""})
    assert refused.status_code == 422 and refused.headers.get_list("x-request-id") == [refused.json()["request_id"]]
    assert ann.http.get("/nowhere").status_code == 404
    page = httpx.get(f"{backend.address}/chat/", headers={"Accept": "text/html"})
    assert page.status_code == 200 and len(page.headers.get_list("content-security-policy")) == 1
    listed = ann.http.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
                           headers={"Accept": "application/json, text/event-stream"})  # fmt: skip
    assert len(listed.json()["result"]["tools"]) == 5


def test_a_key_is_no_token_and_a_token_is_no_key(together: Any) -> None:
    backend, api = together
    assert api.get("/api/ann/chat/conversations").status_code == 401
    ann = backend.person("ann")
    assert ann.http.get("/api/conversations/").status_code == 401
    assert ann.http.post("/api/batch/", json={"events": []}).status_code == 401
