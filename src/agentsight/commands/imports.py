"""agentsight import: history in, beside a running server."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from agentsight.core import exchange, tenancy
from agentsight.core.exchange import Imported, Tally
from agentsight.core.model import Agent
from agentsight.core.ports import Blobs, Store
from agentsight.errors import InvalidEvent
from agentsight.storage import open_blobs

from .options import (
    AgentName,
    Data,
    Database,
    OrganizationName,
    Refusal,
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


def register(app: typer.Typer) -> None:
    app.command("import")(import_)


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
    """Load history. Doing it twice changes nothing.

    Prints counts as one JSON line; problems go to stderr. A line is a conversation: what `agentsight export` wrote, or
    {"conversation_id": "...", "messages": [{"role": "user", "content": "...", "timestamp": "2026-11-21T08:00:00Z"}]}.
    """
    if str(file) != "-" and not file.is_file():
        raise Refusal(f"no such file: {file}")
    tally = Tally()
    with opened(data, database) as (settings, storage):
        blobs = None if dry_run else open_blobs(settings.files)
        with sys.stdin.buffer if str(file) == "-" else open(file, "rb") as lines:
            size = None if str(file) == "-" else file.stat().st_size
            read = _read(lines, size, format.value, environment.value, blobs, tally)
            whose = partial(_agent, organization=organization, name=agent)
            for some in _in_parts(read):
                tally.add(exchange.take_in(storage, whose, some, now_us(), dry=dry_run))
    for problem in tally.problems[:20]:
        say(f"rejected: {problem}")
    if len(tally.problems) > 20:
        say(f"... and {tally.rejected - 20} more")
    typer.echo(json.dumps(tally.counts()))
    if {name for name, count in tally.counts().items() if count} == {"rejected"}:
        raise Refusal(
            f"nothing of {file} could be read: it takes one conversation a line, as JSON; see: agentsight import --help"
        )


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
                    tally.reject(f"line {number}", exchange.why(wrong))


def _in_parts(read: Iterator[Imported]) -> Iterator[list[Imported]]:
    part: list[Imported] = []
    for one in read:
        part.append(one)
        if len(part) == TOGETHER:
            yield part
            part = []
    if part:
        yield part


def _agent(store: Store, organization: str, name: str) -> Agent:
    return make_agent(store, organization, name)[1]
