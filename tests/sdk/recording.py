"""A real server on loopback that remembers what it was sent and misbehaves on request."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
