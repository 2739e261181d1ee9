"""An ASGI app in the foreground: a socket first, one line when ready, a clean end on SIGTERM."""

from __future__ import annotations

import gc
import logging
import socket
import sys
from collections.abc import Iterable
from types import FrameType

import uvicorn
from starlette.datastructures import State
from starlette.types import ASGIApp

from agentsight.server.protocol import PatientProtocol

from .common import Refusal

KEEP_ALIVE_S = 75  # longer than any client's sending interval, so that a pooled connection is not cut under a request
DRAIN_S = 8
BACKLOG = 2_048
SWITCH_S = (
    0.0005  # SQLite gives the interpreter away at every statement; the default 5 ms to get it back starve the writer
)


class Listener:
    """A socket somebody can already connect to; port 0 became a real one. Raises Refusal when it cannot be had."""

    def __init__(self, host: str, port: int):
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            self.socket = socket.socket(found[0], socket.SOCK_STREAM)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(found[4])
            self.socket.listen(BACKLOG)
        except OSError as wrong:
            raise Refusal(
                f"cannot listen on {host}:{port}: {wrong.strerror}; choose another --host or --port"
            ) from None
        self.socket.setblocking(False)
        self.host, self.port = self.socket.getsockname()[:2]

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def run(app: ASGIApp, listener: Listener, lines: Iterable[str] = (), state: State | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C; `lines` follow the one that says it is ready, `state` is told of the end."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        loop="auto",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
        backlog=BACKLOG,
    )
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()  # what was loaded so far stays for good; what a batch makes dies young without being looked through often
    gc.set_threshold(50_000, 20, 100)
    _Server(config, [f"AgentSight ready on {listener.url}", *lines], state).run(sockets=[listener.socket])


class _Server(uvicorn.Server):
    """uvicorn that says when it is ready, on stdout, for people and for programs that wait."""

    def __init__(self, config: uvicorn.Config, ready: list[str], state: State | None):
        super().__init__(config)
        self._ready, self._stopping = ready, state

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._stopping is not None:
            self._stopping.stopping = True  # open live connections end by themselves
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            for line in self._ready:
                print(line, flush=True)
