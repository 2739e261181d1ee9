"""The numbers a person reads from the measures, declared.

A metric is one entry of `METRICS`; the API, the tile, the CSV column and the documentation are read from it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final

from agentsight.wire import instant

from . import measures as m


class Sums:
    """The measures of one cell of an answer."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: defaultdict[int, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))

    def put(self, measure: int, key: str, value: int) -> None:
        self._values[measure][key] += value

    def merge(self, other: Sums) -> None:
        for measure, keys in other._values.items():
            for key, value in keys.items():
                self._values[measure][key] += value

    def holds(self, needs: Iterable[int]) -> bool:
        """Whether anything was counted of these measures."""
        return any(value for measure in needs if measure in self._values for value in self._values[measure].values())

    def of(self, measure: int, key: str | None = None) -> int:
        keys = self._values.get(measure)
        if keys is None:
            return 0
        return sum(keys.values()) if key is None else keys.get(key, 0)

    def ratio(self, part: int, whole: int, scale: float = 1) -> float | None:
        """`part` / `whole`, None where there is no whole."""
        count = self.of(whole)
        return self.of(part) / count * scale if count else None

    def mean_ms(self, sum_us: int, count: int) -> float | None:
        return self.ratio(sum_us, count, 1 / 1000)

    def quantile_ms(self, bins: int, share: float) -> float | None:
        """The nearest-rank percentile by the histogram, within 5 %."""
        counts = sorted(self._values.get(bins, {}).items())
        rank = ceil(share * sum(count for _, count in counts))
        for bin, count in counts:
            rank -= count
            if count and rank <= 0:
                return m.bin_value_us(bin) / 1000
        return None


Number = int | float | None


@dataclass(frozen=True, slots=True)
class Metric:
    """A number a person reads. `says` is the sentence under its tile; `better` which way is good: more, less or either.

    `needs` are its measures, `of` makes them the number. `split`: what it can be split by besides time and facet.
    `counts`: which conversations stand behind it, the value of the list's filter `counted_by`; `key`: only their part
    with this key. `sums`: buckets of it add up to its total.
    """

    name: str
    unit: str
    says: str
    better: str
    needs: tuple[int, ...]
    of: Callable[[Sums], Number]
    counts: str
    split: str | None = None
    key: str | None = None
    sums: bool = True

    @property
    def by(self) -> tuple[str, ...]:
        """What it can be split by."""
        return (*TIMES, *m.DIMENSIONS, *([self.split] if self.split else []))


TIMES: Final = ("hour", "day", "week", "month", "weekday_hour")
SPLITS: Final = ("tool", "sentiment", "model", "button")
BY: Final = (*TIMES, *m.DIMENSIONS, *SPLITS)


def _count(measure: int, key: str | None = None) -> Callable[[Sums], Number]:
    return lambda sums: sums.of(measure, key)


def _catalogue() -> Iterator[Metric]:
    yield Metric(
        "total_messages",
        "messages",
        "Messages from people and agents; not actions, buttons, attachments or token usage.",
        "more",
        (m.MESSAGES,),
        _count(m.MESSAGES),
        counts="messages",
    )
    yield Metric(
        "total_conversations",
        "conversations",
        "Conversations started in the range and used; merely opened ones are left out.",
        "more",
        (m.CONVERSATIONS,),
        _count(m.CONVERSATIONS),
        counts="started",
    )
    yield Metric(
        "individual_users",
        "users",
        "Different customers with a message in the range. Exact up to 31 days; over longer ranges within 1 %.",
        "more",
        (m.USERS,),
        _count(m.USERS),
        counts="users",
        sums=False,
    )
    yield from _waits()
    yield Metric(
        "average_duration_ms",
        "ms",
        "From a conversation's start to its last event; conversations started in the range.",
        "either",
        (m.DURATION_US, m.TIMED),
        lambda sums: sums.mean_ms(m.DURATION_US, m.TIMED),
        counts="timed",
        sums=False,
    )
    yield Metric(
        "escalation_rate_pct",
        "%",
        "Used conversations in which an escalation action ran, of all used ones.",
        "less",
        (m.ESCALATED, m.CONVERSATIONS),
        lambda sums: sums.ratio(m.ESCALATED, m.CONVERSATIONS, 100),
        counts="escalated",
        sums=False,
    )
    yield Metric(
        "escalated_conversations",
        "conversations",
        "Used conversations in which an escalation action ran.",
        "less",
        (m.ESCALATED,),
        _count(m.ESCALATED),
        counts="escalated",
    )
    yield Metric(
        "interaction_rate_pct",
        "%",
        "Conversations first opened without a word and used later, of all that were opened so.",
        "more",
        (m.OPENED_USED, m.OPENED),
        lambda sums: sums.ratio(m.OPENED_USED, m.OPENED, 100),
        counts="opened",
        sums=False,
    )
    yield Metric(
        "opened_conversations",
        "conversations",
        "Conversations started in the range that were first opened without a word.",
        "more",
        (m.OPENED,),
        _count(m.OPENED),
        counts="opened",
    )
    yield from _feedback()
    yield from _tools()
    yield from _tokens()
    yield Metric(
        "button_clicks",
        "clicks",
        "Clicks on buttons the agent offered.",
        "more",
        (m.CLICKS,),
        _count(m.CLICKS),
        counts="clicks",
        split="button",
    )
    yield Metric(
        "attachments",
        "files",
        "Files sent, by people and agents.",
        "either",
        (m.FILES,),
        _count(m.FILES),
        counts="files",
    )


def _waits() -> Iterator[Metric]:
    says = "How long customers waited for the reply, from their first unanswered message; turns answered in the range"
    yield Metric(
        "average_response_ms",
        "ms",
        f"{says}. Turns still open are left out, not counted as zero.",
        "less",
        (m.WAIT_US, m.WAITS),
        lambda sums: sums.mean_ms(m.WAIT_US, m.WAITS),
        counts="answered",
        sums=False,
    )
    for name, share, who in (("median", 0.5, "half"), ("p95", 0.95, "95 %")):
        yield Metric(
            f"{name}_response_ms",
            "ms",
            f"{says}: {who} waited no longer. Within 5 %.",
            "less",
            (m.WAIT_BINS,),
            lambda sums, share=share: sums.quantile_ms(m.WAIT_BINS, share),  # type: ignore[misc]
            counts="answered",
            sums=False,
        )


def _feedback() -> Iterator[Metric]:
    yield Metric(
        "satisfaction_pct",
        "%",
        "Positive of all customer feedback given in the range, the latest of each conversation.",
        "more",
        (m.FEEDBACK,),
        lambda sums: sums.of(m.FEEDBACK, "positive") / all_ * 100 if (all_ := sums.of(m.FEEDBACK)) else None,
        counts="feedback",
        split="sentiment",
        sums=False,
    )
    yield Metric(
        "feedback_conversations",
        "conversations",
        "Conversations whose latest customer feedback was given in the range.",
        "more",
        (m.FEEDBACK,),
        _count(m.FEEDBACK),
        counts="feedback",
        split="sentiment",
    )
    for sentiment, better in (("positive", "more"), ("neutral", "either"), ("negative", "less")):
        yield Metric(
            f"feedback_{sentiment}",
            "conversations",
            f"Conversations whose latest customer feedback was given in the range and is {sentiment}.",
            better,
            (m.FEEDBACK,),
            _count(m.FEEDBACK, sentiment),
            counts="feedback",
            split="sentiment",
            key=sentiment,
        )


def _tools() -> Iterator[Metric]:
    yield Metric(
        "tool_runs",
        "runs",
        "Actions the agent ran; token usage is none.",
        "either",
        (m.TOOL_RUNS,),
        _count(m.TOOL_RUNS),
        counts="tool_runs",
        split="tool",
    )
    yield Metric(
        "tool_errors",
        "runs",
        "Actions that failed.",
        "less",
        (m.TOOL_ERRORS,),
        _count(m.TOOL_ERRORS),
        counts="tool_errors",
        split="tool",
    )
    yield Metric(
        "tool_error_rate_pct",
        "%",
        "Actions that failed, of all that ran.",
        "less",
        (m.TOOL_ERRORS, m.TOOL_RUNS),
        lambda sums: sums.ratio(m.TOOL_ERRORS, m.TOOL_RUNS, 100),
        counts="tool_errors",
        split="tool",
        sums=False,
    )
    yield Metric(
        "average_tool_duration_ms",
        "ms",
        "How long actions took, of those that told.",
        "less",
        (m.TOOL_US, m.TOOL_TIMED),
        lambda sums: sums.mean_ms(m.TOOL_US, m.TOOL_TIMED),
        counts="tool_timed",
        split="tool",
        sums=False,
    )


def _tokens() -> Iterator[Metric]:
    told = {
        m.PROMPT_TOKENS: ("prompt_tokens", "Tokens sent to models."),
        m.COMPLETION_TOKENS: ("completion_tokens", "Tokens models answered with."),
        m.EMBEDDING_TOKENS: ("embedding_tokens", "Tokens embedded."),
        m.TOTAL_TOKENS: ("total_tokens", "All tokens, as told; where no total was told, the sum of the others."),
        m.UNPRICED_TOKENS: ("unpriced_tokens", "Tokens of models whose price is not known; they are not in the cost."),
    }
    for measure, (name, says) in told.items():
        yield Metric(name, "tokens", says, "less", (measure,), _count(measure), counts="tokens", split="model")
    yield Metric(
        "cost_usd",
        "USD",
        "Tokens times the list price of their model on that day. What has no known price is in unpriced_tokens.",
        "less",
        (m.COST_NANO_USD,),
        lambda sums: sums.of(m.COST_NANO_USD) / 10**9,
        counts="tokens",
        split="model",
    )


METRICS: Final[Mapping[str, Metric]] = {metric.name: metric for metric in _catalogue()}
KEYED: Final[Mapping[int, str]] = {
    measure: metric.split for metric in METRICS.values() if metric.split for measure in metric.needs
}
"""What the keys of a measure are, where it can be split by them."""


def drill_down(metric: str, by: str | None, key: str | None, first_us: int, until_us: int) -> dict[str, str] | None:
    """Filters of the conversation list that open the conversations behind a number, beside the filters of its question.

    `first_us` and `until_us` are the bounds of the number (of the row, where `by` is a time). None for `weekday_hour`,
    whose rows are no one stretch of time.
    """
    if by == "weekday_hour":
        return None
    chosen = METRICS[metric]
    found = {"counted_by": chosen.counts, "counted_from": instant(first_us), "counted_to": instant(until_us)}
    if chosen.key is not None:
        found["counted_key"] = chosen.key
    if key is not None and by in SPLITS:
        found["counted_key"] = key
    elif key is not None and by in m.DIMENSIONS:
        found[by] = key
    return found


# -- the table in docs/metrics.md ------------------------------------------------------------------------------------
def table() -> str:
    """The catalogue in Markdown."""
    lines = ["| metric | unit | what it says | better | by, besides time and facets |", "|---|---|---|---|---|"]
    for metric in METRICS.values():
        split = f"`{metric.split}`" if metric.split else ""
        lines.append(f"| `{metric.name}` | {metric.unit} | {metric.says} | {metric.better} | {split} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
