"""agentsight chat: the chat backend, alone or beside the server, and tokens for trying it."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from fastapi import FastAPI

from agentsight.core import tenancy
from agentsight.core.ports import Storage, Store
from agentsight.errors import ConfigError, Unauthorized
from agentsight.server.settings import Settings

from .keeping import elsewhere
from .options import Data, Refusal, change, make_agent, now_us
from .running import Listener, run

if TYPE_CHECKING:
    from agentsight.chat.settings import Settings as ChatSettings

AGENT = "Chat"


class NotInstalled(Refusal):
    """The chat backend's packages are not there."""


app = typer.Typer(help="The chat backend: streaming chat with your own agent, tracked.")


@app.callback(invoke_without_command=True)
def chat(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 picks a free one", min=0, max=65535)] = 8001,
    data: Data = None,
) -> None:
    """Run the chat backend alone. Without a model key it is a rule-based demo that says so."""
    if context.invoked_subcommand is not None:
        context.obj = data
        return
    create_app = _room()
    settings = _settings(data)
    listener = Listener(host, port)
    _loopback_only(settings, listener.host)
    run(create_app(settings), listener)


@app.command()
def token(
    context: typer.Context,
    user: Annotated[str, typer.Argument(help="Whose token: the {user_id} of the chat's paths")],
    data: Data = None,
) -> None:
    """Print a signed token for USER, good for twelve hours."""
    _room()
    from agentsight.chat import tokens

    typer.echo(tokens.issue(user, _settings(data or context.obj)))


@app.command()
def revoke(
    context: typer.Context,
    user: Annotated[str | None, typer.Option("--user", help="Every token this user was given until now")] = None,
    token: Annotated[str | None, typer.Option("--token", help="This one token")] = None,
    data: Data = None,
) -> None:
    """Make tokens worthless before they end.

    Everywhere within two seconds. New ones can be given at once.
    """
    if (user is None) == (token is None):
        raise typer.BadParameter("say --user NAME or --token TOKEN, one of them")
    _room()
    from agentsight.chat import tokens
    from agentsight.chat.database import Database
    from agentsight.chat.revocations import Revocations

    db = Database(_settings(data or context.obj).database_url)
    try:
        db.migrate()
        if user is not None:
            Revocations(db).revoke_user(user)
        else:
            Revocations(db).revoke_token(str(token), tokens.end_of(str(token)))
    finally:
        db.close()
    typer.echo("revoked")


def beside(
    app: FastAPI, settings: Settings, storage: Storage, listener: Listener, agent: str | None = None
) -> ChatSettings:
    """Put the chat backend beside the server's routes, tracked by this very server."""
    create_app = _room()
    from agentsight.chat.app import attach

    told = prepare(settings, storage, listener, agent)
    chat = create_app(told)
    # of the house whose name was asked for
    chat.state.sheet, chat.state.icon = "/brand/-/chat.css", "/brand/-/chat.svg"
    attach(app, chat)
    app.state.chat_link = partial(link, told, listener)
    app.state.elsewhere = partial(elsewhere, settings, storage)
    return told


def prepare(settings: Settings, storage: Storage, listener: Listener, agent: str | None = None) -> ChatSettings:
    """What the chat beside this server is told; its secret and its key are made when there are none."""
    _room()
    told = _settings(settings.data)
    _loopback_only(told, listener.host)
    if told.tracking_key is None:
        endpoint = f"http://127.0.0.1:{listener.port}"
        told = replace(told, tracking_key=_own_key(settings.data, storage, agent or AGENT), tracking_endpoint=endpoint)
    return told


def _room() -> Callable[..., FastAPI]:
    try:
        from agentsight.chat.app import create_app
    except ModuleNotFoundError as missing:
        raise NotInstalled(
            f"the chat backend needs more packages ({missing.name}): pip install 'agentsight[chat]'"
        ) from None
    return create_app


def _settings(data: Path | None) -> ChatSettings:
    from agentsight.chat.settings import Settings as ChatSettings

    return ChatSettings.from_env(Settings.of(data).data)


def _loopback_only(settings: ChatSettings, host: str) -> None:
    """A secret we made up ourselves is for trying; whoever serves the world sets their own. Raises ConfigError."""
    if settings.secret_was_made and not ipaddress.ip_address(host).is_loopback:
        raise ConfigError("set AGENTSIGHT_CHAT_SECRET (32 bytes or more) before the chat listens beyond this machine")


def _own_key(data: Path, storage: Storage, agent: str) -> str:
    """The key this server's own chat tracks with, kept in the data folder; made when there is none that works."""
    kept = data / "chat.key"

    def works(store: Store) -> bool:
        try:
            tenancy.verify_key(store, kept.read_text(), now_us())
        except (Unauthorized, FileNotFoundError):
            return False
        return True

    if storage.read(works):
        return kept.read_text().strip()

    def make(store: Store) -> str:
        owners = store.tenants.organizations()
        _, found = make_agent(store, owners[0].name if owners else tenancy.DEFAULT_ORGANIZATION, agent)
        return tenancy.issue_key(store, found, "write", now_us())[0]

    key = change(storage, make)
    with open(os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(key)
    return key


def link(settings: ChatSettings, listener: Listener, user: str) -> str:
    """A link that opens the chat page as `user`; the token stands behind #, where no server logs it."""
    from agentsight.chat import tokens

    return f"{listener.url}/chat/#token={tokens.issue(user, settings)}"
