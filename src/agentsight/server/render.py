"""Records as the JSON of the conversation API. Source: contracts, SDK 0.0.x, sections 3.8 to 3.13."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson
from itsdangerous import URLSafeTimedSerializer

from agentsight.core import attachments as files
from agentsight.core import geo
from agentsight.core.model import (
    Action,
    Attachment,
    AuditLine,
    Comment,
    Conversation,
    Event,
    Feedback,
    Span,
    Ticket,
    Transcript,
)
from agentsight.wire import ENVIRONMENTS, instant


def _time(us: int | None) -> str | None:
    return None if us is None else instant(us)


def lean(head: Conversation) -> dict[str, Any]:
    """A conversation without what was said in it."""
    return {
        "id": head.id,
        "agent": head.agent_id,
        "conversation_id": head.conversation_id,
        "name": head.name,
        "customer_id": head.customer_id,
        "customer_ip_address": head.customer_ip_address,
        "device": head.device,
        "source": head.source,
        "language": head.language,
        "environment": head.environment or "development",
        "environment_id": environment_id(head.environment),
        "is_marked": head.is_marked,
        "is_deleted": head.deleted_us is not None,
        "is_used": head.is_used,
        "started_at": instant(head.started_us),
        "ended_at": _time(head.ended_us),
        "deleted_at": _time(head.deleted_us),
        "message_count": head.message_count,
        "feedback_count": head.feedback_count,
        "metadata": head.metadata,
        "geo_location": geo.location(head.customer_ip_address) if head.customer_ip_address else None,
        **({} if head.stripped_us is None else {"content_removed_before": instant(head.stripped_us)}),
    }


def full(transcript: Transcript, signer: URLSafeTimedSerializer, base: str) -> dict[str, Any]:
    """A conversation with its messages, in order of time, and its feedbacks."""
    return {
        **lean(transcript.conversation),
        "messages": messages(transcript, signer, base),
        "feedbacks": [feedback(given) for given in transcript.feedbacks],
    }


def messages(transcript: Transcript, signer: URLSafeTimedSerializer, base: str) -> list[dict[str, Any]]:
    """The rows of a transcript; a click that came as a span is counted and shown to people, but no row."""
    attached = attachments_by_row(transcript)
    votes = {given.message: feedback(given) for given in transcript.feedbacks if given.message is not None}
    return [
        _row(event, [attachment(file, signer, base) for file in attached.get(event.id, ())], transcript.buttons)
        | {"feedback": votes.get(event.id)}
        for event in transcript_rows(transcript)
        if event.kind != "button" or not event.event_id.startswith("span-")
    ]


def transcript_rows(transcript: Transcript) -> list[Event]:
    """The events that stand in a transcript: messages, actions, clicks, and files that belong to no message."""
    owners = _owners(transcript.events)
    return [
        event
        for event in transcript.events
        if event.kind in ("message", "action", "button") or (event.kind == "attachment" and event.id not in owners)
    ]


def attachments_by_row(transcript: Transcript) -> dict[int, list[Attachment]]:
    """Files under the transcript row they are shown with: their message, else the row that brought them."""
    owners = _owners(transcript.events)
    by_row: dict[int, list[Attachment]] = {}
    place = {event.id: number for number, event in enumerate(transcript.events)}
    for file in sorted(transcript.attachments, key=lambda file: (place.get(file.event, -1), file.id)):
        by_row.setdefault(owners.get(file.event, file.event), []).append(file)
    return by_row


def _owners(events: Iterable[Event]) -> dict[int, int]:
    """Attachment event -> the message it belongs to, where that message is in the same conversation."""
    rows = {event.id for event in events if event.kind != "attachment"}
    by_event_id = {event.event_id: event.id for event in events if event.kind == "message"}
    owners = {}
    for event in events:
        if event.kind == "attachment":
            owner = event.detail.get("message") or by_event_id.get(event.detail.get("message_event_id") or "")
            if owner in rows:
                owners[event.id] = owner
    return owners


def _row(event: Event, attached: list[dict[str, Any]], buttons: Mapping[str, Any]) -> dict[str, Any]:
    is_action, is_button = event.kind == "action", event.kind == "button"
    sender, content = event.sender, event.content or ""
    if is_action:
        sender, content = "agent", f"Action {event.name} performed"
    elif is_button:
        sender, content = "end_user", event.detail.get("label", "")
    return {
        "id": event.id,
        "conversation": event.conversation,
        "timestamp": instant(event.occurred_us),
        "sender": sender,
        "content": content,
        "action_name": event.name if is_action else None,
        "metadata": {} if is_action else event.metadata,
        "attachments": [{**file, "message": event.id} for file in attached],
        "action_logs": [action_log(event)] if is_action else [],
        "button": _button(event, buttons) if is_button else None,
    }


def _button(event: Event, buttons: Mapping[str, Any]) -> dict[str, Any]:
    """The pressed button, and those offered beside it: the same `button_event` with another label or value."""
    pressed = (event.detail["label"], event.detail["value"])
    siblings = [
        {"label": label, "value": value, "clicked": (label, value) == pressed}
        for label, value in buttons.get(event.name or "", (pressed,))
    ]
    return {"id": event.id, "button_event": event.name, "label": pressed[0], "value": pressed[1], "siblings": siblings}


def action_log(event: Event, action: int | None = None) -> dict[str, Any]:
    """One run; `action`: our id of what ran, where it is known."""
    return {
        "id": event.id,
        "action": action,
        "message": event.id,
        "started_at": _time(event.detail.get("started_at")),
        "ended_at": _time(event.detail.get("ended_at")),
        "duration_ms": _plain(event.duration_ms),
        "tools_used": event.detail.get("tools_used"),
        "response": event.detail.get("response"),
        "error_message": event.error or "",
        "metadata": event.metadata,
    }


def _plain(number: float | None) -> float | int | None:
    """A whole number without its `.0`, as it was sent."""
    return int(number) if number is not None and number == int(number) else number


def attachment(file: Attachment, signer: URLSafeTimedSerializer, base: str) -> dict[str, Any]:
    """One file with a link that works for an hour without a key."""
    return {
        "id": file.id,
        "type": files.category(file.mime_type),
        "filename": file.filename,
        "mime_type": file.mime_type,
        "size_bytes": file.size_bytes,
        "file_url": file_url(file, signer, base),
    }


def file_url(file: Attachment, signer: URLSafeTimedSerializer, base: str = "") -> str:
    """A signed, expiring link to the bytes of one file."""
    return f"{base}/files/{signer.dumps(file.id)}/{quote(file.filename, safe='')}"


def feedback(given: Feedback) -> dict[str, Any]:
    return {
        "id": given.id,
        "kind": given.kind,
        "conversation": given.conversation or None,
        "message": given.message,
        "sentiment": given.sentiment,
        "source": given.source,
        "comment": given.comment,
        "topic": given.topic,
        "reason": given.reason,
        "metadata": given.metadata,
        "created_at": instant(given.created_us),
    }


def vote(given: Feedback, conversation_id: str | None, lies_in: str) -> dict[str, Any]:
    """A feedback as the clients 0.1.x know it."""
    return {
        **feedback(given),
        "agent": given.agent_id,
        "conversation_id": conversation_id,
        "user": None,
        "environment": lies_in,
        "environment_id": environment_id(lies_in),
        "category": None,
    }


def environment_id(lies_in: str | None) -> int:
    """Our number of an environment; production where nobody said is development."""
    return ENVIRONMENTS.index(lies_in or "development") + 1


def ticket(
    made: Ticket, head: Conversation | None, given: Feedback | None, thread: Sequence[Comment]
) -> dict[str, Any]:
    """A ticket with its thread, and what it is about in short."""
    about = None
    if head is not None:
        lies_in = head.environment or "development"
        about = {"id": head.id, "conversation_id": head.conversation_id, "name": head.name, "environment": lies_in,
                 "environment_id": environment_id(lies_in)}  # fmt: skip
    return {
        "id": made.id,
        "agent": made.agent_id,
        "title": made.title,
        "status": made.status,
        "priority": made.priority,
        "tags": list(made.tags),
        "environment": made.environment,
        "environment_id": environment_id(made.environment),
        "author": made.author,
        "conversation": about,
        "feedback": None
        if given is None
        else {name: feedback(given)[name] for name in ("id", "kind", "sentiment", "comment", "created_at")},
        "comments": [comment(one) for one in thread],
        "comments_count": len(thread),
        "created_at": instant(made.created_us),
        "updated_at": instant(made.updated_us),
    }


def comment(one: Comment) -> dict[str, Any]:
    return {
        "id": one.id,
        "author": one.author,
        "role": one.role,
        "body": one.body,
        "created_at": instant(one.created_us),
    }


def action(of: Action) -> dict[str, Any]:
    """What people say of an action."""
    return {
        "id": of.id,
        "agent": of.agent_id,
        "name": of.name,
        "display_name": of.display_name or of.name,
        "description": of.description,
    }


def span(of: Span, conversation_id: str, whole: bool = False) -> dict[str, Any]:
    """A span; what clients sent passes as it is, for it may be text no other JSON writer takes. `whole`: with all of it."""
    told = json.loads(of.payload)
    row = {
        "id": of.id,
        "conversation": of.conversation,
        "conversation_id": conversation_id,
        "trace_id": of.trace_id,
        "span_id": of.span_id,
        "parent_span_id": of.parent_span_id,
        "turn_id": of.turn_id,
        "kind": of.kind,
        "name": of.name,
        "started_at": instant(of.started_us),
        "ended_at": _time(of.ended_us),
        "duration_ms": of.duration_ms,
        "status": of.status,
        "attributes": _fragment(told.get("attributes"), dict),
        "events": _fragment(told.get("events"), list),
    }
    return row | ({"payload": orjson.Fragment(of.payload)} if whole else {})


def _fragment(value: Any, kind: type) -> orjson.Fragment:
    return orjson.Fragment(json.dumps(value if isinstance(value, kind) else kind()))


def attachment_listing(transcript: Transcript, signer: URLSafeTimedSerializer, base: str) -> Mapping[str, Any]:
    """The files of a conversation under their messages; only rows that have any."""
    attached = attachments_by_row(transcript)
    rows: list[dict[str, Any]] = [
        {
            "message_id": event.id,
            "sender": event.sender,
            "timestamp": instant(event.occurred_us),
            "attachments": [attachment(file, signer, base) for file in attached[event.id]],
        }
        for event in transcript_rows(transcript)
        if event.id in attached
    ]
    head = transcript.conversation
    return {
        "conversation_id": head.conversation_id,
        "conversation": head.id,
        "total_attachments": len(transcript.attachments),
        "attachment_count": len(transcript.attachments),
        "attachments": [file | {"message": row["message_id"]} for row in rows for file in row["attachments"]],
        "messages": rows,
    }


def audit_line(line: AuditLine) -> dict[str, Any]:
    """A line as programs read it."""
    return {
        "number": line.number,
        "at": instant(line.at_us),
        "actor": line.actor,
        "role": line.role,
        "action": line.action,
        "subject": line.subject,
        "detail": dict(line.detail),
        "ip": line.ip,
        "result": line.result,
        "seal": line.seal,
    }
