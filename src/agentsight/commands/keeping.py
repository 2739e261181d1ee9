"""agentsight erase and retention: a person taken out of everything, with proof; what has had its time."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from agentsight.core import audit, erasing, retention, tenancy, tombstones
from agentsight.core.model import Agent
from agentsight.core.ports import Storage, Store
from agentsight.errors import AgentSightError
from agentsight.server import upkeep
from agentsight.server.settings import Settings
from agentsight.storage import open_blobs

from .options import Data, Database, KnownOrganization, Refusal, find_agent, now_us, opened, say


def register(app: typer.Typer) -> None:
    app.command()(erase)
    app.command("retention")(run_retention)


def erase(
    customer: Annotated[str | None, typer.Option("--customer", metavar="ID", help="The customer_id to erase")] = None,
    agent: Annotated[str | None, typer.Option("--agent", metavar="NAME", help="The agent they talked to")] = None,
    organization: KnownOrganization = tenancy.DEFAULT_ORGANIZATION,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would go, remove nothing")] = False,
    verify: Annotated[
        Path | None, typer.Option("--verify", metavar="FILE", help="Instead: was this certificate made here, as it is?")
    ] = None,
    data: Data = None,
    database: Database = None,
) -> None:
    """Remove a person everywhere, with a signed certificate.

    Out of conversations, files, the search index and free pages. The certificate is printed as JSON.

    What they added to the numbers stays, anonymous. Doing it again finishes what was interrupted.
    """
    if verify is not None:
        _verify(verify, data, database)
        return
    if customer is None or agent is None:
        raise typer.BadParameter("say whom and where: --customer ID --agent NAME")
    with opened(data, database) as (settings, storage):
        owner, found = storage.read(lambda store: find_agent(store, organization, agent))
        if dry_run:
            told = storage.read(lambda store: erasing.found(store, found, customer))
            typer.echo(
                json.dumps({"conversations": told.conversations, "messages": told.messages, "feedback": told.feedback})
            )
            return
        who = audit.command_line(owner.id)
        blobs = open_blobs(settings.files)
        certificate = erasing.erase(
            storage, blobs, who, owner, found, customer, now_us, elsewhere=elsewhere(settings, storage, found)
        )
    if not certificate["removed"]["conversations"]:
        say("Nothing was kept of this customer.")
    typer.echo(json.dumps(certificate, ensure_ascii=False, indent=2))


def elsewhere(settings: Settings, storage: Storage, agent: Agent) -> Mapping[str, erasing.Elsewhere]:
    """Where else in the data folder a person may be, by the name their counts get in a certificate."""
    told = dict(upkeep.elsewhere(storage, open_blobs(settings.files), settings.data, agent))
    if storage.read(lambda store: _chats_as(store, settings, agent)):
        told["chat_rows"] = partial(_forget_in_chat, settings.data)
    return told


def _chats_as(store: Store, settings: Settings, agent: Agent) -> bool:
    """The chat backend of this data folder is this agent: its users are the agent's customers."""
    try:
        key = (settings.data / "chat.key").read_text()
        return tenancy.verify_key(store, key, now_us()).agent == agent and (settings.data / "chat.db").exists()
    except (FileNotFoundError, AgentSightError):
        return False


def _forget_in_chat(data: Path, customer: str) -> dict[str, int]:
    try:
        from agentsight.chat.forget import forget
    except ModuleNotFoundError as missing:
        raise Refusal(
            f"the chat's conversations are here, its packages are not ({missing.name}); install them"
        ) from None
    return forget(data, customer)


def run_retention(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what is due to go, remove nothing")] = False,
    organization: Annotated[
        str | None, typer.Option("--organization", metavar="NAME", help="Only this one [default: all]")
    ] = None,
    data: Data = None,
    database: Database = None,
) -> None:
    """Remove what has had its time, by each organization's rules.

    In small steps, beside a running server. The server does it by itself every six hours. Prints one JSON line
    an organization: conversations that lost their content, conversations removed with their numbers, deleted ones
    purged, events and files.
    """
    with opened(data, database) as (settings, storage):
        owners = storage.read(lambda store: store.tenants.organizations())
        if organization is not None:
            owners = [owner for owner in owners if organization in (owner.name, owner.slug)]
            if not owners:
                raise Refusal(f"no organization {organization!r}")
        blobs = open_blobs(settings.files)
        for owner in owners:
            if dry_run:
                rules = retention.rules(owner)
                outcome = storage.read(partial(retention.preview, organization=owner, rules=rules, now_us=now_us()))
            else:
                outcome = retention.Run(storage, blobs, owner, now_us(), lambda: time.sleep(upkeep.REST_S))()
            typer.echo(json.dumps({"organization": owner.name, **asdict(outcome)}))


def _verify(file: Path, data: Path | None, database: str | None) -> None:
    try:
        told = json.loads(file.read_text())
    except (OSError, ValueError):
        raise Refusal(f"{file} is no certificate") from None
    tombstones.use(Settings.of(data, database).secret())
    if not erasing.verify(told):
        raise Refusal(f"{file} was not made by this installation, or was changed since")
    typer.echo(f"Made here and unchanged: {told['removed']['conversations']} conversations, {told['ended_at']}")
