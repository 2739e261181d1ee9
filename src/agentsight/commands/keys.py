"""agentsight keys: API keys, each bound to one agent, shown whole once."""

from __future__ import annotations

import json
import re
from typing import Annotated

import typer

from agentsight.core import audit, tenancy
from agentsight.core.audit import COMMAND_LINE
from agentsight.core.model import Agent, ApiKey, Organization
from agentsight.core.ports import Store
from agentsight.wire import instant

from .options import (
    AgentName,
    AsJson,
    Data,
    Database,
    OrganizationName,
    Refusal,
    change,
    make_agent,
    now_us,
    opened,
    show,
)

_SPAN = re.compile(r"(\d{1,5})([dhm])")
_UNITS_US = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000}
Expires = Annotated[str | None, typer.Option(metavar="TIME", help="It ends after so long, such as 90d; default: never")]

app = typer.Typer(help="API keys, each bound to one agent, shown whole when made.", no_args_is_help=True)


@app.command()
def create(
    agent: AgentName,
    organization: OrganizationName = tenancy.DEFAULT_ORGANIZATION,
    role: Annotated[str, typer.Option(help="write: track, read and manage; read: read only")] = "write",
    expires: Expires = None,
    name: Annotated[str, typer.Option(help="A note for people, such as: production")] = "",
    as_json: AsJson = False,
    data: Data = None,
    database: Database = None,
) -> None:
    """Make a key and print it. It cannot be shown again."""
    with opened(data, database) as (_, storage):

        def make(store: Store) -> tuple[str, Organization, Agent]:
            owner, found = make_agent(store, organization, agent)
            at_us, ends_us = now_us(), now_us() + _span_us(expires, "--expires") if expires else None
            key, row = tenancy.issue_key(store, found, role, at_us, expires_us=ends_us, name=name, author=COMMAND_LINE)
            _note(store, owner.id, "key.created", row.prefix, agent=found.name, role=row.role)
            return key, owner, found

        key, owner, found = change(storage, make)
    if as_json:
        typer.echo(json.dumps({"key": key, "agent_id": found.id, "organization_id": owner.id}))
    else:
        typer.echo(key)


def _span_us(text: str, option: str) -> int:
    """A stretch of time such as 90d, 12h or 30m. Raises Refusal."""
    told = _SPAN.fullmatch(text.strip())
    if told is None:
        raise Refusal(f"{option}: say how long, such as 90d, 12h or 30m, not {text!r}")
    return int(told[1]) * _UNITS_US[told[2]]


def _note(store: Store, organization_id: int, action: str, subject: str, **detail: object) -> None:
    audit.note(store, audit.command_line(organization_id), action, subject, detail, now_us=now_us())


@app.command("list")
def list_keys(as_json: AsJson = False, data: Data = None, database: Database = None) -> None:
    """All keys by their prefix; never a whole one."""
    with opened(data, database) as (_, storage):
        rows = storage.read(lambda store: store.tenants.keys())
    if as_json:
        typer.echo(json.dumps([_plain(*row) for row in rows]))
        return
    if not rows:
        typer.echo("No keys yet. Make one: agentsight keys create --agent NAME")
        return
    show(
        ("PREFIX", "ORGANIZATION", "AGENT", "ROLE", "CREATED", "LAST USED", "ENDS", "STATE", "NOTE"),
        (_row(key, _plain(key, agent, owner)) for key, agent, owner in rows),
    )


def _row(key: ApiKey, plain: dict[str, str | None]) -> list[str]:
    dates = [(plain[name] or "never")[:16].replace("T", " ") for name in ("created_at", "last_used_at")]
    ends = (plain["expires_at"] or "")[:16].replace("T", " ")
    state = "revoked" if key.revoked_us else "live" if key.is_live(now_us()) else "ended"
    names = [str(plain[name]) for name in ("prefix", "organization", "agent", "role")]
    return [*names, *dates, ends, state, str(plain["name"])]


def _plain(key: ApiKey, agent: Agent, organization: Organization) -> dict[str, str | None]:
    def time(us: int | None) -> str | None:
        return None if us is None else instant(us)

    return {
        "prefix": key.prefix,
        "organization": organization.name,
        "agent": agent.name,
        "role": key.role,
        "created_at": time(key.created_us),
        "last_used_at": time(key.last_used_us),
        "expires_at": time(key.expires_us),
        "revoked_at": time(key.revoked_us),
        "name": key.name,
    }


@app.command()
def revoke(
    prefix: Annotated[str, typer.Argument(help="As `keys list` shows it, such as ags_1a2b3c4d")],
    data: Data = None,
    database: Database = None,
) -> None:
    """Revoke a key at once; running servers refuse it within a second."""
    with opened(data, database) as (_, storage):
        short = prefix.strip().lower()[: tenancy.PREFIX_CHARS]

        def revoke_it(store: Store) -> None:
            _, _, owner = _live(store, short)
            store.tenants.revoke_keys(short, now_us())
            _note(store, owner.id, "key.revoked", short)

        change(storage, revoke_it)
    typer.echo(f"Revoked {short}")


def _live(store: Store, prefix: str) -> tuple[ApiKey, Agent, Organization]:
    """The one live key with this prefix. Raises Refusal."""
    every = store.tenants.keys()
    found = [row for row in every if row[0].prefix == prefix and row[0].is_live(now_us())]
    if not found:
        raise Refusal(f"no live key starts with {prefix}; see: agentsight keys list")
    return found[0]


@app.command()
def rotate(
    prefix: Annotated[str, typer.Argument(help="As `keys list` shows it, such as ags_1a2b3c4d")],
    overlap: Annotated[str, typer.Option(metavar="TIME", help="How long the old key goes on, such as 24h")] = "24h",
    as_json: AsJson = False,
    data: Data = None,
    database: Database = None,
) -> None:
    """Make a new key for an old one and print it.

    The old one ends when the overlap does.
    """
    overlap_us = _span_us(overlap, "--overlap")
    with opened(data, database) as (_, storage):
        short = prefix.strip().lower()[: tenancy.PREFIX_CHARS]

        def make(store: Store) -> tuple[str, Organization, Agent]:
            old, agent, owner = _live(store, short)
            key, row = tenancy.rotate_key(store, owner.id, old, overlap_us, now_us(), COMMAND_LINE)
            _note(store, owner.id, "key.rotated", short, to=row.prefix, overlap_hours=overlap_us / _UNITS_US["h"])
            return key, owner, agent

        key, owner, agent = change(storage, make)
    typer.echo(json.dumps({"key": key, "agent_id": agent.id, "organization_id": owner.id}) if as_json else key)
