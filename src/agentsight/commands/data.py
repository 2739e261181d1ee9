"""agentsight import and export: history in and out, beside a running server."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from agentsight.core import conversations, exchange, tenancy
from agentsight.core.exchange import Imported, Tally
from agentsight.core.model import Agent, Filter, Scope
from agentsight.core.ports import Blobs, Storage, Store
from agentsight.errors import InvalidEvent
from agentsight.server.settings import Settings
from agentsight.storage import open_blobs

from .common import (
    AgentName,
    Data,
    Database,
    OrganizationName,
    Refusal,
    change,
    find_agent,
    make_agent,
    now_us,
    opened,
    say,
)

TOGETHER = 50  # conversations of one transaction


class Format(StrEnum):
    auto = "auto"
    agentsight = "agentsight"
    messages = "messages"


class Environment(StrEnum):
    production = "production"
    development = "development"


class _Undone(Exception):
    """Carries nothing: a dry run's transaction ends with it, so that nothing is kept."""


def register(app: typer.Typer) -> None:
    app.command("import")(import_)
    app.command("export")(export)


def import_(
    file: Annotated[Path, typer.Argument(help="One conversation a line, as JSON; - reads stdin")],
    agent: AgentName,
    organization: OrganizationName = tenancy.DEFAULT_ORGANIZATION,
    format: Annotated[
        Format, typer.Option(help="agentsight: what export wrote; messages: role and content")
    ] = Format.auto,
    environment: Annotated[
        Environment, typer.Option(help="Where conversations go that do not say")
    ] = Environment.production,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would come of it, store nothing")] = False,
    data: Data = None,
    database: Database = None,
) -> None:
    """Load history. Doing it twice changes nothing. Prints counts as one JSON line; problems go to stderr."""
    if str(file) != "-" and not file.is_file():
        raise Refusal(f"no such file: {file}")
    tally = Tally()
    with opened(data, database) as (settings, storage):
        blobs = None if dry_run else open_blobs(settings.files)
        with sys.stdin.buffer if str(file) == "-" else open(file, "rb") as lines:
            size = None if str(file) == "-" else file.stat().st_size
            read = _read(lines, size, format.value, environment.value, blobs, tally)
            for some in _in_parts(read):
                _store(storage, organization, agent, some, tally, dry_run)
    for problem in tally.problems[:20]:
        say(f"rejected: {problem}")
    if len(tally.problems) > 20:
        say(f"... and {tally.rejected - 20} more")
    typer.echo(json.dumps(tally.counts()))


def _read(
    lines: BinaryIO, size: int | None, form: Any, environment: str, blobs: Blobs | None, tally: Tally
) -> Iterator[Imported]:
    columns = (TextColumn("Importing"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("import", total=size)
        for number, line in enumerate(lines, 1):
            progress.advance(task, len(line))
            if line.strip():
                try:
                    yield exchange.read_line(line, form, environment, now_us(), blobs)
                except InvalidEvent as wrong:
                    tally.reject(f"line {number}", str(wrong))


def _in_parts(read: Iterator[Imported]) -> Iterator[list[Imported]]:
    part: list[Imported] = []
    for one in read:
        part.append(one)
        if len(part) == TOGETHER:
            yield part
            part = []
    if part:
        yield part


def _store(storage: Storage, organization: str, agent: str, part: list[Imported], tally: Tally, dry_run: bool) -> None:
    def work(store: Store) -> None:
        _, found = make_agent(store, organization, agent)
        exchange.store(store, found, part, now_us(), tally)
        if dry_run:
            raise _Undone

    try:
        change(storage, work)
    except _Undone:
        return


def export(
    agent: AgentName,
    organization: OrganizationName = tenancy.DEFAULT_ORGANIZATION,
    after: Annotated[str | None, typer.Option("--from", metavar="DATE", help="Started on or after this date")] = None,
    before: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Started on or before this date")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A file instead of stdout")] = None,
    data: Data = None,
    database: Database = None,
) -> None:
    """Write every conversation as one JSON line that `import` reads back. Constant memory, newest first."""
    params = {name: [text] for name, text in (("started_at_after", after), ("started_at_before", before)) if text}
    where = conversations.parse_filter({**params, "include_deleted": ["true"]})
    with opened(data, database) as (settings, storage):
        _, found = storage.read(lambda store: find_agent(store, organization, agent))
        lines = _lines(storage, settings, found, where)
        if output is None:
            _write(sys.stdout.buffer, lines)
            return
        with open(output, "wb") as file:
            count = _write(file, lines)
    typer.echo(json.dumps({"file": str(output), "conversations": count}))


def _write(file: BinaryIO, lines: Iterator[bytes]) -> int:
    count = 0
    for line in lines:
        file.write(line + b"\n")
        count += 1
    file.flush()
    return count


def _lines(storage: Storage, settings: Settings, agent: Agent, where: Filter) -> Iterator[bytes]:
    scope, blobs = Scope(agent.organization_id, (agent.id,)), open_blobs(settings.files)
    before: tuple[int, int] | None = None
    while True:

        def ask(store: Store, before: tuple[int, int] | None = before) -> tuple[list[Any], bool]:
            heads, more = conversations.page(store, scope, where, limit=TOGETHER, before=before)
            return conversations.transcripts(store, heads), more

        transcripts, more = storage.read(ask)
        for transcript in transcripts:
            yield exchange.write_line(transcript, blobs)
        if not more:
            return
        last = transcripts[-1].conversation
        before = (last.started_us, last.id)
