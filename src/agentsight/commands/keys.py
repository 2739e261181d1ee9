"""agentsight keys: API keys, each bound to one agent, shown whole once."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from agentsight.core import tenancy
from agentsight.core.model import Agent, ApiKey, Organization
from agentsight.core.ports import Store
from agentsight.wire import instant

from .common import AgentName, AsJson, Data, Database, OrganizationName, Refusal, change, make_agent, now_us, opened

app = typer.Typer(help="API keys, each bound to one agent and shown whole only when made.", no_args_is_help=True)


@app.command()
def create(
    agent: AgentName,
    organization: OrganizationName = tenancy.DEFAULT_ORGANIZATION,
    role: Annotated[str, typer.Option(help="write: track, read and manage; read: read only")] = "write",
    as_json: AsJson = False,
    data: Data = None,
    database: Database = None,
) -> None:
    """Make a key and print it. It cannot be shown again."""
    with opened(data, database) as (_, storage):

        def make(store: Store) -> tuple[str, Organization, Agent]:
            owner, found = make_agent(store, organization, agent)
            key, _ = tenancy.issue_key(store, found, role, now_us())
            return key, owner, found

        key, owner, found = change(storage, make)
    if as_json:
        typer.echo(json.dumps({"key": key, "agent_id": found.id, "organization_id": owner.id}))
    else:
        typer.echo(key)


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
    table = Table(box=None, pad_edge=False)
    for heading in ("PREFIX", "ORGANIZATION", "AGENT", "ROLE", "CREATED", "LAST USED", "STATE"):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        plain = _plain(*row)
        dates = [(plain[name] or "never")[:16].replace("T", " ") for name in ("created_at", "last_used_at")]
        table.add_row(
            str(plain["prefix"]),
            str(plain["organization"]),
            str(plain["agent"]),
            str(plain["role"]),
            *dates,
            "revoked" if plain["revoked_at"] else "live",
        )
    Console().print(table)


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
        "revoked_at": time(key.revoked_us),
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
        revoked = change(storage, lambda store: store.tenants.revoke_keys(short, now_us()))
    if not revoked:
        raise Refusal(f"no live key starts with {short}; see: agentsight keys list")
    typer.echo(f"Revoked {short}")
