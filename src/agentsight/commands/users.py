"""agentsight users: people who sign in to the dashboard."""

from __future__ import annotations

from typing import Annotated

import typer

from agentsight.core import tenancy
from agentsight.core.model import Agent, User
from agentsight.core.ports import Store
from agentsight.server.settings import Settings

from .common import Data, Database, OrganizationName, change, find_agent, now_us, opened

app = typer.Typer(help="People who sign in to the dashboard.", no_args_is_help=True)


@app.command()
def create(
    email: Annotated[str, typer.Argument(help="Who signs in")],
    organization: OrganizationName = tenancy.DEFAULT_ORGANIZATION,
    role: Annotated[str, typer.Option(help="owner, member, or client (sees chosen agents)")] = "owner",
    agent: Annotated[list[str] | None, typer.Option(help="An agent they may see; repeat it. Default: all")] = None,
    data: Data = None,
    database: Database = None,
) -> None:
    """Add a person, or let one who is there in again; prints a sign-in link that works once, within a day."""
    with opened(data, database) as (settings, storage):

        def make(store: Store) -> str:
            return tenancy.issue_link(store, _add(store, organization, email, role, agent or []), now_us())

        typer.echo(link(settings, change(storage, make)))


def _add(store: Store, organization: str, email: str, role: str, names: list[str]) -> User:
    owner = tenancy.ensure_organization(store, organization, now_us())
    agents: tuple[Agent, ...] = tuple(find_agent(store, organization, name)[1] for name in names)
    return tenancy.add_user(store, owner, email, role, agents, now_us())


def link(settings: Settings, token: str) -> str:
    """Where a one-time token signs in."""
    base = settings.public_url or f"http://{settings.host}:{settings.port}"
    return f"{base}/login?token={token}"
