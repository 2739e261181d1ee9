"""What AgentSight knows, as plain frozen records. Times are microseconds since 1970, UTC; `id` is ours, `*_id` theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import Any, Literal

from agentsight.errors import Forbidden

from .permissions import Needed, PersonRole, Role, may
from .sight import EVERYTHING, Sight

ESCALATION_ACTIONS = ("fallback_to_human", "open_ticket", "ticket", "contact_human")


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose data: an organization, and which of its agents."""

    organization_id: int
    agent_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Organization:
    id: int
    name: str
    slug: str
    timezone: str = "UTC"
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HostName:
    """A name of an organization's own that leads to this server. `seen_us`: when it first did."""

    host: str
    organization_id: int
    created_us: int
    seen_us: int | None = None


@dataclass(frozen=True, slots=True)
class Agent:
    id: int
    organization_id: int
    name: str
    slug: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    archived_us: int | None = None

    @property
    def escalation_actions(self) -> frozenset[str]:
        """Action names that mean: a human takes over."""
        return frozenset(self.settings.get("escalation_actions", ESCALATION_ACTIONS))


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking: an API key (bound to one agent) or a signed-in person."""

    scope: Scope
    role: Role
    agent: Agent | None = None  # of an API key
    key_id: int | None = None
    user_id: int | None = None
    name: str = ""
    sight: Sight = EVERYTHING

    def may(self, needed: Needed) -> bool:
        """Whether the one permission table lets this role do it."""
        return may(self.role, needed)

    def require(self, needed: Needed) -> None:
        """Raises Forbidden where `may` is False."""
        if self.may(needed):
            return
        if self.key_id is not None:
            raise Forbidden(f"this key is for {self.role} only, which does not allow {needed}")
        raise Forbidden(f"your role, {self.role}, does not allow this ({needed})")


@dataclass(frozen=True, slots=True)
class ApiKey:
    id: int
    agent_id: int
    prefix: str  # `ags_` and eight digits: enough to recognise it, useless to anybody else
    role: Literal["write", "read"]
    created_us: int
    last_used_us: int | None = None
    expires_us: int | None = None
    revoked_us: int | None = None
    name: str = ""
    author: str = ""

    def is_live(self, now_us: int) -> bool:
        return self.revoked_us is None and (self.expires_us is None or self.expires_us > now_us)


@dataclass(frozen=True, slots=True)
class User:
    id: int
    organization_id: int
    email: str
    role: PersonRole
    agent_ids: tuple[int, ...] = ()  # empty: every agent of the organization
    name: str = ""
    has_password: bool = False
    signed_in_us: int | None = None
    signed_out_us: int | None = None  # everywhere: no token made before it holds any longer


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody signed in on one browser."""

    digest: str
    user_id: int
    created_us: int
    expires_us: int
    seen_us: int
    ip: str | None = None
    device: str = ""

    @property
    def handle(self) -> str:
        """What names it on a page; it opens nothing."""
        return self.digest[:16]


@dataclass(frozen=True, slots=True)
class Invitation:
    """A link by which somebody becomes a person of an organization, once."""

    id: int
    organization_id: int
    email: str
    role: PersonRole
    agent_ids: tuple[int, ...]
    author: str
    created_us: int
    expires_us: int
    used_us: int | None = None
    revoked_us: int | None = None

    def is_open(self, now_us: int) -> bool:
        return self.used_us is None and self.revoked_us is None and self.expires_us > now_us


@dataclass(frozen=True, slots=True)
class Attempt:
    """Failed sign-ins of an account or an address."""

    failures: int
    last_us: int
    until_us: int


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


@dataclass(slots=True)
class Span:
    """One span as a client sent it. `incomplete`: why a turn did not come to its end; None: it did, or is no turn.

    `payload` is the span itself, JSON in ASCII.
    """

    id: int
    agent_id: int
    conversation: int
    trace_id: str
    span_id: str
    parent_span_id: str | None
    turn_id: str | None
    kind: str
    name: str
    status: str
    started_us: int
    ended_us: int | None
    duration_ms: float | None
    incomplete: str | None
    payload: str


@dataclass(frozen=True, slots=True)
class Action:
    """What people say of an action that runs under this name, or will."""

    id: int
    agent_id: int
    name: str
    display_name: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Comment:
    """One word in the thread of a ticket. `role`: agent (a key wrote it) or dev (a person)."""

    id: int
    agent_id: int
    ticket: int
    author: str
    role: str
    body: str
    created_us: int


@dataclass(frozen=True, slots=True)
class Ticket:
    """Something to be done about the agent, mostly about one conversation."""

    id: int
    agent_id: int
    conversation: int | None
    feedback: int | None
    title: str
    status: str
    priority: str | None
    tags: tuple[str, ...]
    environment: str
    author: str
    created_us: int
    updated_us: int


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """The calls of one turn to one model; calls outside of turns are one group a conversation. `turn` is JSON."""

    id: int
    agent_id: int
    conversation: int
    turn: str | None
    model: str | None
    started_us: int
    ended_us: int


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
class Removed:
    """What was taken out for good. `files` are the hashes of the attachments that went with it."""

    conversations: int = 0
    messages: int = 0
    other_events: int = 0
    feedback: int = 0
    attachments: int = 0
    spans: int = 0
    tickets: int = 0
    files: set[str] = field(default_factory=set)
    buttons: set[tuple[str, str, str]] = field(default_factory=set)  # (button_event, label, value) of the clicks

    def add(self, other: Removed) -> None:
        for name in ("conversations", "messages", "other_events", "feedback", "attachments", "spans", "tickets"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.files |= other.files
        self.buttons |= other.buttons


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


@dataclass(frozen=True, slots=True)
class Delivery:
    """How many events of a day (UTC, counted from 1970) met one fate, by the key and the client that sent them.

    `outcome`: accepted, duplicate, rejected, lost (a client says it had to drop them), refused (requests, not events).
    """

    agent_id: int
    day: int
    key_id: int
    client: str
    outcome: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Report:
    """An analytics page as it was. `address` is the query it was made from, `body` its frozen answers."""

    id: int
    organization_id: int
    agent_ids: tuple[int, ...]
    name: str
    author: str
    created_us: int
    address: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Share:
    """A link that shows something without signing in.

    `kind` is analytics, report or conversation, `target` the report's or conversation's id, `address` the query of the
    page shared, `hosts` the sites that may frame it, `password` its hash. `sight` names how much it shows
    (`shares.PRESETS`), `theme` and `widgets` are what a frame is bound to; no widgets: all of them.
    """

    id: int
    organization_id: int
    agent_ids: tuple[int, ...]
    kind: str
    target: int | None
    name: str
    author: str
    address: str
    hosts: tuple[str, ...]
    password: str | None
    created_us: int
    expires_us: int | None = None
    revoked_us: int | None = None
    views: int = 0
    viewed_us: int | None = None
    sight: str = "numbers"
    theme: str = "auto"
    widgets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Version:
    """One value of a metadata key that tells how an agent was made, and when conversations had it."""

    agent_id: int
    key: str
    value: str
    first_us: int
    last_us: int
    conversations: int


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One line of an organization's audit log. `seal` covers the line and the seal before it."""

    organization_id: int
    number: int  # 1, 2, 3 ... in each organization
    at_us: int
    actor: str
    role: str
    action: str
    subject: str
    detail: Mapping[str, Any]
    ip: str | None
    result: str
    seal: str = ""

    def sealed(self, seal: str) -> AuditLine:
        return replace(self, seal=seal)
