"""A database of every schema that was released comes up to date whole, however often the work is killed on the way."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import text

from agentsight.storage import open_storage
from agentsight.storage.migrate import _config, current, latest
from agentsight.storage.sqlite import driver
from served import Api, Postgresql, Server, environment, event, message

from .test_rolling import OLDEST, OLDEST_POSTGRESQL, python, source_of

KEPT = ("organization", "agent", "api_key", "conversation", "event", "feedback", "button", "presence")
RELEASED = [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()][::-1]
DOWN_S = 10  # of a hundred thousand rows
MIGRATE = [sys.executable, "-m", "agentsight.cli", "migrate", "--json", "--database"]


def filled(start: Callable[..., Server], url: str, folder: Path, source: Path, rows: int) -> None:
    """An older version stores so many rows."""
    server = start(folder / "filling", database=url, PYTHONPATH=str(source))
    key = python(["-m", "agentsight.cli", "keys", "create", "--agent", "bot", "--database", url], source)
    with Api(server.url, key) as api:
        for first in range(0, rows, 1_000):
            api.batch(*(one for number in range(first, first + 1_000, 5) for one in _talk(f"c-{number // 40}", number)))
    assert server.stop() in (0, -15)


def _talk(name: str, number: int) -> list[dict[str, Any]]:
    return [
        event("conversation", name, customer_id=f"who-{number % 97}", language="hr", environment="production"),
        message(name, f"question {number}"),
        event("action", name, action_name="lookup", duration_ms=number % 50),
        message(name, f"answer {number} Straße", sender="agent"),
        event("feedback", name, sentiment="positive")
        if number % 200 == 0
        else event("token_usage", name, prompt_tokens=3, completion_tokens=4, model="gpt-4o"),
    ]


def told(url: str) -> dict[str, str]:
    """What every table that was there from the first holds, as a hash of the columns it had then."""
    storage: Any = open_storage(url)
    try:
        with storage.looking() as connection:
            found = {}
            for name in KEPT:
                columns = ", ".join(COLUMNS[name])
                digest = hashlib.sha256()
                for row in connection.execute(text(f"SELECT {columns} FROM {name} ORDER BY {columns}")):
                    digest.update(repr(tuple(row)).encode())
                found[name] = digest.hexdigest()
            return found
    finally:
        storage.close()


COLUMNS = {
    "organization": ("id", "name", "slug", "created_us"),
    "agent": ("id", "organization_id", "name", "slug"),
    "api_key": ("id", "agent_id", "digest"),
    "conversation": ("id", "agent_id", "conversation_id", "started_us", "customer_id", "message_count", "metadata"),
    "event": ("id", "agent_id", "conversation", "event_id", "kind", "occurred_us", "seq", "content", "detail"),
    "feedback": ("id", "agent_id", "conversation", "event_id", "sentiment"),
    "button": ("agent_id", "button_event"),
    "presence": ("agent_id", "bucket", "customer", "messages"),
}


def at(url: str) -> str | None:
    storage = open_storage(url)
    try:
        return current(storage)
    finally:
        storage.close()


def brought_to(url: str, revision: str) -> None:
    storage: Any = open_storage(url)
    with storage.migrating() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()
    storage.close()


def migrated(url: str, kill_after_s: float | None = None, kill_at: Path | None = None) -> float | None:
    """How long it was at work; None: it was killed, after a while or when something new came to be in a folder."""
    there = set(kill_at.glob("*")) if kill_at else set()
    begun = time.monotonic()
    process = subprocess.Popen([*MIGRATE, url], env=environment(), stdout=subprocess.DEVNULL)
    while not (found := os.wait4(process.pid, os.WNOHANG))[0]:
        late = kill_after_s is not None and time.monotonic() - begun > kill_after_s
        if late or (kill_at and set(kill_at.glob("*")) - there):
            process.kill()
            process.wait()
            return None
        time.sleep(0.002)
    process.returncode = os.waitstatus_to_exitcode(found[1])
    assert process.returncode == 0
    used = found[2].ru_utime + found[2].ru_stime
    return used if url.startswith("sqlite") else time.monotonic() - begun  # the machine may be busy with something else


def upgraded(url: str, before: str, kills: int, longest_s: float) -> tuple[int, float]:
    """Bring a database from `before` to today's, killed so many times at random; gives how many hit, and how long it took
    in the end."""
    kept, hits = told(url), 0
    backups = Path(url.removeprefix("sqlite:///")).parent / "backups"
    for number in range(kills):
        at_copy = backups if url.startswith("sqlite") and number % 3 == 0 else None
        if migrated(url, random.uniform(0.2, longest_s) if at_copy is None else 60, at_copy) is not None:
            break  # the kill came too late
        hits += 1
        assert at(url) in RELEASED[RELEASED.index(before) :] and told(url) == kept
    took = migrated(url)
    assert took is not None and at(url) == latest() and told(url) == kept
    differed = python(["-m", "agentsight.cli", "rebuild", "--json", "--database", url])
    assert '"differed": []' in differed, differed[:1_000]
    return hits, took


def copies_are_sound(folder: Path, before: str, rows: int) -> None:
    """What was kept before the schema changed is a database of the old schema, with everything in it."""
    copies = sorted(folder.glob("before-*"))
    whole = [copy for copy in copies if copy.suffix == ".db"]
    assert whole and all(".part" in copy.name or "-journal" in copy.name for copy in set(copies) - set(whole))
    for copy in whole:
        connection = driver().connect(str(copy))
        assert connection.execute("PRAGMA quick_check").fetchone()[0] == "ok", copy
        assert (
            connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
            in RELEASED[RELEASED.index(before) : -1]
        )
        assert connection.execute("SELECT count(*) FROM event").fetchone()[0] >= rows * 0.7
        connection.close()


@pytest.mark.timed
@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "kills", "revisions"),
    [(2_000, 3, RELEASED[:1]), pytest.param(100_000, 9, RELEASED[:-1], marks=pytest.mark.exhaustive)],
)
def test_sqlite(start: Callable[..., Server], tmp_path: Path, rows: int, kills: int, revisions: list[str]):
    first = tmp_path / "first.db"
    filled(start, f"sqlite:///{first}", tmp_path, source_of(OLDEST, tmp_path), rows)
    hits, took = 0, []
    for revision in revisions:
        folder = tmp_path / revision
        folder.mkdir()
        url = f"sqlite:///{folder / 'a.db'}"
        with driver().connect(str(first)) as connection:
            connection.execute("VACUUM INTO ?", (str(folder / "a.db"),))
        connection.close()
        brought_to(url, revision)
        hit, seconds = upgraded(url, revision, kills, rows / 20_000 + 1)
        copies_are_sound(folder / "backups", revision, rows)
        hits, took = hits + hit, [*took, round(seconds, 1)]
    print("kills", hits, "seconds", took)
    assert hits >= kills * len(revisions) * 0.5 and max(took) <= DOWN_S


@pytest.mark.timed
@pytest.mark.slow
@pytest.mark.parametrize(("rows", "kills"), [(2_000, 3), pytest.param(100_000, 25, marks=pytest.mark.exhaustive)])
def test_postgresql(postgresql: Postgresql, start: Callable[..., Server], tmp_path: Path, rows: int, kills: int):
    url = postgresql.empty()
    filled(start, url, tmp_path, source_of(OLDEST_POSTGRESQL, tmp_path), rows)
    hits, took = upgraded(url, "0004", kills, rows / 20_000 + 1)
    print("kills", hits, "seconds", round(took, 1))
    assert hits >= kills * 0.5 and took <= DOWN_S
