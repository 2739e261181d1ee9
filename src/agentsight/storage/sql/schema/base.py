"""What every table is made with, and the one that belongs to none."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text, text

metadata = MetaData()

Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite grows row ids only in a column of type INTEGER

marker = Table(
    "marker",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)


def key(name: str, of: Any) -> Column[Any]:
    """A column of a primary key whose values come from us."""
    return Column(name, of, primary_key=True, autoincrement=False)


def where(condition: str) -> dict[str, Any]:
    """An index of these rows alone, for both engines."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}
