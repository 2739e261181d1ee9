"""Records as the JSON of the conversation API. Source: contracts, SDK 0.0.x, sections 3.8 to 3.13."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from itsdangerous import URLSafeTimedSerializer

from agentsight.core import attachments as files
from agentsight.core import geo
from agentsight.core.model import Attachment, AuditLine, Conversation, Event, Feedback, Transcript
from agentsight.wire import instant


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
    attached = attachments_by_row(transcript)
    return {
        **lean(transcript.conversation),
        "messages": [
            _row(event, [attachment(file, signer, base) for file in attached.get(event.id, ())], transcript.buttons)
            for event in transcript_rows(transcript)
        ],
        "feedbacks": [feedback(given) for given in transcript.feedbacks],
    }


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
        "attachments": attached,
        "action_logs": [_action_log(event)] if is_action else [],
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


def _action_log(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
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
        "conversation": given.conversation,
        "sentiment": given.sentiment,
        "source": given.source,
        "comment": given.comment,
        "metadata": given.metadata,
        "created_at": instant(given.created_us),
    }


def vote(given: Feedback, head: Conversation) -> dict[str, Any]:
    """A feedback as the clients 0.1.x know it."""
    return {
        **feedback(given),
        "kind": "conversation",
        "agent": given.agent_id,
        "conversation_id": head.conversation_id,
        "message": None,
        "user": None,
        "environment": head.environment or "development",
        "environment_id": None,
        "category": None,
        "topic": None,
        "reason": None,
    }


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
