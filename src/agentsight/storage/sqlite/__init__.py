"""SQLite in process: WAL, every commit on disk, one writer that commits together what waits together.

Dialect facts of SQLite stop here.
"""

from __future__ import annotations

from agentsight.errors import ConfigError

from .connecting import driver
from .engine import SqliteStorage


def open(url: str, read_url: str | None = None) -> SqliteStorage:
    """The SQLite database of this URL, `sqlite:///PATH` or `sqlite://` for one in memory.

    Raises:
        ConfigError: a read replica was named; a file has none.
    """
    if read_url:
        raise ConfigError("a read replica needs a PostgreSQL --database")
    return SqliteStorage(url)


__all__ = ["SqliteStorage", "driver", "open"]
