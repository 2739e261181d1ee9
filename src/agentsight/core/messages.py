"""The common `messages` form of a conversation, read as events.

Their ids are derived from what the file says, so that reading it again finds its own rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from agentsight import wire
from agentsight.errors import InvalidEvent
from agentsight.wire import Draft, instant

_END_USER = frozenset({"user", "human", "customer", "end_user"})
_AGENT = frozenset({"assistant", "bot", "ai", "agent", "model"})


def read(record: Mapping[str, Any], environment: str, now_us: int) -> tuple[str, list[Draft | InvalidEvent]]:
    """The conversation_id and the events of one conversation; `environment` where it does not say.

    Raises:
        InvalidEvent: it is no conversation; single events that are unsound are kept in their place.
    """
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
    return key, [opening, *drafts, *_feedbacks(reader, record, max(times, default=now_us))]


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
