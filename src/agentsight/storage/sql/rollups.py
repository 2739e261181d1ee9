"""Rollups: integer sums by quarter of an hour, and who was there. Written by ingest, read by every number.

`rollup` is laid out so that one measure of one plane over a time is one stretch of its primary key.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Table

from agentsight.core.measures import ALL_PLANE, DIMENSIONS, PLANES, Deltas, Facet, facet_ids, on_plane
from agentsight.core.model import Event, Scope

from .rows import Driver, load
from .schema import facet, presence, rollup

_FACTS = "conversation, id, kind, occurred_us, seq, sender, name, duration_ms, error, detail"
_DETAILED = ("token_usage", "attachment")
_OWN = {"rollup": "rollup", "presence": "presence"}
_AGAIN = {"rollup": "rollup_again", "presence": "presence_again"}
KEPT = {"rollup": "kept_rollup", "presence": "kept_presence"}  # what erased conversations had added
_KEYS = {
    "rollup": ("agent_id", "production", "plane", "measure", "bucket", "facet", "key"),
    "presence": ("agent_id", "production", "slice", "bucket", "customer", "facet"),
}
_VALUES = {"rollup": "value", "presence": "messages"}
_TOLD = 20  # differences told of one table


class SqlRollups:
    def __init__(self, driver: Driver, names: Mapping[str, str] = _OWN):
        self._driver, self._names = driver, names
        self.pending: dict[int, Deltas] = {}

    # -- writing -----------------------------------------------------------------------------------------------------
    def apply(self, agent_id: int, deltas: Deltas) -> None:
        """Kept until `settle`, so that changes committed together write the sums they share once.

        While everything is computed again it is written at once: there is no end to what would be kept.
        """
        if self._names is not _OWN:
            self._write(agent_id, deltas)
            return
        known = self.pending.setdefault(agent_id, deltas)
        if known is not deltas:
            known.merge(deltas)

    def settle(self) -> None:
        """Write what is pending; reading here does it first, the transaction does it last."""
        pending, self.pending = self.pending, {}
        for agent_id, deltas in sorted(pending.items()):  # in one order by all, so that nobody waits in a circle
            self._write(agent_id, deltas)

    def _write(self, agent_id: int, deltas: Deltas) -> None:
        if deltas.facets:
            self._add_facets(agent_id, deltas.facets)
        sums = sorted((agent_id, *row) for row in deltas.rows())
        if sums:
            self._upsert(rollup, sums)
        users = sorted(
            (agent_id, int(production), customer & 15, bucket, customer, facet, messages)
            for production, bucket, facet, customer, messages in deltas.user_rows()
        )
        if users:
            self._upsert(presence, users)

    def _upsert(self, table: Table, rows: list[tuple[Any, ...]]) -> None:
        keys, value, name = _KEYS[table.name], _VALUES[table.name], self._names[table.name]
        tail = f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {value} = {name}.{value} + excluded.{value}"
        self._driver.insert(table, rows, into=name, tail=tail)

    def _add_facets(self, agent_id: int, facets: Iterable[Facet]) -> None:
        rows = {
            (agent_id, plane, number, *on_plane(plane, told))
            for told in facets
            for plane, number in facet_ids(told)
            if plane
        }
        self._driver.insert(facet, sorted(rows), tail="ON CONFLICT DO NOTHING")

    # -- reading -----------------------------------------------------------------------------------------------------
    def sums(
        self,
        scope: Scope,
        production: bool,
        measures: Sequence[int],
        facets: Mapping[str, str],
        by: str | None,
        spans: Sequence[tuple[int, int, int]],
        *,
        kept: bool = False,
    ) -> Iterable[tuple[int, str, int, str, int]]:
        self.settle()
        plane = _plane({*facets, *([by] if by else [])})
        where, parameters = self._where(scope, production, plane, facets)
        told_by = "r.agent_id, r.facet" if by else "0, 0"
        sql = (
            f"{_spans(spans)} SELECT span.place, r.measure, r.key, SUM(r.value) AS total, {told_by} "
            f"FROM span CROSS JOIN {(KEPT if kept else _OWN)['rollup']} r WHERE {where} AND r.plane = {plane} "
            f"AND r.measure IN ({', '.join(map(str, measures))}) "
            f"AND r.bucket >= span.first AND r.bucket < span.until GROUP BY 1, 2, 3{', 5, 6' if by else ''}"
        )
        told = self._spelled(scope, plane, by) if by else {}
        for place, measure, key, total, agent_id, number in self._driver.rows(sql, parameters):
            yield place, told.get((agent_id, number), ""), measure, key, int(total)

    def users(
        self,
        scope: Scope,
        production: bool,
        facets: Mapping[str, str],
        by: str | None,
        spans: Sequence[tuple[int, int, int]],
        slices: Sequence[int],
    ) -> Iterable[tuple[int, str, int]]:
        self.settle()
        where, parameters = self._where(scope, production, ALL_PLANE, facets)
        split = f"f.{by}" if by else "''"
        joined = f"JOIN facet f ON f.agent_id = r.agent_id AND f.plane = {ALL_PLANE} AND f.id = r.facet" if by else ""
        sql = (
            f"{_spans(spans)} SELECT span.place, {split}, COUNT(DISTINCT r.customer) "
            f"FROM span CROSS JOIN presence r {joined} WHERE {where} "
            f"AND r.slice IN ({', '.join(map(str, slices))}) "
            "AND r.bucket >= span.first AND r.bucket < span.until AND r.messages > 0 GROUP BY 1, 2"
        )
        return [(place, value, count) for place, value, count in self._driver.rows(sql, parameters)]

    def kept_users(
        self,
        scope: Scope,
        production: bool,
        facets: Mapping[str, str],
        by: str | None,
        spans: Sequence[tuple[int, int, int]],
    ) -> Iterable[tuple[int, str, int]]:
        where, parameters = self._where(scope, production, ALL_PLANE, facets)
        split = f"f.{by}" if by else "''"
        joined = f"JOIN facet f ON f.agent_id = r.agent_id AND f.plane = {ALL_PLANE} AND f.id = r.facet" if by else ""
        sql = (
            f"{_spans(spans)} SELECT DISTINCT span.place, {split}, r.customer "
            f"FROM span CROSS JOIN {KEPT['presence']} r {joined} WHERE {where} "
            "AND r.bucket >= span.first AND r.bucket < span.until AND r.messages > 0"
        )
        return [(place, value, customer) for place, value, customer in self._driver.rows(sql, parameters)]

    def _spelled(self, scope: Scope, plane: int, by: str) -> dict[tuple[int, int], str]:
        """(agent, facet number) -> its value of the dimension."""
        agents = self._driver.dialect.in_list("agent_id", len(scope.agent_ids))
        sql = f"SELECT agent_id, id, {by} FROM facet WHERE {agents} AND plane = {plane}"
        return {(agent_id, number): value for agent_id, number, value in self._driver.rows(sql, scope.agent_ids)}

    def _where(
        self, scope: Scope, production: bool, plane: int, facets: Mapping[str, str]
    ) -> tuple[str, list[int | str]]:
        dialect = self._driver.dialect
        parameters: list[int | str] = list(scope.agent_ids)
        where = f"{dialect.in_list('r.agent_id', len(scope.agent_ids))} AND r.production = {int(production)}"
        if facets:
            chosen = " AND ".join(f"{dimension} = {dialect.mark()}" for dimension in facets)
            agents = dialect.in_list("agent_id", len(scope.agent_ids))
            where += f" AND r.facet IN (SELECT id FROM facet WHERE {agents} AND plane = {plane} AND {chosen})"
            parameters += [*scope.agent_ids, *facets.values()]
        return where, parameters

    def facts(self, agent_id: int, conversations: Sequence[int]) -> dict[int, list[Event]]:
        dialect = self._driver.dialect
        timelines: defaultdict[int, list[Event]] = defaultdict(list)
        for start in range(0, len(conversations), 500):
            some = conversations[start : start + 500]
            sql = (
                f"SELECT {_FACTS} FROM event WHERE {dialect.in_list('conversation', len(some))} "
                f"AND agent_id = {dialect.mark()} ORDER BY conversation, occurred_us, seq, id"
            )
            for row in self._driver.rows(sql, (*some, agent_id)):
                conversation, id, kind, at_us, seq, sender, name, duration_ms, error, detail = row
                known = load(detail) if kind in _DETAILED else {}
                timelines[conversation].append(
                    Event(
                        id, agent_id, conversation, "", kind, at_us, seq, sender, None, name, duration_ms, error, known
                    )
                )
        return timelines

    # -- rebuilding --------------------------------------------------------------------------------------------------
    def begin_again(self, agent_id: int) -> None:
        self.settle()
        for name, again in _AGAIN.items():
            self._driver.run(f"DROP TABLE IF EXISTS {again}")
            self._driver.run(f"CREATE TEMPORARY TABLE {again} AS SELECT * FROM {name} WHERE agent_id < 0")
            self._driver.run(f"CREATE UNIQUE INDEX {again}_once ON {again} ({', '.join(_KEYS[name])})")
        self._names = _AGAIN
        for name, kept in KEPT.items():  # the events of what was erased are gone, what they added is not
            columns = ", ".join((*_KEYS[name], _VALUES[name]))
            own = f"WHERE agent_id = {self._driver.dialect.mark()}"
            self._driver.run(f"INSERT INTO {_AGAIN[name]} ({columns}) SELECT {columns} FROM {kept} {own}", (agent_id,))

    def finish_again(self, agent_id: int) -> list[str]:
        self.settle()
        self._names = _OWN
        told: list[str] = []
        for name, again in _AGAIN.items():
            told += self._differences(agent_id, name, again)
            if told:
                columns = ", ".join((*_KEYS[name], _VALUES[name]))
                self._driver.run(f"DELETE FROM {name} WHERE agent_id = {self._driver.dialect.mark()}", (agent_id,))
                self._driver.run(f"INSERT INTO {name} ({columns}) SELECT {columns} FROM {again}")
            self._driver.run(f"DROP TABLE {again}")
        return told

    def _differences(self, agent_id: int, name: str, again: str) -> list[str]:
        """Keys with another sum before than after; a sum of zero and no sum are the same."""
        keys, value, mark = _KEYS[name], _VALUES[name], self._driver.dialect.mark()
        shown = ", ".join(keys)
        sql = (
            f"SELECT {shown}, SUM(stored), SUM(anew) FROM ("
            f"SELECT {shown}, {value} AS stored, 0 AS anew FROM {name} WHERE agent_id = {mark} "
            f"UNION ALL SELECT {shown}, 0, {value} FROM {again}"
            f") AS both_of_them GROUP BY {shown} HAVING SUM(stored) <> SUM(anew) LIMIT {_TOLD}"
        )
        return [
            f"{name} "
            + ", ".join(f"{key}={part}" for key, part in zip(keys, row[:-2], strict=True))
            + f": was {row[-2]}, is {row[-1]}"
            for row in self._driver.rows(sql, (agent_id,))
        ]


def _plane(dimensions: Iterable[str]) -> int:
    """The smallest plane that keeps these dimensions."""
    asked = sum(1 << DIMENSIONS.index(dimension) for dimension in dimensions)
    return asked if asked in PLANES else ALL_PLANE


def _spans(spans: Sequence[tuple[int, int, int]]) -> str:
    rows = ", ".join(f"({place}, {first}, {until})" for place, first, until in spans)
    return f"WITH span(place, first, until) AS (VALUES {rows})"
