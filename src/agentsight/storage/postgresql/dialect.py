"""What the shared statements need to know of PostgreSQL."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson
import psycopg
from sqlalchemy import JSON, Table, Text, cast, func, literal, literal_column, or_
from sqlalchemy.dialects.postgresql import insert

from ..sql import schema
from ..sql.rows import Driver, Rows, fold
from .arrays import array, kinds_of
from .search import SAID, folded, folded_for, grams

WRITING, MIGRATING, JOB, MAKING = range(4_740_311, 4_740_315)  # advisory locks: all writing, the schema, jobs, claims
COMMON = 20  # so many of the newest PROBED messages say it: no word for the index
PROBED = 4_000


class PostgresqlDialect:
    """What the shared statements need to know of PostgreSQL."""

    leans = False

    def __init__(self) -> None:
        self.is_spread = False  # over the nodes of Citus, or could be
        self._grams: str | None = None  # letters the trigram index knows: "any", "ascii"; "none": there is no index

    def lock(self, driver: Driver) -> str:
        return f" ORDER BY conversation_id FOR NO KEY UPDATE{'' if driver.may_wait else ' NOWAIT'}"

    def claim(self, driver: Driver, agent_id: int) -> bool:
        """Two who made conversations at the same moment would wait for one another at the unique index."""
        if agent_id in driver.claimed:
            return False
        place = f"({MAKING}, {agent_id % 2**31})"
        if driver.may_wait:
            driver.run(f"SELECT pg_advisory_xact_lock{place}")
        elif not driver.rows(f"SELECT pg_try_advisory_xact_lock{place}", ())[0][0]:
            raise psycopg.errors.LockNotAvailable("somebody else makes conversations of this agent")
        driver.claimed |= {agent_id}
        return True

    def in_list(self, column: str, count: int) -> str:
        return f"{column} IN ({', '.join(['%s'] * count) or 'NULL'})"  # who may see no agent finds nothing

    def within(self, column: str, values: Sequence[int] | Sequence[str]) -> tuple[str, tuple[Any, ...]]:
        """An array is one parameter: the same statement for every number of values, prepared once."""
        kind = "text" if values and isinstance(values[0], str) else "bigint"
        return f"{column} = ANY(%s::{kind}[])", (array(values, kind),)

    def rows_at_once(self, driver: Driver, columns: str, rest: str, parameters: Sequence[Any]) -> list[Sequence[Any]]:
        return list(driver.rows(f"SELECT {columns} {rest}", parameters))

    def mark(self) -> str:
        return "%s"

    def meet(self, has_citus: bool) -> None:
        """What a new connection found: the server may have been given the extension since the last."""
        self.is_spread = has_citus

    def beside(self, column: str) -> str:
        """Of an agent its statistics have not met the server expects one row, and takes the index that leads to all of them;
        where rows lie on many nodes the agent has to be named to know which."""
        return column if self.is_spread else f"({column} + 0)"

    def insert(self, table: Table) -> Any:
        return insert(table)

    # -- many rows ---------------------------------------------------------------------------------------------------
    def insert_many(
        self, driver: Driver, table: Table, into: str, columns: Sequence[str], rows: Rows, tail: str
    ) -> None:
        """A column is an array, a statement always the same: prepared once, parsed by nobody twice."""
        names, kinds = tuple(columns), kinds_of(table, columns)
        values = [array(column, kind) for column, kind in zip(zip(*rows, strict=True), kinds, strict=True)]
        if table is schema.event:
            kind, said = names.index("kind"), names.index("content")
            names, kinds = (*names, "folded"), (*kinds, "text")
            values.append(array([folded(row[said]) if row[kind] == "message" else None for row in rows], "text"))
        arrays = ", ".join(f"%s::{kind}[]" for kind in kinds)
        driver.run(f"INSERT INTO {into} ({', '.join(names)}) SELECT * FROM unnest({arrays}) {tail}", values)

    def update_many(self, driver: Driver, table: Table, columns: Sequence[str], rows: Rows) -> None:
        names = (*columns, "id")
        kinds = kinds_of(table, names)
        by_agent: dict[int, list[Sequence[Any]]] = {}
        for row in sorted(rows, key=lambda row: row[-2]):
            by_agent.setdefault(row[-1], []).append(row[:-1])
        arrays = ", ".join(f"%s::{kind}[]" for kind in kinds)
        changes = ", ".join(f"{name} = u.{name}" for name in columns)
        statement = (
            f"UPDATE {table.name} t SET {changes} FROM unnest({arrays}) u ({', '.join(names)}) "
            f"WHERE t.id = u.id AND {self.beside('t.agent_id')} = %s"
        )
        for agent_id, own in by_agent.items():
            values = [array(column, kind) for column, kind in zip(zip(*own, strict=True), kinds, strict=True)]
            driver.run(statement, [*values, agent_id])

    def next_ids(self, driver: Driver, table: Table, count: int) -> Sequence[int]:
        """From the table's sequence, which gives nothing twice; what a transaction took and did not use is a gap."""
        asked = f"SELECT nextval('{table.name}_id_seq') FROM generate_series(1, %s)"
        return sorted(row[0] for row in driver.rows(asked, (count,)))

    # -- text --------------------------------------------------------------------------------------------------------
    def lower(self, column: Any) -> Any:
        return func.lower(column.collate("C"))

    def json_member(self, column: Any, key: str) -> Any:
        return cast(_member(cast(column, JSON), [key]), Text)

    def json_equals(self, column: Any, path: str, value: str) -> Any:
        """`->` gives JSON text: a string matches in quotes, a number or a boolean as it is written."""
        written = (orjson.dumps(value).decode(), value)
        document = cast(column, JSON)
        literal_key = cast(_member(document, [path]), Text).in_(written)
        if "." not in path:
            return literal_key
        return or_(literal_key, cast(_member(document, path.split(".")), Text).in_(written))

    def contains(self, column: Any, text: str) -> Any:
        needle = fold(text)
        if column.table is not None and column.name == "content":
            return func.strpos(literal_column(SAID.format(f"{column.table.name}.")), needle) > 0
        return func.strpos(folded_for(column, needle), needle) > 0

    def known_saying(self, driver: Driver, agent_ids: tuple[int, ...], text: str, id: Any) -> Any:
        return None

    def learn_saying(
        self, driver: Driver, agent_ids: tuple[int, ...], text: str, id: Any, ask: Callable[[], Iterable[int]]
    ) -> Any:
        """Ids are given before commits here, so none tells what came since."""
        return None

    def conversations_saying(self, driver: Driver, agent_ids: Sequence[int], text: str, most: int) -> list[int] | None:
        """Trigrams give the candidates, and the server compares them before it gives them to us.

        The index has to be read whole, so a word that the newest messages are full of is left to scanning.
        """
        needle = fold(text)
        if not self._is_indexed(driver, needle):
            return None
        own, parameters = self.within("agent_id", agent_ids)
        pattern = "%" + needle.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        said = f"kind = 'message' AND {own} AND {SAID.format('')} LIKE %s"
        newest = driver.rows("SELECT coalesce(max(id), 0) FROM event", ())[0][0]
        probe = f"SELECT count(*) FROM event WHERE id > {newest - PROBED} AND {said}"  # a number tells how few they are
        if driver.rows(probe, (*parameters, pattern))[0][0] > COMMON:
            return None
        sql = (
            f"WITH hits AS MATERIALIZED (SELECT conversation FROM event WHERE {said}) "
            f"SELECT conversation FROM hits LIMIT {most + 1}"
        )
        found = driver.rows(sql, (*parameters, pattern))
        return None if len(found) > most else sorted({row[0] for row in found})

    def unindex(
        self,
        driver: Driver,
        agent_id: int,
        ids: Sequence[int],
        *,
        column: str = "conversation",
        traceless: bool = False,
    ) -> None:
        """The index follows its rows by itself; what is kept beside a message goes with its words."""
        own, parameters = self.within(column, ids)
        driver.run(
            f"UPDATE event SET folded = NULL WHERE agent_id = %s AND {own} AND folded IS NOT NULL",
            (agent_id, *parameters),
        )

    def _is_indexed(self, driver: Driver, needle: str) -> bool:
        if self._grams is None:
            self._grams = grams(driver)
        if self._grams == "none":
            return False
        known = (letter.isalnum() and (letter.isascii() or self._grams == "any") for letter in needle)
        return any(len(list(run)) > 2 for is_known, run in itertools.groupby(known) if is_known)


def _member(document: Any, path: Sequence[str]) -> Any:
    """One step after another by name: `#>` would take a number for a place in an array."""
    for key in path:
        document = document.op("->", return_type=JSON())(literal(key, Text))
    return document
