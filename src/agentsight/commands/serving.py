"""agentsight serve and demo: the server in the foreground."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from agentsight import demo as sample
from agentsight.core import tenancy
from agentsight.core.ports import Store
from agentsight.server.app import open_app, wrapped
from agentsight.server.settings import Settings
from agentsight.storage import open_storage
from agentsight.storage.migrate import migrate

from . import chatting
from .options import Data, Database, Refusal, change, make_agent, now_us, say
from .running import Listener, run
from .users import link
from .workers import Workers

CHAT_USER = "demo"


def register(app: typer.Typer) -> None:
    app.command()(serve)
    app.command()(demo)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every network")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one", min=0, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(help="Processes that serve; several need PostgreSQL", min=1, max=256)] = 1,
    chat: Annotated[bool, typer.Option("--chat", help="The chat backend too, tracked by this server")] = False,
    fd: Annotated[
        int | None, typer.Option(help="A listening socket handed over, as by systemd, instead of a port")
    ] = None,
    worker: Annotated[bool, typer.Option("--worker", hidden=True)] = False,
    data: Data = None,
    database: Database = None,
) -> None:
    """Run the server: API and dashboard. An empty or older database is brought up to date first."""
    if workers > 1 and Settings.of(data, database).database_url.startswith("sqlite"):
        raise Refusal(
            "SQLite has one writer, so more workers would only wait for one another: leave --workers away, "
            "or give a --database postgresql://... (agentsight copy moves what is stored)"
        )
    listener = Listener(host, port, fd)
    settings = Settings.of(data, database, host, listener.port)
    if workers > 1:
        _many(workers, settings, listener, chat)
        return
    app = open_app(settings)
    if chat:
        chatting.beside(app, settings, app.state.storage, listener)
    run(wrapped(app), listener, state=app.state, is_worker=worker)


def _many(workers: int, settings: Settings, listener: Listener, chat: bool) -> None:
    """Make once what all workers need, then keep them running."""
    storage = open_storage(settings.database_url)
    try:
        migrate(storage)
        settings.secret()
        if chat:
            chatting.prepare(settings, storage, listener)
    finally:
        storage.close()
    options = ["--data", str(settings.data), *(["--chat"] if chat else [])]
    with TemporaryDirectory(prefix="agentsight-metrics-") as metrics:  # where workers count together
        env = {"AGENTSIGHT_DATABASE_URL": settings.database_url, "PROMETHEUS_MULTIPROC_DIR": metrics}
        Workers(workers, options, listener, env).run()


def demo(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one", min=0, max=65535)] = 8000,
    data: Data = None,
    database: Database = None,
) -> None:
    """Run server and chat on sample data, on this machine only.

    Prints a one-time sign-in link, an API key and a chat link.
    """
    listener = Listener("127.0.0.1", port)
    folder = data or Settings.of().data.with_name("agentsight-demo")
    settings = Settings.of(folder, database, port=listener.port)
    app = open_app(settings)
    storage = app.state.storage
    sample.fill(storage, settings.files, now_us())

    def prepare(store: Store) -> tuple[str, str]:
        organization, agent = make_agent(store, sample.ORGANIZATION, sample.AGENT)
        owner = tenancy.add_user(store, organization, "demo@localhost", "owner", (), now_us())
        return tenancy.issue_link(store, owner, now_us()), tenancy.issue_key(store, agent, "write", now_us())[0]

    token, key = change(storage, prepare)
    lines = [f"Sign in: {link(settings, token)}", f"API key: {key}"]
    try:
        told = chatting.beside(app, settings, storage, listener, sample.AGENT)
        lines.append(f"Chat: {chatting.link(told, listener, CHAT_USER)}")
    except chatting.NotInstalled as missing:
        say(f"No chat: {missing}")
    run(wrapped(app), listener, lines, app.state)
