"""Traces of generative AI as drafts of our own contract: the GenAI semantic conventions of OpenTelemetry, and OpenInference.

Ids are made from the trace, so the same spans sent again change nothing. Source: the semantic conventions for generative AI
1.37 with the attributes of their earlier versions, and the OpenInference specification.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from agentsight import wire
from agentsight.core.model import Span as Row
from agentsight.errors import InvalidEvent
from agentsight.wire import Draft

from .blocks import lenient, row
from .otlp import Span

_CONVERSATION = ("gen_ai.conversation.id", "session.id", "langfuse.session.id",
                 "traceloop.association.properties.session_id")  # fmt: skip
_CUSTOMER = ("user.id", "enduser.id", "langfuse.user.id", "traceloop.association.properties.user_id")
_MODEL = ("gen_ai.response.model", "gen_ai.request.model", "llm.model_name", "embedding.model_name")
_OPERATIONS = {"chat": "llm", "text_completion": "llm", "generate_content": "llm", "embeddings": "embedding",
               "execute_tool": "tool", "invoke_agent": "agent", "create_agent": "agent"}  # fmt: skip
_KINDS = {"LLM": "llm", "EMBEDDING": "embedding", "TOOL": "tool", "AGENT": "agent", "CHAIN": "agent"}
_SAYS = ("input", "question", "query", "prompt", "message", "text", "content", "output", "answer", "response", "result")


def read(spans: list[Span], now_us: int) -> tuple[list[Draft | InvalidEvent], dict[str, list[Row]]]:
    """What these spans become, and the spans to keep, by conversation; those not about generative AI are let go."""
    for span in spans:
        span.start_us = _sane(span.start_us) or _sane(span.end_us) or now_us
        span.end_us = max(span.start_us, _sane(span.end_us))
    ours = {id(span): kind for span in spans if (kind := _kind(span))}
    threads = _threads(spans)
    by_id = {(span.trace_id, span.span_id): span for span in spans}
    found: dict[str | None, Draft | InvalidEvent] = {}
    about: dict[str, dict[str, Any]] = {}
    kept: dict[str, list[Row]] = {}
    for span in sorted(spans, key=lambda span: span.start_us):
        kind = ours.get(id(span))
        if kind is not None:
            thread = threads.get(span.trace_id) or f"trace-{span.trace_id}"
            told = about.setdefault(span.trace_id, {"at_us": span.start_us, "thread": thread})
            told.update((name, value) for name, value in _about(span).items() if value and not told.get(name))
            for draft in _of_span(span, kind, thread, _is_inner(span, by_id, ours)):
                found.setdefault(draft.event_id, draft)
            kept.setdefault(thread, []).append(_row(span, kind))
    for trace_id, told in about.items():
        at_us, thread = told.pop("at_us"), told.pop("thread")
        name = f"otel-{_hash(trace_id, thread, json.dumps(told))}:about"
        found[name] = _draft(name, "conversation", thread, at_us, told)
    return list(found.values()), kept


def _row(span: Span, kind: str) -> Row:
    """The span as it is kept, in the form the archive has for all."""
    started, ended = wire.instant(span.start_us), wire.instant(span.end_us)
    told = {
        "span_id": span.span_id,
        "trace_id": span.trace_id,
        "parent_span_id": span.parent_id or None,
        "kind": "llm" if kind == "embedding" else kind,
        "name": span.name,
        "started_at": started,
        "ended_at": ended,
        "duration_ms": (span.end_us - span.start_us) / 1000,
        "status": "error" if span.failed else "ok",
        "attributes": span.attributes,
        "events": [
            {"name": name, "timestamp": wire.instant(_sane(at_us) or span.start_us), "attributes": attributes}
            for name, at_us, attributes in span.events
        ],
        "otel": {"resource": span.resource, "status_description": span.status or None},
    }
    return row(told)


def _about(span: Span) -> dict[str, Any]:
    told = span.resource.get("deployment.environment.name") or span.resource.get("deployment.environment")
    return {
        "customer_id": _text(_first(span, _CUSTOMER)),
        "source": _text(span.resource.get("service.name")),
        "environment": str(told or "production"),
    }


def _kind(span: Span) -> str | None:
    told = span.attributes.get("gen_ai.operation.name")
    if isinstance(told, str) and told in _OPERATIONS:
        return _OPERATIONS[told]
    kind = span.attributes.get("openinference.span.kind") or span.attributes.get("traceloop.span.kind")
    if isinstance(kind, str):
        return {"WORKFLOW": "agent", "TASK": "tool", **_KINDS}.get(kind.upper())
    if any(name in span.attributes for name in ("gen_ai.system", "gen_ai.provider.name")):
        return "llm"
    return None


def _threads(spans: list[Span]) -> dict[str, str]:
    """The conversation of each trace: as any of its spans names it."""
    threads: dict[str, str] = {}
    for span in spans:
        told = _first(span, _CONVERSATION)
        if told is not None and span.trace_id not in threads:
            try:
                threads[span.trace_id] = wire.read_conversation_id(str(told)[: wire.MAX_NAME_CHARS])
            except InvalidEvent:
                continue
    return threads


def _is_inner(span: Span, by_id: Mapping[tuple[str, str], Span], ours: Mapping[int, str]) -> bool:
    """Whether a span around it, of the same request, tells what was said already."""
    seen = set()
    above = by_id.get((span.trace_id, span.parent_id))
    while above is not None and above.span_id not in seen:
        if ours.get(id(above)) in ("agent", "llm") and (_asked(above) or _answered(above)):
            return True
        seen.add(above.span_id)
        above = by_id.get((above.trace_id, above.parent_id))
    return False


def _of_span(span: Span, kind: str, thread: str, inner: bool) -> Iterator[Draft | InvalidEvent]:
    name = f"otel-{_hash(span.trace_id, span.span_id)}"
    if kind == "tool":
        yield _draft(f"{name}:tool", "action", thread, span.start_us, _tool(span))
        return
    if kind in ("llm", "embedding"):
        yield _draft(f"{name}:usage", "token_usage", thread, span.end_us or span.start_us, _usage(span, kind))
    if kind != "embedding" and not inner:
        more = {"model": _text(_first(span, _MODEL)), "trace_id": span.trace_id}
        metadata = {key: value for key, value in more.items() if value}
        for sender, content, at_us in (
            ("end_user", _asked(span), span.start_us),
            ("agent", _answered(span), span.end_us),
        ):
            if content and content.strip():  # one text of a trace is one message, whichever of its spans tell it
                said = f"otel-{_hash(span.trace_id, sender, content)}:message"
                fields = {"sender": sender, "content": content[: wire.MAX_CONTENT_CHARS], "metadata": metadata}
                yield _draft(said, "message", thread, at_us or span.start_us, fields)


def _draft(event_id: str, kind: str, thread: str, at_us: int, fields: dict[str, Any]) -> Draft | InvalidEvent:
    try:
        return Draft(event_id, kind, thread, at_us, 0, wire.check(kind, lenient(kind, fields)))
    except InvalidEvent as wrong:
        wrong.event_id = event_id
        return wrong


# -- what was said ---------------------------------------------------------------------------------------------------
def _asked(span: Span) -> str | None:
    """The last thing the customer said, as far as the span tells."""
    told = span.attributes
    for messages in (
        _parsed(told.get("gen_ai.input.messages")),
        _numbered(told, "llm.input_messages", "message."),
        _numbered(told, "gen_ai.prompt", ""),
        [{"role": "user", **attributes} for name, _, attributes in span.events if name == "gen_ai.user.message"],
    ):
        if said := _last(messages, ("user", "human")):
            return said
    return _plain(told.get("input.value", told.get("gen_ai.prompt", told.get("traceloop.entity.input"))), "user")


def _answered(span: Span) -> str | None:
    """What the agent or model said in the end."""
    told = span.attributes
    for messages in (
        _parsed(told.get("gen_ai.output.messages")),
        _numbered(told, "llm.output_messages", "message."),
        _numbered(told, "gen_ai.completion", ""),
        [{"role": "assistant", **attributes} for name, _, attributes in span.events if name == "gen_ai.choice"],
    ):
        if said := _last(messages, ("assistant", "ai", "model")):
            return said
    return _plain(
        told.get("output.value", told.get("gen_ai.completion", told.get("traceloop.entity.output"))), "assistant"
    )


def _last(messages: Any, roles: tuple[str, ...]) -> str | None:
    if not isinstance(messages, list):
        return None
    for message in reversed(messages):
        if isinstance(message, dict) and str(message.get("role", roles[0])).lower() in roles:
            inner = _parsed(message.get("message"))  # an event's content may be wrapped once more
            content = (
                message.get("content")
                or message.get("parts")
                or (inner or {} if isinstance(inner, dict) else {}).get("content")
            )
            if said := _content(content):
                return said
    return None


def _content(content: Any) -> str | None:
    """Text, or the text among the parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("content") or part.get("text") for part in content
                 if isinstance(part, dict) and part.get("type", "text") == "text"]  # fmt: skip
        return "\n\n".join(text for text in texts if isinstance(text, str)) or None
    return None


def _numbered(told: Mapping[str, Any], prefix: str, inner: str) -> list[dict[str, Any]]:
    """Messages flattened into attributes: `prefix.0.role`, `prefix.0.content`, ..."""
    messages: dict[int, dict[str, Any]] = {}
    for name, value in told.items():
        if name.startswith(f"{prefix}."):
            number, _, field = name.removeprefix(f"{prefix}.").partition(".")
            if number.isascii() and number.isdigit() and len(number) < 7:
                messages.setdefault(int(number), {})[field.removeprefix(inner)] = value
    return [messages[number] for number in sorted(messages)]


def _plain(value: Any, role: str) -> str | None:
    """The text in an input or output: plain, a list of messages, or an object with one of the usual names."""
    told = _parsed(value)
    if isinstance(told, str):
        return told
    if isinstance(told, list):
        return _last(told, (role,))
    if isinstance(told, dict):
        if said := _last(told.get("messages"), (role, "human" if role == "user" else "ai")):
            return said
        return next((told[name] for name in _SAYS if isinstance(told.get(name), str)), None)
    return None


# -- tools and tokens ------------------------------------------------------------------------------------------------
def _tool(span: Span) -> dict[str, Any]:
    told = span.attributes
    given = told.get(
        "gen_ai.tool.call.arguments",
        told.get("tool.parameters", told.get("input.value", told.get("traceloop.entity.input"))),
    )
    came = told.get("gen_ai.tool.call.result", told.get("output.value", told.get("traceloop.entity.output")))
    raised = next(
        (attributes.get("exception.message") for name, _, attributes in span.events if name == "exception"), None
    )
    ended_us = span.end_us or span.start_us
    return {
        "action_name": told.get("gen_ai.tool.name")
        or told.get("tool.name") or told.get("traceloop.entity.name") or span.name or "tool",
        "started_at": wire.instant(span.start_us),
        "ended_at": wire.instant(ended_us),
        "duration_ms": max(0, ended_us - span.start_us) / 1000,
        "tools_used": _parsed(given),
        "response": _parsed(came),
        "error_msg": (raised or span.status or "failed") if span.failed else None,
        "metadata": {"trace_id": span.trace_id},
    }  # fmt: skip


def _usage(span: Span, kind: str) -> dict[str, Any]:
    sent = _count(span, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")
    received = _count(
        span, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion"
    )
    total = _count(span, "gen_ai.usage.total_tokens", "llm.usage.total_tokens", "llm.token_count.total")
    embeds = kind == "embedding"
    return {
        "prompt_tokens": 0 if embeds else sent,
        "completion_tokens": received,
        "embedding_tokens": (sent or total) if embeds else 0,
        "total_tokens": total or sent + received,
        "model": _text(_first(span, _MODEL)),
        "metadata": {"source": "otel", "trace_id": span.trace_id},
    }


def _count(span: Span, *names: str) -> int:
    value = _first(span, names)
    return int(value) if isinstance(value, (int, float)) and 0 <= value <= wire.MAX_TOKENS else 0


# -- small things ----------------------------------------------------------------------------------------------------
def _first(span: Span, names: tuple[str, ...]) -> Any:
    return next((span.attributes[name] for name in names if span.attributes.get(name) is not None), None)


def _sane(us: int) -> int:
    """A time the contract takes, else 0."""
    return us if 0 < us < 4_102_444_800_000_000 else 0


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value).strip() else None


def _parsed(value: Any) -> Any:
    if not isinstance(value, str) or value[:1] not in ("{", "["):
        return value
    try:
        return json.loads(value, parse_constant=lambda name: None)
    except (ValueError, RecursionError):
        return value


def _hash(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode("utf-8", "replace")).hexdigest()[:40]
