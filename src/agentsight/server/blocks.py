"""What clients 0.1.x send, spans in blocks of one conversation each, as drafts of our own contract. Core never knows.

Source: recorded traffic of the package-index client 0.1.4 (contracts, SDK 0.1, sections 2.4, 2.5 and 4).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentsight import wire
from agentsight.core.model import Span as Row
from agentsight.errors import Invalid, InvalidEvent
from agentsight.wire import Draft

from . import http

MESSAGE = "agentsight.message"
TOOLS = ("tool", "task")
_ID_CHARS, _SPAN_NAME_CHARS = 128, 1_000
_ABOUT = {  # block key -> its attribute on every span
    "customer_id": "customer_id",
    "customer_ip_address": "customer_ip",
    "device": "device",
    "source": "source",
    "language": "language",
    "name": "name",
    "environment": "environment",
}
_BILLED = ("input", "output", "cache_read", "cache_write", "embedding")


@dataclass(slots=True)
class Block:
    """One conversation's part of a request: what is said of it, as of when, and what happened in it.

    `drafts` are events whatever comes; `of_turns` those of tools, which only are when their turn came to its end.
    `turns` tells of the turns in this block whether they did; `rows` are the spans as they are kept.
    """

    conversation_id: str
    about: dict[str, Any] = field(default_factory=dict)
    newest_us: int = 0
    newest_id: str = ""
    is_used: bool = False
    drafts: list[Draft | InvalidEvent] = field(default_factory=list)
    of_turns: dict[str, list[Draft | InvalidEvent]] = field(default_factory=dict)
    turns: dict[str, bool] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def described(self, about: Mapping[str, Any], environment: str | None) -> Draft:
        """The event that tells `about` the conversation; `environment` where that does not say."""
        about = {"environment": environment, **about, "is_used": self.is_used}
        fields = wire.check("conversation", {name: value for name, value in about.items() if value is not None})
        return Draft(f"{self.newest_id}:about", "conversation", self.conversation_id, self.newest_us, 0, fields)


def read(document: Mapping[str, Any]) -> tuple[list[Block], list[dict[str, Any]]]:
    """The sound blocks, and what is wrong with the others: one costs its neighbours nothing.

    Raises:
        Invalid: there are no blocks at all.
    """
    listed = document.get("conversations")
    if not isinstance(listed, list):
        raise Invalid.of("conversations", "must be an array")
    blocks: list[Block] = []
    wrong: list[dict[str, Any]] = []
    for index, item in enumerate(listed):
        try:
            blocks.append(_block(item))
        except InvalidEvent as trouble:
            named = item.get("conversation_id") if isinstance(item, dict) else None
            errors = {trouble.field: [trouble.reason]}
            wrong.append({"index": index, "conversation_id": str(named or "")[:255], "errors": errors})
    return blocks, wrong


def _block(item: Any) -> Block:
    if not isinstance(item, dict):
        raise InvalidEvent("conversation", "must be an object")
    block = Block(wire.read_conversation_id(item.get("conversation_id")))
    spans = item.get("spans")
    if not isinstance(spans, list) or not spans or not all(isinstance(span, dict) for span in spans):
        raise InvalidEvent("spans", "must be an array of at least one span")
    read_spans = sorted((_Span(block.conversation_id, span) for span in spans), key=lambda span: span.started_us)
    block.is_used = any(span.kind != "conversation" for span in read_spans)
    block.newest_us, block.newest_id = read_spans[-1].started_us, read_spans[-1].id
    block.about = _about(item, read_spans)
    for span in read_spans:
        turn = span.turn_id
        if span.kind == "turn" and turn:
            block.turns[turn] = span.incomplete is None
        own = block.of_turns.setdefault(turn, []) if span.kind in TOOLS and turn else block.drafts
        own += span.drafts()
        block.rows.append(span.row())
    return block


def again(conversation_id: str, row: Row) -> Iterator[Draft | InvalidEvent]:
    """The events of a span that was kept before its turn came."""
    yield from _Span(conversation_id, json.loads(row.payload)).drafts()


def row(span: Mapping[str, Any]) -> Row:
    """A span in the form of these clients as it is kept."""
    return _Span("", span).row()


def _about(item: Mapping[str, Any], spans: list[_Span]) -> dict[str, Any]:
    """What is said of the conversation; of each field what the span that began last says.

    The block's own fields are those of the span that ended last, which may be an older state.
    """
    about = {name: item[name] for name in _ABOUT if item.get(name) is not None}
    metadata = item.get("metadata")
    for span in spans:
        for name, attribute in _ABOUT.items():
            if (told := span.attribute(f"agentsight.conversation.{attribute}")) is not None:
                about[name] = told
        if isinstance(told := _parsed(span.attribute("agentsight.conversation.metadata")), dict):
            metadata = told
    if isinstance(metadata, dict):
        about["metadata"] = metadata
    return lenient("conversation", about)


class _Span:
    """One span, read with patience: what cannot be understood is left out, never refused."""

    def __init__(self, conversation_id: str, span: Mapping[str, Any]):
        self.conversation_id = conversation_id
        self.kind = str(span.get("kind") or "")
        self.name = str(span.get("name") or "")
        told = span.get("attributes")
        self.attributes: Mapping[str, Any] = told if isinstance(told, dict) else {}
        listed = span.get("events")
        self.events = [event for event in listed if isinstance(event, dict)] if isinstance(listed, list) else []
        started_us, ended_us = _us(span.get("started_at")), _us(span.get("ended_at"))
        self.started_us = started_us or ended_us or http.now_us()
        self.ended_us = ended_us
        self.duration_ms = span.get("duration_ms")
        identity = json.dumps([conversation_id, span.get("trace_id"), span.get("span_id")])
        self.id = "span-" + hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:40]
        turn = self.attribute("agentsight.turn.id")
        self.turn_id = turn[:_ID_CHARS] if isinstance(turn, str) and turn else None
        self.incomplete: str | None = None
        if self.kind == "turn" and self.attribute("agentsight.turn.complete") is False:
            self.incomplete = _line(self.attribute("agentsight.turn.incomplete_reason"), 255) or "incomplete"
        self._told = span

    def row(self) -> Row:
        """The span as it is kept; one that names no id of its own is known by what it says."""
        payload = _written(self._told)
        told = self._told
        named = _line(told.get("span_id"), _ID_CHARS)
        return Row(
            id=0,
            agent_id=0,
            conversation=0,
            trace_id=_line(told.get("trace_id"), _ID_CHARS),
            span_id=named or hashlib.sha256(payload.encode()).hexdigest()[:16],
            parent_span_id=_line(told.get("parent_span_id"), _ID_CHARS) or None,
            turn_id=self.turn_id and wire.storable(self.turn_id),
            kind=_line(self.kind, _ID_CHARS),
            name=_line(self.name, _SPAN_NAME_CHARS),
            status=_line(told.get("status"), _ID_CHARS) or "unset",
            started_us=self.started_us,
            ended_us=self.ended_us,
            duration_ms=_duration(self.duration_ms),
            incomplete=self.incomplete,
            payload=payload,
        )

    def attribute(self, name: str) -> Any:
        return self.attributes.get(name)

    def drafts(self) -> Iterator[Draft | InvalidEvent]:
        """What it becomes; a turn that did not come to its end leaves no messages."""
        if self.kind == "turn" and self.incomplete is None:
            yield from self._messages()
        elif self.kind in TOOLS:
            yield self._draft("action", "tool", self._tool())
        elif self.kind == "llm":
            yield self._draft("token_usage", "usage", self._usage())
        elif self.kind == "button":
            yield self._draft("button", "button", self._button())

    def _draft(self, kind: str, part: str, fields: dict[str, Any], at_us: int | None = None, seq: int = 0) -> Any:
        try:
            sound = wire.check(kind, lenient(kind, fields))
        except InvalidEvent as wrong:
            wrong.event_id = f"{self.id}:{part}"
            return wrong
        when_us = self.started_us if at_us is None else at_us
        return Draft(f"{self.id}:{part}", kind, self.conversation_id, when_us, seq, sound)

    def _messages(self) -> Iterator[Draft | InvalidEvent]:
        said = [event for event in self.events if event.get("name") == MESSAGE]
        answers = [n for n, event in enumerate(said) if _of(event, f"{MESSAGE}.sender") == "agent"]
        for number, event in enumerate(said):
            metadata = _parsed(_of(event, f"{MESSAGE}.metadata"))
            if answers and number == answers[-1] and _is_number(self.duration_ms):  # the turn's time is the answer's
                known = metadata if isinstance(metadata, dict) else {}
                metadata = {"latency_ms": self.duration_ms, **known}
            fields = {
                "sender": _of(event, f"{MESSAGE}.sender"),
                "content": _of(event, f"{MESSAGE}.content"),
                "metadata": metadata,
            }
            at_us = _us(event.get("timestamp"))
            yield self._draft("message", f"message:{number}", fields, at_us, number)

    def _tool(self) -> dict[str, Any]:
        arguments = self.attribute("agentsight.tool.arguments")
        return {
            "action_name": self.attribute("agentsight.tool.name") or self.name,
            "started_at": wire.instant(self.started_us),
            "ended_at": None if self.ended_us is None else wire.instant(self.ended_us),
            "duration_ms": self.duration_ms,
            "tools_used": _parsed(arguments),
            "response": self.attribute("agentsight.tool.response"),
            "error_msg": self.attribute("agentsight.tool.error"),
            "metadata": {"task": True} if self.kind == "task" else None,
        }

    def _usage(self) -> dict[str, Any]:
        counts = {
            "input": self._count("gen_ai.usage.input_tokens"),
            "output": self._count("gen_ai.usage.output_tokens"),
            **{
                name: self._count(f"agentsight.llm.{name}_tokens")
                for name in ("cache_read", "cache_write", "embedding")
            },
        }
        more = {f"{name}_tokens": counts[name] for name in ("cache_read", "cache_write")}
        more |= {f"{name}_tokens": self._count(f"agentsight.llm.{name}_tokens") for name in
                 ("reasoning", "audio_input", "audio_output")}  # fmt: skip
        metadata: dict[str, Any] = {name: count for name, count in more.items() if count}
        for name in (
            "gen_ai.system",
            "gen_ai.operation.name",
            "agentsight.llm.requested_model",
            "agentsight.llm.error",
        ):
            if self.attribute(name) is not None:
                metadata[name.rpartition("gen_ai.")[2].removeprefix("agentsight.llm.")] = self.attribute(name)
        if self.attribute("agentsight.llm.usage_reported") is False:
            metadata["usage_reported"] = False
        if self.turn_id:
            metadata["turn_id"] = self.turn_id
        if _is_number(self.duration_ms):
            metadata["duration_ms"] = self.duration_ms
        return {
            "prompt_tokens": counts["input"],
            "completion_tokens": counts["output"],
            "embedding_tokens": counts["embedding"],
            "total_tokens": sum(counts[name] for name in _BILLED),
            "model": self.attribute("gen_ai.request.model"),
            "metadata": {**metadata, "source": "sdk-0.1"},
        }

    def _count(self, name: str) -> int:
        value = self.attribute(name)
        return value if type(value) is int and 0 <= value <= wire.MAX_TOKENS else 0

    def _button(self) -> dict[str, Any]:
        names = {"button_event": "event", "label": "label", "value": "value"}
        fields = {ours: self.attribute(f"agentsight.button.{theirs}") for ours, theirs in names.items()}
        return {**fields, "metadata": _parsed(self.attribute("agentsight.metadata"))}


# -- small things ----------------------------------------------------------------------------------------------------
def lenient(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` without what breaks the contract: text too long is cut, an optional field that does not fit is left out."""
    kept = {name: value for name, value in fields.items() if value is not None}
    for _ in range(2 * len(kept)):
        try:
            wire.check(kind, kept)
        except InvalidEvent as wrong:
            value = kept.get(wrong.field)
            if isinstance(value, str) and "longer" in wrong.reason:
                kept[wrong.field] = value[: wire.MAX_NAME_CHARS]
            elif wrong.field in kept and not wire.EVENTS[kind][wrong.field].required:
                del kept[wrong.field]
            else:
                break
        else:
            break
    return kept


def _of(event: Mapping[str, Any], name: str) -> Any:
    attributes = event.get("attributes")
    return attributes.get(name) if isinstance(attributes, dict) else None


def _parsed(text: Any) -> Any:
    """JSON that travels as text; the text itself where it is none. NaN, which clients let through, is nothing."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text, parse_constant=lambda name: None)
    except (ValueError, RecursionError):
        return text


def _us(value: Any) -> int | None:
    try:
        return wire.read_instant(value, "time")
    except InvalidEvent:
        return None


def _written(span: Mapping[str, Any]) -> str:
    """JSON in ASCII; numbers that are none, which only protobuf can bring, are nothing."""
    try:
        return json.dumps(span, separators=(",", ":"), allow_nan=False)
    except ValueError:
        written = json.dumps(span)
        return json.dumps(json.loads(written, parse_constant=lambda name: None), separators=(",", ":"))


def _line(value: Any, most: int) -> str:
    """A word a client gave, as a column holds it."""
    return wire.storable(value[:most]) if isinstance(value, str) else "" if value is None else str(value)[:most]


def _duration(value: Any) -> float | None:
    return float(value) if _is_number(value) and 0 <= value <= wire.MAX_DURATION_MS else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
