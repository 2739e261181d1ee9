"""Events come in: each is placed in its conversation once, whatever the order or number of its deliveries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentsight.errors import InvalidEvent
from agentsight.wire import Draft

from . import device, geo, metrics, tombstones
from .measures import Deltas
from .model import Agent, Attachment, Conversation, Event, Feedback, Verdict
from .ports import Store

DESCRIPTIVE = ("customer_id", "customer_ip_address", "device", "source", "language", "name", "environment")
_LAST = 2**62


def accept(
    store: Store, agent: Agent, drafts: Sequence[Draft | InvalidEvent], now_us: int, *, source: str = "customer"
) -> list[Verdict]:
    """One verdict per draft, in order; call it inside a write transaction.

    A draft that is an InvalidEvent broke the contract at the door and is reported as rejected; one that belongs to what
    was erased is accepted and discarded. `source` is where
    feedback comes from: `customer` (an API key) or `platform` (a signed-in person).
    """
    sound = [(index, draft) for index, draft in enumerate(drafts) if isinstance(draft, Draft)]
    keys = dict.fromkeys(draft.conversation_id for _, draft in sound)
    heads = store.conversations.live(
        agent.id, list(keys), to_change=True
    )  # first: what is known is known under its lock
    known = _known(store, agent, [draft for _, draft in sound])
    verdicts = {i: _rejected(i, draft) for i, draft in enumerate(drafts) if isinstance(draft, InvalidEvent)}
    fresh: list[tuple[int, Draft]] = []
    first_index: dict[str, int] = {}
    for index, draft in sound:
        if draft.event_id in known:
            stored = known[draft.event_id]
            verdicts[index] = Verdict(index, draft.event_id, "duplicate", stored.id, stored.conversation)
        elif draft.event_id in first_index:
            verdicts[index] = Verdict(index, draft.event_id, "duplicate")
        else:
            first_index[draft.event_id] = index
            fresh.append((index, draft))
    gone = tombstones.erased(store, agent, [draft for _, draft in fresh], now_us) if fresh else frozenset()
    if gone:
        _forget(store, agent, [head for key, head in heads.items() if key in gone and head.customer_id is None])
        for index, draft in fresh:
            if draft.conversation_id in gone:
                verdicts[index] = Verdict(index, draft.event_id, "accepted", discarded=True)
        fresh = [(index, draft) for index, draft in fresh if draft.conversation_id not in gone]
    if fresh:
        for index, draft, row, conversation in _store(store, agent, fresh, heads, now_us, source):
            verdicts[index] = Verdict(index, draft.event_id, "accepted", row, conversation)
    return [verdicts[index] for index in range(len(drafts))]


def _forget(store: Store, agent: Agent, unnamed: Sequence[Conversation]) -> None:
    """Take out what came of conversations before their own events said whose they are: somebody's who was erased."""
    if unnamed:
        deltas = Deltas()
        for head in unnamed:
            metrics.restate(store, head, None, deltas=deltas)
        store.rollups.apply(agent.id, deltas)
        store.keeping.remove(agent.id, [head.id for head in unnamed], traceless=True)


def prepare(agent: Agent, drafts: Sequence[Draft | InvalidEvent]) -> None:
    """Do ahead, while other changes are written, what needs no store: `accept` then finds the rows made."""
    for draft in drafts:
        if isinstance(draft, Draft) and draft.kind != "feedback":
            draft.prepared = _event(0, agent.id, 0, draft)


def _rejected(index: int, wrong: InvalidEvent) -> Verdict:
    return Verdict(index, wrong.event_id, "rejected", field=wrong.field, reason=wrong.reason)


def _known(store: Store, agent: Agent, drafts: list[Draft]) -> Mapping[str, Event | Feedback]:
    known: dict[str, Event | Feedback] = {}
    events = [draft.event_id for draft in drafts if draft.kind != "feedback"]
    feedbacks = [draft.event_id for draft in drafts if draft.kind == "feedback"]
    if events:
        known.update(store.timeline.known(agent.id, events))
    if feedbacks:
        known.update(store.conversations.known_feedbacks(agent.id, feedbacks))
    return known


def _store(
    store: Store,
    agent: Agent,
    fresh: list[tuple[int, Draft]],
    heads: Mapping[str, Conversation],
    now_us: int,
    source: str,
) -> list[tuple[int, Draft, int, int]]:
    """Write the new drafts; gives (index, draft, our row id, our conversation id) of each."""
    grouped: dict[str, list[tuple[int, Draft]]] = {}
    for index, draft in fresh:
        grouped.setdefault(draft.conversation_id, []).append((index, draft))
    new = [key for key in grouped if key not in heads]
    ids = {key: head.id for key, head in heads.items()}
    if new:
        ids |= zip(new, store.conversations.next_ids(len(new)), strict=True)

    rows = _rows(store, agent, fresh, ids, now_us, source)
    events = [row for _, _, row in rows if isinstance(row, Event)]
    feedbacks = [row for _, _, row in rows if isinstance(row, Feedback)]
    store.timeline.append(events)
    store.conversations.add_feedbacks(feedbacks)
    _add_attachments(store, rows)
    pressed = [
        (event.name or "", event.detail["label"], event.detail["value"]) for event in events if event.kind == "button"
    ]
    if pressed:
        store.timeline.offer(agent.id, pressed)

    added: list[Conversation] = []
    changed: list[Conversation] = []
    grown: list[Conversation] = []
    restated = []
    events_of, feedbacks_of = _by_conversation(events), _by_conversation(feedbacks)
    for key, group in grouped.items():
        before = heads.get(key)
        own_events, own_feedbacks = events_of.get(ids[key], []), feedbacks_of.get(ids[key], [])
        first_us = min(draft.occurred_us for _, draft in group)
        head = before or Conversation(id=ids[key], agent_id=agent.id, conversation_id=key, started_us=first_us)
        after = _grown(store, agent, head, own_events, own_feedbacks)
        told = any(event.kind == "conversation" for event in own_events)
        (added if before is None else changed if told or first_us < before.started_us else grown).append(after)
        restated.append((before, after, own_events, own_feedbacks))
    store.conversations.add(added)
    store.conversations.change(changed)
    store.conversations.grow(grown)
    deltas = Deltas()
    for before, after, own_events, own_feedbacks in restated:
        metrics.restate(store, before, after, own_events, own_feedbacks, deltas)
    store.rollups.apply(agent.id, deltas)
    return [(index, draft, row.id, row.conversation) for index, draft, row in rows]


def _by_conversation(rows: Sequence[Any]) -> dict[int, list[Any]]:
    """Grouped, each group in the order of the timeline."""
    grouped: dict[int, list[Any]] = {}
    for row in rows:
        grouped.setdefault(row.conversation, []).append(row)
    for group in grouped.values():
        if len(group) > 1 and isinstance(group[0], Event):
            group.sort(key=lambda event: (event.occurred_us, event.seq, event.id))
    return grouped


# -- drafts to rows --------------------------------------------------------------------------------------------------
def _rows(
    store: Store, agent: Agent, fresh: list[tuple[int, Draft]], ids: dict[str, int], now_us: int, source: str
) -> list[tuple[int, Draft, Event | Feedback]]:
    given = sum(draft.kind == "feedback" for _, draft in fresh)
    event_ids = iter(store.timeline.next_ids(len(fresh) - given) if given < len(fresh) else ())
    feedback_ids = iter(store.conversations.next_feedback_ids(given) if given else ())
    rows: list[tuple[int, Draft, Event | Feedback]] = []
    for index, draft in fresh:
        conversation = ids[draft.conversation_id]
        if draft.kind == "feedback":
            rows.append((index, draft, _feedback(next(feedback_ids), agent, conversation, draft, source)))
        else:
            row = draft.prepared or _event(0, agent.id, 0, draft)
            row.id, row.conversation = next(event_ids), conversation
            rows.append((index, draft, row))
    return rows


def _feedback(id: int, agent: Agent, conversation: int, draft: Draft, source: str) -> Feedback:
    said = draft.fields
    return Feedback(
        id,
        agent.id,
        conversation,
        draft.event_id,
        said["sentiment"],
        source,
        draft.occurred_us,
        said.get("comment"),
        said.get("metadata", {}),
    )


def _event(id: int, agent_id: int, conversation: int, draft: Draft) -> Event:
    """The row of one draft: what is searched and counted in columns of its own, the rest in `detail`."""
    rest = dict(draft.fields)
    metadata = rest.pop("metadata", None) or {}
    kind = draft.kind
    sender = content = name = duration_ms = error = None
    if kind == "message":
        sender, content = rest.pop("sender"), rest.pop("content")
    elif kind == "action":
        name, error = rest.pop("action_name"), rest.pop("error_msg", None) or None
        duration_ms = rest.pop("duration_ms", None)
        if duration_ms is None and "started_at" in rest and "ended_at" in rest:
            duration_ms = max(0, rest["ended_at"] - rest["started_at"]) / 1000
    elif kind == "button":
        name = rest.pop("button_event")
    elif kind == "token_usage":
        name = rest.pop("model", None)
    elif kind == "attachment":
        sender = rest.pop("sender", None) or "end_user"
        rest["file_count"] = len(rest.pop("files"))
    return Event(
        id,
        agent_id,
        conversation,
        draft.event_id,
        kind,
        draft.occurred_us,
        draft.seq,
        sender,
        content,
        name,
        duration_ms,
        error,
        rest,
        metadata,
    )


def _add_attachments(store: Store, rows: list[tuple[int, Draft, Event | Feedback]]) -> None:
    files = [(row, file) for _, draft, row in rows if draft.kind == "attachment" for file in draft.fields["files"]]
    if files:
        ids = store.conversations.next_attachment_ids(len(files))
        store.conversations.add_attachments(
            [
                Attachment(id, row.agent_id, row.conversation, row.id, **file)
                for id, (row, file) in zip(ids, files, strict=True)
            ]
        )


# -- heads -----------------------------------------------------------------------------------------------------------
def _grown(
    store: Store, agent: Agent, head: Conversation, events: Sequence[Event], feedbacks: Sequence[Feedback]
) -> Conversation:
    """`head` after these events and feedbacks, which are already stored."""
    change: dict[str, Any] = {}
    counts = {"message_count": 0, "action_count": 0, "error_count": 0}
    first_us = min(head.started_us, *(feedback.created_us for feedback in feedbacks), _LAST)
    last_us = head.ended_us or 0
    if head.stripped_us is not None:  # what comes late brings content that has to go again
        told = (*(e.occurred_us for e in events), *(feedback.created_us for feedback in feedbacks))
        change["stripped_us"] = min(head.stripped_us, *told, _LAST)
    open_since, last = head.open_since_us, (head.last_message_us or -1, head.last_message_seq)
    late = False
    for event in events:
        first_us = min(first_us, event.occurred_us)
        if event.kind == "conversation":
            head = _described(store, head, event)
            continue
        change["is_used"] = True
        last_us = max(last_us, event.occurred_us)
        if event.kind == "message":
            counts["message_count"] += event.sender != "system"
            place = (event.occurred_us, event.seq)
            late = late or place < last
            last = max(last, place)
            open_since = _waiting_since(open_since, event)
        elif event.kind == "action":
            counts["action_count"] += 1
            counts["error_count"] += event.error is not None
            if event.name in agent.escalation_actions:
                change["is_escalated"] = True
    if late:
        open_since = None
        for event in store.timeline.messages_between(agent.id, head.id, _LAST, _LAST):
            open_since = _waiting_since(open_since, event)
    if last[0] >= 0:
        change["last_message_us"], change["last_message_seq"] = last
    change |= {name: getattr(head, name) + count for name, count in counts.items() if count}
    return _judged(
        store, head.but(started_us=first_us, ended_us=last_us or None, open_since_us=open_since, **change), feedbacks
    )


def _waiting_since(open_since: int | None, message: Event) -> int | None:
    """Since when the customer waits after this message; None: nobody waits. System messages answer nothing."""
    if message.sender == "end_user":
        return message.occurred_us if open_since is None else open_since
    return None if message.sender == "agent" else open_since


def _described(store: Store, head: Conversation, event: Event) -> Conversation:
    """`head` with what a `conversation` event says of it: earlier ones win, later ones fill what is still unknown."""
    if head.described_us is not None and event.occurred_us <= head.described_us:
        stored = store.timeline.of(head.agent_id, [head.id])[head.id]
        told = [other for other in stored if other.kind == "conversation"]
        blank = head.but(**dict.fromkeys(DESCRIPTIVE), described_us=None, is_opened=False, metadata={})
        for other in told:
            blank = _filled(blank, other)
        return placed(blank.but(is_used=head.is_used or blank.is_used, **head.overrides))
    return _filled(head, event)


def _filled(head: Conversation, event: Event) -> Conversation:
    said = event.detail
    change: dict[str, Any] = {
        name: said[name]
        for name in DESCRIPTIVE
        if getattr(head, name) is None and said.get(name) is not None and name not in head.overrides
    }
    is_used = said.get("is_used", True)
    if head.described_us is None:
        change["is_opened"] = not is_used
    if "metadata" not in head.overrides and event.metadata:
        change["metadata"] = {**event.metadata, **head.metadata}
    return placed(head.but(described_us=event.occurred_us, is_used=head.is_used or is_used, **change))


def placed(head: Conversation) -> Conversation:
    """`head` with what follows from what was said of it: the country of the address, the kind of device."""
    country, kind = geo.country(head.customer_ip_address), device.kind(head.device, head.metadata)
    if head.stripped_us is not None:  # what it followed from was removed; what it told stays
        country, kind = country or head.country, kind or head.device_kind
    return head if (country, kind) == (head.country, head.device_kind) else head.but(country=country, device_kind=kind)


def _judged(store: Store, head: Conversation, feedbacks: Sequence[Feedback]) -> Conversation:
    if not feedbacks:
        return head
    every = store.conversations.feedbacks(head.agent_id, [head.id])[head.id]
    customers = [feedback for feedback in every if feedback.source == "customer"]
    return head.but(feedback_count=len(every), sentiment=customers[-1].sentiment if customers else None)
