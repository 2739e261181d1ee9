"""Conversations as lines of files, in and out: our own lossless form; in, the common `messages` form too."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from agentsight import wire
from agentsight.errors import InvalidEvent, NotFound
from agentsight.wire import Draft, instant

from . import attachments, conversations, ingest, messages
from .model import NAME_FIELDS, Agent, Event, Feedback, Scope, Transcript
from .ports import Blobs, Storage, Store

FORMAT = "agentsight/1"
_ON = "message_event_id"
_VOTE = (_ON, "topic", "reason")  # what feedback on one message has beside its words
_COUNTED = {"message": "messages", "action": "actions", "feedback": "feedback"}


@dataclass(slots=True)
class Tally:
    """What an import came to. `conversations`, `messages`, `actions`, `feedback` count what was new."""

    conversations: int = 0
    messages: int = 0
    actions: int = 0
    feedback: int = 0
    duplicates: int = 0
    rejected: int = 0
    problems: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__ if name != "problems"}

    def add(self, other: Tally) -> None:
        """Count what another counted."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        del self.problems[1_000:]

    def reject(self, where: str, reason: str) -> None:
        self.rejected += 1
        if len(self.problems) < 1_000:
            self.problems.append(wire.storable(f"{where}: {reason}"))


def why(wrong: Exception) -> str:
    """What is wrong with a line, without saying once more that it is one."""
    return wrong.reason if isinstance(wrong, InvalidEvent) and wrong.field == "line" else str(wrong)


@dataclass(frozen=True, slots=True)
class Imported:
    """One conversation read from a file: its events, and what people had set by hand."""

    conversation_id: str
    drafts: list[Draft | InvalidEvent]
    state: Mapping[str, Any] = field(default_factory=dict)


# -- in --------------------------------------------------------------------------------------------------------------
def read_line(
    line: bytes, form: Literal["auto", "agentsight", "messages"], environment: str, now_us: int, blobs: Blobs | None
) -> Imported:
    """One conversation of one line; `environment` is for conversations that do not say. None blobs: check only.

    Raises:
        InvalidEvent: the line is no conversation; single events that are unsound are kept in their place.
    """
    try:
        record = orjson.loads(line)
    except ValueError:
        raise InvalidEvent("line", "is not JSON") from None
    if not isinstance(record, dict):
        raise InvalidEvent("line", "is not an object")
    ours = record.get("format") == FORMAT
    if form == "agentsight" and not ours:
        raise InvalidEvent("format", f"must be {FORMAT}")
    return _from_ours(record, blobs) if ours else Imported(*messages.read(record, environment, now_us))


def _from_ours(record: Mapping[str, Any], blobs: Blobs | None) -> Imported:
    conversation_id = wire.read_conversation_id(record.get("conversation_id"))
    items = record.get("events")
    if not isinstance(items, list):
        raise InvalidEvent("events", "must be an array")
    drafts = [_our_draft(item, conversation_id, blobs) for item in items]
    state = record.get("state")
    return Imported(conversation_id, drafts, state if isinstance(state, dict) else {})


def _our_draft(item: Any, conversation_id: str, blobs: Blobs | None) -> Draft | InvalidEvent:
    try:
        plain = {**item, "conversation_id": conversation_id} if isinstance(item, dict) else item
        draft = wire.parse(plain)
        if draft.kind == "attachment":
            draft.fields = _with_bytes(draft.fields, blobs)
        if draft.kind == "feedback":
            if item.get("source") == "platform":
                draft.fields["source"] = "platform"
            draft.fields |= {name: wire.read_text(item[name], name) for name in _VOTE if item.get(name) is not None}
        return draft
    except InvalidEvent as wrong:
        return wrong


def _with_bytes(fields: Mapping[str, Any], blobs: Blobs | None) -> dict[str, Any]:
    if blobs is not None:
        return attachments.kept(blobs, fields)
    attachments.decode(fields["data"])
    return {**{name: value for name, value in fields.items() if name != "data"}, "files": []}


class _Undone(Exception):
    """Ends the transaction of a dry run, so that nothing is kept; carries what it came to."""

    def __init__(self, tally: Tally):
        self.tally = tally


def take_in(
    storage: Storage, whose: Callable[[Store], Agent], imported: Sequence[Imported], now_us: int, *, dry: bool = False
) -> Tally:
    """What came of storing conversations read from a file, in one transaction; `dry`: what would."""

    def change(store: Store) -> Tally:
        tally = stored(store, whose(store), imported, now_us)
        if dry:
            raise _Undone(tally)
        return tally

    try:
        return storage.write(change).result()
    except _Undone as undone:
        return undone.tally


def stored(store: Store, agent: Agent, imported: Sequence[Imported], now_us: int) -> Tally:
    """What came of storing them inside a write transaction."""
    tally = Tally()
    for one in imported:
        known = store.conversations.live(agent.id, [one.conversation_id])
        groups: dict[tuple[bool, str], list[Draft | InvalidEvent]] = {}
        for draft in one.drafts:
            told = draft.fields if isinstance(draft, Draft) and draft.kind == "feedback" else {}
            groups.setdefault((_ON in told, told.get("source", "customer")), []).append(draft)
        is_new = False
        for (are_votes, source), drafts in sorted(groups.items()):  # votes come after what they are about
            if are_votes:
                _place(store, agent, [draft for draft in drafts if isinstance(draft, Draft)])
            verdicts = ingest.accept(store, agent, drafts, now_us, source=source)
            for draft, verdict in zip(drafts, verdicts, strict=True):
                if verdict.discarded:
                    tally.reject(one.conversation_id, "was erased here and is not taken back")
                    continue
                is_new = is_new or verdict.verdict == "accepted"
                _count(tally, one.conversation_id, draft, verdict.verdict)
        tally.conversations += is_new and not known
        if is_new and not known and one.state:
            _restore(store, agent, one)
    return tally


def _place(store: Store, agent: Agent, votes: Sequence[Draft]) -> None:
    """Say which message of ours each vote is about; one whose message is not here is about the conversation."""
    known = store.timeline.known(agent.id, [vote.fields[_ON] for vote in votes])
    for vote in votes:
        if (event := known.get(vote.fields[_ON])) is not None:
            vote.fields["message"] = event.id


def _count(tally: Tally, key: str, draft: Draft | InvalidEvent, verdict: str) -> None:
    if isinstance(draft, InvalidEvent):
        tally.reject(key, str(draft))
    elif verdict == "accepted" and draft.kind in _COUNTED:
        name = _COUNTED[draft.kind]
        setattr(tally, name, getattr(tally, name) + 1)
    elif verdict == "duplicate" and draft.kind != "conversation":
        tally.duplicates += 1


def _restore(store: Store, agent: Agent, one: Imported) -> None:
    """What people had set by hand: name and the like, the mark, deletion."""
    scope = Scope(agent.organization_id, (agent.id,))
    head = store.conversations.live(agent.id, [one.conversation_id])[one.conversation_id]
    changes = dict(one.state.get("overrides") or {}) | ({"is_marked": True} if one.state.get("is_marked") else {})
    if changes:
        conversations.update(store, scope, head.id, changes)
    if one.state.get("deleted_at"):
        conversations.delete(store, scope, head.id, wire.read_instant(one.state["deleted_at"], "deleted_at"))


# -- out -------------------------------------------------------------------------------------------------------------
def write_line(transcript: Transcript, blobs: Blobs) -> bytes:
    """One conversation as one line of our own form: everything an import needs to make the same conversation again."""
    head = transcript.conversation
    files: dict[int, list[dict[str, Any]]] = {}
    for file in transcript.attachments:
        try:
            data = base64.b64encode(blobs.get(file.sha256)).decode()
        except NotFound:  # what is gone keeps nobody from taking the rest along
            continue
        files.setdefault(file.event, []).append({"filename": file.filename, "mime_type": file.mime_type, "data": data})
    by_row = {event.id: event.event_id for event in transcript.events}
    items = [item for event in transcript.events for item in _items(event, files.get(event.id, []), by_row)]
    items += [_feedback_item(given, by_row) for given in transcript.feedbacks]
    state: dict[str, Any] = {"overrides": head.overrides, "is_marked": head.is_marked}
    if head.deleted_us is not None:
        state["deleted_at"] = instant(head.deleted_us)
    return orjson.dumps({"format": FORMAT, "conversation_id": head.conversation_id, "state": state, "events": items})


def _items(event: Event, files: list[dict[str, Any]], by_row: Mapping[int, str]) -> Iterator[dict[str, Any]]:
    """One stored event as batch items: one each, but an upload of several files is one per file.

    What retention took the words of is none any more; an archive of the organization keeps its numbers.
    """
    if (event.kind == "message" and event.content is None) or (
        event.kind == "button" and not event.detail.get("label")
    ):
        return
    body: dict[str, Any] = {"metadata": event.metadata} if event.metadata else {}
    for name, value in event.detail.items():
        if name in ("started_at", "ended_at"):
            body[name] = instant(value)
        elif name == "message":
            body["message_event_id"] = by_row.get(value)
        else:
            body[name] = value
    if event.kind in NAME_FIELDS and event.name is not None:
        body[NAME_FIELDS[event.kind]] = event.name
    told = {
        "sender": event.sender,
        "content": event.content,
        "duration_ms": event.duration_ms,
        "error_msg": event.error,
    }
    body |= {name: value for name, value in told.items() if value is not None}
    envelope = {"kind": event.kind, "occurred_at": instant(event.occurred_us), "seq": event.seq}
    if event.kind != "attachment":
        yield {"id": event.event_id, **envelope, **body}
    for place, file in enumerate(files):
        suffix = f"#{place}" if place else ""
        yield {"id": event.event_id[:120] + suffix, **envelope, **body, **file}


def _feedback_item(given: Feedback, by_row: Mapping[int, str]) -> dict[str, Any]:
    vote = {_ON: by_row.get(given.message or 0), "topic": given.topic, "reason": given.reason}
    return {
        "id": given.event_id,
        "kind": "feedback",
        "occurred_at": instant(given.created_us),
        "sentiment": given.sentiment,
        "source": given.source,
        **({"comment": given.comment} if given.comment is not None else {}),
        **({"metadata": given.metadata} if given.metadata else {}),
        **{name: told for name, told in vote.items() if told is not None},
    }
