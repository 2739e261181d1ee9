"""What every command shares: its options, the database they name, whom it means, how it speaks to people."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from agentsight.core import geo, tenancy, tombstones
from agentsight.core.model import Agent, Organization
from agentsight.core.ports import Storage, Store
from agentsight.errors import AgentSightError, NotFound
from agentsight.server.settings import Settings
from agentsight.storage import open_storage
from agentsight.storage.migrate import current, fits, migrate

T = TypeVar("T")

Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Data folder [default: $AGENTSIGHT_DATA, else your user data folder]"),
]
Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help="sqlite:///PATH or postgresql://... [default: $AGENTSIGHT_DATABASE_URL, else agentsight.db in the data folder]",
    ),
]
AgentName = Annotated[str, typer.Option("--agent", metavar="NAME", help="The agent; made when missing")]
OrganizationName = Annotated[
    str, typer.Option("--organization", metavar="NAME", help="The organization; made when missing")
]
KnownOrganization = Annotated[str, typer.Option("--organization", metavar="NAME", help="The agent's organization")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON")]


def now_us() -> int:
    return time.time_ns() // 1000


class Refusal(AgentSightError):
    """A command cannot do what it was asked; the message is the one line people read."""


@contextmanager
def opened(data: Path | None, database: str | None) -> Iterator[tuple[Settings, Storage]]:
    """The settings and the database, its schema up to date."""
    settings = Settings.of(data, database)
    geo.use(settings.mmdb)
    storage = open_storage(settings.database_url)
    try:
        if not fits(current(storage)):
            migrate(storage)
        tombstones.use(settings.secret())
        yield settings, storage
    finally:
        storage.close()


def change(storage: Storage, work: Callable[[Store], T]) -> T:
    """`work` in a write transaction, committed."""
    return storage.write(work).result()


def find_agent(store: Store, organization: str, agent: str) -> tuple[Organization, Agent]:
    """An agent that must be there. Raises NotFound."""
    owner = store.tenants.organization_named(organization)
    found = store.tenants.agent_named(owner.id, agent) if owner else None
    if owner is None or found is None:
        raise NotFound(f"no agent {agent!r} in organization {organization!r}; see: agentsight keys list")
    return owner, found


def make_agent(store: Store, organization: str, agent: str) -> tuple[Organization, Agent]:
    """An agent, made when missing."""
    owner = tenancy.ensure_organization(store, organization, now_us())
    return owner, tenancy.ensure_agent(store, owner, agent, now_us())


def say(text: str) -> None:
    """One line for people, on stderr, so that stdout stays for programs."""
    typer.echo(text, err=True)


def show(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table for people: whole in a pipe; on a narrow terminal lines break, and nothing is cut.

    Columns with nothing in them are left out.
    """
    table = Table(box=None, pad_edge=False)
    cells = [list(row) for row in rows]
    filled = [place for place in range(len(headings)) if any(row[place] for row in cells)]
    for place in filled:
        longest = max(len(word) for text in (headings[place], *(row[place] for row in cells)) for word in text.split())
        table.add_column(headings[place], no_wrap=place == 0, overflow="fold", min_width=min(longest, 16))
    for row in cells:
        table.add_row(*(row[place] for place in filled))
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)
