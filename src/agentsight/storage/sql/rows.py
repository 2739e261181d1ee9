"""How records cross into rows and back, and how statements reach the driver.

Ingest runs thousands of rows a second, so its statements are compiled once per engine and handed to the driver as they
are; everything else goes through SQLAlchemy's own execution.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import orjson
from sqlalchemy import Connection, Executable, Table


class Dialect(Protocol):
    """What the statements need to know of an engine; `storage/sqlite.py` and `storage/postgresql.py` answer."""

    def in_list(self, column: str, count: int) -> str:
        """`column IN (...)` for `count` parameters of the driver."""

    def mark(self) -> str:
        """The driver's parameter mark."""

    def insert(self, table: Table) -> Any:
        """The engine's INSERT, which knows ON CONFLICT."""

    def json_equals(self, column: Any, path: str, value: str) -> Any:
        """The scalar at `path` of a JSON text column reads like `value`."""

    def contains(self, column: Any, text: str) -> Any:
        """`column` contains `text`, in any case, in any script."""

    def conversations_saying(self, driver: Driver, agent_ids: Sequence[int], text: str, most: int) -> list[int] | None:
        """Conversations with a message that contains `text`, by the search index.

        None when the index has more than `most` candidate messages or cannot answer for so short a text: scanning the
        newest conversations first is cheaper then.
        """

    def unindex(self, driver: Driver, conversations: Sequence[int], *, traceless: bool) -> None:
        """Take the messages of conversations out of the search index, before they change or go.

        `traceless` costs more and leaves nothing of them in the index's pages.
        """


_TOGETHER = 100  # rows of one statement


def dump(value: Any) -> str:
    return orjson.dumps(value).decode()


def dump_or_none(value: Mapping[str, Any]) -> str | None:
    return orjson.dumps(value).decode() if value else None


def load(text: str | None) -> dict[str, Any]:
    if not text or text == "{}":
        return {}
    loaded: dict[str, Any] = orjson.loads(text)
    return loaded


class Driver:
    """One connection inside one transaction: SQLAlchemy for questions, the driver's cursor for ingest."""

    def __init__(self, connection: Connection, dialect: Dialect, compiled: dict[tuple[str, str, int], str]):
        self.connection, self.dialect, self._compiled = connection, dialect, compiled
        self._raw: Any = connection.connection.driver_connection

    def execute(self, statement: Executable, parameters: Any = None) -> Any:
        return self.connection.execute(statement, parameters)

    def rows(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        cursor = self._raw.cursor()
        try:
            cursor.execute(sql, parameters)
            fetched: list[tuple[Any, ...]] = cursor.fetchall()
            return fetched
        finally:
            cursor.close()

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        cursor = self._raw.cursor()
        try:
            cursor.execute(sql, parameters)
        finally:
            cursor.close()

    def many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        cursor = self._raw.cursor()
        try:
            cursor.executemany(sql, parameters)
        finally:
            cursor.close()

    def insert(self, table: Table, rows: Sequence[Sequence[Any]]) -> None:
        """INSERT rows of all columns, in the table's order."""
        columns = ", ".join(column.name for column in table.columns)
        self.values(f"INSERT INTO {table.name} ({columns}) VALUES", rows)

    def values(self, head: str, rows: Sequence[Sequence[Any]], tail: str = "") -> None:
        """`head (...), (...) tail` for many rows at once.

        The driver lets go of the interpreter for every statement it steps through, and gets it back when a busy event
        loop lets it; a statement of many rows is stepped through once.
        """
        for start in range(0, len(rows), _TOGETHER):
            some = rows[start : start + _TOGETHER]
            key = (head, tail, len(some))
            if key not in self._compiled:
                marks = ", ".join([self.dialect.mark()] * len(some[0]))
                self._compiled[key] = f"{head} {', '.join([f'({marks})'] * len(some))} {tail}"
            self.run(self._compiled[key], [value for row in some for value in row])

    def next_id(self, table: Table) -> int:
        """The first id never used; the transaction holds the write lock, so `id + n` are ours too."""
        sql = (
            f"SELECT coalesce(max(id), 0) + 1 FROM {table.name} "
            f"UNION ALL SELECT value FROM marker WHERE name = {self.dialect.mark()}"
        )
        return max(int(row[0]) for row in self.rows(sql, (f"next:{table.name}",)))

    def retire(self, table: Table, highest: int) -> None:
        """Ids up to `highest` are gone for good: links somebody kept must never open what comes later."""
        mark = self.dialect.mark()
        self.run(
            f"INSERT INTO marker (name, value) VALUES ({mark}, {mark}) ON CONFLICT (name) DO UPDATE SET value = "
            "CASE WHEN excluded.value > marker.value THEN excluded.value ELSE marker.value END",
            (f"next:{table.name}", highest + 1),
        )
