"""A real server on loopback that remembers what it was sent and misbehaves on request."""

from __future__ import annotations

import gzip
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import agentsight.tracker as tracker_module
from agentsight.api import AgentSightAPI
from agentsight.manager import ConversationManager
from agentsight.tracker import ConversationTracker

KEY = "ags_" + "0a" * 16 + "_" + "b" * 6
OTHER_KEY = "ags_" + "0c" * 16 + "_" + "d" * 6


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    raw: bytes


@dataclass
class Recorder:
    """What arrived, and what to do next: `faults` are used up one a request, `always` stays."""

    requests: list[Request] = field(default_factory=list)
    faults: list[Any] = field(default_factory=list)
    always: Any = None
    answers: dict[tuple[str, str], tuple[int, Any]] = field(default_factory=dict)
    stored: dict[str, dict[str, Any]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def batches(self) -> list[Request]:
        return [request for request in self.requests if request.path == "/api/batch/"]

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every event stored, once, in the order a server shows them."""
        return sorted(self.stored.values(), key=lambda event: (event["occurred_at"], event.get("seq", 0)))

    def contents(self, conversation_id: str | None = None) -> list[str]:
        return [
            event["content"]
            for event in self.events
            if event["kind"] == "message" and conversation_id in (None, event["conversation_id"])
        ]

    def wait(self, count: int, timeout_s: float = 10.0) -> None:
        """Until so many different events are stored."""
        until = time.monotonic() + timeout_s
        while len(self.stored) < count and time.monotonic() < until:
            time.sleep(0.01)
        assert len(self.stored) >= count, f"{len(self.stored)} of {count} events arrived"

    def accept(self, events: list[dict[str, Any]]) -> dict[str, Any]:
        results = []
        with self.lock:
            for index, event in enumerate(events):
                known = event["id"] in self.stored
                self.stored.setdefault(event["id"], event)
                self.order.append(event["id"])
                results.append({"index": index, "id": event["id"], "verdict": "duplicate" if known else "accepted"})
        return {"accepted": len(results), "duplicate": 0, "rejected": 0, "results": results}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    recorder: Recorder

    def log_message(self, *args: Any) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, OSError):
            self.close_connection = True

    def serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        plain = gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw
        try:
            body = json.loads(plain) if plain else None
        except ValueError:
            body = plain
        path = self.path.split("?")[0]
        recorder = self.recorder
        with recorder.lock:
            recorder.requests.append(Request(self.command, self.path, dict(self.headers), body, plain))
            fault = recorder.faults.pop(0) if recorder.faults else recorder.always
        if callable(fault):
            fault = fault(self, body)
            if fault is None:
                return
        if fault == "processed-but-cut":
            recorder.accept(body["events"])
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if fault == "reset":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if isinstance(fault, tuple):
            status, answer, *more = fault
            self.answer(status, answer, *more)
            return
        if fault == "pass" or fault is None:
            if (self.command, path) in recorder.answers:
                self.answer(*recorder.answers[self.command, path])
            elif path == "/api/batch/":
                self.answer(200, recorder.accept(body["events"]))
            elif path == "/api/conversations/" and self.command == "POST":
                self.answer(201, {"id": 1, **body})
            elif path == "/api/attachments/":
                self.answer(201, {"message_id": 1, "attachments": [{"id": 1}]})
            else:
                self.answer(200, {"id": 1, "results": []})

    do_GET = do_POST = do_PATCH = do_DELETE = serve

    def answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        blob = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(blob)))
        self.send_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(blob)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *args: Any) -> None:
        pass


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    handler = type("Bound", (Handler,), {"recorder": recorder})
    server = Server(("127.0.0.1", 0), handler)
    recorder.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield recorder
    server.shutdown()
    server.server_close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No AgentSight settings but a spool of this test's own."""
    for name in [name for name in os.environ if name.startswith("AGENTSIGHT_")]:
        monkeypatch.delenv(name)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AGENTSIGHT_SPOOL_DIR", str(tmp_path / "spool"))
    return monkeypatch


def fresh(kind: type) -> Any:
    """An object as a new process would have it."""
    if kind is ConversationTracker:
        client = object.__new__(ConversationTracker)
        client._prepare()
    else:
        kind._instance = None  # type: ignore[attr-defined]
        client = kind.unconfigured()  # type: ignore[attr-defined]
    kind._instance = client  # type: ignore[attr-defined]
    return client


@pytest.fixture
def tracker(environment: pytest.MonkeyPatch, recorder: Recorder) -> Iterator[ConversationTracker]:
    environment.setenv("AGENTSIGHT_API_KEY", KEY)
    environment.setenv("AGENTSIGHT_API_ENDPOINT", recorder.url)
    before = ConversationTracker._instance
    tracker_module._Lifetime.unwatched = False  # the test runner's own signals stay its own
    client = fresh(ConversationTracker)
    from agentsight.buffer import _scope

    token = _scope.set(None)
    yield client
    _scope.set(None)
    del token
    client._delivery._outbox.clear()
    client._buffer.pending.clear()
    client._delivery.close(0.6)
    client._delivery._closed = True
    client._delivery._thread = None
    with client._delivery._wake:
        client._delivery._wake.notify_all()
    ConversationTracker._instance = before


@pytest.fixture
def manager(environment: pytest.MonkeyPatch, recorder: Recorder) -> Iterator[ConversationManager]:
    yield from _client(ConversationManager, environment, recorder)


@pytest.fixture
def api(environment: pytest.MonkeyPatch, recorder: Recorder) -> Iterator[AgentSightAPI]:
    yield from _client(AgentSightAPI, environment, recorder)


def _client(kind: type, environment: pytest.MonkeyPatch, recorder: Recorder) -> Iterator[Any]:
    environment.setenv("AGENTSIGHT_API_KEY", KEY)
    environment.setenv("AGENTSIGHT_API_ENDPOINT", recorder.url)
    before = kind._instance  # type: ignore[attr-defined]
    yield fresh(kind)
    kind._instance = before  # type: ignore[attr-defined]


@pytest.fixture
def script(environment: pytest.MonkeyPatch, recorder: Recorder, tmp_path: Path) -> Callable[..., Any]:
    """Run Python text in a process of its own; `wait=False` gives the running process."""

    def run(text: str, wait: bool = True, **settings: str) -> Any:
        path = tmp_path / f"script{time.monotonic_ns()}.py"
        path.write_text(text)
        env = {
            **os.environ,
            "AGENTSIGHT_API_KEY": KEY,
            "AGENTSIGHT_API_ENDPOINT": recorder.url,
            "PYTHONUNBUFFERED": "1",
            **settings,
        }
        process = subprocess.Popen(
            [sys.executable, str(path)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        if not wait:
            return process
        out, err = process.communicate(timeout=30)
        process.out, process.err = out, err  # type: ignore[attr-defined]
        return process

    return run
