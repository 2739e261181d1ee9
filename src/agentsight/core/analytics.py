"""A question (which metrics, when, whose zone, split by what, of which conversations) becomes an answer.

Rollups answer whatever they can; the rest is answered from the events by the same measures and the same fold, so that
only the time it takes tells which it was. Calendars live here: storage sees numbered stretches of time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from math import sqrt
from random import Random
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from agentsight import wire
from agentsight.errors import Invalid, InvalidEvent

from . import measures as m
from . import metrics
from .metrics import BY, METRICS, TIMES, Number, Sums
from .model import Conversation, Filter, Scope
from .ports import Store

COMPARE: Final = ("previous", "year", "weekday")
PARAMETERS: Final = ("metric", "from", "to", "tz", "by", "compare")
MAX_ROWS: Final = 10_000  # of a split by time
EXACT_DAYS: Final = 31  # users are counted one by one up to here
USERS_ERROR: Final = 0.01
_DAYS = 30  # of a question that names no range
_DAY_US, _HOUR_US = 86_400_000_000, 3_600_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_DAY = date(2099, 12, 31)
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SLICES = 16
_STEPS = {"hour": 1, "day": 96, "week": 96, "month": 96, "weekday_hour": 4}  # of a fold, in buckets
_MONDAY = (7 + 3) * m.DAY_BUCKETS  # 1970 began on a Thursday; a week more, for what lies west of it
_PAGE = 500  # conversations read at a time
_ROLLED_UP = frozenset({*m.DIMENSIONS, "environment", "include_deleted"})  # filters rollups know


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. `start` and `end` as written: local dates, both included, or instants, `end` excluded."""

    metrics: tuple[str, ...]
    start: str
    end: str
    tz: str = "UTC"
    by: str | None = None
    compare: str | None = None
    where: Filter = field(default_factory=Filter)

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.tz)

    @property
    def production(self) -> bool:
        return self.where.environment != "development"

    @property
    def bounds_us(self) -> tuple[int, int]:
        """The range in microseconds, the end excluded."""
        return _bound_us(self.start, self.zone, 0), _bound_us(self.end, self.zone, 1)


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


# -- the question ----------------------------------------------------------------------------------------------------
def parse_question(params: Mapping[str, Sequence[str]], where: Filter, tz: str, now_us: int) -> Question:
    """The question a query string asks; `where` is what it filters by, `tz` the organization's zone.

    A metric may be repeated or several be joined by commas. Without a range: the last 30 days, today included.

    Raises:
        Invalid: names the first parameter that cannot be read, and what it could be.
    """
    names = _names(params)
    by, compare = _choice(params, "by", BY), _choice(params, "compare", COMPARE)
    zone = _given(params, "tz") or tz
    if zone not in _zones():
        raise Invalid.of("tz", "must be an IANA time zone such as UTC or Europe/Zagreb")
    start, end = _range(_given(params, "from"), _given(params, "to"), ZoneInfo(zone), now_us)
    asked = Question(names, start, end, zone, by, compare, where)
    _check(asked)
    return asked


def _given(params: Mapping[str, Sequence[str]], name: str) -> str | None:
    values = [value for value in params.get(name) or () if value]
    return values[-1].strip() if values else None


def _names(params: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    names = [name.strip() for text in params.get("metric") or () for name in text.split(",") if name.strip()]
    for name in names:
        if name not in METRICS:
            raise Invalid.of("metric", f"must be one of {', '.join(METRICS)}")
    if not names:
        raise Invalid.of("metric", f"is required: one or more of {', '.join(METRICS)}")
    return tuple(dict.fromkeys(names))


def _choice(params: Mapping[str, Sequence[str]], name: str, allowed: Sequence[str]) -> str | None:
    value = _given(params, name)
    if value is not None and value not in allowed:
        raise Invalid.of(name, f"must be one of {', '.join(allowed)}")
    return value


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) | {"UTC"}


def _range(start: str | None, end: str | None, zone: ZoneInfo, now_us: int) -> tuple[str, str]:
    for name, text in (("from", start), ("to", end)):
        if text is not None:
            _check_bound(name, text)
    today = (_EPOCH + timedelta(microseconds=now_us)).astimezone(zone).date()
    if end is None:
        end = max(today, _day(start)).isoformat() if start else today.isoformat()
    if start is None:
        start = max(_day(end) - timedelta(days=_DAYS - 1), _EPOCH.date()).isoformat()
    return start, end


def _day(text: str) -> date:
    return date.fromisoformat(text[:10])


def _check_bound(name: str, text: str) -> None:
    try:
        if "T" in text or " " in text:
            wire.read_instant(_instant(text), name)
            return
        if not _EPOCH.date() <= date.fromisoformat(text) <= _LAST_DAY or len(text) != 10:
            raise InvalidEvent(name, "is not between the years 1970 and 2099")
    except InvalidEvent as wrong:
        raise Invalid.of(name, wrong.reason) from None
    except ValueError:
        raise Invalid.of(name, "must be a date such as 2026-11-21 or an ISO 8601 time") from None


def _instant(text: str) -> str:
    """A raw + in a query string arrives as a blank."""
    return text.replace(" ", "+") if "T" in text else text


def _bound_us(text: str, zone: ZoneInfo, days: int) -> int:
    if "T" in text or " " in text:
        return wire.read_instant(_instant(text), "from")
    return midnight_us(date.fromisoformat(text) + timedelta(days=days), zone)


def midnight_us(day: date, zone: ZoneInfo) -> int:
    """The first moment of a local day, also where its midnight does not exist or comes twice."""
    return _us(datetime.combine(day, time(), zone))


def _us(moment: datetime) -> int:
    return (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


def _check(asked: Question) -> None:
    first_us, until_us = asked.bounds_us
    if until_us <= first_us:
        raise Invalid.of("to", "must not be before from")
    step_us = {"hour": _HOUR_US, "day": _DAY_US, "week": 7 * _DAY_US, "month": 28 * _DAY_US}.get(asked.by or "")
    step_us = _HOUR_US if asked.by == "weekday_hour" else step_us
    most = MAX_ROWS * 10 if asked.by == "weekday_hour" else MAX_ROWS
    if step_us and (until_us - first_us) / step_us > most:
        raise Invalid.of("by", f"{asked.by} of so long a range is more than {most} rows; take a longer step")
    for name in asked.metrics:
        if asked.by and asked.by not in METRICS[name].by:
            raise Invalid.of("by", f"{name} can be split by {', '.join(METRICS[name].by)}; not by {asked.by}")


# -- calendars -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time that falls into the row `key`."""

    key: str
    first_us: int
    until_us: int


@lru_cache(maxsize=256)
def cut(first_us: int, until_us: int, by: str | None, zone: ZoneInfo) -> tuple[Span, ...]:
    """A range cut into the local hours, days, weeks, months or hours of the week it holds, in order, without gaps.

    Keys: `2026-10-25T02:00+02:00` (with the offset, because 02:00 comes twice when clocks go back), `2026-10-25`,
    the Monday of a week, `2026-10`, `sun-02`. A day has 23 or 25 hours when clocks change; a skipped one is empty.
    """
    if by == "hour":
        return tuple(
            Span(f"{day}T{hour:02d}:00{offset}", start, end)
            for day, hour, offset, start, end in _hours(first_us, until_us, zone)
        )
    if by == "weekday_hour":
        return tuple(
            Span(f"{_WEEKDAYS[day.weekday()]}-{hour:02d}", start, end)
            for day, hour, _, start, end in _hours(first_us, until_us, zone)
        )
    if by in ("day", "week", "month"):
        return tuple(_days(first_us, until_us, by, zone))
    return (Span("", first_us, until_us),)


def _days(first_us: int, until_us: int, by: str, zone: ZoneInfo) -> Iterator[Span]:
    day = _first_of(_local(first_us, zone).date(), by)
    start = first_us
    while start < until_us:
        following = _first_of(day + timedelta(days={"day": 1, "week": 7, "month": 31}[by]), by)
        end = min(midnight_us(following, zone), until_us)
        yield Span(day.isoformat()[:7] if by == "month" else day.isoformat(), start, end)
        day, start = following, end


def _first_of(day: date, by: str) -> date:
    if by == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if by == "month" else day


def _hours(first_us: int, until_us: int, zone: ZoneInfo) -> Iterator[tuple[date, int, str, int, int]]:
    """(local day, hour, offset from UTC, start, end) of each local hour; one whose offset changes is cut where it does."""
    for span in _days(first_us, until_us, "day", zone):
        start, end = span.first_us, span.until_us
        if end - start == _DAY_US and _offset(start, zone) == _offset(end, zone):
            day, offset = date.fromisoformat(span.key), _offset(start, zone)
            for hour in range(24):
                yield day, hour, offset, start + hour * _HOUR_US, start + (hour + 1) * _HOUR_US
        else:
            yield from _odd_hours(start, end, zone)


def _odd_hours(start: int, until_us: int, zone: ZoneInfo) -> Iterator[tuple[date, int, str, int, int]]:
    """The hours of a day that is no plain 24 hours."""
    while start < until_us:
        local, offset = _local(start, zone), _offset(start, zone)
        into_us = (local.minute * 60 + local.second) * 1_000_000 + local.microsecond
        end = min(start + _HOUR_US - into_us, until_us)
        if _offset(end - 1, zone) != offset:
            end = _change_us(start, end, zone)
        yield local.date(), local.hour, offset, start, end
        start = end


def _offset(us: int, zone: ZoneInfo) -> str:
    """As ISO 8601 writes it: `+02:00`, with seconds for the few zones before 1972 that had them."""
    return _local(us, zone).replace(microsecond=0).isoformat()[19:]


def _change_us(start: int, end: int, zone: ZoneInfo) -> int:
    """When between `start` and `end` the offset changes; such moments are whole seconds."""
    offset, low, high = _offset(start, zone), start // 1_000_000, end // 1_000_000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(middle * 1_000_000, zone) == offset else (low, middle)
    return high * 1_000_000


def _local(us: int, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(microseconds=us)).astimezone(zone)


def earlier(asked: Question) -> tuple[int, int]:
    """The range an answer is compared with.

    `previous`: as long, ending where this one begins. `year`: the same dates a year before. `weekday`: as previous, but
    moved back by whole weeks, so that weekends meet weekends.
    """
    dates = [None if "T" in text or " " in text else date.fromisoformat(text) for text in (asked.start, asked.end)]
    start, end = dates
    first_us, until_us = asked.bounds_us
    if start is not None and end is not None:
        days = (end - start).days + 1
        if asked.compare == "year":
            return midnight_us(_year_before(start), asked.zone), midnight_us(
                _year_before(end) + timedelta(days=1), asked.zone
            )
        back = timedelta(days=-(-days // 7) * 7 if asked.compare == "weekday" else days)
        return midnight_us(start - back, asked.zone), midnight_us(end - back + timedelta(days=1), asked.zone)
    if asked.compare == "year":
        back_us = 365 * _DAY_US
    else:
        back_us = until_us - first_us
        if asked.compare == "weekday":
            back_us = -(-back_us // (7 * _DAY_US)) * 7 * _DAY_US
    return first_us - back_us, until_us - back_us


def _year_before(day: date) -> date:
    return day.replace(year=day.year - 1, day=28) if (day.month, day.day) == (2, 29) else day.replace(year=day.year - 1)


# -- the answer ------------------------------------------------------------------------------------------------------
Counted = tuple[int, str, int, str, int]  # (place of the span, facet value, measure, key, value)


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
        self._cut = cut(first_us, until_us, self.by, asked.zone)
        self._keys = list(_all_hours()) if self.by == "weekday_hour" else [span.key for span in self._cut]
        self._cells: dict[str, Sums] = {}
        self._total = Sums()
        self._needs = sorted({measure for metric in self.metrics for measure in metric.needs})
        source = _Source(store, scope, asked, self.by, self._spans())
        if from_events or not source.aligned:
            self._fill(source.from_events)
        elif source.rolled_up:
            self._fill(source.from_week if self.by == "weekday_hour" else source.from_rollups)
        else:
            self._fill(source.from_tallies)

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
    today = (_EPOCH + timedelta(microseconds=now_us)).date()
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


def _all_hours() -> Iterator[str]:
    return (f"{day}-{hour:02d}" for day in _WEEKDAYS for hour in range(24))


class _Source:
    """Where the measures come from: rollups or events, with the same result."""

    def __init__(self, store: Store, scope: Scope, asked: Question, by: str | None, spans: list[tuple[int, int, int]]):
        self._store, self._scope, self._by, self._spans = store, scope, by, spans
        self._zone = asked.zone
        self._production = asked.production
        self._where = asked.where
        told = {name.name for name in fields(Filter) if getattr(asked.where, name.name) not in (None, (), False)}
        self._facets: dict[str, str] = {
            name: _normal(name, getattr(asked.where, name)) for name in m.DIMENSIONS if name in told
        }
        self.aligned = all(us % m.BUCKET_US == 0 for _, *bounds in spans for us in bounds)
        self.rolled_up = told <= _ROLLED_UP  # and know what was erased

    # All give (counted, users): users are (place or None for the total, facet value, different customers).
    def from_rollups(
        self, measures: list[int], dimension: str | None, users: bool, split: bool
    ) -> tuple[Iterable[Counted], Iterable[tuple[int | None, str, int]]]:
        spans = [(place, first // m.BUCKET_US, until // m.BUCKET_US) for place, first, until in self._spans]
        if not spans:
            return [], []
        rollups, scope, production, facets = self._store.rollups, self._scope, self._production, self._facets
        counted: Iterable[Counted] = ()
        if measures:
            counted = rollups.sums(scope, production, measures, facets, dimension, spans)
        found: list[tuple[int | None, str, int]] = []
        if users:
            found.append((None, "", self._all_users(spans)))
            if split:
                found += rollups.users(scope, production, facets, dimension, spans, range(_SLICES))
        return counted, found

    def from_week(
        self, measures: list[int], dimension: str | None, users: bool, split: bool
    ) -> tuple[Iterable[Counted], Iterable[tuple[int | None, str, int]]]:
        """As from rollups, without a span for every hour."""
        _, found = self.from_rollups([], None, users, split) if users else ([], [])
        if not self._spans or not measures:
            return [], found
        rows = self._store.rollups.folded(self._scope, self._production, measures, self._facets, self._fold())
        return ((place, "", measure, key, value) for place, measure, key, value in rows), found

    def from_tallies(
        self, measures: list[int], dimension: str | None, users: bool, split: bool
    ) -> tuple[Iterable[Counted], Iterable[tuple[int | None, str, int]]]:
        """Of the conversations that match, whatever is asked of them."""
        if not self._spans:
            return [], []
        fold = self._fold()
        where = replace(self._where, environment="production" if self._production else "development")
        where = replace(where, include_deleted=False)
        chosen = self._store.conversations.chosen(
            self._scope, where, fold.first * m.BUCKET_US, fold.until * m.BUCKET_US
        )
        place_of = _Places(self._spans)

        def placed(bucket: int) -> int:
            return place_of(bucket * m.BUCKET_US) or 0

        def spelled(value: str | None) -> str:
            return _spelled(dimension, value) if dimension else ""

        rows = self._store.rollups.tallied(chosen, measures, dimension, fold) if measures else ()
        counted = ((placed(at), spelled(value), measure, key, total) for at, value, measure, key, total in rows)
        if not users:
            return counted, []
        present: dict[tuple[int | None, str], set[str]] = {(None, ""): set()}
        for at, value, customer in self._store.rollups.tallied_users(chosen, dimension, fold):
            present[None, ""].add(customer)
            if split:
                present.setdefault((placed(at), spelled(value)), set()).add(customer)
        return counted, [(place, value, len(customers)) for (place, value), customers in present.items()]

    def _fold(self) -> m.Fold:
        first, until = min(first for _, first, _ in self._spans), max(until for *_, until in self._spans)
        step = _STEPS.get(self._by or "", 0)
        wrap = 168 if self._by == "weekday_hour" else 0
        return m.Fold(_stretches(first, until, self._zone), step, wrap)

    def _all_users(self, spans: list[tuple[int, int, int]]) -> int:
        """Different customers over the whole range.

        Customers fall into sixteen slices by their hash. Short ranges count all of them; over long ones counting stops
        as soon as what is still uncounted can be told within 1 % (3.3 standard deviations) from what was.
        """
        whole = [(0, min(first for _, first, _ in spans), max(until for *_, until in spans))]
        exact = whole[0][2] - whole[0][1] <= EXACT_DAYS * 96
        seen, slices = 0, 0
        while slices < _SLICES:
            some = range(_SLICES) if exact else range(slices, max(1, slices * 2))
            counted = self._store.rollups.users(self._scope, self._production, self._facets, None, whole, some)
            seen += sum(count for *_, count in counted)
            slices = some[-1] + 1
            estimate = seen * _SLICES / slices
            if estimate and 3.3 * sqrt((_SLICES / slices - 1) / estimate) <= USERS_ERROR:
                break
        return round(seen * _SLICES / slices)

    def from_events(
        self, measures: list[int], dimension: str | None, users: bool, split: bool
    ) -> tuple[Iterable[Counted], Iterable[tuple[int | None, str, int]]]:
        place_of = _Places(self._spans)
        counted: dict[tuple[int, str, int, str], int] = {}
        present: dict[tuple[int | None, str], set[str]] = {}
        wanted = {*measures, *([m.USERS] if users else [])}
        for head, contributions in self._contributions():
            value = metrics.facet_of(head)[m.DIMENSIONS.index(dimension)] if dimension else ""
            for at_us, measure, key, amount in contributions:
                place = place_of(at_us) if measure in wanted else None
                if place is None:
                    continue
                if measure == m.USERS:
                    present.setdefault((None, ""), set()).add(key)
                    if split:
                        present.setdefault((place, value), set()).add(key)
                else:
                    slot = (place, value, measure, key)
                    counted[slot] = counted.get(slot, 0) + amount
        if self.rolled_up and self._spans:
            self._add_kept(measures, dimension, split, counted, present if users else None)
        return (
            [(*slot, amount) for slot, amount in counted.items()],
            [(place, value, len(customers)) for (place, value), customers in present.items()],
        )

    def _add_kept(
        self,
        measures: list[int],
        dimension: str | None,
        split: bool,
        counted: dict[tuple[int, str, int, str], int],
        present: dict[tuple[int | None, str], set[str]] | None,
    ) -> None:
        """What erased conversations had added; known by quarters of an hour, each counts where it begins."""
        spans = [(place, -(-first // m.BUCKET_US), -(-until // m.BUCKET_US)) for place, first, until in self._spans]
        told = (self._scope, self._production, self._facets, dimension, spans)
        if measures:
            scope, production, facets, by, spans = told
            for place, value, measure, key, amount in self._store.rollups.sums(
                scope, production, measures, facets, by, spans, kept=True
            ):
                slot = (place, value, measure, key)
                counted[slot] = counted.get(slot, 0) + amount
        if present is not None:
            for place, value, customer in self._store.rollups.kept_users(*told):
                present.setdefault((None, ""), set()).add(f"\x00{customer}")
                if split:
                    present.setdefault((place, value), set()).add(f"\x00{customer}")

    def _contributions(self) -> Iterator[tuple[Conversation, Iterable[m.Contribution]]]:
        if not self._spans:
            return
        first_us, until_us = min(s[1] for s in self._spans), max(s[2] for s in self._spans)
        for agent_id in self._scope.agent_ids:
            for heads in self._pages(Scope(self._scope.organization_id, (agent_id,)), first_us, until_us):
                ids = [head.id for head in heads]
                events = self._store.rollups.facts(agent_id, ids)
                given = self._store.conversations.feedbacks(agent_id, [h.id for h in heads if h.feedback_count])
                for head in heads:
                    yield head, metrics.whole(head, events.get(head.id, []), given.get(head.id, []))

    def _pages(self, scope: Scope, first_us: int, until_us: int) -> Iterator[list[Conversation]]:
        """The conversations that match and may have something in the range, some at a time."""
        latest = until_us - 1
        if self._where.started_at_before is not None:
            latest = min(latest, self._where.started_at_before)
        where = replace(
            self._where,
            environment="production" if self._production else "development",
            include_deleted=False,
            started_at_before=latest,
        )
        before: tuple[int, int] | None = None
        more = True
        while more:
            heads, more = self._store.conversations.page(scope, where, limit=_PAGE, before=before, since_us=first_us)
            if heads:
                before = heads[-1].started_us, heads[-1].id
            yield heads


@lru_cache(maxsize=256)
def _stretches(first_us: int, until_us: int, zone: ZoneInfo) -> tuple[tuple[int, int, int], ...]:
    """Stretches of one offset from UTC, as a fold wants them; shifted so that weeks begin on a Monday."""
    cuts = [first_us]
    while cuts[-1] < until_us:
        start = at = cuts[-1]
        while at < until_us and _offset(min(at + _DAY_US, until_us) - 1, zone) == _offset(start, zone):
            at += _DAY_US
        last = max(start, at - 1_000_000)  # known to have the offset still
        cuts.append(until_us if at >= until_us else _change_us(last, min(at + _DAY_US, until_us), zone))
    shifts = [_offset_us(start, zone) // m.BUCKET_US + _MONDAY for start in cuts[:-1]]
    return tuple(
        (start // m.BUCKET_US, end // m.BUCKET_US, shift)
        for start, end, shift in zip(cuts[:-1], cuts[1:], shifts, strict=True)
    )


def _offset_us(us: int, zone: ZoneInfo) -> int:
    return (_local(us, zone).utcoffset() or timedelta()) // timedelta(microseconds=1)


class _Places:
    """When something happened -> its place in the answer; None outside the range."""

    def __init__(self, spans: list[tuple[int, int, int]]):
        self._spans = sorted((first, until, place) for place, first, until in spans)
        self._firsts = [first for first, *_ in self._spans]

    def __call__(self, at_us: int) -> int | None:
        found = bisect_right(self._firsts, at_us) - 1
        if found < 0 or at_us >= self._spans[found][1]:
            return None
        return self._spans[found][2]


def _spelled(dimension: str, value: str | None) -> str:
    """A value of a conversation as numbers call it."""
    return value or m.UNKNOWN if dimension == "country" else m.normal(value)


def _normal(dimension: str, value: str) -> str:
    if dimension == "country":
        return value.upper() if value.lower() != m.UNKNOWN else m.UNKNOWN
    return m.normal(value)


__all__ = [
    "COMPARE",
    "PARAMETERS",
    "Answer",
    "Question",
    "Row",
    "Series",
    "Span",
    "answer",
    "cut",
    "earlier",
    "parse_question",
]
