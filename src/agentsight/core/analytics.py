"""A question (which metrics, when, whose zone, split by what, of which conversations) becomes an answer.

`questions` reads what is asked, `calendars` cuts its time, `sources` reads the measures; here they become numbers.
Calendars stay in core: storage sees numbered stretches of time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from random import Random
from typing import Any

from agentsight import wire

from . import measures as m
from . import metrics
from .calendars import EPOCH, Span, cut, hours_of_week
from .metrics import METRICS, TIMES, Number, Sums
from .model import Scope
from .ports import Store
from .questions import COMPARE, PARAMETERS, Question, earlier, parse_question
from .sources import Source


@dataclass(frozen=True, slots=True)
class Row:
    """One part of a number. `first_us` and `until_us` bound it in time; None for `weekday_hour`."""

    key: str
    value: Number
    first_us: int | None = None
    until_us: int | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """One metric's part of the answer. `previous` and `previous_rows`: of the range compared with, in its own keys."""

    name: str
    unit: str
    total: Number
    previous: Number = None
    rows: tuple[Row, ...] = ()
    previous_rows: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    question: Question
    series: tuple[Series, ...]
    compared: tuple[int, int] | None = None  # the range compared with, in microseconds

    def as_json(self) -> dict[str, Any]:
        """As `GET /api/analytics/` answers."""
        asked = self.question
        said: dict[str, Any] = {
            "from": asked.start,
            "to": asked.end,
            "tz": asked.tz,
            "environment": "production" if asked.production else "development",
        }
        if asked.by:
            said["by"] = asked.by
        if self.compared:
            said["compare"] = asked.compare
            said["previous_from"], said["previous_to"] = map(wire.instant, self.compared)
        return said | {"metrics": [_series_json(asked, series) for series in self.series]}


def _series_json(asked: Question, series: Series) -> dict[str, Any]:
    said: dict[str, Any] = {"name": series.name, "unit": series.unit, "total": series.total}
    if asked.compare:
        said["previous"] = series.previous
    if asked.by:
        said["rows"] = [{"key": row.key, "value": row.value} for row in series.rows]
        if asked.compare and asked.by in TIMES:
            said["previous_rows"] = [{"key": row.key, "value": row.value} for row in series.previous_rows]
    return said


def answer(store: Store, scope: Scope, asked: Question, *, from_events: bool = False) -> Answer:
    """The numbers asked for. `from_events` answers from the events what rollups could have answered, to compare."""
    bounds = asked.bounds_us
    now = _Part(store, scope, asked, *bounds, from_events)
    if not asked.compare:
        return Answer(asked, tuple(Series(x.name, x.unit, now.total(x), rows=now.rows(x)) for x in now.metrics))
    compared = earlier(asked)
    then = _Part(store, scope, asked, *compared, from_events, with_rows=asked.by in TIMES)
    series = (
        Series(x.name, x.unit, now.total(x), then.total(x), now.rows(x), then.rows(x) if then.by else ())
        for x in now.metrics
    )
    return Answer(asked, tuple(series), compared)


def erased(store: Store, scope: Scope, asked: Question) -> int:
    """How many conversations an answer counts that no list shows any more: those of erased people."""
    bounds = asked.bounds_us
    source = Source(store, scope, asked, None, bounds, lambda: [(0, *bounds)])
    return source.erased() if source.rolled_up else 0


class _Part:
    """The numbers of one range."""

    def __init__(
        self,
        store: Store,
        scope: Scope,
        asked: Question,
        first_us: int,
        until_us: int,
        from_events: bool,
        with_rows: bool = True,
    ):
        self.metrics = [METRICS[name] for name in asked.metrics]
        self.by = asked.by if with_rows else None
        self._asked = (first_us, until_us, self.by, asked.zone)
        self._cells: dict[str, Sums] = {}
        self._total = Sums()
        self._needs = sorted({measure for metric in self.metrics for measure in metric.needs})
        source = Source(store, scope, asked, self.by, (first_us, until_us), self._spans)
        if from_events or not source.aligned:
            self._fill(source.from_events)
        elif source.rolled_up:
            self._fill(source.from_week if self.by == "weekday_hour" else source.from_rollups)
        else:
            self._fill(source.from_tallies)

    @cached_property
    def _cut(self) -> tuple[Span, ...]:
        return cut(*self._asked)

    @cached_property
    def _keys(self) -> list[str]:
        return list(hours_of_week()) if self.by == "weekday_hour" else [span.key for span in self._cut]

    def _spans(self) -> list[tuple[int, int, int]]:
        places = {key: place for place, key in enumerate(self._keys)}
        return [(places[span.key], span.first_us, span.until_us) for span in self._cut if span.first_us < span.until_us]

    def _fill(self, read: Any) -> None:
        dimension = self.by if self.by in m.DIMENSIONS else None
        whole = [measure for measure in self._needs if measure != m.USERS]
        counted, users = read(whole, dimension, m.USERS in self._needs, self.by is not None)
        for place, value, measure, key, amount in counted:
            self._total.put(measure, key, amount)
            if self.by is not None:
                self._cell(place, value, measure, key).put(measure, key, amount)
        for place, value, amount in users:
            if place is None:
                self._total.put(m.USERS, "", amount)
            else:
                self._cell(place, value, m.USERS, "").put(m.USERS, "", amount)

    def _cell(self, place: int, value: str, measure: int, key: str) -> Sums:
        if self.by in TIMES:
            name = self._keys[place]
        elif self.by in m.DIMENSIONS:
            name = value
        else:
            name = key
        cell = self._cells.get(name)
        if cell is None:
            cell = self._cells[name] = Sums()
        return cell

    def total(self, metric: metrics.Metric) -> Number:
        return metric.of(self._total)

    def rows(self, metric: metrics.Metric) -> tuple[Row, ...]:
        if self.by is None:
            return ()
        if self.by == "weekday_hour":
            return tuple(Row(key, metric.of(self._cells.get(key, _NOTHING))) for key in self._keys)
        if self.by in TIMES:
            return tuple(
                Row(span.key, metric.of(self._cells.get(span.key, _NOTHING)), span.first_us, span.until_us)
                for span in self._cut
            )
        span = self._cut[0]
        held = {key: metric.of(cell) for key, cell in self._cells.items() if cell.holds(metric.needs)}
        if self.by == metric.split and metric.key is not None:
            held = {key: value for key, value in held.items() if key == metric.key}
        order = sorted(held, key=lambda key: (held[key] is None, -(held[key] or 0), key))
        return tuple(Row(key, held[key], span.first_us, span.until_us) for key in order)


_NOTHING = Sums()


def sample(store: Store, scope: Scope, now_us: int, days: int = 3) -> list[str]:
    """Some days of the last 90, chosen by the time, counted from rollups and from the events: a sentence per difference."""
    store.rollups.remembers = False
    chance = Random(now_us)
    today = (EPOCH + timedelta(microseconds=now_us)).date()
    told: list[str] = []
    for back in sorted(chance.sample(range(1, 91), days)):
        day = (today - timedelta(days=back)).isoformat()
        asked = Question(tuple(METRICS), day, day)
        pairs = zip(
            answer(store, scope, asked).series, answer(store, scope, asked, from_events=True).series, strict=True
        )
        told += [
            f"{kept.name} on {day} is {counted.total}, not {kept.total}"
            for kept, counted in pairs
            if kept.total != counted.total
        ]
    return told


__all__ = [
    "COMPARE",
    "PARAMETERS",
    "Answer",
    "Question",
    "Row",
    "Series",
    "answer",
    "earlier",
    "erased",
    "parse_question",
    "sample",
]
