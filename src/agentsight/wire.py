"""The contract of one tracked event: kinds, fields, limits, checks. Both ends run this file, nobody writes a second validator.

The SDK calls `check` before it buffers and `encode` before it sends; the server calls `parse` before it stores.
Text is made storable rather than refused (NUL, lone surrogates); everything else that breaks a rule raises
`InvalidEvent`, which names the field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from .errors import InvalidEvent

# -- limits, each said once ------------------------------------------------------------------------------------------
MAX_BATCH_EVENTS: Final = 1_000
MAX_BATCH_BYTES: Final = 8 * 1024 * 1024  # of one request, counted after gunzip
MAX_CONTENT_CHARS: Final = 262_144
MAX_NAME_CHARS: Final = 255
MAX_ID_CHARS: Final = 128  # of an event
MAX_COMMENT_CHARS: Final = 5_000
MAX_METADATA_CHARS: Final = 65_536
MAX_METADATA_DEPTH: Final = 10
MAX_METADATA_KEYS: Final = 256  # on each level
MAX_PAYLOAD_CHARS: Final = 262_144  # tools_used and response
MAX_PAYLOAD_DEPTH: Final = 64
MAX_FILE_BYTES: Final = 25 * 1024 * 1024
MAX_FILES: Final = 10  # of one upload
MAX_UPLOAD_BYTES: Final = 40_000_000  # of one upload request
MAX_SAFE_INTEGER: Final = 2**53 - 1  # what JSON readers agree on
MAX_DURATION_MS: Final = 10**12
MAX_TOKENS: Final = 10**12  # of one event; sums of many stay within 64 bits

# -- vocabulary ------------------------------------------------------------------------------------------------------
SENDERS: Final = ("end_user", "agent", "system")
SENTIMENTS: Final = ("positive", "neutral", "negative")
FEEDBACK_SOURCES: Final = ("customer", "platform")
ENVIRONMENTS: Final = ("production", "development")
TOKEN_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens", "embedding_tokens")
API_KEY_PATTERN: Final = re.compile(r"ags_[0-9a-f]{32}_[0-9a-f]{6}", re.IGNORECASE)

COUNTED: Final = (
    "started",
    "opened",
    "escalated",
    "timed",
    "messages",
    "users",
    "answered",
    "feedback",
    "tool_runs",
    "tool_errors",
    "tool_timed",
    "tokens",
    "clicks",
    "files",
)
"""What a number can count, as the filter `counted_by` names it."""

FILTERS: Final[dict[str, str]] = {
    "conversation_id": "exactly this conversation_id; present but empty finds nothing",
    "conversation_id__icontains": "conversation_id contains this, any case",
    "customer_id": "exactly this customer_id",
    "customer_id__icontains": "customer_id contains this, any case",
    "name": "name contains this, any case",
    "language": "this language, any case; here and in the next three, unknown finds those of whom nobody told",
    "device": "this device, any case; where none was sent, desktop, mobile or tablet by the metadata's user_agent",
    "source": "this source, any case",
    "source__icontains": "source contains this, any case",
    "country": "this country, ISO 3166-1 alpha-2",
    "customer_ip_address": "exactly this text",
    "environment": "production or development (also spelled env)",
    "is_marked": "true or false",
    "is_used": "true or false; false: opened, never written in",
    "include_deleted": "true: deleted conversations too (default false)",
    "started_at_after": "started at or after this date or instant",
    "started_at_before": "started at or before this date or instant",
    "has_messages": "true: at least one message; false: none",
    "has_feedback": "true: at least one feedback; false: none",
    "message_contains": "a message contains this text, any case",
    "search": "name, conversation_id, customer_id or a message contains this text, any case",
    "action_name": "an action with exactly this name ran",
    "action_name__icontains": "an action ran whose name contains this, any case",
    "has_action": "true: at least one action; false: none",
    "has_error": "true: an action failed; false: none did",
    "escalated": "true: an escalation action ran; false: none did",
    "feedback_sentiment": "positive, neutral or negative; with feedback_source: the same feedback row",
    "feedback_source": "customer or platform",
    "metadata": "key:value[,key:value...], all match; a key may be a dotted path",
    "include_tickets": "true: conversations somebody filed a ticket about, which their rows tell",
    "counted_by": "conversations behind a number: " + ", ".join(COUNTED),
    "counted_key": "with counted_by: only its part with this tool, model, button or sentiment",
    "counted_from": "with counted_by: counted at or after this instant",
    "counted_to": "with counted_by: counted before this instant",
}
NOT: Final = "__not"
_NEGATABLE: Final = (
    *("conversation_id", "conversation_id__icontains", "customer_id", "customer_id__icontains", "name", "language"),
    *("device", "source", "source__icontains", "country", "message_contains", "action_name", "action_name__icontains"),
    *("feedback_sentiment", "metadata"),
)
FILTERS.update({name + NOT: f"the opposite of {name}; given several times, none of them" for name in _NEGATABLE})
"""Names of the conversation list's filters, all joined by AND; the SDK's arguments and the API's parameters."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
_FINER = re.compile(r"\d[.,]\d{6}[5-9]")  # than microseconds, to be rounded up
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


# -- values ----------------------------------------------------------------------------------------------------------
def storable(text: str) -> str:
    """`text` as every database can hold it: NUL shown as U+2400, surrogate pairs joined, lone halves U+FFFD.

    >>> storable("a\\x00b\\ud83d")
    'a␀b�'
    """
    if text.isascii():
        return text.replace("\x00", "␀") if "\x00" in text else text
    if not _UNSTORABLE.search(text):
        return text
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return joined.replace("\x00", "␀")


def read_text(value: Any, field: str, max_chars: int = MAX_NAME_CHARS) -> str:
    """Any JSON scalar as text. Raises InvalidEvent for lists, objects and text over `max_chars`."""
    if type(value) is not str:
        if isinstance(value, str):  # an Enum member, as the old SDK hands them out
            value = getattr(value, "value", None) or str(value)
        elif isinstance(value, bool):
            value = "true" if value else "false"
        elif isinstance(value, (int, float)):
            value = str(value)
        else:
            raise InvalidEvent(field, "must be text")
    if len(value) > max_chars:
        raise InvalidEvent(field, f"is longer than {max_chars} characters")
    return storable(value)


def read_json(value: Any, field: str, *, max_chars: int, max_depth: int, max_keys: int = 100_000) -> Any:
    """A storable copy of a JSON value. Raises InvalidEvent for NaN, Infinity, and what is too deep, wide or long."""
    room = max_chars

    def copy(node: Any, depth: int) -> Any:
        nonlocal room
        kind = type(node)
        if kind is str:
            room -= len(node)
            if room < 0:
                raise InvalidEvent(field, f"is larger than {max_chars} characters")
            return storable(node)
        if node is None or kind is bool:
            return node
        if kind is int:
            if -MAX_SAFE_INTEGER <= node <= MAX_SAFE_INTEGER:
                return node
            raise InvalidEvent(field, "holds an integer beyond 2^53; send it as text")
        if kind is float:
            if math.isfinite(node):
                return node
            raise InvalidEvent(field, "holds NaN or Infinity, which JSON does not have")
        if depth == 0:
            raise InvalidEvent(field, f"is nested deeper than {max_depth} levels")
        if kind is dict:
            if len(node) > max_keys:
                raise InvalidEvent(field, f"has more than {max_keys} keys on one level")
            return {_key(name): copy(child, depth - 1) for name, child in node.items()}
        if kind is list:
            room -= len(node)
            return [copy(child, depth - 1) for child in node]
        raise InvalidEvent(field, f"holds a {kind.__name__}, which JSON does not have")

    def _key(name: Any) -> str:
        nonlocal room
        room -= len(name)
        if len(name) > 256:
            raise InvalidEvent(field, "has a key longer than 256 characters")
        if room < 0:
            raise InvalidEvent(field, f"is larger than {max_chars} characters")
        return storable(name)

    return copy(value, max_depth)


def _is_plain(value: Any) -> bool:
    """Whether `read_json` would only copy these metadata, being one level of sound text and numbers. Most are."""
    if type(value) is not dict or len(value) > MAX_METADATA_KEYS:
        return False
    room = MAX_METADATA_CHARS
    for name, child in value.items():
        if type(name) is not str or len(name) > 256 or storable(name) is not name:
            return False
        room -= len(name)
        kind = type(child)
        if kind is str:
            room -= len(child)
            if storable(child) is not child:
                return False
        elif kind is int:
            if not -MAX_SAFE_INTEGER <= child <= MAX_SAFE_INTEGER:
                return False
        elif child is not None and kind is not bool and not (kind is float and math.isfinite(child)):
            return False
    return room >= 0


def read_metadata(value: Any, field: str = "metadata") -> dict[str, Any]:
    """Metadata as an object; anything else is kept under the key `value`, so that nobody's event is lost for it."""
    if not value and (value is None or value == {}):
        return {}
    if _is_plain(value):
        return value.copy()  # type: ignore[no-any-return]
    clean = read_json(
        value, field, max_chars=MAX_METADATA_CHARS, max_depth=MAX_METADATA_DEPTH, max_keys=MAX_METADATA_KEYS
    )
    return clean if isinstance(clean, dict) else {"value": clean}


def read_instant(value: Any, field: str) -> int:
    """An ISO 8601 time as microseconds since 1970, UTC; a time without a zone is UTC.

    >>> read_instant("1970-01-01T00:00:01Z", "occurred_at")
    1000000
    """
    if type(value) is not str:
        raise InvalidEvent(field, "must be an ISO 8601 time such as 2026-11-21T08:00:00Z")
    if len(value) == 27 and value[26] == "Z" and value[19] == "." and value[20:26].isdecimal() and value.isascii():
        return _second_us(value[:19], field) + int(value[20:26])
    return _instant_us(value, field)


@lru_cache(4_096)
def _second_us(value: str, field: str) -> int:
    """Whole seconds repeat in a batch; microseconds do not."""
    return _instant_us(value, field)


def _instant_us(value: str, field: str) -> int:
    finer = _FINER.search(value)
    try:
        moment = datetime.fromisoformat(value.upper())
    except ValueError:
        raise InvalidEvent(field, "is not an ISO 8601 time such as 2026-11-21T08:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return within_years((moment - _EPOCH) // _US + (finer is not None), field)


def within_years(occurred_us: int, field: str) -> int:
    """The same time. Raises InvalidEvent where it is not between the years 1970 and 2100."""
    if not 0 <= occurred_us < 4_102_444_800_000_000:
        raise InvalidEvent(field, "is not between the years 1970 and 2100")
    return occurred_us


def instant(us: int) -> str:
    """Microseconds since 1970 as ISO 8601 UTC with Z.

    >>> instant(1_500_000)
    '1970-01-01T00:00:01.500000Z'
    """
    second, micros = divmod(us, 1_000_000)
    return f"{_second_text(second)}.{micros:06d}Z"


@lru_cache(4_096)
def _second_text(second: int) -> str:
    return (_EPOCH + timedelta(seconds=second)).isoformat()[:-6]


def read_conversation_id(value: Any, field: str = "conversation_id") -> str:
    """A caller's conversation id: text with something in it, at most 255 characters, no control characters."""
    if type(value) is str and 0 < len(value) <= MAX_NAME_CHARS and value.isascii() and value.isprintable():
        if not value.isspace():
            return value
    elif type(value) is int:
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise InvalidEvent(field, "is required")
    if len(value) > MAX_NAME_CHARS:
        raise InvalidEvent(field, f"is longer than {MAX_NAME_CHARS} characters")
    if _CONTROL.search(value):
        raise InvalidEvent(field, "holds a line break or another control character")
    return storable(value)


def read_event_id(value: Any, field: str = "id") -> str:
    """What an event is known by: text that is the same on every retry, at most 128 characters."""
    if type(value) is not str or not value.strip():
        raise InvalidEvent(field, "is required: text that is the same on every retry, such as a UUIDv7")
    if len(value) > MAX_ID_CHARS:
        raise InvalidEvent(field, f"is longer than {MAX_ID_CHARS} characters")
    return storable(value)


def read_environment(value: Any) -> str:
    """`production` or `development`; `prod` and `dev` in any case too. Anything else never pollutes analytics."""
    known = str(getattr(value, "value", value)).strip().lower()
    return "production" if known in ("production", "prod") else "development"


# -- fields ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Field:
    """How one field is read, whether it must be there, and how the documentation describes it."""

    read: Callable[[Any, str], Any]
    says: str
    schema: Mapping[str, Any]
    required: bool = False
    plain_chars: int = 0  # plain text up to here is sound as it is
    choices: frozenset[str] = frozenset()  # these are sound as they are


def _text(says: str, max_chars: int = MAX_NAME_CHARS, required: bool = False) -> Field:
    def read(value: Any, field: str) -> str | None:
        clean = read_text(value, field, max_chars)
        if required and not clean.strip():
            raise InvalidEvent(field, "is required")
        return clean

    return Field(read, says, {"type": "string", "maxLength": max_chars}, required, plain_chars=max_chars)


def _choice(says: str, allowed: tuple[str, ...], required: bool = False) -> Field:
    def read(value: Any, field: str) -> str:
        plain = getattr(value, "value", value)
        if isinstance(plain, str) and plain in allowed:
            return str(plain)
        raise InvalidEvent(field, f"must be one of {', '.join(allowed)}")

    return Field(read, says, {"type": "string", "enum": list(allowed)}, required, choices=frozenset(allowed))


def _count(says: str) -> Field:
    def read(value: Any, field: str) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or value % 1:
            raise InvalidEvent(field, "must be a whole number")
        if not 0 <= value <= MAX_TOKENS:
            raise InvalidEvent(field, f"must be between 0 and {MAX_TOKENS}")
        return int(value)

    return Field(read, says, {"type": "integer", "minimum": 0, "maximum": MAX_TOKENS})


def _duration(says: str) -> Field:
    def read(value: Any, field: str) -> float | int:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
            raise InvalidEvent(field, "must be a number of milliseconds")
        if not 0 <= value <= MAX_DURATION_MS:
            raise InvalidEvent(field, f"must be between 0 and {MAX_DURATION_MS} milliseconds")
        return value

    return Field(read, says, {"type": "number", "minimum": 0, "maximum": MAX_DURATION_MS})


def _flag(says: str) -> Field:
    def read(value: Any, field: str) -> bool:
        if value is True or value is False:
            return bool(value)
        raise InvalidEvent(field, "must be true or false")

    return Field(read, says, {"type": "boolean"})


def _payload(says: str) -> Field:
    def read(value: Any, field: str) -> Any:
        return read_json(value, field, max_chars=MAX_PAYLOAD_CHARS, max_depth=MAX_PAYLOAD_DEPTH)

    return Field(read, says, {})


def _moment(says: str) -> Field:
    def read(value: Any, field: str) -> int:
        return read_instant(value, field)

    return Field(read, says, {"type": "string", "format": "date-time"})


def _base64(says: str) -> Field:
    def read(value: Any, field: str) -> str:
        if not isinstance(value, str):
            raise InvalidEvent(field, "must be base64 text")
        if len(value) > MAX_FILE_BYTES * 4 // 3 + 4:
            raise InvalidEvent(field, f"is a file over {MAX_FILE_BYTES // 2**20} MiB")
        return value

    return Field(read, says, {"type": "string", "contentEncoding": "base64"}, required=True)


_METADATA = Field(read_metadata, "anything that helps to find or explain it", {"type": "object"})

EVENTS: Final[dict[str, dict[str, Field]]] = {
    "conversation": {
        "customer_id": _text("the end user"),
        "customer_ip_address": _text("where the end user writes from; gives the country"),
        "device": _text("desktop, mobile, tablet"),
        "source": _text("the channel: web, whatsapp, ..."),
        "language": _text("the language of the conversation"),
        "name": _text("a title people recognise"),
        "environment": Field(
            lambda value, field: read_environment(value),
            "production, or development (kept out of analytics)",
            {"type": "string", "enum": list(ENVIRONMENTS)},
            choices=frozenset(ENVIRONMENTS),
        ),
        "is_used": _flag("false: opened, nothing said yet"),
        "metadata": _METADATA,
    },
    "message": {
        "sender": _choice("who said it", SENDERS, required=True),
        "content": _text("what was said", MAX_CONTENT_CHARS, required=True),
        "metadata": _METADATA,
    },
    "action": {
        "action_name": _text("the tool or step", required=True),
        "started_at": _moment("when it began"),
        "ended_at": _moment("when it ended"),
        "duration_ms": _duration("how long it took, in milliseconds"),
        "tools_used": _payload("what it was given"),
        "response": _payload("what it gave back"),
        "error_msg": _text("why it failed; absent when it did not", MAX_CONTENT_CHARS),
        "metadata": _METADATA,
    },
    "button": {
        "button_event": _text("what the buttons are about", required=True),
        "label": _text("what the pressed one says", required=True),
        "value": _text("what the pressed one means", required=True),
        "metadata": _METADATA,
    },
    "attachment": {
        "sender": _choice("who sent it", SENDERS),
        "message_event_id": _text("the message it belongs to; none: it stands alone", MAX_ID_CHARS),
        "filename": _text("its name, for people", 1_024),
        "mime_type": _text("its type"),
        "data": _base64("its bytes"),
        "metadata": _METADATA,
    },
    "token_usage": {
        "prompt_tokens": _count("tokens sent to the model since the last such event"),
        "completion_tokens": _count("tokens received"),
        "total_tokens": _count("their sum as the vendor counts it"),
        "embedding_tokens": _count("tokens embedded"),
        "model": _text("the model that used them"),
        "metadata": _METADATA,
    },
    "feedback": {
        "sentiment": _choice("how it was", SENTIMENTS, required=True),
        "comment": _text("in the customer's words", MAX_COMMENT_CHARS),
        "metadata": _METADATA,
    },
}

_PLANS = {
    kind: tuple((name, of.read, of.required, of.plain_chars, of.choices) for name, of in fields.items())
    for kind, fields in EVENTS.items()
}


def check(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of one event, each in the form it is stored in; absent ones stay absent, unknown ones go.

    The tracker asks before it buffers, the server before it stores.

    Raises:
        InvalidEvent: names the first field that is missing, of the wrong kind or too long.

    >>> check("button", {"button_event": "helpful", "label": "👍", "value": "yes", "hint": 1})
    {'button_event': 'helpful', 'label': '👍', 'value': 'yes'}
    """
    plan = _PLANS.get(kind)
    if plan is None:
        raise InvalidEvent("kind", f"must be one of {', '.join(EVENTS)}")
    sound: dict[str, Any] = {}
    for name, read, required, plain_chars, choices in plan:
        value = body.get(name)
        if value is None:
            if required:
                raise InvalidEvent(name, "is required")
        elif type(value) is str and (
            value in choices
            if choices
            else 0 < len(value) <= plain_chars and value.isascii() and not value.isspace() and "\x00" not in value
        ):
            sound[name] = value  # what nearly every field is: nothing to mend
        else:
            sound[name] = read(value, name)
    return sound


@dataclass(slots=True)
class Draft:
    """One event that passed the contract and is not stored yet. `fields` are those of `EVENTS[kind]`."""

    event_id: str
    kind: str
    conversation_id: str
    occurred_us: int
    seq: int
    fields: dict[str, Any]
    prepared: Any = None  # what the server has made of it before it is stored


def parse(item: Any) -> Draft:
    """One item of a batch as the server received it.

    Raises:
        InvalidEvent: as `check`, and for the envelope: `id`, `kind`, `conversation_id`, `occurred_at`, `seq`.
    """
    if type(item) is not dict:
        raise InvalidEvent("event", "must be an object")
    event_id = read_event_id(item.get("id"))
    kind = item.get("kind")
    if type(kind) is not str:
        raise InvalidEvent("kind", f"must be one of {', '.join(EVENTS)}")
    conversation_id = read_conversation_id(item.get("conversation_id"))
    occurred_us = read_instant(item.get("occurred_at"), "occurred_at")
    seq = item.get("seq", 0)
    if type(seq) is not int or not 0 <= seq <= MAX_SAFE_INTEGER:
        if seq is not None:
            raise InvalidEvent("seq", "must be a whole number of at least 0")
        seq = 0
    return Draft(event_id, kind, conversation_id, occurred_us, seq, check(kind, item))


def json_schema(kind: str) -> dict[str, Any]:
    """The JSON Schema of one event kind, for /openapi.json and the documentation."""
    fields = EVENTS[kind]
    envelope: dict[str, Any] = {
        "id": {"type": "string", "maxLength": MAX_ID_CHARS, "description": "client-made UUIDv7, unchanged by retries"},
        "kind": {"const": kind},
        "conversation_id": {"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARS},
        "occurred_at": {"type": "string", "format": "date-time", "description": "UTC, microseconds"},
        "seq": {"type": "integer", "minimum": 0, "description": "orders equal times"},
    }
    own = {name: {**field.schema, "description": field.says} for name, field in fields.items()}
    required = [name for name, field in fields.items() if field.required]
    return {
        "type": "object",
        "title": kind,
        "properties": envelope | own,
        "required": ["id", "kind", "conversation_id", "occurred_at", *required],
    }
