"""The numbers of an analytics page: asked for in one place, so that the page, a report, a share and an export agree."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from agentsight.core import analytics, metrics
from agentsight.core.analytics import Answer, Row, Series
from agentsight.core.calendars import WEEKDAYS
from agentsight.core.model import Scope
from agentsight.core.ports import Store

from ..ui import charts
from ..ui.charts import Part
from ..ui.words import Voice
from .period import Period, label

MAIN = ("total_messages", "total_conversations", "individual_users", "average_response_ms")
SMALL = ("average_duration_ms", "escalation_rate_pct", "satisfaction_pct", "total_tokens")
JUDGED = ("feedback_positive", "feedback_neutral", "feedback_negative", "feedback_conversations")
SPENT = frozenset(name for name, metric in metrics.METRICS.items() if metric.split == "model")
FLAT = 0.05  # a change smaller than this is none

Answers = Mapping[str, Answer]
Drill = Callable[..., str]


def questions(period: Period) -> dict[str, analytics.Question]:
    """What an overview asks."""
    return {
        "time": period.question(*MAIN, *SMALL, *JUDGED, by=period.step, compare=True),
        "hours": period.question("total_conversations", "total_messages", by="weekday_hour"),
        "country": period.question("total_conversations", by="country"),
        "device": period.question("total_conversations", by="device"),
        "source": period.question("total_conversations", by="source"),
        "language": period.question("total_conversations", by="language"),
        "tool": period.question("tool_runs", "tool_errors", "average_tool_duration_ms", by="tool"),
    }


def overview(store: Store, scope: Scope, period: Period) -> dict[str, Answer]:
    """All answers of an overview, of one moment."""
    return {name: analytics.answer(store, scope, question) for name, question in questions(period).items()}


@dataclass(frozen=True, slots=True)
class Delta:
    """How a number changed. `good` is None where neither way is better, or nothing changed."""

    words: str
    rises: bool
    good: bool | None
    flat: bool


@dataclass(frozen=True, slots=True)
class Tile:
    name: str
    title: str
    says: str
    value: str
    before: str
    delta: Delta | None
    spark: Markup
    href: str


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    runs: float
    share: float
    average_ms: float | None
    errors: float
    errors_pct: float
    href: str
    errors_href: str


@dataclass(frozen=True, slots=True)
class Board:
    """Answers, as a template shows them. `drill` makes the address of the conversations behind a number."""

    voice: Voice
    period: Period
    answers: Answers
    drill: Drill
    now_us: int
    inline_map: bool = False
    changes: Sequence[tuple[int, str]] = ()  # when something changed, and what
    shows_tokens: bool = True

    @property
    def marks(self) -> dict[int, str]:
        """The points of a line by time at which something changed."""
        rows = self.answers["time"].series[0].rows
        found: dict[int, list[str]] = {}
        for at_us, what in self.changes:
            for place, row in enumerate(rows):
                if row.first_us is not None and row.until_us is not None and row.first_us <= at_us < row.until_us:
                    found.setdefault(place, []).append(what)
        return {place: self.voice.all_of(words[:4]) for place, words in found.items()}

    def tile(self, name: str) -> Tile:
        series = _series(self.answers["time"], name)
        metric = metrics.METRICS[name]
        return Tile(
            name,
            title(self.voice, name),
            brief(self.voice, name) or self.voice.say(metric.says),
            self._priced(name) or said(self.voice, metric.unit, series.total),
            said(self.voice, metric.unit, series.previous) if self.period.compare else "",
            delta(self.voice, metric, series) if self.period.compare else None,
            charts.spark([row.value for row in series.rows]),
            self.drill(name),
        )

    def _priced(self, name: str) -> str:
        """A cost of nothing, where nothing had a price, is not known."""
        asked = {series.name: series.total for series in self.answers["time"].series}
        return unpriced(self.voice, name, asked.get(name), asked.get("unpriced_tokens"))

    @property
    def main(self) -> list[Tile]:
        return [self.tile(name) for name in MAIN]

    @property
    def small(self) -> list[Tile]:
        return [self.tile(name) for name in SMALL if self.shows_tokens or name not in SPENT]

    def line(self, names: Sequence[str]) -> Markup:
        """Metrics over time, the first with its line before."""
        found = [_series(self.answers["time"], name) for name in names]
        rows = found[0].rows
        lines = [
            charts.Series(
                title(self.voice, series.name), [row.value for row in series.rows], colour(series.name, place)
            )
            for place, series in enumerate(found, 1)
        ]
        old = found[0].previous_rows[: len(rows)]
        if self.period.compare and old:
            name = self.voice.say("{metric}, before", metric=lines[0].name)
            values = [row.value for row in old] + [None] * (len(rows) - len(old))
            whens = [label(self.voice, self.period, row) for row in old]
            lines.append(charts.Series(name, values, lines[0].css, True, whens))
        unit = found[0].unit
        return charts.timeseries(
            self.voice,
            self.voice.all_of([line.name for line in lines[: len(found)]]),
            [label(self.voice, self.period, row) for row in rows],
            lines,
            says=lambda value: said(self.voice, unit, value),
            hrefs=[self.drill(found[0].name, self.period.step, row) for row in rows],
            partial=self.period.partial(self.now_us),
            marks=self.marks,
        )

    def key(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """What each of these lines is drawn in, and what it is."""
        return [(colour(name, place), title(self.voice, name)) for place, name in enumerate(names, 1)]

    def heat(self, name: str) -> Markup:
        series = _series(self.answers["hours"], name)
        values = {row.key: row.value or 0 for row in series.rows}
        rows = [[values.get(f"{day}-{hour:02d}", 0) for hour in range(24)] for day in WEEKDAYS]
        caption = self.voice.say("{metric} by weekday and hour", metric=title(self.voice, name))
        return charts.heatmap(
            self.voice, caption, unit(self.voice, series.unit), rows, lambda day, hour: self._hour(name, day, hour)
        )

    def _hour(self, name: str, day: int, hour: int) -> str:
        return self.drill(name, "weekday_hour", Row(f"{WEEKDAYS[day]}-{hour:02d}", None))

    def parts(self, by: str, name: str = "total_conversations", most: int = 0) -> list[Part]:
        """The rows of a split, named; beyond `most` they are left out."""
        rows = _series(self.answers[by], name).rows
        return [
            Part(called(self.voice, by, row.key), row.value or 0, self.drill(name, by, row), row.key)
            for row in (rows[:most] if most else rows)
        ]

    def map(self) -> Markup:
        caption = self.voice.say("Conversations by country")
        words = unit(self.voice, "conversations")
        return charts.worldmap(self.voice, caption, words, self.parts("country"), self.inline_map)

    @property
    def map_key(self) -> Markup:
        """What the map's colours stand for."""
        most = max((part.value for part in self.parts("country") if part.key != "unknown"), default=0)
        return charts.legend("1", self.voice.number(most)) if most else Markup("")

    def donut(self, by: str) -> Markup:
        return charts.donut(self.voice, self.voice.say("Conversations by device"), self.parts(by, most=6))

    def total(self, name: str, of: str = "time") -> float:
        return _series(self.answers[of], name).total or 0

    def tools(self, most: int = 0) -> list[Tool]:
        runs, errors, times = (_series(self.answers["tool"], name).rows for name in TOOL_METRICS)
        failed = {row.key: row.value or 0 for row in errors}
        average = {row.key: row.value for row in times}
        top = (runs[0].value if runs else 0) or 1
        return [
            Tool(
                row.key,
                row.value or 0,
                100 * (row.value or 0) / top,
                average.get(row.key),
                failed.get(row.key, 0),
                100 * failed.get(row.key, 0) / (row.value or 1),
                self.drill("tool_runs", "tool", row),
                self.drill("tool_errors", "tool", row),
            )
            for row in (runs[:most] if most else runs)
        ]


TOOL_METRICS = ("tool_runs", "tool_errors", "average_tool_duration_ms")


def _series(answer: Answer, name: str) -> Series:
    return next(series for series in answer.series if series.name == name)


def colour(name: str, place: int) -> str:
    """What a line is drawn in: what is good or bad by itself looks so, others take the brand's colours in turn."""
    return {"feedback_positive": "good", "feedback_negative": "bad", "tool_errors": "bad"}.get(name, f"c{place}")


def delta(voice: Voice, metric: metrics.Metric, series: Series) -> Delta | None:
    """How a number changed; None when there is nothing to compare. Percentages change by points."""
    now, before = series.total, series.previous
    if now is None or before is None or (metric.unit != "%" and not before):
        return None
    if metric.unit == "%":
        change = now - before
        words = voice.say(
            "{change} points", change=("+" if change > 0 else "−" if change < 0 else "") + voice.number(abs(change), 1)
        )
    else:
        change = 100 * (now - before) / before
        words = voice.signed(change)
    flat = abs(change) < FLAT
    good = None if flat or metric.better == "either" else (change > 0) == (metric.better == "more")
    return Delta(voice.percent(0) if flat else words, change > 0, good, flat)


def said(voice: Voice, unit: str, value: float | None) -> str:
    """A number with its unit, as short as it can be read."""
    if unit == "ms":
        return voice.wait(value)
    if unit == "%":
        return voice.percent(value)
    return voice.money(value) if unit == "USD" else voice.short(value)


def unpriced(voice: Voice, name: str, cost: float | None, tokens: float | None) -> str:
    """What stands in place of a cost nobody can know; empty where it is known."""
    return voice.say("Unknown") if name == "cost_usd" and not cost and tokens else ""


def unit(voice: Voice, name: str) -> str:
    words = {
        "messages": voice.say("messages"),
        "conversations": voice.say("conversations"),
        "users": voice.say("users"),
        "runs": voice.say("runs"),
        "tokens": voice.say("tokens"),
        "clicks": voice.say("clicks"),
        "files": voice.say("files"),
    }
    return words.get(name, "")


def called(voice: Voice, by: str, key: str) -> str:
    """What a row of a split is called."""
    if key == "unknown":
        return voice.say("Unknown")
    if by == "country":
        return voice.country(key)
    if by == "language":
        return voice.tongue(key)
    known = {
        "desktop": voice.say("Desktop"),
        "mobile": voice.say("Mobile"),
        "tablet": voice.say("Tablet"),
        "positive": voice.say("Positive"),
        "neutral": voice.say("Neutral"),
        "negative": voice.say("Negative"),
    }
    return known.get(key, key) if by in ("device", "sentiment") else key


def title(voice: Voice, name: str) -> str:
    """A metric's name for people."""
    titles = {
        "total_messages": voice.say("Total messages"),
        "total_conversations": voice.say("Conversations"),
        "individual_users": voice.say("Individual users"),
        "average_response_ms": voice.say("Average response time"),
        "median_response_ms": voice.say("Median response time"),
        "p95_response_ms": voice.say("Response time, 95 %"),
        "average_duration_ms": voice.say("Average duration"),
        "escalation_rate_pct": voice.say("Human escalation"),
        "escalated_conversations": voice.say("Escalated conversations"),
        "interaction_rate_pct": voice.say("Interaction rate"),
        "opened_conversations": voice.say("Opened conversations"),
        "satisfaction_pct": voice.say("Satisfaction"),
        "feedback_conversations": voice.say("Conversations with feedback"),
        "feedback_positive": voice.say("Positive feedback"),
        "feedback_neutral": voice.say("Neutral feedback"),
        "feedback_negative": voice.say("Negative feedback"),
        "tool_runs": voice.say("Tool runs"),
        "tool_errors": voice.say("Tool errors"),
        "tool_error_rate_pct": voice.say("Tool error rate"),
        "average_tool_duration_ms": voice.say("Average tool duration"),
        "prompt_tokens": voice.say("Prompt tokens"),
        "completion_tokens": voice.say("Completion tokens"),
        "embedding_tokens": voice.say("Embedding tokens"),
        "total_tokens": voice.say("Tokens used"),
        "unpriced_tokens": voice.say("Tokens without a price"),
        "cost_usd": voice.say("Cost"),
        "button_clicks": voice.say("Button clicks"),
        "attachments": voice.say("Attachments"),
    }
    return titles.get(name, name)


def brief(voice: Voice, name: str) -> str:
    """What stands under a main tile, short enough to be read whole; the definition is its title."""
    told = {
        "total_messages": voice.say("From people and agents"),
        "total_conversations": voice.say("Started and used"),
        "individual_users": voice.say("Different customers who wrote"),
        "average_response_ms": voice.say("From a question to its answer"),
        "average_duration_ms": voice.say("From its start to its last event"),
        "total_tokens": voice.say("Prompt, completion, embedding"),
        "cost_usd": voice.say("At the list prices of the day"),
        "feedback_positive": voice.say("By their latest vote"),
        "feedback_negative": voice.say("By their latest vote"),
        "feedback_conversations": voice.say("Judged by the customer"),
    }
    return told.get(name, "")


def names(by: Iterable[str]) -> list[str]:
    """Metrics that can be split so."""
    return [name for name, metric in metrics.METRICS.items() if set(by) & set(metric.by)]
