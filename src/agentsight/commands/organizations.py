"""agentsight organization: one organization with everything in it, out and in."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from agentsight.core import audit, moving
from agentsight.core.archive import Reading
from agentsight.errors import NotFound
from agentsight.storage import open_blobs
from agentsight.storage.migrate import known, latest

from .options import Data, Database, Refusal, change, now_us, opened

app = typer.Typer(help="One organization with everything in it, out and in.", no_args_is_help=True)


@app.command()
def export(
    name: Annotated[str, typer.Argument(help="The organization's name, or its slug")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="The archive to write")],
    data: Data = None,
    database: Database = None,
) -> None:
    """Write everything of an organization into one archive.

    As of one moment. Prints its manifest as one JSON line.
    Agents, settings, brand, people, conversations, files, reports, links, audit log, numbers. Passwords, sessions and
    what is secret of keys and links stay behind.
    """
    with opened(data, database) as (settings, storage):
        storage.frugal()
        owner = storage.read(lambda store: store.tenants.organization_named(name))
        if owner is None:
            raise NotFound(f"no organization {name!r}")
        part = output.with_name(f".{output.name}.{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                manifest = moving.export(storage, open_blobs(settings.files), owner, file, latest(), now_us())
                file.flush()
                os.fsync(file.fileno())
            part.replace(output)
        finally:
            part.unlink(missing_ok=True)
        who = audit.command_line(owner.id)
        told = {"archive": manifest["id"], "conversations": manifest["counts"]["conversation"]}
        change(storage, lambda store: audit.note(store, who, "export", "organization", told, now_us=now_us()))
    typer.echo(json.dumps({"file": str(output), **manifest}))


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="What agentsight organization export wrote")],
    name: Annotated[str | None, typer.Option("--as", metavar="NAME", help="Another name for it here")] = None,
    data: Data = None,
    database: Database = None,
) -> None:
    """Make the organization of an archive here, whole or not at all. The same archive again changes nothing.

    Writers wait meanwhile; a running server asks its clients to come back. Prints what came of it as one JSON line.
    """
    if not file.is_file():
        raise Refusal(f"no such file: {file}")
    archive = Reading(file, moving.FORM)
    try:
        with opened(data, database) as (settings, storage):
            blobs = open_blobs(settings.files)
            outcome = moving.import_(storage, blobs, archive, latest(), known, now_us(), name)
    finally:
        archive.close()
    typer.echo(json.dumps(outcome))
