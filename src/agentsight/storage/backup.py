"""A whole installation in one file, taken while it works, and put back where nothing is."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from agentsight import __version__
from agentsight.core.archive import Reading, Unreadable, Writing
from agentsight.core.ports import Blobs
from agentsight.errors import Conflict, NotFound, ServerFailed
from agentsight.wire import instant

from . import open_blobs, open_storage
from .migrate import current, known, migrate

FORM = "agentsight-backup/1"
DATABASE = {"SQLite": "agentsight.db", "PostgreSQL": "postgresql.dump"}
BESIDE = ("secret", "chat.secret", "chat.key")  # small files of the data folder an installation is not itself without
CHAT = "chat.db"


def take(storage: Any, blobs: Blobs, data: Path, to: Path, now_us: int) -> dict[str, Any]:
    """Everything of this installation into the file `to`, as of one moment, while others write; gives the manifest.

    First the database, then the files: each is kept before its row, so every file the copy names is there.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    facts = storage.facts()
    with tempfile.TemporaryDirectory(prefix=f".{to.name}.", dir=to.parent) as room, _whole(to) as file:
        copy = Path(room) / DATABASE[facts["engine"]]
        counts = storage.copy_to(copy) or _counts(copy)
        archive = Writing(file, FORM)
        with copy.open("rb") as source:
            archive.add(copy.name, source)
        copy.unlink()
        if (data / CHAT).exists():
            _copy_chat(data / CHAT, Path(room) / CHAT)
            with (Path(room) / CHAT).open("rb") as source:
                archive.add(CHAT, source)
        for name in BESIDE:
            with suppress(FileNotFoundError), (data / name).open("rb") as source:
                archive.add(name, source)
        for sha256 in blobs.each():
            with suppress(NotFound), blobs.open(sha256) as source:  # erased meanwhile, and its rows with it
                archive.file(sha256, source)
        return archive.close(
            made_by=__version__,
            schema=current(storage),
            engine=facts["engine"],
            taken_at=instant(now_us),
            counts=counts,
        )


@contextmanager
def _whole(to: Path) -> Iterator[Any]:
    """A file that is there whole or not at all, readable by its owner alone."""
    part = to.with_name(f".{to.name}.{os.getpid()}.part")
    try:
        with open(os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, to)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _counts(copy: Path) -> dict[str, int]:
    """What a copy of a SQLite database holds.

    Raises:
        ServerFailed: the copy is not sound, so neither is the database.
    """
    opened = open_storage(f"sqlite:///{copy}")
    try:
        if wrong := opened.check():
            raise ServerFailed(f"the database is damaged: {wrong[0][:200]}; restore an older backup")
        return opened.read(lambda store: store.keeping.counts())
    finally:
        opened.close()


def _copy_chat(database: Path, to: Path) -> None:
    chat: Any = open_storage(f"sqlite:///{database}")
    try:
        chat.copy_to(to)
    finally:
        chat.close()


def restore(archive: Path, data: Path, url: str, files: str, *, force: bool = False) -> dict[str, Any]:
    """Put a backup back: its database, files and secrets; gives the manifest.

    Raises:
        Unreadable: the archive is damaged, of another engine, or of a later version; nothing was written.
        Conflict: something is there already and `force` was not asked for, or a server works on it.
    """
    reading = Reading(archive, FORM)
    try:
        return _restore(reading, archive, data, url, files, force)
    finally:
        reading.close()


def _restore(reading: Reading, archive: Path, data: Path, url: str, files: str, force: bool) -> dict[str, Any]:
    manifest = reading.manifest
    engine = "SQLite" if url.startswith("sqlite") else "PostgreSQL"
    if manifest.get("engine") != engine:
        raise Unreadable(
            f"{archive} is of {manifest.get('engine')}; give a --database of that kind, then agentsight copy"
        )
    if not known(manifest.get("schema")):
        raise Unreadable(f"{archive} was made by a later version of AgentSight; update this one first")
    reading.verify()
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    storage: Any = open_storage(url)
    try:
        if not force and (not storage.is_empty() or (data / CHAT).exists()):
            raise Conflict("there is data here already; give an empty --data, or --force to replace what is there")
        blobs = open_blobs(files)
        for sha256 in reading.files():
            with reading.file(sha256) as source:
                blobs.put(source.read())
        with tempfile.TemporaryDirectory(prefix=".restore.", dir=data) as room:
            for name in (DATABASE[engine], CHAT, *BESIDE):
                if name in reading.parts:
                    with (Path(room) / name).open("wb") as file:
                        reading.copy(name, file)
                        file.flush()
                        os.fsync(file.fileno())
            storage.replace_by(Path(room) / DATABASE[engine])
            for name in (CHAT, *BESIDE):
                for old in (data / name, data / f"{name}-wal", data / f"{name}-shm"):
                    if force and name == CHAT:
                        old.unlink(missing_ok=True)
                if (Path(room) / name).exists():
                    os.replace(Path(room) / name, data / name)
    finally:
        storage.close()
    restored: Any = open_storage(url)
    try:
        migrate(restored)
    finally:
        restored.close()
    return manifest
