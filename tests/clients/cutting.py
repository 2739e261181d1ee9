"""A proxy that delivers every request and swallows the first answer to each, as a bad network does."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx

_BOUNDARY = re.compile(rb"--[0-9a-f]{32}")  # another one on every retry


@contextmanager
def cutting(target: str) -> Iterator[tuple[str, list[str]]]:
    """The proxy's URL, and the paths whose first answer it swallowed."""
    seen: set[str] = set()
    cut: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            kept = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
            answer = httpx.post(target + self.path, content=body, headers=kept, timeout=30)
            name = self.path + hashlib.sha256(_BOUNDARY.sub(b"", body)).hexdigest()
            if name not in seen:
                seen.add(name)
                cut.append(self.path)
                self.connection.close()
                return
            self.send_response(answer.status_code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def handle(self) -> None:
            try:
                super().handle()
            except (OSError, ValueError):  # we closed it ourselves
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_address[1]}", cut
    finally:
        proxy.shutdown()
        proxy.server_close()
