"""What older clients send, turned into drafts of our own contract, at the door. Core never knows.

Source: recorded traffic of the package-index clients 0.0.12 to 0.0.44 (contracts, SDK 0.0.x, sections 3.2 to 3.7).
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from agentsight import wire
from agentsight.core import conversations
from agentsight.core.model import Agent, Scope
from agentsight.core.ports import Store
from agentsight.errors import Invalid, InvalidEvent, NotFound
from agentsight.wire import Draft

_NATURAL = "natural-"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an older client says an event belongs: a message of ours, a conversation of ours, its own conversation id."""

    message: int | None
    conversation: int | None
    conversation_id: str | None


def place(body: Mapping[str, Any]) -> Place:
    """The place named in a body. Raises InvalidEvent for an id that is neither a number nor the text None."""
    told = body.get("conversation_id")
    named = None if _absent(told) else wire.read_conversation_id(told)
    return Place(_row(body.get("message"), "message"), _row(body.get("conversation"), "conversation"), named)


def _absent(value: Any) -> bool:
    """Old clients format None into text."""
    return value is None or value == "None" or value == ""


def _row(value: Any, field: str) -> int | None:
    if _absent(value):
        return None
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InvalidEvent(field, "must be an id, a whole number")
    digits = str(value).strip()
    if not (digits.isascii() and digits.isdigit()):
        raise InvalidEvent(field, "must be an id, a whole number")
    return int(digits) if len(digits) < 19 else 2**62  # beyond every id we give: not found


def resolve(store: Store, agent: Agent, at: Place) -> str:
    """The conversation id an event goes to: of the message, else of the live conversation, else the one it names.

    Raises:
        NotFound: an id was given that is not this agent's, and nothing else to go by.
        Invalid: nothing was given at all.
    """
    scope = Scope(agent.organization_id, (agent.id,))
    if at.message is not None:
        message = store.timeline.find(scope, at.message)
        if message is None:
            raise NotFound("no such message")
        return conversations.get(store, scope, message.conversation).conversation_id
    if at.conversation is not None:
        head = store.conversations.get(scope, at.conversation)
        if head is not None:
            return head.conversation_id
    if at.conversation_id is not None:
        return at.conversation_id
    if at.conversation is not None:
        raise NotFound("no such conversation")
    raise Invalid.of("conversation", "is required: its id, or a conversation_id")


def occurred_us(body: Mapping[str, Any], now_us: int) -> int:
    """When an older client says it happened; now, where it does not say or cannot be understood."""
    try:
        return wire.read_instant(body.get("timestamp"), "timestamp")
    except InvalidEvent:
        return now_us


def natural_id(kind: str, conversation_id: str, body: Mapping[str, Any], parts: Any) -> str:
    """The same id for the same event sent again: older clients have none, but resend identical fields with their time."""
    timestamp = body.get("timestamp")
    if not isinstance(timestamp, str) or not timestamp:
        return str(uuid.uuid4())
    written = orjson.dumps(
        [kind, conversation_id, wire.storable(timestamp), parts], option=orjson.OPT_SORT_KEYS, default=str
    )
    return _NATURAL + hashlib.sha256(written).hexdigest()


def told_id(body: Mapping[str, Any]) -> str | None:
    """The id a sender gave its event, as it can be stored; None: it gave none, or none to speak of."""
    told = body.get("event_id")
    return wire.storable(told) if isinstance(told, str) and 0 < len(told) <= wire.MAX_ID_CHARS else None


def is_natural(event_id: str) -> bool:
    """Whether an id was made here of what was sent."""
    return event_id.startswith(_NATURAL)


def anew(event_id: str, gone: int) -> str:
    """The natural id of the same told to the conversation that came after `gone`, which is deleted."""
    return _NATURAL + hashlib.sha256(f"{event_id} {gone}".encode()).hexdigest()


def draft(kind: str, conversation_id: str, body: Mapping[str, Any], fields: Mapping[str, Any], now_us: int) -> Draft:
    """A draft in our contract's words. Raises InvalidEvent."""
    sound = wire.check(kind, fields)
    return Draft(
        told_id(body) or natural_id(kind, conversation_id, body, sound),
        kind,
        conversation_id,
        occurred_us(body, now_us),
        0,
        sound,
    )


# -- one body a route ------------------------------------------------------------------------------------------------
def message_fields(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A message, or the two of the dormant form that sends question and answer together."""
    if body.get("content") is None and ("question" in body or "answer" in body):
        said = (("end_user", body.get("question")), ("agent", body.get("answer")))
        return [_message(body, sender, text) for sender, text in said if text is not None]
    return [_message(body, body.get("sender"), body.get("content"))]


def _message(body: Mapping[str, Any], sender: Any, content: Any) -> dict[str, Any]:
    return {"sender": sender, "content": content, "metadata": body.get("metadata")}


def action_fields(body: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Kind and fields of an action log; one named token_usage is token usage, a running total of its process."""
    name = body.get("action_name")
    metadata = body.get("metadata")
    if name == "token_usage":
        told = metadata if isinstance(metadata, dict) else {}
        counts = {count: _count(told.get(count)) for count in wire.TOKEN_COUNTS}
        model = told.get("model") if isinstance(told.get("model"), str) else None
        rest = {key: value for key, value in told.items() if key not in (*wire.TOKEN_COUNTS, "model")}
        return "token_usage", {**counts, "model": model, "metadata": {**rest, "source": "sdk-0.0"}}
    return "action", {
        "action_name": name,
        "started_at": _moment(body.get("started_at")),
        "ended_at": _moment(body.get("ended_at")),
        "duration_ms": _number(body.get("duration_ms")),
        "tools_used": body.get("tools_used"),
        "response": body.get("response"),
        "error_msg": _words(body.get("error_msg")),
        "metadata": metadata,
    }


def _words(value: Any) -> Any:
    """Text of whatever an agent's tool said went wrong: older clients pass on a whole answer, too."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) and value else value or None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _moment(value: Any) -> str | None:
    """A time older clients pass as free text; None where it is none, for it must not cost the event."""
    try:
        wire.read_instant(value, "time")
    except InvalidEvent:
        return None
    return str(value)


def _number(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def unknown_environment(body: Mapping[str, Any]) -> str | None:
    """A warning for an environment we do not know; None when all is well."""
    told = body.get("environment")
    if told is None or str(told).strip().lower() in ("production", "prod", "development", "dev"):
        return None
    return f"environment {str(told)[:40]!r} is unknown; stored as development, which analytics leave out"
