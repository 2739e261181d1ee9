"""PostgreSQL: several processes on one database, every commit on disk, events taken in side by side.

Dialect facts of PostgreSQL stop here.
"""

from __future__ import annotations

from .engine import PostgresqlStorage


def open(url: str, read_url: str | None = None) -> PostgresqlStorage:
    """The PostgreSQL database of this URL, `postgresql://USER:PASSWORD@HOST/NAME`, as libpq reads it, and a replica of it."""
    return PostgresqlStorage(url, read_url)


__all__ = ["PostgresqlStorage", "open"]
