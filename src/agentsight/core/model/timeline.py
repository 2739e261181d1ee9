"""Conversations and what happened in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Literal


@dataclass(slots=True)
class Conversation:
    """One thread, as the list shows it. Never changed in place (`but` gives a changed one); frozen would cost ingest dear.

    `is_opened`: its first word to us was that it had been opened, not used. `ended_us` is its last event, None before one.
    `open_since_us` is the first customer message nobody has answered yet, `last_message_*` the place of the last message.
    `described_us` is the latest `conversation` event; `overrides` is what people set by hand, which wins.
    """

    id: int
    agent_id: int
    conversation_id: str
    started_us: int
    ended_us: int | None = None
    customer_id: str | None = None
    customer_ip_address: str | None = None
    country: str | None = None  # ISO 3166-1 alpha-2, from the address
    device: str | None = None
    device_kind: str | None = None  # what numbers and filters go by: `device`, else by the metadata's user agent
    source: str | None = None
    language: str | None = None
    name: str | None = None
    environment: str | None = None  # None: nobody said; counts as development
    is_used: bool = False
    is_opened: bool = False
    is_marked: bool = False
    is_escalated: bool = False
    deleted_us: int | None = None
    message_count: int = 0
    action_count: int = 0
    error_count: int = 0
    feedback_count: int = 0
    sentiment: str | None = None  # of the latest customer feedback
    open_since_us: int | None = None
    last_message_us: int | None = None
    last_message_seq: int = 0
    described_us: int | None = None  # latest `conversation` event folded in; None: none yet
    stripped_us: int | None = None  # content before this time was removed by retention; None: none was
    metadata: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def but(self, **changes: Any) -> Conversation:
        """This conversation with some fields changed."""
        new = Conversation(*_values_of(self))
        for name, value in changes.items():
            setattr(new, name, value)
        return new


_values_of = attrgetter(*(field.name for field in fields(Conversation)))


NAME_FIELDS = {"action": "action_name", "button": "button_event", "token_usage": "model"}
"""Event kind -> the field of the contract that an event's `name` holds."""


@dataclass(slots=True)
class Event:
    """One stored event, never changed in place.

    `name` is an action's or button's name, a token usage's model; `detail` the rest of its fields.
    """

    id: int
    agent_id: int
    conversation: int
    event_id: str
    kind: str
    occurred_us: int
    seq: int = 0
    sender: str | None = None
    content: str | None = None
    name: str | None = None
    duration_ms: float | None = None
    error: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attachment:
    """One file. `event` is the attachment event that brought it; `sha256` names its bytes in the blob store."""

    id: int
    agent_id: int
    conversation: int
    event: int
    filename: str
    mime_type: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Feedback:
    """One judgement: of a conversation, of one of its messages, or (conversation 0) of the agent itself."""

    id: int
    agent_id: int
    conversation: int
    event_id: str
    sentiment: str
    source: str
    created_us: int
    comment: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    message: int | None = None
    topic: str | None = None
    reason: str | None = None
    environment: str | None = None

    @property
    def kind(self) -> str:
        """What it is about."""
        return "message" if self.message is not None else "conversation" if self.conversation else "agent"


@dataclass(frozen=True, slots=True)
class Transcript:
    """A conversation with all that belongs to it; events in order, attachment events apart from their files.

    `buttons`: button_event -> (label, value) of every button the agent is known to offer under it.
    """

    conversation: Conversation
    events: tuple[Event, ...]
    attachments: tuple[Attachment, ...]
    feedbacks: tuple[Feedback, ...]
    buttons: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)


@dataclass(slots=True)
class Verdict:
    """What became of one event."""

    event_id: str | None
    verdict: Literal["accepted", "duplicate", "rejected"]
    row: int | None = None  # our id of the stored event
    conversation: int | None = None
    field: str | None = None
    reason: str | None = None
    discarded: bool = False  # accepted and let go of at once: it belongs to what was erased


@dataclass(frozen=True, slots=True)
class Filter:
    """A question to the conversation list: every field that is not None narrows it. Names are those of `wire.FILTERS`.

    >>> Filter(source="web", unless=(("language", "de"), ("language", "en"))).unless[0]
    ('language', 'de')
    """

    conversation_id: str | None = None
    conversation_id__icontains: str | None = None
    customer_id: str | None = None
    customer_id__icontains: str | None = None
    name: str | None = None
    language: str | None = None
    device: str | None = None
    source: str | None = None
    source__icontains: str | None = None
    country: str | None = None
    customer_ip_address: str | None = None
    environment: str | None = None
    is_marked: bool | None = None
    is_used: bool | None = None
    include_deleted: bool = False
    started_at_after: int | None = None  # microseconds, included
    started_at_before: int | None = None
    has_messages: bool | None = None
    has_feedback: bool | None = None
    message_contains: str | None = None
    search: str | None = None
    action_name: str | None = None
    action_name__icontains: str | None = None
    has_action: bool | None = None
    has_error: bool | None = None
    escalated: bool | None = None
    feedback_sentiment: str | None = None
    feedback_source: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    include_tickets: bool | None = None  # only True narrows
    counted_by: str | None = None
    counted_key: str | None = None
    counted_from: int | None = None  # microseconds, included
    counted_to: int | None = None  # excluded
    unless: tuple[tuple[str, Any], ...] = ()  # (name, value) of what must not be so: the names that end in __not


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list. `total` is None where nobody asked for it; `following` says whether more come after."""

    rows: tuple[Conversation, ...]
    following: bool
    total: int | None = None
