"""A transcript as rows of one table: one row for each thing that was said, done, pressed, sent, used or judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from .model import NAME_FIELDS, Attachment, Conversation, Event, Feedback, Transcript

COLUMNS: Final[Mapping[str, str]] = {
    "conversation_id": "text",
    "conversation_name": "text",
    "conversation_started_at": "time",
    "conversation_ended_at": "time",
    "customer_id": "text",
    "customer_ip_address": "text",
    "country": "text",
    "device": "text",
    "source": "text",
    "language": "text",
    "environment": "text",
    "is_marked": "flag",
    "is_used": "flag",
    "deleted_at": "time",
    "event_id": "text",
    "kind": "text",
    "occurred_at": "time",
    "sender": "text",
    "content": "text",
    "action_name": "text",
    "duration_ms": "number",
    "error": "text",
    "tools_used": "text",
    "response": "text",
    "button_event": "text",
    "label": "text",
    "value": "text",
    "model": "text",
    "prompt_tokens": "count",
    "completion_tokens": "count",
    "embedding_tokens": "count",
    "total_tokens": "count",
    "filename": "text",
    "mime_type": "text",
    "size_bytes": "count",
    "sentiment": "text",
    "comment": "text",
    "feedback_source": "text",
    "metadata": "text",
    "conversation_metadata": "text",
}
"""Name -> kind: text, count, number, flag, or time in microseconds since 1970. JSON is text."""

_DETAILS = ("label", "value", "prompt_tokens", "completion_tokens", "embedding_tokens", "total_tokens")


def rows(transcript: Transcript) -> Iterator[dict[str, Any]]:
    """The rows of one conversation, in order; feedback last. Columns without a value are absent."""
    head = _head(transcript.conversation)
    files: dict[int, list[Attachment]] = {}
    for file in transcript.attachments:
        files.setdefault(file.event, []).append(file)
    for event in transcript.events:
        if event.kind == "attachment" and event.id in files:
            for file in files[event.id]:
                yield head | _event(event) | _file(file)
        else:
            yield head | _event(event)
    for given in transcript.feedbacks:
        yield head | _feedback(given)


def _head(head: Conversation) -> dict[str, Any]:
    return {
        "conversation_id": head.conversation_id,
        "conversation_name": head.name,
        "conversation_started_at": head.started_us,
        "conversation_ended_at": head.ended_us,
        "customer_id": head.customer_id,
        "customer_ip_address": head.customer_ip_address,
        "country": head.country,
        "device": head.device,
        "source": head.source,
        "language": head.language,
        "environment": head.environment or "development",
        "is_marked": head.is_marked,
        "is_used": head.is_used,
        "deleted_at": head.deleted_us,
        "conversation_metadata": _json(head.metadata) if head.metadata else None,
    }


def _event(event: Event) -> dict[str, Any]:
    told: dict[str, Any] = {
        "event_id": event.event_id,
        "kind": event.kind,
        "occurred_at": event.occurred_us,
        "sender": event.sender,
        "content": event.content,
        "duration_ms": event.duration_ms,
        "error": event.error,
        "metadata": _json(event.metadata) if event.metadata else None,
    }
    if event.kind in NAME_FIELDS:
        told[NAME_FIELDS[event.kind]] = event.name
    told |= {name: event.detail[name] for name in _DETAILS if name in event.detail}
    for name in ("tools_used", "response"):
        if event.detail.get(name) is not None:
            said = event.detail[name]
            told[name] = said if isinstance(said, str) else _json(said)
    return told


def _file(file: Attachment) -> dict[str, Any]:
    return {"filename": file.filename, "mime_type": file.mime_type, "size_bytes": file.size_bytes}


def _feedback(given: Feedback) -> dict[str, Any]:
    return {
        "event_id": given.event_id,
        "kind": "feedback",
        "occurred_at": given.created_us,
        "sentiment": given.sentiment,
        "comment": given.comment,
        "feedback_source": given.source,
        "metadata": _json(given.metadata) if given.metadata else None,
    }


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
