"""Local time: where a zone's days, hours and weeks begin and end, and where its clocks change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from . import measures as m

DAY_US, HOUR_US = 86_400_000_000, 3_600_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MONDAY = (7 + 3) * m.DAY_BUCKETS  # 1970 began on a Thursday; a week more, for what lies west of it


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
            Span(f"{WEEKDAYS[day.weekday()]}-{hour:02d}", start, end)
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
        if end - start == DAY_US and _offset(start, zone) == _offset(end, zone):
            day, offset = date.fromisoformat(span.key), _offset(start, zone)
            for hour in range(24):
                yield day, hour, offset, start + hour * HOUR_US, start + (hour + 1) * HOUR_US
        else:
            yield from _odd_hours(start, end, zone)


def _odd_hours(start: int, until_us: int, zone: ZoneInfo) -> Iterator[tuple[date, int, str, int, int]]:
    """The hours of a day that is no plain 24 hours."""
    while start < until_us:
        local, offset = _local(start, zone), _offset(start, zone)
        into_us = (local.minute * 60 + local.second) * 1_000_000 + local.microsecond
        end = min(start + HOUR_US - into_us, until_us)
        if _offset(end - 1, zone) != offset:
            end = _change_us(start, end, zone)
        yield local.date(), local.hour, offset, start, end
        start = end


def hours_of_week() -> Iterator[str]:
    return (f"{day}-{hour:02d}" for day in WEEKDAYS for hour in range(24))


@lru_cache(maxsize=256)
def stretches(first_us: int, until_us: int, zone: ZoneInfo) -> tuple[tuple[int, int, int], ...]:
    """Stretches of one offset from UTC, as a fold wants them; shifted so that weeks begin on a Monday."""
    cuts = _steady(first_us, until_us, zone)
    return tuple(
        (start // m.BUCKET_US, end // m.BUCKET_US, _offset_us(start, zone) // m.BUCKET_US + _MONDAY)
        for start, end in pairwise(cuts)
    )


def in_quarters(first_us: int, until_us: int, zone: ZoneInfo) -> bool:
    """Whether all local hours of the range begin and end where quarters of an hour do: sums know these alone."""
    cuts = _steady(first_us, until_us, zone)
    return all(us % m.BUCKET_US == 0 for us in (*cuts, *(_offset_us(start, zone) for start in cuts[:-1])))


@lru_cache(maxsize=256)
def _steady(first_us: int, until_us: int, zone: ZoneInfo) -> list[int]:
    """Where the stretches of one offset from UTC begin, and where the last one ends."""
    cuts = [first_us]
    while cuts[-1] < until_us:
        start = at = cuts[-1]
        while at < until_us and _offset(min(at + DAY_US, until_us) - 1, zone) == _offset(start, zone):
            at += DAY_US
        last = max(start, at - 1_000_000)  # known to have the offset still
        cuts.append(until_us if at >= until_us else _change_us(last, min(at + DAY_US, until_us), zone))
    return cuts


@lru_cache(maxsize=4_096)
def midnight_us(day: date, zone: ZoneInfo) -> int:
    """The first moment of a local day, also where its midnight does not exist or comes twice."""
    return _us(datetime.combine(day, time(), zone))


def _us(moment: datetime) -> int:
    return (moment.astimezone(UTC) - EPOCH) // timedelta(microseconds=1)


def _offset(us: int, zone: ZoneInfo) -> str:
    """As ISO 8601 writes it: `+02:00`, with seconds for the few zones before 1972 that had them."""
    return _local(us, zone).replace(microsecond=0).isoformat()[19:]


def _offset_us(us: int, zone: ZoneInfo) -> int:
    return (_local(us, zone).utcoffset() or timedelta()) // timedelta(microseconds=1)


def _change_us(start: int, end: int, zone: ZoneInfo) -> int:
    """When between `start` and `end` the offset changes; such moments are whole seconds."""
    offset, low, high = _offset(start, zone), start // 1_000_000, end // 1_000_000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(middle * 1_000_000, zone) == offset else (low, middle)
    return high * 1_000_000


def _local(us: int, zone: ZoneInfo) -> datetime:
    return (EPOCH + timedelta(microseconds=us)).astimezone(zone)
