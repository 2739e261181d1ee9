"""Conversations as lines of files, in and out: our own lossless form and the common `messages` form.

Ids of imported events are derived from what the file says, so that importing it again finds its own rows.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from agentsight import wire
from agentsight.errors import InvalidEvent, NotFound
from agentsight.wire import Draft, instant

from . import attachments, conversations, ingest
from .model import NAME_FIELDS, Agent, Event, Feedback, Scope, Transcript
from .ports import Blobs, Store

FORMAT = "agentsight/1"
_END_USER = frozenset({"user", "human", "customer", "end_user"})
_AGENT = frozenset({"assistant", "bot", "ai", "agent", "model"})
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
            self.problems.append(f"{where}: {reason}")


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
    return _from_ours(record, blobs) if ours else _from_messages(record, environment, now_us)


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


def _from_messages(record: Mapping[str, Any], environment: str, now_us: int) -> Imported:
    messages = record.get("messages")
    if not isinstance(messages, list):
        raise InvalidEvent("messages", "must be an array")
    told = record.get("conversation_id")
    key = _derived("conv", "", 0, record)[:25] if told is None else wire.read_conversation_id(told)
    times = _times(record, messages, now_us)
    reader = _Messages(key, messages, times)
    drafts = list(reader.drafts())
    described = {name: record[name] for name in wire.EVENTS["conversation"] if record.get(name) is not None}
    described.setdefault("environment", environment)
    described["metadata"] = {**wire.read_metadata(record.get("metadata")), **reader.system()}
    first_us = min(times, default=now_us)
    opening = reader.draft("conversation", -1, first_us, 0, described, described)
    return Imported(key, [opening, *drafts, *_feedbacks(reader, record, max(times, default=now_us))])


def _feedbacks(reader: _Messages, record: Mapping[str, Any], last_us: int) -> Iterator[Draft | InvalidEvent]:
    given = record.get("feedbacks", record.get("feedback"))
    for place, one in enumerate(given if isinstance(given, list) else [given] if isinstance(given, dict) else ()):
        if isinstance(one, dict):
            yield reader.draft("feedback", 1_000_000 + place, _time(one, "created_at") or last_us, 0, one, one)


class _Messages:
    """The messages of one conversation, each turned into the events it stands for."""

    def __init__(self, key: str, messages: Sequence[Any], times: Sequence[int]):
        self._key, self._messages, self._times = key, messages, times
        self._answers: dict[str, list[int]] = {}  # tool call id -> places of its results; agents use an id again
        for place, message in enumerate(messages):
            if isinstance(message, dict) and message.get("role") == "tool":
                self._answers.setdefault(str(message.get("tool_call_id")), []).append(place)
        self._claimed: set[int] = set()

    def _answer(self, place: int, call_id: Any) -> int | None:
        """Where the result of a call stands: the first one after it with its id that is no earlier call's."""
        after = (other for other in self._answers.get(str(call_id), ()) if other > place and other not in self._claimed)
        answer = next(after, None)
        if answer is not None:
            self._claimed.add(answer)
        return answer

    def drafts(self) -> Iterator[Draft | InvalidEvent]:
        for place, message in enumerate(self._messages):
            if not isinstance(message, dict):
                yield InvalidEvent("messages", f"item {place} is not an object")
                continue
            role = message.get("role") or message.get("sender")
            if role == "tool":
                if place not in self._claimed:
                    yield self._action(place, 0, message.get("name"), None, place)
            elif role in _END_USER or role in _AGENT:
                yield from self._said(place, message, "end_user" if role in _END_USER else "agent")
            elif role not in ("system", "developer"):
                yield InvalidEvent("role", f"of message {place} must be user, assistant, tool or system")

    def _said(self, place: int, message: Mapping[str, Any], sender: str) -> Iterator[Draft | InvalidEvent]:
        text = _text(message.get("content"))
        if text.strip():
            fields = {"sender": sender, "content": text, "metadata": message.get("metadata")}
            yield self.draft("message", place, self._times[place], 0, fields, message)
        calls = message.get("tool_calls")
        for number, call in enumerate(calls if isinstance(calls, list) else ()):
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(function, dict):
                yield InvalidEvent("tool_calls", f"of message {place} must hold functions")
                continue
            answer = self._answer(place, call.get("id"))
            yield self._action(place, number + 1, function.get("name"), function.get("arguments"), answer)

    def _action(self, place: int, seq: int, name: Any, arguments: Any, answer: int | None) -> Draft | InvalidEvent:
        started_us = self._times[place]
        fields: dict[str, Any] = {"action_name": name, "tools_used": _arguments(arguments)}
        if answer is not None:
            ended_us = max(started_us, self._times[answer])
            fields |= {"started_at": instant(started_us), "ended_at": instant(ended_us)}
            fields |= {"duration_ms": (ended_us - started_us) / 1000, "response": self._messages[answer].get("content")}
        return self.draft("action", place, started_us, seq, fields, [self._messages[place], seq])

    def system(self) -> dict[str, Any]:
        """What the system told the agent, for the conversation's metadata."""
        told = [
            _text(message.get("content"))
            for message in self._messages
            if isinstance(message, dict) and message.get("role") in ("system", "developer")
        ]
        return {"system": "\n\n".join(told)} if told else {}

    def draft(
        self, kind: str, place: int, occurred_us: int, seq: int, fields: Mapping[str, Any], told: Any
    ) -> Draft | InvalidEvent:
        try:
            sound = wire.check(kind, fields)
        except InvalidEvent as wrong:
            return InvalidEvent(wrong.field, f"{wrong.reason} (message {place})")
        return Draft(
            _derived(kind, self._key, place, told), kind, self._key, occurred_us, max(place, 0) * 64 + seq, sound
        )


def _derived(kind: str, key: str, place: int, told: Any) -> str:
    written = orjson.dumps([kind, key, place, told], option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str)
    return f"{kind}-{hashlib.sha256(written).hexdigest()[:40]}"


def _text(content: Any) -> str:
    """What was said, of the plain form and of the one made of parts."""
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "\n".join(part for part in parts if isinstance(part, str))
    return "" if content is None else wire.read_text(content, "content", 10**9) if not isinstance(content, dict) else ""


def _arguments(arguments: Any) -> Any:
    """Tool arguments as an object; text that is no JSON stays text."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return orjson.loads(arguments)
    except ValueError:
        return arguments


def _times(record: Mapping[str, Any], messages: Sequence[Any], now_us: int) -> list[int]:
    """A time for every message; one that has none comes just after the one before it."""
    known = [_time(message, "timestamp") for message in messages]
    first = next((us for us in known if us is not None), None)
    last_us = _time(record, "started_at") or (first if first is not None else now_us)
    times = []
    for us in known:
        last_us = us if us is not None else last_us + 1
        times.append(last_us)
    return times


def _time(record: Any, name: str) -> int | None:
    value = record.get(name) if isinstance(record, dict) else None
    try:
        return None if value is None else wire.read_instant(value, name)
    except InvalidEvent:
        return None


def store(store: Store, agent: Agent, imported: Sequence[Imported], now_us: int, tally: Tally) -> None:
    """Store conversations read from a file, inside a write transaction, and count what came of it."""
    for one in imported:
        known = store.conversations.live(agent.id, [one.conversation_id])
        groups: dict[tuple[bool, str], list[Draft | InvalidEvent]] = {}
        for draft in one.drafts:
            told = draft.fields if isinstance(draft, Draft) and draft.kind == "feedback" else {}
            groups.setdefault((_ON in told, told.get("source", "customer")), []).append(draft)
        stored = False
        for (are_votes, source), drafts in sorted(groups.items()):  # votes come after what they are about
            if are_votes:
                _place(store, agent, [draft for draft in drafts if isinstance(draft, Draft)])
            verdicts = ingest.accept(store, agent, drafts, now_us, source=source)
            for draft, verdict in zip(drafts, verdicts, strict=True):
                if verdict.discarded:
                    tally.reject(one.conversation_id, "was erased here and is not taken back")
                    continue
                stored = stored or verdict.verdict == "accepted"
                _count(tally, one.conversation_id, draft, verdict.verdict)
        tally.conversations += stored and not known
        if stored and not known and one.state:
            _restore(store, agent, one)


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
