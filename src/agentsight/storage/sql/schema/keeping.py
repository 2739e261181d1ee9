"""What stays of conversations that went."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table, Text

from .base import Id, key, metadata
from .numbers import presence, rollup


def _like(name: str, table: Table) -> Table:
    """Another table with the same columns."""
    columns = [column._copy() for column in table.columns]
    return Table(name, metadata, *columns, sqlite_with_rowid=False)


kept_rollup = _like("kept_rollup", rollup)  # what erased conversations had added to the sums

kept_presence = _like("kept_presence", presence)

tombstone = Table(
    "tombstone",
    metadata,
    key("agent_id", Id),
    Column("digest", Text, primary_key=True),  # keyed: it tells who comes back to the one who asks, and nobody else
    Column("erased_us", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
