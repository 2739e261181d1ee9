"""Events come in: each is placed in its conversation once, whatever the order or number of its deliveries."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Any

from agentsight.errors import InvalidEvent
from agentsight.wire import Draft

from . import counting, device, geo, tombstones
from .measures import Deltas
from .model import Agent, Attachment, Conversation, Event, Feedback, Verdict
from .ports import Store

DESCRIPTIVE = ("customer_id", "customer_ip_address", "device", "source", "language", "name", "environment")
VOTE = ("message", "topic", "reason")  # what feedback on one message has beside its words
_LAST = 2**62
_IN_ORDER = attrgetter("occurred_us", "seq", "id")

Fresh = tuple[Draft, Verdict]  # of an event nobody has stored yet


def accept(
    store: Store, agent: Agent, drafts: Sequence[Draft | InvalidEvent], now_us: int, *, source: str = "customer"
) -> list[Verdict]:
    """One verdict per draft, in order; call it inside a write transaction.

    A draft that is an InvalidEvent broke the contract at the door and is reported as rejected; one that belongs to what
    was erased is accepted and discarded. `source` is where
    feedback comes from: `customer` (an API key) or `platform` (a signed-in person).
    """
    sound = [draft for draft in drafts if type(draft) is Draft]
    keys = list(dict.fromkeys([draft.conversation_id for draft in sound]))
    heads = store.conversations.live(agent.id, keys, to_change=True)  # first: what is known is known under its lock
    known = _known(store, agent, sound)
    verdicts: list[Verdict] = []
    fresh: list[Fresh] = []
    firsts: dict[str, Verdict] = {}
    repeated: list[tuple[Verdict, Verdict]] = []
    for draft in drafts:
        if isinstance(draft, InvalidEvent):
            verdict = Verdict(draft.event_id, "rejected", field=draft.field, reason=draft.reason)
        elif (stored := known.get(draft.event_id)) is not None:
            verdict = Verdict(draft.event_id, "duplicate", stored.id, stored.conversation)
        elif (first := firsts.get(draft.event_id)) is not None:
            verdict = Verdict(draft.event_id, "duplicate")
            repeated.append((verdict, first))
        else:
            verdict = firsts[draft.event_id] = Verdict(draft.event_id, "accepted")
            fresh.append((draft, verdict))
        verdicts.append(verdict)
    gone = tombstones.erased(store, agent, [draft for draft, _ in fresh], now_us) if fresh else frozenset()
    if gone:
        _forget(store, agent, [head for key, head in heads.items() if key in gone and head.customer_id is None])
        for draft, verdict in fresh:
            verdict.discarded = draft.conversation_id in gone
        fresh = [(draft, verdict) for draft, verdict in fresh if not verdict.discarded]
    if fresh:
        _store(store, agent, fresh, heads, source)
    for verdict, first in repeated:
        verdict.row, verdict.conversation = first.row, first.conversation
    return verdicts


@dataclass(frozen=True, slots=True)
class Intake:
    """`accept` as a change on its way to the writer, which stores those of one agent that wait together as one."""

    joins: Agent
    drafts: Sequence[Draft | InvalidEvent]
    now_us: int

    def __call__(self, store: Store) -> list[Verdict]:
        return accept(store, self.joins, self.drafts, self.now_us)

    def together(self, store: Store, others: Sequence[Intake]) -> list[list[Verdict]]:
        """What each, this one first, would have got by itself."""
        every = [self, *others]
        drafts = [draft for one in every for draft in one.drafts]
        verdicts = iter(accept(store, self.joins, drafts, max(one.now_us for one in every)))
        return [list(islice(verdicts, len(one.drafts))) for one in every]


def _forget(store: Store, agent: Agent, unnamed: Sequence[Conversation]) -> None:
    """Take out what came of conversations before their own events said whose they are: somebody's who was erased."""
    if unnamed:
        deltas = Deltas()
        for head in unnamed:
            counting.restate(store, head, None, deltas=deltas)
        store.rollups.apply(agent.id, deltas)
        store.keeping.remove(agent.id, [head.id for head in unnamed], traceless=True)


def prepare(agent: Agent, drafts: Sequence[Draft | InvalidEvent]) -> None:
    """Do ahead, while other changes are written, what needs no store: `accept` then finds the rows made."""
    for draft in drafts:
        if isinstance(draft, Draft) and draft.kind != "feedback":
            draft.prepared = _event(agent.id, draft)


def _known(store: Store, agent: Agent, drafts: list[Draft]) -> Mapping[str, Event | Feedback]:
    known: dict[str, Event | Feedback] = {}
    events = [draft.event_id for draft in drafts if draft.kind != "feedback"]
    feedbacks = [draft.event_id for draft in drafts if draft.kind == "feedback"]
    if events:
        known.update(store.timeline.known(agent.id, events))
    if feedbacks:
        known.update(store.conversations.known_feedbacks(agent.id, feedbacks))
    return known


@dataclass(slots=True)
class _Part:
    """What is new of one conversation."""

    events: list[Event]
    feedbacks: list[Feedback]
    is_told: bool = False  # its own facts are among the events


def _store(store: Store, agent: Agent, fresh: list[Fresh], heads: Mapping[str, Conversation], source: str) -> None:
    """Write the new drafts, and their row ids into their verdicts."""
    parts = {key: _Part([], []) for key in dict.fromkeys([draft.conversation_id for draft, _ in fresh])}
    ids = {key: head.id for key, head in heads.items()}
    if new := [key for key in parts if key not in heads]:
        ids |= zip(new, store.conversations.next_ids(len(new)), strict=True)
    _write_rows(store, agent, fresh, ids, parts, source)

    added: list[Conversation] = []
    changed: list[Conversation] = []
    grown: list[Conversation] = []
    deltas = Deltas()
    restated = []
    escalations = agent.escalation_actions
    for key, part in parts.items():
        if len(part.events) > 1:
            part.events.sort(key=_IN_ORDER)
        before = heads.get(key)
        first_us = min(
            [event.occurred_us for event in part.events[:1]] + [feedback.created_us for feedback in part.feedbacks]
        )
        head = before or Conversation(ids[key], agent.id, key, first_us)
        after = _grown(store, escalations, head, part.events, part.feedbacks)
        kind = added if before is None else changed if part.is_told or first_us < before.started_us else grown
        kind.append(after)
        restated.append((before, after, part))
    store.conversations.add(added)
    store.conversations.change(changed)
    store.conversations.grow(grown)
    for before, after, part in restated:
        counting.restate(store, before, after, part.events, part.feedbacks, deltas)
    store.rollups.apply(agent.id, deltas)


# -- drafts to rows --------------------------------------------------------------------------------------------------
def _write_rows(
    store: Store, agent: Agent, fresh: list[Fresh], ids: Mapping[str, int], parts: Mapping[str, _Part], source: str
) -> None:
    """Append the rows of the drafts, and put each beside the others of its conversation."""
    events: list[Event] = []
    feedbacks: list[Feedback] = []
    files: list[tuple[Event, Mapping[str, Any]]] = []
    pressed: list[tuple[str, str, str]] = []
    given = sum([draft.kind == "feedback" for draft, _ in fresh])
    event_ids = iter(store.timeline.next_ids(len(fresh) - given) if given < len(fresh) else ())
    feedback_ids = iter(store.conversations.next_feedback_ids(given) if given else ())
    for draft, verdict in fresh:
        part, conversation = parts[draft.conversation_id], ids[draft.conversation_id]
        verdict.conversation = conversation
        if draft.kind == "feedback":
            voice = _feedback(next(feedback_ids), agent, conversation, draft, source)
            verdict.row = voice.id
            feedbacks.append(voice)
            part.feedbacks.append(voice)
            continue
        row: Event = draft.prepared or _event(agent.id, draft)
        verdict.row = row.id = next(event_ids)
        row.conversation = conversation
        events.append(row)
        part.events.append(row)
        if draft.kind == "conversation":
            part.is_told = True
        elif draft.kind == "attachment":
            files += [(row, file) for file in draft.fields["files"]]
        elif draft.kind == "button":
            pressed.append((row.name or "", row.detail["label"], row.detail["value"]))
    store.timeline.append(events)
    store.conversations.add_feedbacks(feedbacks)
    if files:
        attachment_ids = store.conversations.next_attachment_ids(len(files))
        store.conversations.add_attachments(
            [
                Attachment(id, row.agent_id, row.conversation, row.id, **file)
                for id, (row, file) in zip(attachment_ids, files, strict=True)
            ]
        )
    if pressed:
        store.timeline.offer(agent.id, pressed)


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
        *(said.get(name) for name in VOTE),
    )


def _event(agent_id: int, draft: Draft) -> Event:
    """The row of one draft, not placed yet: what is searched and counted in columns of its own, the rest in `detail`."""
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
        0,
        agent_id,
        0,
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


# -- heads -----------------------------------------------------------------------------------------------------------
def _grown(
    store: Store,
    escalations: Collection[str],
    head: Conversation,
    events: Sequence[Event],
    feedbacks: Sequence[Feedback],
) -> Conversation:
    """`head` after these events and feedbacks, which are already stored."""
    change: dict[str, Any] = {}
    messages, actions, errors = head.message_count, head.action_count, head.error_count
    first_us, last_us = head.started_us, head.ended_us or 0
    open_since, last = head.open_since_us, (head.last_message_us or -1, head.last_message_seq)
    late = False
    for event in events:
        occurred_us, kind = event.occurred_us, event.kind
        if occurred_us < first_us:
            first_us = occurred_us
        if kind == "conversation":
            head = _described(store, head, event)
            continue
        change["is_used"] = True
        if occurred_us > last_us:
            last_us = occurred_us
        if kind == "message":
            messages += event.sender != "system"
            place = (occurred_us, event.seq)
            if place < last:
                late = True
            else:
                last = place
            open_since = _waiting_since(open_since, event)
        elif kind == "action":
            actions += 1
            errors += event.error is not None
            if event.name in escalations:
                change["is_escalated"] = True
    for feedback in feedbacks:
        first_us = min(first_us, feedback.created_us)
    if head.stripped_us is not None:  # what comes late brings content that has to go again
        told = (*(e.occurred_us for e in events), *(feedback.created_us for feedback in feedbacks))
        change["stripped_us"] = min(head.stripped_us, *told, _LAST)
    if late:
        open_since = None
        for event in store.timeline.messages_between(head.agent_id, head.id, _LAST, _LAST):
            open_since = _waiting_since(open_since, event)
    if last[0] >= 0:
        change["last_message_us"], change["last_message_seq"] = last
    grown = head.but(
        started_us=first_us,
        ended_us=last_us or None,
        open_since_us=open_since,
        message_count=messages,
        action_count=actions,
        error_count=errors,
        **change,
    )
    return _judged(store, grown, feedbacks)


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
