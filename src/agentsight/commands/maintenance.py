"""agentsight migrate and doctor: the schema, and what is wrong with an installation and how to mend it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from agentsight import __version__
from agentsight.core import analytics, audit, counting
from agentsight.core.model import Scope
from agentsight.core.ports import Storage, Store
from agentsight.errors import AgentSightError
from agentsight.server.settings import Settings
from agentsight.storage import open_blobs, open_storage
from agentsight.storage.migrate import current, fits, latest
from agentsight.storage.migrate import migrate as bring_up_to_date

from .options import AsJson, Data, Database, change, now_us, opened

LOW_BYTES = 512 * 2**20


def register(app: typer.Typer) -> None:
    app.command()(migrate)
    app.command()(doctor)
    app.command()(rebuild)
    app.command()(version)


def version() -> None:
    """The version of this package."""
    typer.echo(__version__)


def migrate(
    as_json: AsJson = False,
    distribute: Annotated[
        bool,
        typer.Option(
            "--distribute",
            help="Spread the tables over the nodes of a PostgreSQL that has Citus, with what is in them; stop the servers "
            "first. Interrupted, the same command goes on where it was",
        ),
    ] = False,
    data: Data = None,
    database: Database = None,
) -> None:
    """Bring the database to this version's schema. Forward only; a database that is there already stays as it is."""
    settings = Settings.of(data, database)
    storage = open_storage(settings.database_url)
    try:
        before, after = bring_up_to_date(storage)
        spread = storage.distribute() if distribute else []
    finally:
        storage.close()
    if as_json:
        typer.echo(json.dumps({"before": before, "after": after, **({"distributed": spread} if distribute else {})}))
        return
    typer.echo(
        f"The schema is at {after} already."
        if before == after
        else f"The schema went from {before or 'nothing'} to {after}."
    )
    if distribute:
        typer.echo(f"Spread over the nodes: {', '.join(spread) or 'all of it was already'}.")


def rebuild(as_json: AsJson = False, data: Data = None, database: Database = None) -> None:
    """Compute every number again from the events.

    Says whether anything differed.
    Writers wait meanwhile; a running server asks its clients to come back.
    """
    with opened(data, database) as (_, storage):
        scopes = storage.read(_every_scope)
        differed = [said for scope in scopes for said in change(storage, partial(counting.rebuild, scope=scope))]
    if as_json:
        typer.echo(json.dumps({"agents": len(scopes), "differed": differed}))
        return
    for said in differed[:50]:
        typer.echo(said)
    typer.echo(
        f"Rebuilt the numbers of {len(scopes)} agents; {'some differed and were put right' if differed else 'nothing differed'}."
    )


def _every_scope(store: Store) -> list[Scope]:
    owners = [owner.id for owner in store.tenants.organizations()]
    return [Scope(owner, (agent.id,)) for owner in owners for agent in store.tenants.agents(owner)]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `remedy` is what to do, empty when all is well."""

    check: str
    found: str
    remedy: str = ""


def doctor(as_json: AsJson = False, data: Data = None, database: Database = None) -> None:
    """Say what is wrong with an installation, and what to do.

    Status 1 when anything is wrong.
    """
    settings = Settings.of(data, database)
    findings = list(_examine(settings))
    if as_json:
        typer.echo(json.dumps([{"check": f.check, "found": f.found, "remedy": f.remedy} for f in findings]))
    else:
        for finding in findings:
            typer.echo(f"{'ok   ' if not finding.remedy else 'WRONG'}  {finding.check}: {finding.found}")
            if finding.remedy:
                typer.echo(f"       -> {finding.remedy}")
    if any(finding.remedy for finding in findings):
        raise typer.Exit(1)


def _examine(settings: Settings) -> Iterator[Finding]:
    yield _folder(settings.data)
    yield _space(settings.data)
    yield _secret(settings.data / "secret")
    yield _files(settings.files)
    try:
        storage = open_storage(settings.database_url)
    except AgentSightError as wrong:
        yield Finding("database", "cannot be opened", str(wrong))
        return
    try:
        try:
            facts = storage.facts()
        except AgentSightError as wrong:
            yield Finding("database", "cannot be used", str(wrong))
            return
        spread = f", spread over {facts['nodes']} nodes" if "nodes" in facts else ""
        yield Finding("database", f"{facts['engine']} {facts['version']} at {facts['where']}{spread}")
        if facts.get("search", "").startswith("scan"):
            remedy = "CREATE EXTENSION pg_trgm as an administrator, then agentsight migrate: searches of rare words are quick then"
            yield Finding("search", "reads messages, newest first", remedy)
        for check in (_schema, *_CONTENT_CHECKS):
            try:
                yield from check(settings, storage)
            except Exception as wrong:
                yield Finding(check.__name__.strip("_"), f"failed: {type(wrong).__name__}", str(wrong)[:200])
                return
    finally:
        storage.close()


def _folder(data: Path) -> Finding:
    if not data.exists():
        return Finding(
            "data folder", f"{data} is not there yet", "run agentsight serve once, or name another with --data"
        )
    if not os.access(data, os.W_OK):
        return Finding("data folder", f"{data} cannot be written", "give the server's user write access to it")
    return Finding("data folder", str(data))


def _space(data: Path) -> Finding:
    there = next(folder for folder in (data, *data.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    said = f"{free / 2**30:.1f} GiB free"
    return Finding(
        "disk", said, "free some space: below 0.5 GiB writes may soon be refused" if free < LOW_BYTES else ""
    )


def _secret(path: Path) -> Finding:
    if not path.exists():
        return Finding("secret", "none yet; the server makes one at its first start")
    if path.stat().st_mode & 0o077:
        return Finding("secret", "others on this machine can read it", f"chmod 600 {path}")
    return Finding("secret", "readable by its owner alone")


def _files(where: str) -> Finding:
    try:
        return Finding("files", open_blobs(where).check())
    except (AgentSightError, OSError) as wrong:
        return Finding("files", str(wrong), "see AGENTSIGHT_FILES and, for s3://, the AWS_* variables and the bucket")


def _schema(settings: Settings, storage: Storage) -> Iterator[Finding]:
    at = current(storage)
    if not fits(at):
        yield Finding("schema", f"is at {at or 'nothing'}, needed is {latest()}", "run agentsight migrate")
        raise LookupError("the schema is not up to date; the rest was not looked at")
    yield Finding("schema", f"at {at}")


def _integrity(settings: Settings, storage: Storage) -> Iterator[Finding]:
    wrong = storage.check()
    yield Finding("integrity", "sound" if not wrong else wrong[0][:200], "restore a backup" if wrong else "")


def _keys(settings: Settings, storage: Storage) -> Iterator[Finding]:
    live = [key for key, _, _ in storage.read(lambda store: store.tenants.keys()) if key.revoked_us is None]
    remedy = "" if live else "make one: agentsight keys create --agent NAME"
    yield Finding("API keys", f"{len(live)} live", remedy)


def _numbers(settings: Settings, storage: Storage) -> Iterator[Finding]:
    scopes = storage.read(_every_scope)
    differ = [
        said for scope in scopes for said in storage.read(partial(analytics.sample, scope=scope, now_us=now_us()))
    ]
    said = f"{differ[0]}" if differ else "a sample of days agrees with the events"
    yield Finding("numbers", said[:200], "run agentsight rebuild" if differ else "")


def _audit(settings: Settings, storage: Storage) -> Iterator[Finding]:
    for owner in storage.read(lambda store: store.tenants.organizations()):
        wrong = storage.read(partial(audit.broken, organization_id=owner.id))
        number, _ = storage.read(partial(_last_line, organization_id=owner.id))
        if wrong:
            yield Finding(
                "audit log",
                f"{owner.name}: {wrong}",
                "somebody changed the database by hand; compare with a backup, and find out who had access",
            )
        else:
            yield Finding("audit log", f"{owner.name}: {number} lines, each as it was written")


def _last_line(store: Store, organization_id: int) -> tuple[int, str]:
    return store.audit.last(organization_id)


_CONTENT_CHECKS: tuple[Callable[[Settings, Storage], Iterator[Finding]], ...] = (_integrity, _keys, _numbers, _audit)
