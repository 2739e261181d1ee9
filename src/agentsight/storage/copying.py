"""One database's rows into another, of whichever engine: in parts, each part and how far it got in one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Column, Connection, Engine, MetaData, Table, Text, func, insert, inspect, select, tuple_, update
from sqlalchemy import delete as delete_from

from agentsight.errors import ConfigError, ServerFailed

from .migrate import current, latest, migrate
from .sql.schema import Id, marker, metadata

TOGETHER = 2_000  # rows of one transaction
OWN_MARKERS = ("indexed",)  # say something of the engine they stand in

SOURCE = "(source)"
DONE = "done"


@dataclass(frozen=True, slots=True)
class Sum:
    """What a table holds, whatever the order of its rows."""

    rows: int
    hash: str


def open_copy(source: Any, target: Any) -> Copy:
    """Everything of one storage into another.

    Raises:
        ConfigError: the source is not of this version, or the target holds something else.
    """
    if current(source) != latest():
        raise ConfigError("the source has another version's schema; run agentsight migrate on it first")
    migrate(target)
    facts = source.facts()
    named = f"{facts['engine']} {facts['where']}"
    return Copy(source.engine, target.engine, metadata, named, target.catch_up)


class Copy:
    """What is to be copied where: the tables of `metadata`, which are there in both. Killed at any point, the same copy goes
    on where it was; ended, it is `already` done.

    Raises:
        ConfigError: the target holds something else.
    """

    def __init__(
        self,
        source: Engine,
        target: Engine,
        metadata: MetaData,
        named: str,
        catch_up: Callable[[], None],
        note: str = "copying",
    ):
        self._source, self._target, self._named, self._catch_up = source, target, named, catch_up
        self.tables: tuple[Table, ...] = tuple(metadata.sorted_tables)
        self._notes = Table(  # in the target, while it is being filled; how far each table is
            note,
            MetaData(),
            Column("name", Text, primary_key=True),
            Column("after", Text, nullable=False),
            Column("rows", Id, nullable=False),
        )
        self.already = False
        self._begin()

    def _begin(self) -> None:
        notes = self._notes
        with self._target.begin() as connection:
            if inspect(connection).has_table(notes.name):
                begun = connection.scalar(select(notes.c.after).where(notes.c.name == SOURCE))
                if begun != self._named:
                    raise ConfigError(f"the target holds an unfinished copy of {begun}; give an empty one")
                self._require_untouched(connection)
                return
            held = next((table.name for table in self.tables if _count(connection, table)), None)
            if held is None:
                notes.create(connection)
                connection.execute(insert(notes).values(name=SOURCE, after=self._named, rows=0))
                return
        if not self._holds_the_same():
            raise ConfigError(f"the target holds data already (in {held}); give an empty database")
        self.already = True

    def _holds_the_same(self) -> bool:
        with self._source.connect() as source, self._target.connect() as target:
            if any(_count(source, table) != _count(target, table) for table in self.tables):
                return False
        return all(_sum(self._source, table) == _sum(self._target, table) for table in self.tables)

    def _require_untouched(self, connection: Connection) -> None:
        for table in self.tables:
            _, rows = self._reached(connection, table)
            if _count(connection, table) != rows:
                raise ConfigError(f"somebody else wrote into the target (in {table.name}); give an empty database")

    def left(self) -> dict[str, int]:
        """How many rows each table still lacks."""
        if self.already:
            return {}
        with self._source.connect() as source, self._target.connect() as target:
            return {t.name: max(0, _count(source, t) - self._reached(target, t)[1]) for t in self.tables}

    def run(self, told: Callable[[str, int], None]) -> dict[str, Sum]:
        """Copy what is left; `told` hears of the rows of each part. Gives what every table holds, proved equal in both.

        Raises:
            ServerFailed: source and target differ, so the source was written to meanwhile. The same copy, run again,
                begins those tables anew.
        """
        if self.already:
            return {table.name: _sum(self._target, table) for table in self.tables}
        for table in self.tables:
            for rows in self._parts(table):
                told(table.name, rows)
        self._catch_up()
        sums = {table.name: (_sum(self._source, table), _sum(self._target, table)) for table in self.tables}
        differ = [name for name, (ours, theirs) in sums.items() if ours != theirs]
        if differ:
            self._forget([table for table in self.tables if table.name in differ])
            raise ServerFailed(
                f"the source was written to meanwhile ({', '.join(differ)}); stop its server and run the same command again"
            )
        with self._target.begin() as connection:
            self._notes.drop(connection)
        return {name: ours for name, (ours, _) in sums.items()}

    def _parts(self, table: Table) -> Iterator[int]:
        """Copy part by part; gives the rows of each, after its commit."""
        while True:
            with self._source.connect() as source, self._target.begin() as target:
                after, rows = self._reached(target, table)
                if after == DONE:
                    return
                part = _part(source, table, orjson.loads(after) if after else None)
                if part:
                    target.execute(insert(table), part)
                keys = [column.name for column in table.primary_key]
                reached = orjson.dumps([part[-1][key] for key in keys]).decode() if len(part) == TOGETHER else DONE
                known = update(self._notes).where(self._notes.c.name == table.name)
                progress: Any = known if after else insert(self._notes)
                target.execute(progress.values(name=table.name, after=reached, rows=rows + len(part)))
            yield len(part)

    def _forget(self, differing: list[Table]) -> None:
        """Empty these and all that refer to them, so that the next run copies them anew."""
        names = {table.name for table in differing}
        for table in self.tables:
            if any(key.column.table.name in names for key in table.foreign_keys):
                names.add(table.name)
        with self._target.begin() as connection:
            for table in reversed(self.tables):
                if table.name in names:
                    connection.execute(delete_from(table).where(*_copied(table)))
                    connection.execute(delete_from(self._notes).where(self._notes.c.name == table.name))

    def _reached(self, connection: Connection, table: Table) -> tuple[str, int]:
        notes = self._notes
        row = connection.execute(select(notes.c.after, notes.c.rows).where(notes.c.name == table.name)).first()
        return (row[0], row[1]) if row else ("", 0)


def _copied(table: Table) -> list[Any]:
    """The conditions of the rows that are copied: all of them, but what an engine notes of itself."""
    return [table.c.name.not_in(OWN_MARKERS)] if table.name == marker.name else []


def _count(connection: Connection, table: Table) -> int:
    return connection.scalar(select(func.count()).select_from(table).where(*_copied(table))) or 0


def _part(connection: Connection, table: Table, after: list[Any] | None) -> list[dict[str, Any]]:
    keys = list(table.primary_key)
    columns = [column for column in table.columns if column.computed is None]
    asked = select(*columns).where(*_copied(table)).order_by(*keys).limit(TOGETHER)
    if after is not None:
        asked = asked.where(tuple_(*keys) > tuple_(*after) if len(keys) > 1 else keys[0] > after[0])
    return [dict(row._mapping) for row in connection.execute(asked)]


def _sum(engine: Engine, table: Table) -> Sum:
    """Row by row in constant memory: the sum of the rows' hashes, which no order changes."""
    rows, total, after = 0, 0, None
    keys = [column.name for column in table.primary_key]
    with engine.connect() as connection:
        while part := _part(connection, table, after):
            for row in part:
                told = repr(tuple(row.values())).encode("utf-8", "surrogatepass")
                total += int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "big")
            rows += len(part)
            after = [part[-1][key] for key in keys]
    return Sum(rows, f"{total % 2**64:016x}")
