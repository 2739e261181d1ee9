"""How records cross into rows and back, and how statements reach the driver.

Ingest runs thousands of rows a second, so its statements are compiled once per engine and handed to the driver as they
are; everything else goes through SQLAlchemy's own execution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Protocol, TypeVar

import orjson
from sqlalchemy import Column, ColumnElement, Connection, Executable, Table, literal_column

from .remembered import Remembered

T = TypeVar("T")


class Dialect(Protocol):
    """What the statements need to know of an engine; `sqlite/dialect.py` and `postgresql/dialect.py` answer."""

    leans: bool
    """A subquery of one value may lean on the row it stands in; not where a table lies on several nodes."""

    def lock(self, driver: Driver) -> str:
        """What ends a SELECT of conversations whose rows nobody else may change before the transaction ends."""

    def claim(self, driver: Driver, agent_id: int) -> bool:
        """Nobody else makes conversations of this agent before the transaction ends; True: somebody may just have."""

    def in_list(self, column: str, count: int) -> str:
        """`column IN (...)` for `count` parameters of the driver."""

    def within(self, column: str, values: Sequence[int] | Sequence[str]) -> tuple[str, tuple[Any, ...]]:
        """`column` is one of `values`, however many, and the parameters to go with it."""

    def rows_at_once(self, driver: Driver, columns: str, rest: str, parameters: Sequence[Any]) -> list[Sequence[Any]]:
        """`SELECT columns rest`, columns of numbers and texts; a driver that takes a step a row takes one for all."""

    def mark(self) -> str:
        """The driver's parameter mark."""

    def beside(self, column: str) -> str:
        """`column` in a condition that is no reason to read along its index: another one leads to fewer rows."""

    def insert(self, table: Table) -> Any:
        """The engine's INSERT, which knows ON CONFLICT."""

    def lower(self, column: Any) -> Any:
        """`column` with A to Z in lower case, and nothing else changed."""

    def json_member(self, column: Any, key: str) -> Any:
        """What a JSON text column has under this key of its outermost object, as JSON; NULL: nothing."""

    def json_equals(self, column: Any, path: str, value: str) -> Any:
        """The scalar at `path` of a JSON text column reads like `value`."""

    def contains(self, column: Any, text: str) -> Any:
        """`column` contains `text`, in any case, in any script."""

    def conversations_saying(self, driver: Driver, agent_ids: Sequence[int], text: str, most: int) -> list[int] | None:
        """Conversations with a message that contains `text`, by the search index.

        None when the index has more than `most` candidate messages or cannot answer for so short a text: scanning the
        newest conversations first is cheaper then.
        """

    def known_saying(self, driver: Driver, agent_ids: tuple[int, ...], text: str, id: Any) -> Any:
        """A condition on `id` of conversations that are not deleted: a message contains `text`. None: nobody learnt it."""

    def learn_saying(
        self, driver: Driver, agent_ids: tuple[int, ...], text: str, id: Any, ask: Callable[[], Iterable[int]]
    ) -> Any:
        """The same, of the ids `ask` finds, and remembered; None where nothing would tell whether it is still true."""

    def unindex(
        self,
        driver: Driver,
        agent_id: int,
        ids: Sequence[int],
        *,
        column: str = "conversation",
        traceless: bool = False,
    ) -> None:
        """Take the messages of conversations (or, with column="id", of events) out of the search index, before they go.

        `traceless` costs more and leaves nothing of them in the index's pages.
        """

    # -- many rows at once: what it takes to be quick differs most -------------------------------------------------
    def insert_many(
        self, driver: Driver, table: Table, into: str, columns: Sequence[str], rows: Rows, tail: str
    ) -> None:
        """INSERT rows of these columns into `into`, which is `table` or has columns like it."""

    def update_many(self, driver: Driver, table: Table, columns: Sequence[str], rows: Rows) -> None:
        """UPDATE rows of one agent; each row has the columns' values, then its id and its agent."""

    def next_ids(self, driver: Driver, table: Table, count: int) -> Sequence[int]:
        """Ids nobody else will use, ascending."""


Rows = Sequence[Sequence[Any]]


def fold(text: str) -> str:
    """`text` without case, character by character, so that a part of a text stays a part of it: not `lower`, which
    writes a sigma by its neighbours. Indexes are fed folded text, for their own folding knows other letters."""
    return text.casefold()


_TOGETHER = (512, 64)  # rows of one statement, or fewer: as many forms as the driver keeps prepared


def dump(value: Any) -> str:
    return orjson.dumps(value).decode()


def dump_or_none(value: Mapping[str, Any]) -> str | None:
    return orjson.dumps(value).decode() if value else None


def load(text: str | None) -> dict[str, Any]:
    if not text or text == "{}":
        return {}
    loaded: dict[str, Any] = orjson.loads(text)
    return loaded


def parts(items: Iterable[T]) -> Iterable[list[T]]:
    """Some at a time: a statement takes only so many parameters."""
    rest = iter(items)
    while some := list(islice(rest, 500)):
        yield some


class Driver:
    """One connection inside one transaction: SQLAlchemy for questions, the driver's cursor for ingest."""

    def __init__(
        self,
        connection: Connection,
        dialect: Dialect,
        compiled: dict[tuple[str, str, int], str],
        remembered: Remembered | None = None,  # for transactions that only read: what others write is not certain yet
    ):
        self.connection, self.dialect, self._compiled, self.remembered = connection, dialect, compiled, remembered
        self._raw: Any = connection.connection.driver_connection
        self.may_wait = True  # for others; only the first change of a transaction may, or they could wait in a circle
        self.claimed: frozenset[int] = frozenset()  # agents whose conversations are made here alone

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

    def of_agent(self, table: Table, agent_id: int) -> ColumnElement[bool]:
        """The agent's own, where another condition leads to few rows."""
        return self.beside(table.c.agent_id) == agent_id

    def beside(self, column: Column[T]) -> ColumnElement[T]:
        """The column, where another condition leads to few rows."""
        return literal_column(self.dialect.beside(str(column)), column.type)

    def insert(
        self,
        table: Table,
        rows: Rows,
        columns: Sequence[str] | None = None,
        *,
        into: str | None = None,
        tail: str = "",
    ) -> None:
        """INSERT rows of all columns in the table's order, or of these; `tail` is for what to do with conflicts."""
        if rows:
            names = columns or [column.name for column in table.columns]
            self.dialect.insert_many(self, table, into or table.name, names, rows, tail)

    def update(self, table: Table, columns: Sequence[str], rows: Rows) -> None:
        """UPDATE rows of one agent; each row has the columns' values, then its id and its agent."""
        if rows:
            self.dialect.update_many(self, table, columns, rows)

    def values(self, head: str, rows: Rows, tail: str = "") -> None:
        """`head (...), (...) tail` for many rows at once.

        SQLite's driver lets go of the interpreter for every statement it steps through, and gets it back when a busy
        event loop lets it; a statement of many rows is stepped through once.
        """
        start = 0
        while start < len(rows):
            left = len(rows) - start
            some = rows[start : start + next((many for many in _TOGETHER if many <= left), left)]
            start += len(some)
            key = (head, tail, len(some))
            if key not in self._compiled:
                marks = ", ".join([self.dialect.mark()] * len(some[0]))
                self._compiled[key] = f"{head} {', '.join([f'({marks})'] * len(some))} {tail}"
            self.run(self._compiled[key], list(chain.from_iterable(some)))

    def retire(self, table: Table, highest: int) -> None:
        """Ids up to `highest` are gone for good: links somebody kept must never open what comes later."""
        mark = self.dialect.mark()
        self.run(
            f"INSERT INTO marker (name, value) VALUES ({mark}, {mark}) ON CONFLICT (name) DO UPDATE SET value = "
            "CASE WHEN excluded.value > marker.value THEN excluded.value ELSE marker.value END",
            (f"next:{table.name}", highest + 1),
        )

    def next_ids(self, table: Table, count: int) -> Sequence[int]:
        """Ids nobody else will use, ascending."""
        return self.dialect.next_ids(self, table, count)
