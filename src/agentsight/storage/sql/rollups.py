"""Rollups: integer sums by time and by conversation, and who was there. Written by ingest, read by every number.

`rollup` is laid out so that one measure of one plane over a time is one stretch of its primary key, `tally` so that one
conversation is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Table

from agentsight.core.measures import (
    ALL_PLANE,
    DAILY,
    DAY_BUCKETS,
    DIMENSIONS,
    FAMILIES,
    MESSAGES,
    TALLIED,
    UNKNOWN,
    Deltas,
    Facet,
    Fold,
    facet_id,
    facet_ids,
    families,
    on_plane,
)
from agentsight.core.model import Event, Scope

from .remembered import over, settled
from .rows import Driver, load
from .schema import facet, presence, rollup, tally
from .schema import past as past_of_agents

T = TypeVar("T", bound=Collection[Any])

_FACTS = "conversation, id, kind, occurred_us, seq, sender, name, duration_ms, error, detail"
_DETAILED = ("token_usage", "attachment")
_OWN = {"rollup": "rollup", "presence": "presence", "tally": "tally"}
_AGAIN = {"rollup": "rollup_again", "presence": "presence_again", "tally": "tally_again"}
KEPT = {"rollup": "kept_rollup", "presence": "kept_presence"}  # what erased conversations had added
_KEYS = {
    "rollup": ("agent_id", "production", "plane", "measure", "bucket", "facet", "key"),
    "presence": ("agent_id", "production", "slice", "bucket", "customer", "facet"),
    "tally": ("agent_id", "conversation", "family", "bucket", "key"),
}
_VALUES = {
    "rollup": ("value",),
    "presence": ("messages",),
    "tally": tuple(f"sum{place + 1}" for place in range(TALLIED)),
}
_COLUMNS = {"country": "country", "device": "device_kind", "source": "source", "language": "language"}
_TOLD = 20  # differences told of one table


class SqlRollups:
    def __init__(self, driver: Driver, names: Mapping[str, str] = _OWN):
        self._driver, self._names = driver, names
        self._pasts: dict[Scope, tuple[Any, ...]] = {}
        self._together: dict[tuple[str, int, int], list[tuple[Any, ...]]] = {}
        self.remembers = True
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
        since = deltas.since()
        if since is not None and since < settled():
            self.past_changed(agent_id)
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
        if "tally" in self._names:
            tallies = [
                (agent_id, conversation, family, bucket, key, *sums)
                for conversation, family, bucket, key, sums in deltas.tally_rows()
            ]
            self._upsert(tally, tallies)

    def past_changed(self, agent_id: int) -> None:
        """What is remembered of this agent is no longer true."""
        tail = "ON CONFLICT (agent_id) DO UPDATE SET changes = past.changes + 1"
        self._driver.insert(past_of_agents, [(agent_id, 1)], tail=tail)

    def _upsert(self, table: Table, rows: list[tuple[Any, ...]]) -> None:
        keys, name = _KEYS[table.name], self._names[table.name]
        sums = ", ".join(f"{value} = {name}.{value} + excluded.{value}" for value in _VALUES[table.name])
        self._driver.insert(table, rows, into=name, tail=f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {sums}")

    def _add_facets(self, agent_id: int, facets: Iterable[Facet]) -> None:
        rows = {
            (agent_id, kept, number, *on_plane(kept, told))
            for told in facets
            for plane, number in facet_ids(told)
            if (kept := plane & ALL_PLANE)
        }
        self._driver.insert(facet, sorted(rows), tail="ON CONFLICT DO NOTHING")

    # -- reading -----------------------------------------------------------------------------------------------------
    def _known(self, scope: Scope, question: tuple[Any, ...], ask: Callable[[], T]) -> T:
        """An answer about days that are over; asked once while they stay as they are."""
        remembered = self._driver.remembered
        if remembered is None or not self.remembers:
            return ask()
        if self._pasts.get(scope) is None:  # before the answer: one that is younger than its count is asked once more
            own = self._driver.dialect.in_list("agent_id", len(scope.agent_ids))
            rows = self._driver.rows(
                f"SELECT agent_id, changes FROM past WHERE {own} ORDER BY agent_id", scope.agent_ids
            )
            self._pasts[scope] = tuple(rows)
        return remembered.get((scope, self._pasts[scope], *question), ask)

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
        told = sum(1 << DIMENSIONS.index(dimension) for dimension in {*facets, *([by] if by else [])})
        if told & (told - 1):  # two dimensions or more are kept together by quarters alone
            parts = {ALL_PLANE: [(*span, 1) for span in spans]}
        else:
            quarters, days = _pieces(spans)
            parts = {ALL_PLANE if told else 0: quarters, DAILY + told: days}
        for plane, pieces in parts.items():
            past, present = _parted(pieces, 0 if kept else over() // (DAY_BUCKETS if plane & DAILY else 1))
            ask = partial(
                self._sums, (KEPT if kept else _OWN)["rollup"], scope, production, measures, facets, by, plane
            )
            if past:
                asked = ("sums", production, tuple(measures), tuple(facets.items()), by, plane, tuple(past))
                yield from self._known(scope, asked, partial(ask, past))
            if present:
                yield from ask(present)

    def _sums(
        self,
        table: str,
        scope: Scope,
        production: bool,
        measures: Sequence[int],
        facets: Mapping[str, str],
        by: str | None,
        plane: int,
        pieces: Sequence[Piece],
    ) -> list[tuple[int, str, int, str, int]]:
        where, parameters = self._where(scope, production, plane, facets)
        facet = "r.agent_id, r.facet" if by else "0, 0"
        rows = ", ".join(str(piece) for piece in pieces)
        sql = (
            f"WITH span(place, first, until, sign) AS (VALUES {rows}) "
            f"SELECT span.place, r.measure, r.key, SUM(span.sign * r.value) AS total, {facet} "
            f"FROM span CROSS JOIN {table} r WHERE {where} AND r.plane = {plane} "
            f"AND r.measure IN ({', '.join(map(str, measures))}) "
            f"AND r.bucket >= span.first AND r.bucket < span.until GROUP BY 1, 2, 3{', 5, 6' if by else ''}"
        )
        told = self._spelled(scope, plane & ALL_PLANE, by) if by else {}
        return [
            (place, told.get((agent_id, number), ""), measure, key, int(total))
            for place, measure, key, total, agent_id, number in self._driver.rows(sql, parameters)
        ]

    def folded(
        self, scope: Scope, production: bool, measures: Sequence[int], facets: Mapping[str, str], fold: Fold
    ) -> Iterable[tuple[int, int, str, int]]:
        self.settle()
        past, present = fold.parted(over())
        if past:
            asked = ("folded", production, tuple(measures), tuple(facets.items()), past)
            yield from self._known(scope, asked, lambda: self._folded(scope, production, measures, facets, past))
        if present:
            yield from self._folded(scope, production, measures, facets, present)

    def _folded(
        self, scope: Scope, production: bool, measures: Sequence[int], facets: Mapping[str, str], fold: Fold
    ) -> list[tuple[int, int, str, int]]:
        plane = ALL_PLANE if facets else 0
        where, parameters = self._where(scope, production, plane, facets)
        sql = (
            f"SELECT {_number(fold, 'r.bucket')}, r.measure, r.key, SUM(r.value) FROM rollup r WHERE {where} "
            f"AND r.plane = {plane} AND r.measure IN ({', '.join(map(str, measures))}) "
            f"AND r.bucket >= {fold.first} AND r.bucket < {fold.until} GROUP BY {'1, ' if fold.step else ''}2, 3"
        )
        rows = self._driver.rows(sql, parameters)
        return [(number, measure, key, int(total)) for number, measure, key, total in rows]

    # -- tallies -----------------------------------------------------------------------------------------------------
    def tallied(
        self, chosen: Mapping[int, Sequence[int]], measures: Sequence[int], by: str | None, fold: Fold
    ) -> Iterable[tuple[int, str | None, int, str, int]]:
        self.settle()
        wanted = set(measures)
        sums = [f"SUM(t.{value})" for value in _VALUES["tally"]]
        told = f"AND t.family IN ({', '.join(map(str, families(measures)))})"
        for at, value, (family, key, *values) in self._of_tallies(chosen, by, fold, ["t.family", "t.key"], sums, told):
            for measure, amount in zip(FAMILIES[family], values, strict=False):
                if amount and measure in wanted:
                    yield at, value, measure, key, int(amount)

    def tallied_users(
        self, chosen: Mapping[int, Sequence[int]], by: str | None, fold: Fold
    ) -> Iterable[tuple[int, str | None, str]]:
        self.settle()
        told = f"AND t.family = {families([MESSAGES])[0]} AND t.sum1 > 0 AND c.customer_id <> ''"
        for at, value, (customer,) in self._of_tallies(chosen, by, fold, ["c.customer_id"], [], told):
            yield at, value, customer

    def _of_tallies(
        self,
        chosen: Mapping[int, Sequence[int]],
        by: str | None,
        fold: Fold,
        keys: list[str],
        values: list[str],
        told: str,
    ) -> Iterator[tuple[int, str | None, list[Any]]]:
        """(first bucket of the part, value of the dimension, the rest), grouped by part, dimension and `keys`.

        A page asks the same of all dimensions, one after the other: they are read together, and kept.
        """
        dialect = self._driver.dialect
        dimensions = [f"c.{_COLUMNS[name]}" for name in DIMENSIONS] if by else []
        grouped = [_number(fold, "t.bucket"), *dimensions, *keys]
        joined = "JOIN conversation c ON c.id = t.conversation AND c.agent_id = t.agent_id"
        sql = (
            f"SELECT {', '.join(['MIN(t.bucket)', *grouped, *values])} FROM tally t "
            f"{joined if any(name.startswith('c.') for name in grouped) else ''} WHERE t.agent_id = {dialect.mark()} "
            f"AND {{}} {told} AND t.bucket >= {fold.first} AND t.bucket < {fold.until} "
            f"GROUP BY {', '.join(map(str, range(2, 2 + len(grouped))))}"
        )
        place = 2 + (DIMENSIONS.index(by) if by else 0)
        for agent_id, ids in chosen.items():
            asked = (sql, agent_id, id(ids))
            rows = self._together.get(asked)
            if rows is None:
                among, parameters = dialect.within("t.conversation", ids)
                rows = self._driver.rows(sql.replace("{}", among), (agent_id, *parameters)) if ids else []
            if by:
                self._together[asked] = rows
            for row in rows:
                yield row[0], row[place] if by else "", list(row[2 + len(dimensions) :])

    # -- who was there -----------------------------------------------------------------------------------------------
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
        if len({place for place, *_ in spans}) < len(spans):  # hours of a week: who comes twice is one customer
            yield from self._users(scope, production, facets, by, spans, slices)
            return
        past = [span for span in spans if span[2] <= over()]
        if past:
            asked = ("users", production, tuple(facets.items()), by, tuple(past), tuple(slices))
            yield from self._known(scope, asked, lambda: self._users(scope, production, facets, by, past, slices))
        for span in spans:
            if span[2] > over():
                yield from self._users_so_far(scope, production, facets, by, span, slices)

    def _users_so_far(
        self,
        scope: Scope,
        production: bool,
        facets: Mapping[str, str],
        by: str | None,
        span: tuple[int, int, int],
        slices: Sequence[int],
    ) -> list[tuple[int, str, int]]:
        """Of a span that goes on: those of the days that are over are known."""
        place, first, until = span
        between = max(first, over())
        if between - first < DAY_BUCKETS or self._driver.remembered is None:
            return self._users(scope, production, facets, by, [span], slices)
        asked = (production, tuple(facets.items()), by, first, between, tuple(slices))
        ask = partial(self._customers, scope, production, facets, by, slices)
        before = self._known(scope, ("customers", *asked), partial(ask, first, between))
        counts = Counter(dict(self._known(scope, ("count of customers", *asked), lambda: _counts(before))))
        counts.update(value for value, _ in ask(between, until) - before)
        return [(place, value, count) for value, count in counts.items()]

    def _customers(
        self,
        scope: Scope,
        production: bool,
        facets: Mapping[str, str],
        by: str | None,
        slices: Sequence[int],
        first: int,
        until: int,
    ) -> frozenset[tuple[str, int]]:
        where, parameters = self._where(scope, production, ALL_PLANE, facets)
        own, joined = self._by(by)
        sql = (
            f"SELECT DISTINCT {own}, r.customer FROM presence r {joined} WHERE {where} "
            f"AND r.slice IN ({', '.join(map(str, slices))}) "
            f"AND r.bucket >= {first} AND r.bucket < {until} AND r.messages > 0"
        )
        return frozenset(self._driver.rows(sql, parameters))

    def _by(self, by: str | None) -> tuple[str, str]:
        """SQL: the value of the dimension, and the join that knows it."""
        if by is None:
            return "''", ""
        return f"f.{by}", f"JOIN facet f ON f.agent_id = r.agent_id AND f.plane = {ALL_PLANE} AND f.id = r.facet"

    def _users(
        self,
        scope: Scope,
        production: bool,
        facets: Mapping[str, str],
        by: str | None,
        spans: Sequence[tuple[int, int, int]],
        slices: Sequence[int],
    ) -> list[tuple[int, str, int]]:
        where, parameters = self._where(scope, production, ALL_PLANE, facets)
        among = (
            f"{where} AND r.slice IN ({', '.join(map(str, slices))}) "
            "AND r.bucket >= span.first AND r.bucket < span.until AND r.messages > 0"
        )
        alone = len({place for place, *_ in spans}) == len(spans)
        if by is None and alone and self._driver.dialect.leans:  # each is counted for itself, in half the time
            counted = f"(SELECT COUNT(DISTINCT r.customer) FROM presence r WHERE {among})"
            sql = f"{_spans(spans)} SELECT span.place, '', {counted} FROM span"
        else:
            split, joined = self._by(by)
            sql = (
                f"{_spans(spans)} SELECT span.place, {split}, COUNT(DISTINCT r.customer) "
                f"FROM span CROSS JOIN presence r {joined} WHERE {among} GROUP BY 1, 2"
            )
        return [(place, value, count) for place, value, count in self._driver.rows(sql, parameters) if count]

    def kept_users(
        self,
        scope: Scope,
        production: bool,
        facets: Mapping[str, str],
        by: str | None,
        spans: Sequence[tuple[int, int, int]],
    ) -> Iterable[tuple[int, str, int]]:
        where, parameters = self._where(scope, production, ALL_PLANE, facets)
        split, joined = self._by(by)
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
        if plane & DAILY and facets:
            parameters.append(facet_id(plane, tuple(facets.get(name, "") for name in DIMENSIONS)))
            return f"{where} AND r.facet = {dialect.mark()}", parameters
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
                f"AND {dialect.beside('agent_id')} = {dialect.mark()} ORDER BY conversation, occurred_us, seq, id"
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

    def tool_runs(
        self, agent_id: int, conversations: Sequence[int], first_us: int, until_us: int
    ) -> Iterable[tuple[str, float]]:
        dialect = self._driver.dialect
        for start in range(0, len(conversations), 500):
            some, mark = conversations[start : start + 500], dialect.mark()
            sql = (
                f"SELECT name, duration_ms FROM event WHERE {dialect.in_list('conversation', len(some))} "
                f"AND {dialect.beside('agent_id')} = {mark} AND kind = 'action' AND duration_ms IS NOT NULL "
                f"AND occurred_us >= {mark} AND occurred_us < {mark}"
            )
            for name, ms in self._driver.rows(sql, (*some, agent_id, first_us, until_us)):
                if name != "token_usage":
                    yield name or UNKNOWN, ms

    # -- rebuilding --------------------------------------------------------------------------------------------------
    def begin_again(self, agent_id: int) -> None:
        self.settle()
        for name, again in _AGAIN.items():
            self._driver.run(f"DROP TABLE IF EXISTS {again}")
            self._driver.run(f"CREATE TEMPORARY TABLE {again} AS SELECT * FROM {name} WHERE agent_id = -1")
            self._driver.run(f"CREATE UNIQUE INDEX {again}_once ON {again} ({', '.join(_KEYS[name])})")
        self._names = _AGAIN
        for name, kept in KEPT.items():  # the events of what was erased are gone, what they added is not
            columns = ", ".join((*_KEYS[name], *_VALUES[name]))
            own = f"WHERE agent_id = {self._driver.dialect.mark()}"
            self._driver.run(f"INSERT INTO {_AGAIN[name]} ({columns}) SELECT {columns} FROM {kept} {own}", (agent_id,))

    def finish_again(self, agent_id: int) -> list[str]:
        self.settle()
        self._names = _OWN
        told: list[str] = []
        for name, again in _AGAIN.items():
            told += self._differences(agent_id, name, again)
            if told:
                columns = ", ".join((*_KEYS[name], *_VALUES[name]))
                self._driver.run(f"DELETE FROM {name} WHERE agent_id = {self._driver.dialect.mark()}", (agent_id,))
                self._driver.run(f"INSERT INTO {name} ({columns}) SELECT {columns} FROM {again}")
                self.past_changed(agent_id)
            self._driver.run(f"DROP TABLE {again}")
        return told

    def _differences(self, agent_id: int, name: str, again: str) -> list[str]:
        """Keys with another sum before than after; a sum of zero and no sum are the same."""
        keys, values, mark = _KEYS[name], _VALUES[name], self._driver.dialect.mark()
        shown = ", ".join(keys)
        stored = ", ".join(f"{value} AS stored_{value}, 0 AS anew_{value}" for value in values)
        anew = ", ".join(f"0, {value}" for value in values)
        sums = ", ".join(f"SUM(stored_{value}), SUM(anew_{value})" for value in values)
        differ = " OR ".join(f"SUM(stored_{value}) <> SUM(anew_{value})" for value in values)
        sql = (
            f"SELECT {shown}, {sums} FROM ("
            f"SELECT {shown}, {stored} FROM {name} WHERE agent_id = {mark} "
            f"UNION ALL SELECT {shown}, {anew} FROM {again}"
            f") AS both_of_them GROUP BY {shown} HAVING {differ} LIMIT {_TOLD}"
        )
        told = []
        for row in self._driver.rows(sql, (agent_id,)):
            there, sums_of = row[: len(keys)], row[len(keys) :]
            was, now = (", ".join(map(str, sums_of[side::2])) for side in (0, 1))
            where = ", ".join(f"{key}={part}" for key, part in zip(keys, there, strict=True))
            told.append(f"{name} {where}: was {was}, is {now}")
        return told


def _counts(customers: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return list(Counter(value for value, _ in customers).items())


def _parted(pieces: Sequence[Piece], at: int) -> tuple[list[Piece], list[Piece]]:
    """What is before and what is after."""
    past = [(place, first, min(until, at), sign) for place, first, until, sign in pieces if first < at]
    present = [(place, max(first, at), until, sign) for place, first, until, sign in pieces if until > at]
    return past, present


Piece = tuple[int, int, int, int]  # (place in the answer, first, until, 1 to add or -1 to take away)


def _pieces(spans: Sequence[tuple[int, int, int]]) -> tuple[list[Piece], list[Piece]]:
    """The spans as quarters of an hour and as whole days that together, some of them taken away, are the spans.

    >>> _pieces([(0, 88, 2 * 96 + 88)])  # 22:00 to 22:00, two days later
    ([(0, 88, 96, 1), (0, 280, 288, -1)], [(0, 1, 3, 1)])
    """
    quarters: list[Piece] = []
    days: list[Piece] = []
    for place, first, until in spans:
        start, end = _nearest(first), _nearest(until)
        if start >= end:
            quarters.append((place, first, until, 1))
            continue
        days.append((place, start, end, 1))
        for day, bucket, sign in ((start, first, 1), (end, until, -1)):
            midnight = day * DAY_BUCKETS
            if bucket < midnight:
                quarters.append((place, bucket, midnight, sign))
            elif bucket > midnight:
                quarters.append((place, midnight, bucket, -sign))
    return quarters, days


def _nearest(bucket: int) -> int:
    """The day whose beginning is nearest."""
    return (bucket + DAY_BUCKETS // 2) // DAY_BUCKETS


def _number(fold: Fold, column: str) -> str:
    """SQL: the part of the fold a bucket falls into."""
    if not fold.step:
        return "0"
    *earlier, (_, _, last) = fold.stretches
    shift = str(last)
    if earlier:
        shift = f"CASE {' '.join(f'WHEN {column} < {until} THEN {by}' for _, until, by in earlier)} ELSE {last} END"
    part = f"({column} + {shift}) / {fold.step}"
    return f"{part} - {part} / {fold.wrap} * {fold.wrap}" if fold.wrap else part


def _spans(spans: Sequence[tuple[int, int, int]]) -> str:
    rows = ", ".join(f"({place}, {first}, {until})" for place, first, until in spans)
    return f"WITH span(place, first, until) AS (VALUES {rows})"
