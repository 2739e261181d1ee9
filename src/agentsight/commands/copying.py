"""agentsight copy: everything of one database into another, of whichever engine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agentsight.core.ports import Blobs
from agentsight.errors import ServerFailed
from agentsight.server.settings import Settings
from agentsight.storage import open_blobs, open_storage
from agentsight.storage.copying import Copy

from .common import Data, Refusal


def register(app: typer.Typer) -> None:
    app.command()(copy)


def copy(
    to: Annotated[str, typer.Option("--to", metavar="URL", help="An empty database, or one this copy began to fill")],
    source: Annotated[
        str | None, typer.Option("--from", metavar="URL", help="The database to copy [default: the configured one]")
    ] = None,
    files: Annotated[
        str | None,
        typer.Option("--from-files", metavar="WHERE", help="Its files [default: AGENTSIGHT_FILES, else DIR/files]"),
    ] = None,
    to_files: Annotated[
        str | None,
        typer.Option("--to-files", metavar="WHERE", help="A folder or s3://BUCKET/PREFIX [default: they stay]"),
    ] = None,
    data: Data = None,
) -> None:
    """Copy a database into an empty one, SQLite or PostgreSQL, while nobody writes to either.

    Killed at any point, the same command goes on where it was. At the end both are read again and proved equal;
    prints what was copied as one JSON line.
    """
    began = time.monotonic()
    settings = Settings.of(data, source)
    if settings.database_url == to:
        raise Refusal("--from and --to are the same database")
    ours, theirs = open_storage(settings.database_url), open_storage(to)
    try:
        made = Copy(ours, theirs)
        with _progress("Copying", sum(made.left().values())) as advance:
            sums = made.run(lambda table, rows: advance(rows))
    finally:
        ours.close()
        theirs.close()
    where = files or settings.files
    moved = _copy_files(open_blobs(where), open_blobs(to_files)) if to_files and to_files != where else 0
    told = {name: {"rows": each.rows, "hash": each.hash} for name, each in sums.items()}
    rows, seconds = sum(each.rows for each in sums.values()), round(time.monotonic() - began, 1)
    typer.echo(json.dumps({"rows": rows, "files": moved, "seconds": seconds, "tables": told}))


def _copy_files(source: Blobs, target: Blobs) -> int:
    """Gives how many there are; what is there already is not sent again."""
    wanted = set(source.each())
    missing = wanted - set(target.each())
    with _progress("Files", len(missing)) as advance:
        for sha256 in missing:
            if target.put(source.get(sha256)) != sha256:
                raise ServerFailed(f"the file {sha256} is not what its name says; restore it from a backup")
            advance(1)
    return len(wanted)


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)
