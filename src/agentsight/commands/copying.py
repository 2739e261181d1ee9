"""agentsight copy: everything of one database into another, of whichever engine."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from agentsight.core.ports import Blobs
from agentsight.errors import ServerFailed
from agentsight.server.settings import Settings
from agentsight.storage import open_blobs, open_storage
from agentsight.storage.copying import Copy, Sum, open_copy

from .options import Data, Refusal, say


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
    chat: Annotated[
        str | None,
        typer.Option("--chat-from", metavar="URL", help="The chat's database [default: the configured one]"),
    ] = None,
    to_chat: Annotated[
        str | None,
        typer.Option(
            "--chat-to", metavar="URL", help="Where the chat's goes, such as the same as --to [default: it stays]"
        ),
    ] = None,
    data: Data = None,
) -> None:
    """Copy a database into an empty one, SQLite or PostgreSQL.

    While nobody writes to either; with --chat-to the chat's too.
    Killed at any point, the same command goes on where it was; done, it says so and changes nothing. At the end both are
    read again and proved equal; prints what was copied as one JSON line.
    """
    began = time.monotonic()
    settings = Settings.of(data, source)
    if settings.database_url == to:
        raise Refusal("--from and --to are the same database")
    ours, theirs = open_storage(settings.database_url), open_storage(to)
    try:
        sums, already = _copied(open_copy(ours, theirs), "Copying")
    finally:
        ours.close()
        theirs.close()
    if to_chat:
        chats, chats_already = _copy_chat(settings.data, chat, to_chat)
        sums, already = sums | chats, already and chats_already
    elif (settings.data / "chat.db").exists() or os.environ.get("AGENTSIGHT_CHAT_DATABASE_URL"):
        say("The chat's own database stays where it is; --chat-to URL copies it too.")
    where = files or settings.files
    moved = _copy_files(open_blobs(where), open_blobs(to_files)) if to_files and to_files != where else 0
    told = {name: {"rows": each.rows, "hash": each.hash} for name, each in sums.items()}
    rows, seconds = sum(each.rows for each in sums.values()), round(time.monotonic() - began, 1)
    if already:
        say("Already copied, row for row; there was nothing to do.")
    typer.echo(json.dumps({"rows": rows, "files": moved, "seconds": seconds, "already": already, "tables": told}))


def _copied(made: Copy, what: str) -> tuple[dict[str, Sum], bool]:
    """What every table holds now, and whether it did before."""
    with _progress(what, sum(made.left().values())) as advance:
        return made.run(lambda table, rows: advance(rows)), made.already


def _copy_chat(data: Path, source: str | None, target: str) -> tuple[dict[str, Sum], bool]:
    from agentsight.chat.database import Database
    from agentsight.chat.schema import Base
    from agentsight.chat.settings import database_url

    here = database_url({"DATABASE_URL": source} if source else os.environ, data)
    there = database_url({"DATABASE_URL": target}, data)
    if here == there:
        raise Refusal("--chat-from and --chat-to are the same database")
    ours, theirs = Database(here), Database(there)
    try:
        ours.migrate()
        theirs.migrate()
        named = f"the chats of {ours.engine.url}"
        return _copied(
            Copy(ours.engine, theirs.engine, Base.metadata, named, theirs.settle_ids, "copying_chat"), "Chats"
        )
    finally:
        ours.close()
        theirs.close()


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
