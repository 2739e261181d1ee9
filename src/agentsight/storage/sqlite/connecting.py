"""Which SQLite is used, and what each connection is told before it is used."""

from __future__ import annotations

import contextlib
import importlib
import sqlite3
from collections.abc import Callable
from types import ModuleType
from typing import Any

from agentsight.errors import ConfigError

from ..sql.rows import fold
from .search import contains_folded

_as_it_is: Callable[[None], None] = {}.get  # type: ignore[assignment]
"""None for None. The driver looks for who adapts a None or a bool before it binds one, and longest where it finds nobody:
a microsecond, thirty times what a number takes, and half of what an event's row took."""

OLDEST = (3, 51, 3)  # earlier ones can corrupt a WAL that several connections write. Source: sqlite.org/wal.html, 2026


def driver() -> ModuleType:
    """The newest SQLite at hand: the package's own build where there is one, else Python's.

    Raises:
        ConfigError: both are too old to be trusted with a WAL.
    """
    for name in ("pysqlite3", "sqlite3"):
        with contextlib.suppress(ImportError):
            module = importlib.import_module(f"{name}.dbapi2")
            if module.sqlite_version_info >= OLDEST:
                module.register_adapter(type(None), _as_it_is)
                module.register_adapter(bool, int)
                return module
    raise ConfigError(
        f"SQLite {'.'.join(map(str, OLDEST))} or newer is needed (this Python has {sqlite3.sqlite_version}): "
        "pip install pysqlite3, or use a PostgreSQL --database"
    )


def settle(connection: Any, frugal: bool) -> None:
    """Set a new connection for one durable writer beside readers, and teach it to fold."""
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "temp_store = MEMORY",
        "secure_delete = FAST",
        f"cache_size = {-8_192 if frugal else -65_536}",
        f"mmap_size = {0 if frugal else 268_435_456}",
        "wal_autocheckpoint = 8000",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    connection.create_function("contains_folded", 2, contains_folded, deterministic=True)
    connection.create_function("folded", 1, fold, deterministic=True)
