"""What each thing adds to the measures, and what a change does to them: exactly what it touches, whatever its order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from operator import attrgetter

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
