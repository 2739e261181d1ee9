"""agentsight export: an agent's conversations as lines `import` reads back, as CSV, or as Parquet."""

from __future__ import annotations

import hashlib
import heapq
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agentsight.core import conversations, exchange, flat, tenancy
from agentsight.core.model import Agent, Conversation, Filter, Scope, Transcript
from agentsight.core.ports import Blobs, Storage, Store
from agentsight.errors import ConfigError, Invalid
from agentsight.server.ui.tables import csv_lines
from agentsight.storage import open_blobs
from agentsight.wire import instant

from .options import Data, Database, KnownOrganization, Refusal, find_agent, opened

TOGETHER = 50  # conversations of one read
ROWS = 5_000  # of one Parquet batch


class Format(StrEnum):
    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


def register(app: typer.Typer) -> None:
    app.command()(export)


def export(
    agent: Annotated[str, typer.Option("--agent", metavar="NAME", help="The agent")],
    organization: KnownOrganization = tenancy.DEFAULT_ORGANIZATION,
    format: Annotated[
        Format, typer.Option(help="jsonl: one conversation a line, for import; csv, parquet: one event a row")
    ] = Format.jsonl,
    after: Annotated[str | None, typer.Option("--from", metavar="DATE", help="Started on or after this date")] = None,
    before: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Started on or before this date")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A file instead of stdout")] = None,
    data: Data = None,
    database: Database = None,
) -> None:
    """Write an agent's conversations, newest first.

    In constant memory, beside a running server. With -o it prints a manifest line instead: conversations,
    rows, bytes, SHA-256. CSV opens in spreadsheets without running anything; Parquet needs pip install 'agentsight[parquet]'.
    """
    where = _where(after, before)
    write = {"jsonl": _jsonl, "csv": _csv, "parquet": _parquet}[format.value]()
    with opened(data, database) as (settings, storage):
        storage.frugal()
        _, found = storage.read(lambda store: find_agent(store, organization, agent))
        blobs = open_blobs(settings.files)
        if output is None:
            tally = _Tally(_Pipe(sys.stdout.buffer))
            write(tally, _transcripts(storage, found, where, tally), blobs)
            sys.stdout.buffer.flush()
            return
        scope = Scope(found.organization_id, (found.id,))
        total = storage.read(lambda store: store.conversations.count(scope, where)) if sys.stderr.isatty() else None
        with _new_file(output) as file, _progress(total) as advance:
            tally = _Tally(file, advance)
            write(tally, _transcripts(storage, found, where, tally), blobs)
    told = {"format": format.value, "conversations": tally.conversations, "rows": tally.rows, "bytes": tally.size}
    asked = {"agent": agent, "organization": organization, "from": after, "to": before}
    typer.echo(json.dumps({"file": str(output), **told, "sha256": tally.digest.hexdigest(), "filter": asked}))


def _where(after: str | None, before: str | None) -> Filter:
    params = {name: [text] for name, text in (("started_at_after", after), ("started_at_before", before)) if text}
    try:
        return conversations.parse_filter({**params, "include_deleted": ["true"]})
    except Invalid as wrong:
        said = str(wrong).replace("started_at_after", "--from").replace("started_at_before", "--to")
        raise Refusal(said) from None


class _Tally:
    """A file that counts what is written to it."""

    def __init__(self, file: BinaryIO | _Pipe, advance: Callable[[], object] = lambda: None):
        self._file, self.advance = file, advance
        self.conversations = self.rows = self.size = 0
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        data = bytes(data)
        self._file.write(data)
        self.digest.update(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()

    def seek(self, *_: int) -> int:
        """Parquet's writer asks for one, and never goes anywhere."""
        return self.size

    def close(self) -> None:
        """The file is somebody else's to close."""


class _Pipe:
    """stdout, which a reader may close when it has seen enough."""

    def __init__(self, out: BinaryIO):
        self._out = out

    def write(self, data: bytes) -> None:
        try:
            self._out.write(data)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._out.fileno())
            raise SystemExit(0) from None

    def flush(self) -> None:
        self.write(b"")
        self._out.flush()


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that is there whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except OSError as wrong:
        raise Refusal(f"{path} cannot be written: {wrong.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _progress(total: int | None) -> Iterator[Callable[[], object]]:
    columns = (TextColumn("Exporting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=total is None, transient=True) as progress:
        yield partial(progress.advance, progress.add_task("export", total=total))


def _transcripts(storage: Storage, agent: Agent, where: Filter, tally: _Tally) -> Iterator[Transcript]:
    """All of them, newest first, some a read, so that nobody's transaction stays open.

    Live ones lie in order along an index; the deleted, which are few, are woven in.
    """
    scope, live = Scope(agent.organization_id, (agent.id,)), replace(where, include_deleted=False)
    first_us, last_us = where.started_at_after, where.started_at_before

    def kept(store: Store, before: tuple[int, int] | None) -> tuple[list[Conversation], bool]:
        return store.conversations.page(scope, live, limit=TOGETHER, before=before)

    def gone(store: Store, before: tuple[int, int] | None) -> tuple[list[Conversation], bool]:
        some = store.keeping.deleted_page(agent.id, before, 10 * TOGETHER)
        return some, len(some) == 10 * TOGETHER

    deleted = (
        head
        for head in _heads(storage, gone)
        if (first_us is None or head.started_us >= first_us) and (last_us is None or head.started_us <= last_us)
    )
    every = heapq.merge(_heads(storage, kept), deleted, key=lambda head: (head.started_us, head.id), reverse=True)
    while some := list(islice(every, TOGETHER)):
        for transcript in storage.read(partial(conversations.transcripts, heads=some)):
            yield transcript
            tally.conversations += 1
            tally.advance()


def _heads(
    storage: Storage, page: Callable[[Store, tuple[int, int] | None], tuple[list[Conversation], bool]]
) -> Iterator[Conversation]:
    before: tuple[int, int] | None = None
    more = True
    while more:

        def ask(store: Store, before: tuple[int, int] | None = before) -> tuple[list[Conversation], bool]:
            return page(store, before)

        some, more = storage.read(ask)
        yield from some
        if some:
            before = some[-1].started_us, some[-1].id


# -- one function a format; each is asked for before anything is opened, and says then what it needs -----------------
Write = Callable[[_Tally, Iterator[Transcript], Blobs], None]


def _jsonl() -> Write:
    def write(out: _Tally, transcripts: Iterator[Transcript], blobs: Blobs) -> None:
        for transcript in transcripts:
            out.write(exchange.write_line(transcript, blobs) + b"\n")
            out.rows += 1

    return write


def _rows(out: _Tally, transcripts: Iterator[Transcript]) -> Iterator[dict[str, Any]]:
    for transcript in transcripts:
        for row in flat.rows(transcript):
            out.rows += 1
            yield row


def _csv() -> Write:
    times = [name for name, kind in flat.COLUMNS.items() if kind == "time"]

    def plain(row: dict[str, Any]) -> dict[str, Any]:
        return row | {name: instant(row[name]) for name in times if row.get(name) is not None}

    def write(out: _Tally, transcripts: Iterator[Transcript], blobs: Blobs) -> None:
        for lines in csv_lines(list(flat.COLUMNS), map(plain, _rows(out, transcripts))):
            out.write(lines.encode("utf-8", "replace"))

    return write


def _parquet() -> Write:
    try:
        from arro3 import core as arrow
        from arro3 import io as parquet
    except ModuleNotFoundError as missing:
        raise ConfigError(f"Parquet needs more packages ({missing.name}): pip install 'agentsight[parquet]'") from None
    kinds: dict[str, Any] = {
        "text": arrow.DataType.utf8(),
        "count": arrow.DataType.int64(),
        "number": arrow.DataType.float64(),
        "flag": arrow.DataType.bool(),
        "time": arrow.DataType.timestamp("us", tz="UTC"),
    }
    schema = arrow.Schema([arrow.Field(name, kinds[kind], nullable=True) for name, kind in flat.COLUMNS.items()])

    def column(name: str, kind: str, rows: list[dict[str, Any]]) -> Any:
        values = [row.get(name) for row in rows]
        if kind == "time":  # there is no way from whole numbers but this
            return arrow.Array(values, arrow.DataType.int64()).cast(kinds[kind])
        return arrow.Array([float(v) if kind == "number" and v is not None else v for v in values], kinds[kind])

    def batches(rows: Iterator[dict[str, Any]]) -> Iterator[Any]:
        some: list[dict[str, Any]] = []
        for row in rows:
            some.append(row)
            if len(some) == ROWS:
                yield batch(some)
                some = []
        yield batch(some)

    def batch(rows: list[dict[str, Any]]) -> Any:
        arrays = [column(name, kind, rows) for name, kind in flat.COLUMNS.items()]
        return arrow.RecordBatch.from_arrays(arrays, schema=schema)

    def write(out: _Tally, transcripts: Iterator[Transcript], blobs: Blobs) -> None:
        reader = arrow.RecordBatchReader.from_batches(schema, batches(_rows(out, transcripts)))
        parquet.write_parquet(reader, out, compression="zstd(3)", max_row_group_size=ROWS)  # type: ignore[arg-type]

    return write
