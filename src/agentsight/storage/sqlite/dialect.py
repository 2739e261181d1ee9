"""What the shared statements need to know of SQLite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson
from sqlalchemy import LargeBinary, Table, Text, case, func, literal, or_
from sqlalchemy.dialects.sqlite import insert

from ..sql.rows import Driver, Rows, fold
from .search import FED, FORGOTTEN, Said, indexed

SEVERAL = 1_000  # values up to which each is a parameter of its own


class SqliteDialect:
    """What the shared statements need to know of SQLite."""

    leans = True

    def __init__(self) -> None:
        self._said = Said()

    def lock(self, driver: Driver) -> str:
        return ""  # there is one writer

    def claim(self, driver: Driver, agent_id: int) -> bool:
        return False

    def in_list(self, column: str, count: int) -> str:
        return f"{column} IN ({', '.join('?' * count)})"

    def within(self, column: str, values: Sequence[int] | Sequence[str]) -> tuple[str, tuple[Any, ...]]:
        if len(values) <= SEVERAL:
            return self.in_list(column, len(values)), tuple(values)
        return f"{column} IN (SELECT value FROM json_each(?))", (orjson.dumps(list(values)).decode(),)

    def rows_at_once(self, driver: Driver, columns: str, rest: str, parameters: Sequence[Any]) -> list[Sequence[Any]]:
        sql = f"SELECT json_group_array(json_array({columns})) {rest}"
        told: list[Sequence[Any]] = orjson.loads(driver.rows(sql, parameters)[0][0])
        return told

    def mark(self) -> str:
        return "?"

    def beside(self, column: str) -> str:
        """Without statistics SQLite takes an agent for something rare, as it does the first column of any unique index."""
        return f"+{column}"

    def insert(self, table: Table) -> Any:
        return insert(table)

    def insert_many(
        self, driver: Driver, table: Table, into: str, columns: Sequence[str], rows: Rows, tail: str
    ) -> None:
        driver.values(f"INSERT INTO {into} ({', '.join(columns)}) VALUES", rows, tail)

    def update_many(self, driver: Driver, table: Table, columns: Sequence[str], rows: Rows) -> None:
        told = ", ".join(f"new_{name}" for name in (*columns, "id", "agent_id"))
        assignments = ", ".join(f"{name} = new_{name}" for name in columns)
        tail = f") UPDATE {table.name} SET {assignments} FROM new WHERE id = new_id AND agent_id = new_agent_id"
        driver.values(f"WITH new ({told}) AS (VALUES", rows, tail)

    def next_ids(self, driver: Driver, table: Table, count: int) -> Sequence[int]:
        """From the first never used; the transaction holds the write lock, so those after it are ours too."""
        asked = f"SELECT coalesce(max(id), 0) + 1 FROM {table.name} UNION ALL SELECT value FROM marker WHERE name = ?"
        first = max(int(row[0]) for row in driver.rows(asked, (f"next:{table.name}",)))
        return range(first, first + count)

    def lower(self, column: Any) -> Any:
        return func.lower(column)

    def json_member(self, column: Any, key: str) -> Any:
        return column.op("->", return_type=Text())(_json_path([key]))

    def json_equals(self, column: Any, path: str, value: str) -> Any:
        """`->` gives JSON text: a string matches in quotes, a number or a boolean as it is written."""
        written = (orjson.dumps(value).decode(), value)
        literal = column.op("->")(_json_path([path]))
        nested = column.op("->")(_json_path(path.split(".")))
        return or_(literal.in_(written), nested.in_(written)) if "." in path else literal.in_(written)

    def contains(self, column: Any, text: str) -> Any:
        """SQLite's own search where both are plain: ten times as fast as coming back to us for every row."""
        needle = fold(text)
        folded = func.contains_folded(column, needle) == 1
        if not needle.isascii():
            return folded
        plain = func.octet_length(column) == func.length(column)
        return case((plain, column.contains(needle, autoescape=True)), else_=folded)

    def known_saying(self, driver: Driver, agent_ids: tuple[int, ...], text: str, id: Any) -> Any:
        return _marked(id, self._said.known(driver, agent_ids, fold(text)))

    def learn_saying(
        self, driver: Driver, agent_ids: tuple[int, ...], text: str, id: Any, ask: Callable[[], Iterable[int]]
    ) -> Any:
        return _marked(id, self._said.learn(driver, agent_ids, fold(text), ask))

    def conversations_saying(self, driver: Driver, agent_ids: Sequence[int], text: str, most: int) -> list[int] | None:
        """Trigrams give the candidates, the fold decides: the index keeps no positions, which halves its cost."""
        needle = fold(text)
        trigrams = {needle[i : i + 3] for i in range(len(needle) - 2)}
        if not trigrams:
            return None
        match = " AND ".join('"' + gram.replace('"', '""') + '"' for gram in sorted(trigrams))
        candidates = driver.rows("SELECT rowid FROM message_text WHERE message_text MATCH ? LIMIT ?", (match, most + 1))
        if len(candidates) > most:
            return None
        found: set[int] = set()
        for start in range(0, len(candidates), 500):
            some = [row[0] for row in candidates[start : start + 500]]
            sql = (
                f"SELECT DISTINCT conversation FROM event WHERE {self.in_list('id', len(some))} "
                f"AND {self.in_list('agent_id', len(agent_ids))} AND contains_folded(content, ?)"
            )
            found.update(row[0] for row in driver.rows(sql, (*some, *agent_ids, needle)))
        # few rows are younger than the index: + keeps SQLite from going by agent, and no DISTINCT from going by conversation
        unindexed = (
            f"SELECT conversation FROM event WHERE id > ? AND kind = 'message' "
            f"AND {self.in_list('+agent_id', len(agent_ids))} AND contains_folded(content, ?)"
        )
        found.update(row[0] for row in driver.rows(unindexed, (indexed(driver), *agent_ids, needle)))
        return sorted(found)

    def unindex(
        self,
        driver: Driver,
        agent_id: int,
        ids: Sequence[int],
        *,
        column: str = "conversation",
        traceless: bool = False,
    ) -> None:
        """The index must be told exactly what it was fed."""
        driver.run("INSERT INTO marker VALUES (?, 1) ON CONFLICT DO UPDATE SET value = marker.value + 1", (FORGOTTEN,))
        if traceless:
            driver.run("INSERT INTO message_text (message_text, rank) VALUES ('secure-delete', 1)")
        for content, kind in FED:
            driver.run(
                f"INSERT INTO message_text (message_text, rowid, content) SELECT 'delete', id, {content} FROM event "
                f"WHERE {self.in_list(column, len(ids))} AND id <= ? AND kind = 'message' "
                f"AND octet_length(content) {kind} length(content)",
                (*ids, indexed(driver)),
            )
        if traceless:
            driver.run("INSERT INTO message_text (message_text, rank) VALUES ('secure-delete', 0)")


def _marked(id: Any, found: bytes | None) -> Any:
    """A look into the bytes costs next to nothing, and needs no list of ids to be read first."""
    if found is None:
        return None
    return func.substr(literal(found, LargeBinary()), id, 1) == literal(b"\x01", LargeBinary())


def _json_path(keys: Sequence[str]) -> str:
    return "$" + "".join("." + orjson.dumps(key).decode() for key in keys)
