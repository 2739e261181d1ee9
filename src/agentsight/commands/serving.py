"""agentsight serve and demo: the server in the foreground."""

from __future__ import annotations

import gc
import logging
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from agentsight.core import tenancy
from agentsight.core.ports import Store
from agentsight.server.app import open_app, wrapped
from agentsight.server.settings import Settings

from .common import Data, Database, Refusal, make_agent, now_us
from .users import link

KEEP_ALIVE_S = 75  # longer than any client's sending interval, so that a pooled connection is not cut under a request
DRAIN_S = 8
BACKLOG = 2_048
SWITCH_S = (
    0.0005  # SQLite gives the interpreter away at every statement; the default 5 ms to get it back starve the writer
)


def register(app: typer.Typer) -> None:
    app.command()(serve)
    app.command()(demo)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every network")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one", min=0, max=65535)] = 8000,
    data: Data = None,
    database: Database = None,
) -> None:
    """Run the server: API and dashboard. An empty or older database is brought up to date first."""
    _run(Settings.of(data, database, host, port))


def demo(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one", min=0, max=65535)] = 8000,
    data: Data = None,
    database: Database = None,
) -> None:
    """Run the server on sample data, on this machine only; prints a one-time sign-in link and an API key."""
    from agentsight import demo as sample

    folder = data or Settings.of().data.with_name("agentsight-demo")
    settings = Settings.of(folder, database, port=port)

    def prepare(store: Store) -> tuple[str, str]:
        organization, agent = make_agent(store, sample.ORGANIZATION, sample.AGENT)
        key, _ = tenancy.issue_key(store, agent, "write", now_us())
        owner = tenancy.add_user(store, organization, "demo@localhost", "owner", (), now_us())
        return tenancy.issue_link(store, owner, now_us()), key

    _run(settings, prepare=prepare, fill=True)


def _run(settings: Settings, prepare: object = None, fill: bool = False) -> None:
    listener = _listen(settings.host, settings.port)
    host, port = listener.getsockname()[:2]
    settings = Settings.of(settings.data, settings.database_url, settings.host, port)
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    app = open_app(settings)
    lines: list[str] = []
    if fill:
        from agentsight import demo as sample

        sample.fill(app.state.storage, Path(settings.files), now_us())
    if callable(prepare):
        token, key = app.state.storage.write(prepare).result()
        lines = [f"Sign in: {link(settings, token)}", f"API key: {key}"]
    config = uvicorn.Config(
        wrapped(app),
        http="httptools",
        loop="auto",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
        backlog=BACKLOG,
    )
    shown = f"[{host}]" if ":" in host else host
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()  # what was loaded so far stays for good; what a batch makes dies young without being looked through often
    gc.set_threshold(50_000, 20, 100)
    _Server(config, [f"AgentSight ready on http://{shown}:{port}", *lines]).run(sockets=[listener])


class _Server(uvicorn.Server):
    """uvicorn that says when it is ready, on stdout, for people and for programs that wait."""

    def __init__(self, config: uvicorn.Config, ready: list[str]):
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            for line in self._ready:
                print(line, flush=True)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as wrong:
        listener.close()
        raise Refusal(f"cannot listen on {host}:{port}: {wrong.strerror}; choose another with --port") from None
    listener.setblocking(False)
    return listener
