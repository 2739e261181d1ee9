"""Find, open, change, delete conversations; feedback on them. Every call takes the scope first: a stranger's id is not found."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from agentsight import wire
from agentsight.errors import Conflict, Forbidden, Invalid, InvalidEvent, NotFound
from agentsight.wire import Draft

from . import counting, ingest
from .model import Agent, Conversation, Event, Feedback, Filter, Scope, Transcript
from .ports import Store
from .reading import choice, environment, flag, moment

_PATH = re.compile(r"[^\x00-\x1f]{1,256}")
_MAX_PAIRS = 20
_UPDATABLE = ("name", "is_marked", "customer_id", "device", "language", "metadata")


# -- questions -------------------------------------------------------------------------------------------------------
def parse_filter(params: Mapping[str, Sequence[str]]) -> Filter:
    """The filter a query string asks for; unknown parameters are ignored.

    Raises:
        Invalid: names the first parameter that cannot be read.
    """
    found = _filter((name, _read(name, value)) for name, value in _given(params))
    pair = [value[-1] for name in ("metadata_key", "metadata_value") if (value := params.get(name))]
    if len(pair) == 1:
        raise Invalid.of("metadata_key", "and metadata_value need each other")
    if pair and not _PATH.fullmatch(pair[0]):
        raise Invalid.of("metadata_key", "must be a key, or keys with dots between them")
    return replace(found, metadata=(*found.metadata, (pair[0], _read("metadata_value", pair[1])))) if pair else found


def parse_filter_leniently(params: Mapping[str, Sequence[str]]) -> tuple[Filter, list[str]]:
    """As `parse_filter`, but what cannot be read is left out, and a sentence for each says so."""
    values: list[tuple[str, Any]] = []
    notices: list[str] = []
    for name, text in _given(params):
        try:
            values.append((name, _read(name, text)))
        except Invalid as wrong:
            notices.append(str(wrong))
    return _filter(values), notices


def _filter(read: Iterable[tuple[str, Any]]) -> Filter:
    """Of a name given twice the last counts; of one that negates, all."""
    values: dict[str, Any] = {}
    unless: list[tuple[str, Any]] = []
    for name, value in read:
        if name.endswith(wire.NOT):
            unless.append((name.removesuffix(wire.NOT), value))
        else:
            values[name] = value
    return Filter(**values, unless=tuple(unless))


def _given(params: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    for name in wire.FILTERS:
        values = params.get(name) or (params.get("env") if name == "environment" else None) or ()
        for value in values:
            if value != "" or name == "conversation_id":
                yield name, value


def _read(name: str, text: str) -> Any:
    try:
        reader = _READERS.get(name.removesuffix(wire.NOT))
        return reader(text, name) if reader else wire.read_text(text, name)
    except InvalidEvent as wrong:
        raise Invalid.of(wrong.field, wrong.reason) from None


def _pairs(text: str, name: str) -> tuple[tuple[str, str], ...]:
    pairs = []
    for part in text.split(","):
        key, colon, value = part.partition(":")
        if not part.strip():
            continue
        if not colon or not _PATH.fullmatch(key.strip()):
            raise Invalid.of(name, "must read key:value[,key:value...]")
        pairs.append((key.strip(), value.strip()))
    if len(pairs) > _MAX_PAIRS:
        raise Invalid.of(name, f"holds more than {_MAX_PAIRS} pairs")
    return tuple(pairs)


_READERS: dict[str, Callable[[str, str], Any]] = {
    "is_marked": flag,
    "is_used": flag,
    "include_deleted": flag,
    "has_messages": flag,
    "has_feedback": flag,
    "has_action": flag,
    "has_error": flag,
    "escalated": flag,
    "started_at_after": moment,
    "started_at_before": moment,
    "environment": environment,
    "include_tickets": flag,
    "feedback_sentiment": choice(*wire.SENTIMENTS),
    "feedback_source": choice(*wire.FEEDBACK_SOURCES),
    "metadata": _pairs,
    "message_contains": lambda text, name: wire.read_text(text, name, 1_000),
    "search": lambda text, name: wire.read_text(text, name, 1_000),
    "counted_by": choice(*wire.COUNTED),
    "counted_from": moment,
    "counted_to": moment,
}


ORDERS = ("started_at", "ended_at", "id", "customer_id", "is_marked", "language")
NEWEST = "-started_at"
_SAMPLED, _MOST_KEYS = 1_000, 200


def metadata_keys(store: Store, scope: Scope) -> list[str]:
    """The keys there are in metadata of the newest conversations, dotted where they lie deeper."""
    return _keys(head.metadata for head in store.conversations.page(scope, Filter(), limit=_SAMPLED)[0])


def metadata_values(store: Store, scope: Scope, key: str) -> list[Any]:
    """The different values the newest conversations have under a key."""
    found: dict[str, Any] = {}
    for head in store.conversations.page(scope, Filter(), limit=_SAMPLED)[0]:
        for path, value in _leaves(head.metadata):
            if path == key:
                found.setdefault(repr(value), value)
    return sorted(found.values(), key=lambda value: (str(type(value)), str(value)))[:_MOST_KEYS]


def message_metadata_keys(store: Store, scope: Scope) -> list[str]:
    """The same of messages, in a tenth as many conversations."""
    by_agent: dict[int, list[int]] = {}
    for head in store.conversations.page(scope, Filter(), limit=_SAMPLED // 10)[0]:
        by_agent.setdefault(head.agent_id, []).append(head.id)
    timelines = [store.timeline.of(agent_id, ids) for agent_id, ids in by_agent.items()]
    events = (event for timeline in timelines for own in timeline.values() for event in own)
    return _keys(event.metadata for event in events if event.kind == "message")


def _keys(documents: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted({path for document in documents for path, _ in _leaves(document)})[:_MOST_KEYS]


def _leaves(document: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(document, Mapping) and (document or not path):
        for name, value in document.items():
            yield from _leaves(value, f"{path}.{name}" if path else name)
    elif isinstance(document, list):
        for value in document:
            if not isinstance(value, (list, Mapping)):
                yield path, value
    else:
        yield path, document


def get(store: Store, scope: Scope, id: int, *, deleted: bool = False) -> Conversation:
    """One conversation by our id. Raises NotFound."""
    head = store.conversations.get(scope, id, deleted=deleted)
    if head is None:
        raise NotFound("no such conversation")
    return head


def lookup(store: Store, agent: Agent, conversation_id: str) -> Conversation:
    """One live conversation by the caller's id. Raises NotFound."""
    head = store.conversations.live(agent.id, [conversation_id]).get(conversation_id)
    if head is None:
        raise NotFound("no such conversation")
    return head


def transcript(store: Store, scope: Scope, id: int, *, deleted: bool = False) -> Transcript:
    """A conversation with everything that belongs to it. Raises NotFound."""
    return transcripts(store, [get(store, scope, id, deleted=deleted)])[0]


def transcripts(store: Store, heads: Sequence[Conversation]) -> list[Transcript]:
    """The transcripts of these conversations, in the same order; four reads an agent, whatever their number."""
    of_agent: dict[int, list[Conversation]] = {}
    for head in heads:
        of_agent.setdefault(head.agent_id, []).append(head)
    found = {
        whole.conversation.id: whole
        for agent_id, own in of_agent.items()
        for whole in _transcripts_of(store, agent_id, own)
    }
    return [found[head.id] for head in heads]


def _transcripts_of(store: Store, agent_id: int, heads: Sequence[Conversation]) -> list[Transcript]:
    ids = [head.id for head in heads]
    events = store.timeline.of(agent_id, ids)
    files = store.conversations.attachments(agent_id, ids)
    feedbacks = store.conversations.feedbacks(agent_id, ids)
    buttons = offered(store, agent_id, [event for timeline in events.values() for event in timeline])
    return [
        Transcript(
            head,
            tuple(events.get(head.id, ())),
            tuple(files.get(head.id, ())),
            tuple(feedbacks.get(head.id, ())),
            buttons,
        )
        for head in heads
    ]


def offered(store: Store, agent_id: int, events: Sequence[Event]) -> Mapping[str, Sequence[tuple[str, str]]]:
    """The buttons the agent is known to offer where one was pressed: button_event -> (label, value) of each."""
    return store.timeline.offered(agent_id, {event.name for event in events if event.kind == "button" and event.name})


# -- changes ---------------------------------------------------------------------------------------------------------
def update(store: Store, scope: Scope, id: int, changes: Mapping[str, Any]) -> Conversation:
    """Set what people may set by hand: name, is_marked, customer_id, device, language, metadata (replaced whole).

    What is set by hand wins over what events say, whenever they arrive.

    Raises:
        NotFound, Invalid, InvalidEvent
    """
    before = get(store, scope, id)
    sound = {name: _sound(name, value) for name, value in changes.items() if name in _UPDATABLE}
    if not sound:
        raise Invalid.of("body", f"must set at least one of {', '.join(_UPDATABLE)}")
    overrides = {**before.overrides, **{name: value for name, value in sound.items() if name != "is_marked"}}
    return _changed(store, before, ingest.placed(before.but(**sound, overrides=overrides)))


def _sound(name: str, value: Any) -> Any:
    if name == "is_marked":
        if not isinstance(value, bool):
            raise Invalid.of(name, "must be true or false")
        return value
    if name == "metadata":
        if not isinstance(value, dict):
            raise Invalid.of(name, "must be an object")
        return wire.read_metadata(value)
    text = None if value is None else wire.read_text(value, name).strip()
    if name == "name" and not text:
        raise Invalid.of(name, "must not be blank")
    return text


def rename(store: Store, scope: Scope, id: int, name: Any) -> Conversation:
    """Give a conversation a name of 1 to 255 characters. Raises NotFound, Invalid, InvalidEvent."""
    return update(store, scope, id, {"name": name})


def mark(store: Store, scope: Scope, id: int, is_marked: Any) -> Conversation:
    """Mark a conversation as important, or not. Raises NotFound, Invalid."""
    return update(store, scope, id, {"is_marked": is_marked})


def delete(store: Store, scope: Scope, id: int, now_us: int) -> Conversation:
    """Hide a conversation from lists, look-ups and analytics; its rows stay. Raises NotFound, also the second time."""
    head = store.conversations.get(scope, id)
    if head is None:
        raise NotFound("conversation not found or already deleted")
    return _changed(store, head, head.but(deleted_us=now_us))


def restore(store: Store, scope: Scope, id: int) -> Conversation:
    """Bring a deleted conversation back, into every list and number it was in.

    Raises:
        NotFound: there is none, or retention has removed it.
        Conflict: another conversation has begun under its id since.
    """
    head = get(store, scope, id, deleted=True)
    if head.deleted_us is None:
        return head
    if store.conversations.live(head.agent_id, [head.conversation_id], to_change=True):
        raise Conflict("another conversation has begun under the same id since; this one cannot come back beside it")
    return _changed(store, head, head.but(deleted_us=None))


def _changed(store: Store, before: Conversation, after: Conversation) -> Conversation:
    """Write a head over the stored one and restate the numbers it was counted in."""
    store.conversations.change([after])
    store.rollups.apply(after.agent_id, counting.restate(store, before, after))
    return after


def add_feedback(
    store: Store,
    agent: Agent,
    conversation: Conversation,
    fields: Mapping[str, Any],
    event_id: str,
    now_us: int,
    source: str,
) -> Feedback:
    """Store one feedback on a live conversation; the same `event_id` again gives the first row.

    Raises:
        InvalidEvent: the sentiment or comment breaks the contract.
    """
    draft = Draft(event_id, "feedback", conversation.conversation_id, now_us, 0, wire.check("feedback", fields))
    ingest.accept(store, agent, [draft], now_us, source=source)
    return store.conversations.known_feedbacks(agent.id, [event_id])[event_id]


def only_agent(agent: Agent | None) -> Agent:
    """The agent of an API key. Raises Forbidden for people, who have many."""
    if agent is None:
        raise Forbidden("this needs an agent's API key")
    return agent
