"""An ASGI app in the foreground: a socket first, one line when ready, a clean end on SIGTERM."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterable
from types import FrameType

import uvicorn
from starlette.datastructures import State
from starlette.types import ASGIApp

from agentsight.server.hosts import behind
from agentsight.server.protocol import PatientProtocol
from agentsight.server.settings import Settings

from .options import Refusal

READY = "AgentSight ready on "
KEEP_ALIVE_S = 75  # longer than any client's sending interval, so that a pooled connection is not cut under a request
DRAIN_S = 8
BACKLOG = 2_048
SWITCH_S = (
    0.0005  # SQLite gives the interpreter away at every statement; the default 5 ms to get it back starve the writer
)


class Listener:
    """A socket somebody can already connect to; port 0 became a real one. Raises Refusal when it cannot be had."""

    def __init__(self, host: str, port: int, fd: int | None = None):
        """`fd` is a listening socket that somebody handed over, such as systemd; then `host` and `port` do not count."""
        try:
            if fd is not None:
                self.socket = socket.socket(fileno=fd)
                self._settle()
                return
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            self.socket = socket.socket(found[0], socket.SOCK_STREAM)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(found[4])
            self.socket.listen(BACKLOG)
        except OSError as wrong:
            where = f"{host}:{port}" if fd is None else f"--fd {fd}"
            raise Refusal(f"cannot listen on {where}: {wrong.strerror}; choose another --host or --port") from None
        self._settle()

    def _settle(self) -> None:
        self.socket.setblocking(False)
        self.host, self.port = self.socket.getsockname()[:2]

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def run(
    app: ASGIApp,
    listener: Listener,
    lines: Iterable[str] = (),
    state: State | None = None,
    *,
    is_worker: bool = False,
) -> None:
    """Serve until SIGTERM or Ctrl-C; `lines` follow the one that says it is ready, `state` is told of the end.

    A worker also ends when its standard input does: then whoever started it is gone.
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    if proxies := Settings.of().proxies:
        app = behind(app, proxies)
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        loop="auto",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # `behind` believes the proxies the settings name, and no other
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
        backlog=BACKLOG,
    )
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()  # what was loaded so far stays for good; what a batch makes dies young without being looked through often
    gc.set_threshold(50_000, 20, 100)
    server = _Server(config, [f"{READY}{listener.url}", *lines], state)
    if is_worker:
        threading.Thread(target=_end_with, args=(sys.stdin.fileno(), server), daemon=True).start()
    server.run(sockets=[listener.socket])


def _end_with(fd: int, server: _Server) -> None:
    while os.read(fd, 4096):
        pass
    server.handle_exit(signal.SIGTERM, None)


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
