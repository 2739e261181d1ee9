"""The stretch of time a page is about, read from its address: presets, custom ranges, what it is compared with.

Impossible parameters fall back to the nearest sensible value, and a sentence says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from agentsight.core import analytics
from agentsight.core.analytics import Question, Row
from agentsight.core.model import Filter
from agentsight.errors import Invalid

from ..ui.words import Voice
from .filters import asked, parameters
from .visit import Visit, Visitor, zone_named

PRESETS = {"today": 1, "7d": 7, "30d": 30, "90d": 90, "12m": 365}
PRESET = "30d"
STEPS = ("hour", "day", "week", "month")
STATE = ("range", "from", "to", "compare", "by", "tz")
EVERYTHING = Filter()
_LONGEST = {"hour": 14, "day": 400}


@dataclass(frozen=True, slots=True)
class Period:
    """`start`, `end`: local dates, both included. `step`: what lines go by. `compare` None: nothing beside them."""

    start: date
    end: date
    tz: str
    step: str
    preset: str = ""
    compare: str | None = "previous"
    where: Filter = EVERYTHING

    @property
    def days(self) -> int:
        return (self.end - self.start).days + 1

    def question(self, *names: str, by: str | None = None, compare: bool = False) -> Question:
        """These metrics over this period."""
        beside = self.compare if compare else None
        return Question(names, self.start.isoformat(), self.end.isoformat(), self.tz, by, beside, self.where)

    @property
    def bounds_us(self) -> tuple[int, int]:
        return self.question("total_messages").bounds_us

    @property
    def before(self) -> tuple[date, date] | None:
        """The dates compared with."""
        if self.compare is None:
            return None
        question = self.question("total_messages", compare=True)
        first, until = (datetime.fromtimestamp(us / 1e6, question.zone) for us in analytics.earlier(question))
        return first.date(), (until - timedelta(seconds=1)).date()

    def partial(self, now_us: int) -> bool:
        """Whether the last step is not over."""
        return self.bounds_us[1] > now_us


def period(visit: Visit) -> tuple[Period, list[str]]:
    """The period and filter of this page's address, and what could not be read of it."""
    where, notices = asked(visit)
    told = {name: (visit.params.get(name) or "").strip() for name in STATE}
    tz = visit.zone.key
    if told["tz"] and told["tz"] != tz:
        notices.append(visit.voice.say("tz: there is no such time zone; {zone} is used", zone=tz))
    found = _range(visit, told, tz, notices)
    return replace(
        found,
        where=where,
        compare=_compare(visit, told["compare"], notices),
        step=_step(visit, told["by"], found, notices),
    ), notices


def _range(visit: Visit, told: dict[str, str], tz: str, notices: list[str]) -> Period:
    if told["from"] or told["to"]:
        params = {"metric": ["total_messages"], **{name: [told[name]] for name in ("from", "to") if told[name]}}
        try:
            now_us = int(datetime.now(UTC).timestamp() * 1e6)
            question = analytics.parse_question(params, Filter(), tz, now_us)
            first, last = date.fromisoformat(question.start[:10]), date.fromisoformat(question.end[:10])
            return Period(first, last, tz, "day")
        except Invalid as wrong:
            notices.append(str(wrong))
    preset = told["range"] or PRESET
    if preset not in PRESETS:
        notices.append(visit.voice.say("range: must be one of {names}", names=", ".join(PRESETS)))
        preset = PRESET
    return usual(preset, tz)


def usual(preset: str, tz: str) -> Period:
    """The period of a preset, as a page without further wishes shows it."""
    today = datetime.now(zone_named(tz, "UTC")).date()
    found = Period(today - timedelta(days=PRESETS[preset] - 1), today, tz, "day", preset)
    return replace(found, step=_fitting(found))


def _compare(visit: Visitor, told: str, notices: list[str]) -> str | None:
    known = {"": "previous", "prev": "previous", "0": None, "none": None}
    if told in known:
        return known[told]
    if told in analytics.COMPARE:
        return told
    notices.append(visit.voice.say("compare: must be one of {names}", names=", ".join(analytics.COMPARE)))
    return "previous"


def _step(visit: Visitor, told: str, found: Period, notices: list[str]) -> str:
    if told in STEPS and found.days <= _LONGEST.get(told, 10**6):
        return told
    if told:
        notices.append(visit.voice.say("by: {step} does not fit this range", step=told))
    return _fitting(found)


def _fitting(found: Period) -> str:
    if found.days <= 2:
        return "hour"
    return "day" if found.days <= 92 else "week" if found.days <= 750 else "month"


def label(voice: Voice, period: Period, row: Row) -> str:
    """What a point in time is called under a line."""
    key = row.key
    if period.step == "hour":
        moment = datetime.fromisoformat(key)
        hour = voice.clock(moment)
        return hour if period.days == 1 else f"{voice.day_short(moment.date())} {hour}"
    if period.step == "month":
        return voice.month(date.fromisoformat(key + "-01"))
    return voice.day_short(date.fromisoformat(key))


def state(visit: Visit) -> list[tuple[str, str]]:
    """The parts of the address that say when, for links to other pages about the same time."""
    return [(name, value) for name, value in visit.params.multi_items() if name in STATE]


__all__ = ["PRESETS", "STEPS", "Period", "label", "parameters", "period", "state"]
