"""Feedback as a list of its own: on conversations, on single messages, on an agent itself; given, changed, taken back."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agentsight import wire
from agentsight.errors import Forbidden, Invalid, NotFound
from agentsight.wire import Draft

from . import audit, conversations, counting, ingest
from .model import Agent, Conversation, Event, Feedback, Principal, Scope
from .ports import Store
from .reading import Reader, asked, choice, environment, flag, moment, number, ordering, row, several, text
from .tickets import OPEN, STATUSES

KINDS = ("conversation", "message", "agent", "product")
FILTERS: Mapping[str, Reader] = {
    "agent": number,
    "category": text,
    "comment_contains": text,
    "conversation": number,
    "conversation_id": text,
    "created_at_after": moment,
    "created_at_before": moment,
    "environment": environment,
    "has_comment": flag,
    "has_ticket": flag,
    "include_tickets": flag,
    "kind": choice(*KINDS),
    "message": number,
    "reason": text,
    "search": text,
    "sentiment": choice(*wire.SENTIMENTS),
    "source": choice(*wire.FEEDBACK_SOURCES),
    "ticket_status": several(*STATUSES),
    "topic": text,
    "user": text,
}
ORDERS = ("created_at", "id", "kind", "sentiment", "category")
CHANGING = ("sentiment", "comment", "topic", "reason")
SLUG_CHARS = 50
_GATED = ("has_ticket", "ticket_status")
Placed = tuple[Feedback, str | None, str]
"""Feedback, the conversation_id it belongs to, the environment it counts in."""


def page(
    store: Store, scope: Scope, params: Mapping[str, Sequence[str]], limit: int, offset: int
) -> tuple[dict[str, int], list[Placed], bool]:
    """Counts, some of the rows newest first unless ordered otherwise, and whether their tickets were asked for.

    Raises:
        Invalid: names what cannot be read; filters for tickets without `include_tickets=true`.
    """
    where, order = asked(params, FILTERS), ordering(params, ORDERS, "-created_at")
    with_tickets = bool(where.pop("include_tickets", False))
    for name in _GATED:
        if name in where and not with_tickets:
            raise Invalid.of(name, "needs include_tickets=true")
    if with_tickets:
        where.setdefault("has_ticket", True)
    counts = {"all": store.feedback.count(scope, where)}
    if with_tickets:
        by_status = store.feedback.ticketed(scope, {name: of for name, of in where.items() if name != "ticket_status"})
        counts |= {"tickets": sum(by_status.values()), "open_tickets": sum(by_status.get(name, 0) for name in OPEN)}
        counts |= {name: by_status.get(name, 0) for name in STATUSES}
    return counts, store.feedback.page(scope, where, order, limit, offset), with_tickets


def get(store: Store, scope: Scope, id: int) -> Placed:
    """One by our id. Raises NotFound."""
    found = store.feedback.find(scope, id)
    if found is None:
        raise NotFound("no such feedback")
    return found


# -- giving ----------------------------------------------------------------------------------------------------------
def on_conversation(
    store: Store, who: Principal, agent: Agent, head: Conversation, told: Mapping[str, Any], now_us: int
) -> Feedback:
    """Judge a conversation. Raises Invalid."""
    for name in ("environment", "topic", "reason"):
        if told.get(name) is not None:
            raise Invalid.of(name, "is not for feedback on a conversation")
    event_id = told.get("event_id")
    name = wire.storable(event_id) if isinstance(event_id, str) and event_id else str(uuid.uuid4())
    fields = wire.check("feedback", told)
    return conversations.add_feedback(store, agent, head, fields, name[:128], now_us, _source(who))


def on_message(store: Store, who: Principal, told: Mapping[str, Any], now_us: int) -> tuple[Feedback, bool]:
    """Judge a message: one vote each, so another one changes it; what is not told stays. True: it is the first.

    Raises:
        NotFound, Invalid
    """
    event = said(store, who.scope, row(told.get("message"), "message"))
    head = conversations.get(store, who.scope, event.conversation)
    known = store.feedback.vote(event.agent_id, head.id, event.id)
    if known is not None:
        return change(store, who.scope, known.id, {name: told[name] for name in CHANGING if name in told}), False
    agent = store.tenants.agent(event.agent_id)
    if agent is None:
        raise NotFound("no such message")
    slugs = {
        name: wire.read_text(told[name], name, SLUG_CHARS) for name in ("topic", "reason") if told.get(name) is not None
    }
    fields = {**wire.check("feedback", told), **slugs, "message": event.id}
    draft = Draft(str(uuid.uuid4()), "feedback", head.conversation_id, now_us, 0, fields)
    ingest.accept(store, agent, [draft], now_us, source=_source(who))
    return store.conversations.known_feedbacks(agent.id, [draft.event_id])[draft.event_id], True


def on_agent(store: Store, who: Principal, told: Mapping[str, Any], now_us: int) -> Feedback:
    """Judge an agent as such. Raises NotFound, Invalid."""
    of = who.agent.id if told.get("agent") is None and who.agent else row(told.get("agent"), "agent")
    if of not in who.scope.agent_ids:
        raise NotFound("no such agent")
    for name in ("topic", "reason"):
        if told.get(name) is not None:
            raise Invalid.of(name, "is for feedback on a message")
    fields = wire.check("feedback", told)
    lies_in = "production"
    if told.get("environment") is not None:
        lies_in = environment(wire.read_text(told["environment"], "environment"), "environment")
    id = store.conversations.next_feedback_ids(1)[0]
    given = Feedback(
        id, of, 0, str(uuid.uuid4()), fields["sentiment"], _source(who), now_us, fields.get("comment"),
        fields.get("metadata", {}), environment=lies_in,
    )  # fmt: skip
    store.conversations.add_feedbacks([given])
    return given


def require_kind(told: Mapping[str, Any]) -> str:
    """What it is about. Raises Invalid, and Forbidden for what only the maker of this system is told."""
    kind = told.get("kind", "conversation")
    if kind == "product":
        raise Forbidden("feedback on the product is for its own people")
    if kind not in KINDS:
        raise Invalid.of("kind", f"must be one of {', '.join(KINDS[:3])}")
    return str(kind)


def said(store: Store, scope: Scope, id: int) -> Event:
    """A row of a live transcript by our id. Raises NotFound."""
    event = store.timeline.find(scope, id)
    if event is None or event.kind not in ("message", "action", "button", "attachment"):
        raise NotFound("no such message")
    if store.conversations.get(scope, event.conversation) is None:
        raise NotFound("no such message")
    return event


def _source(who: Principal) -> str:
    return "customer" if who.key_id is not None else "platform"


# -- changing --------------------------------------------------------------------------------------------------------
def change(store: Store, scope: Scope, id: int, told: Mapping[str, Any]) -> Feedback:
    """Set sentiment and comment, of a vote on a message also topic and reason. Raises NotFound, Invalid."""
    before, *_ = get(store, scope, id)
    sound = {name: _sound(before, name, told[name]) for name in CHANGING if name in told}
    if not sound:
        raise Invalid.of("body", f"must set at least one of {', '.join(CHANGING)}")
    after = replace(before, **sound)
    given = _beside(store, before)
    store.feedback.change(after)
    _rejudge(store, scope, before, given, [after if one.id == after.id else one for one in given])
    return after


def delete(store: Store, who: Principal, id: int, now_us: int, ip: str | None = None) -> None:
    """Take one back for good; a ticket made of it stays. Raises NotFound."""
    gone, *_ = get(store, who.scope, id)
    given = _beside(store, gone)
    store.feedback.remove(gone)
    store.tickets.forget_feedback(gone.agent_id, gone.id)
    _rejudge(store, who.scope, gone, given, [one for one in given if one.id != gone.id])
    audit.note(store, who, "feedback.deleted", str(id), ip=ip, now_us=now_us)


def _beside(store: Store, of: Feedback) -> list[Feedback]:
    """All that was said of its conversation."""
    if not of.conversation:
        return []
    return list(store.conversations.feedbacks(of.agent_id, [of.conversation])[of.conversation])


def _rejudge(store: Store, scope: Scope, of: Feedback, before: list[Feedback], after: list[Feedback]) -> None:
    """Let head and numbers be what the feedback is now."""
    if not of.conversation:
        return
    head = conversations.get(store, scope, of.conversation)
    voices = [one.sentiment for one in after if one.source == "customer"]
    changed = head.but(feedback_count=len(after), sentiment=voices[-1] if voices else None)
    store.conversations.change([changed])
    store.rollups.apply(head.agent_id, counting.rejudged(head, before, after))


def _sound(of: Feedback, name: str, value: Any) -> Any:
    if name in ("topic", "reason"):
        if of.message is None:
            raise Invalid.of(name, "is for feedback on a message")
        return None if value is None else wire.read_text(value, name, SLUG_CHARS)
    if name == "sentiment":
        return wire.check("feedback", {"sentiment": value})["sentiment"]
    return wire.check("feedback", {"sentiment": "neutral", "comment": value}).get("comment")
