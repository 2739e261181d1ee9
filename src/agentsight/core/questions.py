"""What can be asked of the numbers, read from a query string, and the range an answer is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from agentsight import wire
from agentsight.errors import Invalid, InvalidEvent

from .calendars import DAY_US, EPOCH, HOUR_US, midnight_us
from .metrics import BY, METRICS
from .model import Filter

COMPARE: Final = ("previous", "year", "weekday")
PARAMETERS: Final = ("metric", "from", "to", "tz", "by", "compare")
MAX_ROWS: Final = 10_000  # of a split by time
_DAYS = 30  # of a question that names no range
_LAST_DAY = date(2099, 12, 31)


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
    return frozenset(available_timezones()) - {"localtime"} | {"UTC"}  # the machine's own is nobody's name


def _range(start: str | None, end: str | None, zone: ZoneInfo, now_us: int) -> tuple[str, str]:
    for name, text in (("from", start), ("to", end)):
        if text is not None:
            _check_bound(name, text)
    today = (EPOCH + timedelta(microseconds=now_us)).astimezone(zone).date()
    if end is None:
        end = max(today, _day(start)).isoformat() if start else today.isoformat()
    if start is None:
        start = max(_day(end) - timedelta(days=_DAYS - 1), EPOCH.date()).isoformat()
    return start, end


def _day(text: str) -> date:
    return date.fromisoformat(text[:10])


def _check_bound(name: str, text: str) -> None:
    try:
        if "T" in text or " " in text:
            wire.read_instant(_instant(text), name)
            return
        if not EPOCH.date() <= date.fromisoformat(text) <= _LAST_DAY or len(text) != 10:
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


def _check(asked: Question) -> None:
    first_us, until_us = asked.bounds_us
    if until_us <= first_us:
        raise Invalid.of("to", "must not be before from")
    step_us = {"hour": HOUR_US, "day": DAY_US, "week": 7 * DAY_US, "month": 28 * DAY_US}.get(asked.by or "")
    step_us = HOUR_US if asked.by == "weekday_hour" else step_us
    most = MAX_ROWS * 10 if asked.by == "weekday_hour" else MAX_ROWS
    if step_us and (until_us - first_us) / step_us > most:
        raise Invalid.of("by", f"{asked.by} of so long a range is more than {most} rows; take a longer step")
    for name in asked.metrics:
        if asked.by and asked.by not in METRICS[name].by:
            raise Invalid.of("by", f"{name} can be split by {', '.join(METRICS[name].by)}; not by {asked.by}")


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
        back_us = 365 * DAY_US
    else:
        back_us = until_us - first_us
        if asked.compare == "weekday":
            back_us = -(-back_us // (7 * DAY_US)) * 7 * DAY_US
    return first_us - back_us, until_us - back_us


def _year_before(day: date) -> date:
    return day.replace(year=day.year - 1, day=28) if (day.month, day.day) == (2, 29) else day.replace(year=day.year - 1)
