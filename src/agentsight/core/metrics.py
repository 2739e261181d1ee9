"""The numbers, declared: what an event adds to the measures, and what a person reads from them.

A metric is one entry of `METRICS`; the API, the tile, the CSV column and the documentation are read from it.
`restate` says what a change does to the measures: exactly what it touches, whatever its order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from math import ceil
from operator import attrgetter
from typing import Final

from agentsight.wire import instant

from . import measures as m
from . import prices
from .measures import Contribution, Deltas, Facet
from .model import Agent, Conversation, Event, Feedback, Filter, Scope
from .ports import Store
from .turns import Turn, follow

_AT_ONCE = 500  # conversations read at a time by `rebuild`


# -- what things add to the measures ---------------------------------------------------------------------------------


def facet_of(head: Conversation) -> Facet:
    """The facet a conversation counts under."""
    return _facet(head.country, head.device_kind, head.source, head.language)


@lru_cache(maxsize=65_536)
def _facet(country: str | None, device: str | None, source: str | None, language: str | None) -> Facet:
    return country or m.UNKNOWN, m.normal(device), m.normal(source), m.normal(language)


def of_head(head: Conversation) -> Iterator[Contribution]:
    """What a conversation adds when it starts."""
    started_us = head.started_us
    if head.is_used:
        yield started_us, m.CONVERSATIONS, "", 1
        if head.is_escalated:
            yield started_us, m.ESCALATED, "", 1
    if head.is_opened:
        yield started_us, m.OPENED, "", 1
        if head.is_used:
            yield started_us, m.OPENED_USED, "", 1
    if head.ended_us is not None:
        yield started_us, m.TIMED, "", 1
        yield started_us, m.DURATION_US, "", max(0, head.ended_us - started_us)


def of_events(head: Conversation, events: Iterable[Event]) -> Iterator[Contribution]:
    """What each event adds on its own, whatever came before it."""
    customer = head.customer_id
    for event in events:
        kind, at_us = event.kind, event.occurred_us
        if kind == "message":
            if event.sender != "system":
                yield at_us, m.MESSAGES, "", 1
                if customer:
                    yield at_us, m.USERS, customer, 1
        elif kind == "action":
            yield from _of_action(event)
        elif kind == "token_usage":
            yield from _of_tokens(event)
        elif kind == "button":
            yield at_us, m.CLICKS, event.name or m.UNKNOWN, 1
        elif kind == "attachment":
            yield at_us, m.FILES, "", int(event.detail.get("file_count", 1))


def _of_action(event: Event) -> Iterator[Contribution]:
    at_us, name = event.occurred_us, event.name or m.UNKNOWN
    if name == "token_usage":
        return
    yield at_us, m.TOOL_RUNS, name, 1
    if event.error is not None:
        yield at_us, m.TOOL_ERRORS, name, 1
    if event.duration_ms is not None:
        yield at_us, m.TOOL_TIMED, name, 1
        yield at_us, m.TOOL_US, name, round(event.duration_ms * 1000)


def _of_tokens(event: Event) -> Iterator[Contribution]:
    """Where the sender gave no total, it is the sum of the others; tokens nobody knows a price of are unpriced."""
    at_us, model, used = event.occurred_us, event.name or m.UNKNOWN, event.detail
    prompt, completion = used.get("prompt_tokens") or 0, used.get("completion_tokens") or 0
    embedding = used.get("embedding_tokens") or 0
    total = used.get("total_tokens") or prompt + completion + embedding
    nano, priced = prices.cost(event.name, prompt, completion, embedding, at_us)
    yield at_us, m.PROMPT_TOKENS, model, prompt
    yield at_us, m.COMPLETION_TOKENS, model, completion
    yield at_us, m.EMBEDDING_TOKENS, model, embedding
    yield at_us, m.TOTAL_TOKENS, model, total
    yield at_us, m.COST_NANO_USD, model, nano
    yield at_us, m.UNPRICED_TOKENS, model, max(0, total - priced)


def of_turns(turns: Iterable[Turn]) -> Iterator[Contribution]:
    """What answered turns add, at the time of the answer."""
    for asked_us, answered_us in turns:
        yield answered_us, m.WAIT_US, "", answered_us - asked_us
        yield answered_us, m.WAITS, "", 1
        yield answered_us, m.WAIT_BINS, m.bin_of(answered_us - asked_us), 1


def of_feedbacks(feedbacks: Iterable[Feedback]) -> Iterator[Contribution]:
    """What a conversation's feedback adds: one voice, its latest customer feedback, when it was given."""
    given = [feedback for feedback in feedbacks if feedback.source == "customer"]
    if given:
        latest = max(given, key=lambda feedback: (feedback.created_us, feedback.id))
        yield latest.created_us, m.FEEDBACK, latest.sentiment, 1


def whole(head: Conversation, events: Sequence[Event], feedbacks: Iterable[Feedback]) -> Iterator[Contribution]:
    """Everything one live conversation adds; its events in order."""
    yield from of_head(head)
    yield from of_events(head, events)
    yield from of_turns(follow(events)[0])
    yield from of_feedbacks(feedbacks)


# -- what a change does to them --------------------------------------------------------------------------------------
def restate(
    store: Store,
    before: Conversation | None,
    after: Conversation | None,
    events: Sequence[Event] = (),
    feedbacks: Sequence[Feedback] = (),
    deltas: Deltas | None = None,
) -> Deltas:
    """Add to `deltas` what a change to one conversation does to the rollups; call it after the rows are stored.

    `before`, `after`: its head; None: it did not exist, it is erased (then call this before its rows go).
    `events`, `feedbacks`: those new with this change, events in order. Events after the last message, which nearly all
    are, cost no read; late messages restate the turns around them; a change of place (facet, environment, customer,
    deleted or not) moves the whole conversation.
    """
    deltas = Deltas() if deltas is None else deltas
    if before is not None and (after is None or _where(before) != _where(after)):
        _move(store, before, after, events, feedbacks, deltas)
    elif after is not None and after.deleted_us is None:
        facet = facet_of(after)
        if before is None:
            deltas.facets.add(facet)
        added = chain(_of_growth(before, after), of_events(after, events), of_turns(_fresh_turns(before, events)))
        deltas.add(after.environment == "production", facet, after.id, added)
        if before is not None and (late := _late(before, events)):
            _restretch(store, after, late, deltas)
        if feedbacks:
            _rejudge(store, after, feedbacks, deltas)
    return deltas


_where = attrgetter("environment", "country", "device_kind", "source", "language", "customer_id", "deleted_us")


def _home(head: Conversation | None) -> tuple[bool, Facet] | None:
    """Where a conversation's sums are kept; None: it does not count."""
    if head is None or head.deleted_us is not None:
        return None
    return head.environment == "production", facet_of(head)


_state = attrgetter("started_us", "is_used", "is_escalated", "is_opened")


def _of_growth(before: Conversation | None, after: Conversation) -> Iterator[Contribution]:
    """What a conversation adds at its start more than before; mostly it only lasts longer."""
    if before is None:
        yield from of_head(after)
    elif before.ended_us is None or after.ended_us is None or _state(before) != _state(after):
        yield from ((at_us, measure, key, -value) for at_us, measure, key, value in of_head(before))
        yield from of_head(after)
    elif before.ended_us != after.ended_us:
        started_us = after.started_us
        longer = max(0, after.ended_us - started_us) - max(0, before.ended_us - started_us)
        yield started_us, m.DURATION_US, "", longer


def _late(before: Conversation, events: Sequence[Event]) -> list[Event]:
    """The new messages, if any of them comes before the last message known."""
    if before.last_message_us is None:
        return []
    for event in events:  # in order: the first message decides
        if event.kind == "message":
            last = before.last_message_us, before.last_message_seq
            if (event.occurred_us, event.seq) < last:
                return [event for event in events if event.kind == "message"]
            return []
    return []


def _fresh_turns(before: Conversation | None, events: Sequence[Event]) -> list[Turn]:
    """The turns the new messages answer, where all of them come after those known."""
    if before is None:
        return follow(events)[0]
    return [] if _late(before, events) else follow(events, before.open_since_us)[0]


def _restretch(store: Store, after: Conversation, late: list[Event], deltas: Deltas) -> None:
    """Cut the turns around late messages again."""
    production, facet = after.environment == "production", facet_of(after)
    fresh = {event.id for event in late}
    stretch = store.timeline.messages_between(after.agent_id, after.id, late[0].occurred_us, late[-1].occurred_us)
    deltas.add(
        production, facet, after.id, of_turns(follow(event for event in stretch if event.id not in fresh)[0]), -1
    )
    deltas.add(production, facet, after.id, of_turns(follow(stretch)[0]))


def _rejudge(store: Store, after: Conversation, feedbacks: Sequence[Feedback], deltas: Deltas) -> None:
    """Let the conversation's voice be that of its latest feedback, old or new."""
    production, facet = after.environment == "production", facet_of(after)
    given = _feedbacks(store, after)
    fresh = {feedback.id for feedback in feedbacks}
    deltas.add(
        production, facet, after.id, of_feedbacks(feedback for feedback in given if feedback.id not in fresh), -1
    )
    deltas.add(production, facet, after.id, of_feedbacks(given))


def rejudged(head: Conversation, before: Sequence[Feedback], after: Sequence[Feedback]) -> Deltas:
    """What it does to the rollups that a conversation's feedback is another now: one was changed, or taken back."""
    deltas, home = Deltas(), _home(head)
    if home is not None:
        deltas.add(*home, head.id, of_feedbacks(before), -1)
        deltas.add(*home, head.id, of_feedbacks(after))
    return deltas


def _move(
    store: Store,
    before: Conversation,
    after: Conversation | None,
    events: Sequence[Event],
    feedbacks: Sequence[Feedback],
    deltas: Deltas,
) -> None:
    stored = store.rollups.facts(before.agent_id, [before.id]).get(before.id, [])
    given = _feedbacks(store, before)
    home, new_home = _home(before), _home(after)
    if home is not None:
        fresh, fresh_feedbacks = {event.id for event in events}, {feedback.id for feedback in feedbacks}
        old = [event for event in stored if event.id not in fresh]
        spoken = [feedback for feedback in given if feedback.id not in fresh_feedbacks]
        deltas.add(*home, before.id, whole(before, old, spoken), -1)
    if after is not None and new_home is not None:
        deltas.facets.add(new_home[1])
        deltas.add(*new_home, after.id, whole(after, stored, given))


def _feedbacks(store: Store, head: Conversation) -> list[Feedback]:
    return list(store.conversations.feedbacks(head.agent_id, [head.id]).get(head.id, []))


# -- metrics ---------------------------------------------------------------------------------------------------------
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


# -- keeping it true -------------------------------------------------------------------------------------------------
def rebuild(store: Store, scope: Scope) -> list[str]:
    """Compute all rollups of these agents again from the events; gives a sentence for each sum that differed.

    Call it inside a write transaction; memory stays constant. Of many differences some are told; when nothing differs,
    nothing is written.
    """
    told: list[str] = []
    for agent_id in scope.agent_ids:
        own = Scope(scope.organization_id, (agent_id,))
        store.rollups.begin_again(agent_id)
        before: tuple[int, int] | None = None
        more = True
        while more:
            heads, more = store.conversations.page(own, Filter(), limit=_AT_ONCE, before=before)
            before = (heads[-1].started_us, heads[-1].id) if heads else None
            store.rollups.apply(agent_id, together(store, agent_id, heads))
        told += store.rollups.finish_again(agent_id)
    return told


def together(store: Store, agent_id: int, heads: Sequence[Conversation]) -> Deltas:
    """What these conversations of an agent add to the sums, all of it."""
    deltas = Deltas()
    ids = [head.id for head in heads]
    events, feedbacks = store.rollups.facts(agent_id, ids), store.conversations.feedbacks(agent_id, ids)
    for head in heads:
        home = _home(head)
        if home is not None:
            deltas.facets.add(home[1])
            deltas.add(*home, head.id, whole(head, events.get(head.id, []), feedbacks.get(head.id, [])))
    return deltas


def escalate_again(store: Store, before: Agent, after: Agent) -> int:
    """Judge anew which conversations were escalated, after the agent's list of escalation actions changed; gives how many were."""
    scope, judged = Scope(after.organization_id, (after.id,)), 0
    for name in sorted(before.escalation_actions ^ after.escalation_actions):
        place: tuple[int, int] | None = None
        more = True
        while more:
            where = Filter(action_name=name, include_deleted=True)
            heads, more = store.conversations.page(scope, where, limit=_AT_ONCE, before=place)
            place = (heads[-1].started_us, heads[-1].id) if heads else None
            events = store.rollups.facts(after.id, [head.id for head in heads])
            for head in heads:
                ran = {event.name for event in events.get(head.id, []) if event.kind == "action"}
                is_escalated = not ran.isdisjoint(after.escalation_actions)
                if is_escalated != head.is_escalated:
                    changed = head.but(is_escalated=is_escalated)
                    store.conversations.change([changed])
                    store.rollups.apply(after.id, restate(store, head, changed))
                    judged += 1
    return judged


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
