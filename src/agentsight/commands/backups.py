"""agentsight backup and restore: a whole installation in one file, taken while it works."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from agentsight.server.settings import Settings
from agentsight.storage import backup as copies
from agentsight.storage import open_blobs

from .options import AsJson, Data, Database, Refusal, now_us, opened


def register(app: typer.Typer) -> None:
    app.command()(backup)
    app.command()(restore)


def backup(
    file: Annotated[Path, typer.Argument(help="The archive to write, such as agentsight-2026-11-21.zip")],
    as_json: AsJson = False,
    data: Data = None,
    database: Database = None,
) -> None:
    """Copy everything into one file, beside a running server.

    Database, files, secrets and chat, as of one moment.
    Everything acknowledged before it began is in it. It holds secrets: keep it as you keep the data. PostgreSQL needs
    pg_dump.
    """
    with opened(data, database) as (settings, storage):
        manifest = copies.take(storage, open_blobs(settings.files), settings.data, file, now_us())
    _say("Backed up", manifest, file, as_json)


def restore(
    file: Annotated[Path, typer.Argument(help="What agentsight backup wrote")],
    force: Annotated[bool, typer.Option("--force", help="Replace the data that is there")] = False,
    as_json: AsJson = False,
    data: Data = None,
    database: Database = None,
) -> None:
    """Put a backup back, into an empty --data. Every part is verified before anything is written. Stop the server first."""
    if not file.is_file():
        raise Refusal(f"no such file: {file}")
    settings = Settings.of(data, database)
    manifest = copies.restore(file, settings.data, settings.database_url, settings.files, force=force)
    _say("Restored", manifest, file, as_json)


def _say(what: str, manifest: dict[str, Any], file: Path, as_json: bool) -> None:
    counts, files = manifest["counts"], manifest["files"]
    if as_json:
        typer.echo(json.dumps({"file": str(file), **manifest}))
        return
    typer.echo(
        f"{what} {counts['conversations']} conversations, {counts['events']} events, {files['count']} files: "
        f"{file} ({file.stat().st_size / 1e6:.1f} MB, taken {manifest['taken_at'][:19]}Z)"
    )
