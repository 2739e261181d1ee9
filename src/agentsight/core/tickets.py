"""Tickets: something to be done about an agent, with a thread. Who writes with a key is the agent, people are its makers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agentsight import wire
from agentsight.errors import Invalid, NotFound

from . import audit, conversations
from .model import Agent, Comment, Conversation, Feedback, Principal, Scope, Ticket
from .ports import Store
from .reading import Reader, asked, choice, environment, flag, moment, number, ordering, required, row, several, text

STATUSES = ("backlog", "open", "in_progress", "in_review", "done", "closed")
OPEN = STATUSES[:4]
PRIORITIES = ("low", "medium", "high")
MOST_TAGS, TAG_CHARS, TITLE_CHARS, BODY_CHARS = 20, 50, 255, 10_000


def _tags(told: str, name: str) -> list[str]:
    return [tag.strip() for tag in text(told, name).split(",") if tag.strip()]


FILTERS: Mapping[str, Reader] = {
    "conversation": number,
    "conversation_id": text,
    "created_at_after": moment,
    "created_at_before": moment,
    "updated_at_after": moment,
    "updated_at_before": moment,
    "environment": environment,
    "has_conversation": flag,
    "has_feedback": flag,
    "priority": choice(*PRIORITIES),
    "status": several(*STATUSES),
    "tags": _tags,
    "search": text,
}
ORDERS = ("created_at", "updated_at", "priority", "status", "title", "id")
CHANGING = ("title", "status", "priority", "tags")


def page(
    store: Store, scope: Scope, params: Mapping[str, Sequence[str]], limit: int, offset: int
) -> tuple[int, list[Ticket]]:
    """How many match, and some of them, newest first unless ordered otherwise."""
    where, order = asked(params, FILTERS), ordering(params, ORDERS, "-created_at")
    if where.get("tags") == []:
        del where["tags"]
    return store.tickets.count(scope, where), store.tickets.page(scope, where, order, limit, offset)


def get(store: Store, scope: Scope, id: int) -> Ticket:
    """One ticket by our id. Raises NotFound."""
    found = store.tickets.find(scope, id)
    if found is None:
        raise NotFound("no such ticket")
    return found


def create(store: Store, who: Principal, agent: Agent | None, told: Mapping[str, Any], now_us: int) -> Ticket:
    """File a ticket. `agent`: where nothing it is about says whose it is. Its environment is, unless told, that of what
    it is about.

    Raises:
        Invalid, NotFound
    """
    given = _told_feedback(store, who.scope, told.get("feedback_id", told.get("feedback")))
    head = _told_conversation(store, who.scope, told.get("conversation_id", told.get("conversation")))
    if head is None and given is not None and given.conversation:
        head = conversations.get(store, who.scope, given.conversation)
    of = head.agent_id if head else given.agent_id if given else agent.id if agent else None
    sound = _sound({"status": "open", "tags": [], "priority": None} | {name: told.get(name) for name in CHANGING
                   if told.get(name) is not None or name == "title"})  # fmt: skip
    if of is None:
        raise Invalid.of("agent", "is required: which of your agents it is about")
    seen = (head.environment or "development") if head else (given and given.environment) or "production"
    lies_in = environment(wire.read_text(told.get("environment") or seen, "environment"), "environment")
    return store.tickets.add(
        Ticket(
            id=0,
            agent_id=of,
            conversation=head.id if head else None,
            feedback=given.id if given else None,
            **sound,
            environment=lies_in,
            author=who.name,
            created_us=now_us,
            updated_us=now_us,
        )
    )


def change(store: Store, scope: Scope, id: int, told: Mapping[str, Any], now_us: int) -> Ticket:
    """Set title, status, priority or tags. Raises NotFound, Invalid."""
    before = get(store, scope, id)
    if "environment" in told:
        raise Invalid.of("environment", "tells where it was seen, and stays")
    sound = _sound({name: told[name] for name in CHANGING if name in told})
    if not sound:
        raise Invalid.of("body", f"must set at least one of {', '.join(CHANGING)}")
    after = replace(before, **sound, updated_us=max(now_us, before.updated_us))
    store.tickets.change(after)
    return after


def delete(store: Store, who: Principal, id: int, now_us: int, ip: str | None = None) -> None:
    """Take a ticket and its thread out for good. Raises NotFound."""
    gone = get(store, who.scope, id)
    store.tickets.remove(gone.agent_id, gone.id)
    audit.note(store, who, "ticket.deleted", str(id), ip=ip, now_us=now_us)


def comment(store: Store, who: Principal, id: int, body: Any, now_us: int) -> Comment:
    """Add to the thread. Raises NotFound, Invalid."""
    of = get(store, who.scope, id)
    said = required(body, "body", BODY_CHARS)
    role = "agent" if who.key_id is not None else "dev"
    store.tickets.change(replace(of, updated_us=max(now_us, of.updated_us)))
    return store.tickets.comment(Comment(0, of.agent_id, of.id, who.name, role, said, now_us))


# -- values ----------------------------------------------------------------------------------------------------------
def _sound(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _READERS[name](value) for name, value in told.items()}


def _one_of(value: Any, name: str, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise Invalid.of(name, f"must be one of {', '.join(allowed)}")
    return value


def _tag_list(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MOST_TAGS:
        raise Invalid.of("tags", f"must be an array of {MOST_TAGS} texts at most")
    return tuple(dict.fromkeys(required(tag, "tags", TAG_CHARS) for tag in value))


_READERS: Mapping[str, Any] = {
    "title": lambda value: required(value, "title", TITLE_CHARS),
    "status": lambda value: _one_of(value, "status", STATUSES),
    "priority": lambda value: None if value is None else _one_of(value, "priority", PRIORITIES),
    "tags": _tag_list,
}


def _told_conversation(store: Store, scope: Scope, value: Any) -> Conversation | None:
    return None if value is None else conversations.get(store, scope, row(value, "conversation_id"))


def _told_feedback(store: Store, scope: Scope, value: Any) -> Feedback | None:
    if value is None:
        return None
    found = store.feedback.find(scope, row(value, "feedback_id"))
    if found is None:
        raise NotFound("no such feedback")
    return found[0]
