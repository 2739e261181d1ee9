"""What the server does by itself, in the background: retention, files nothing names, sums an older version knows nothing
of; `foresight.py` beside it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from agentsight.core import attachments, older, retention
from agentsight.core.erasing import Elsewhere
from agentsight.core.model import Agent
from agentsight.core.ports import Blobs, Storage
from agentsight.errors import AgentSightError

from . import foresight, imports
from .ledger import KEPT_DAYS

FIRST_S, EVERY_S = 300, 6 * 3600
OLDER_S, SELDOM_S = 10, 600  # how soon, then ever more seldom, we look whether an older version works beside this one
YOUNG_US = 24 * 3600 * 1_000_000  # a file whose row is still on its way is younger than this
REST_S = 0.05  # between two transactions, for everybody else
COPIES = "before-*"  # of the database, taken before migrations
_log = logging.getLogger("agentsight.upkeep")


@asynccontextmanager
async def running(storage: Storage, blobs: Blobs) -> AsyncIterator[None]:
    """Upkeep goes on inside the block, in threads of its own; leaving it waits for the steps under way alone."""
    stopped = threading.Event()
    threads = [
        threading.Thread(target=_go_on, args=(storage, blobs, stopped), name="agentsight-upkeep", daemon=True),
        threading.Thread(target=foresight.go_on, args=(storage, stopped), name="agentsight-foresight", daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            await asyncio.to_thread(thread.join, 10)


def _go_on(storage: Storage, blobs: Blobs, stopped: threading.Event) -> None:
    due, patience_s = time.monotonic() + FIRST_S, float(OLDER_S)
    while not stopped.wait(min(patience_s, max(OLDER_S, due - time.monotonic()))):
        try:
            patience_s = OLDER_S if make_good(storage, stopped) else min(patience_s * 1.5, SELDOM_S)
            if time.monotonic() >= due:
                due = time.monotonic() + EVERY_S
                with storage.alone("upkeep") as mine:
                    if mine:
                        once(storage, blobs, stopped)
        except AgentSightError as trouble:  # the database rests; the next time is soon enough
            _log.warning("upkeep was put off: %s", trouble)
        except Exception:
            _log.exception("upkeep failed")


def make_good(storage: Storage, stopped: threading.Event) -> bool:
    """Let the sums tell of what an older version stored; whether one did."""
    scopes = older.left_out(storage)
    for scope in scopes:
        with storage.alone("older") as mine:
            if mine:
                older.put_in(storage, scope, partial(stopped.wait, REST_S), stopped.is_set)
    return bool(scopes)


def once(storage: Storage, blobs: Blobs, stopped: threading.Event) -> None:
    """One round over all organizations."""
    now_us = time.time_ns() // 1000
    for organization in storage.read(lambda store: store.tenants.organizations()):
        if not stopped.is_set():
            retention.Run(storage, blobs, organization, now_us, partial(stopped.wait, REST_S), stopped.is_set)()
    oldest = now_us // 86_400_000_000 - KEPT_DAYS
    storage.write(lambda store: store.deliveries.forget(oldest)).result()
    storage.write(lambda store: store.imports.forget(now_us - YOUNG_US)).result()  # their files go as all nobody names
    if not stopped.is_set():
        attachments.sweep(storage, blobs, now_us - YOUNG_US)


def elsewhere(storage: Storage, blobs: Blobs, data: Path, agent: Agent) -> Mapping[str, Elsewhere]:
    """Where else a person may be, by the name their counts get in a certificate."""
    return {
        "local_copies": lambda customer: {"files": copies_gone(data)},
        "waiting_imports": lambda customer: {"files": imports.drop(storage, blobs, agent)},
    }


def copies_gone(data: Path) -> int:
    """The copies taken before migrations hold everybody; they are there for a bad day after one, not for good."""
    gone = 0
    for copy in (data / "backups").glob(COPIES):
        with contextlib.suppress(FileNotFoundError):
            copy.unlink()
            gone += 1
    return gone
