"""What core asks of storage. Every method but those that find a principal takes a scope or an agent first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, Protocol, TypeVar

from .measures import Deltas, Fold
from .model import (
    Action,
    Agent,
    ApiKey,
    Attachment,
    Attempt,
    AuditLine,
    Comment,
    Conversation,
    Delivery,
    Event,
    Feedback,
    Filter,
    HostName,
    Invitation,
    Organization,
    Removed,
    Report,
    Scope,
    Session,
    Share,
    Span,
    Ticket,
    UsageGroup,
    User,
    Version,
)

T = TypeVar("T")


class Timeline(Protocol):
    """Events: appended once by id, read in order (time, seq, id)."""

    def known(self, agent_id: int, event_ids: Sequence[str]) -> dict[str, Event]:
        """Stored events among these ids."""

    def newest(self) -> str:
        """A word that changes when an event, a conversation or feedback is added."""

    def next_ids(self, count: int) -> Sequence[int]:
        """Row ids nobody else will use, ascending."""

    def append(self, events: Sequence[Event]) -> None:
        """Store events nobody has stored yet."""

    def of(self, agent_id: int, conversations: Sequence[int]) -> dict[int, list[Event]]:
        """Whole timelines, each in order."""

    def window(
        self, agent_id: int, conversation: int, *, before: int | None, after: int | None, limit: int
    ) -> list[Event]:
        """At most `limit` events of one timeline, in order, before or after the event with that row id."""

    def messages_between(self, agent_id: int, conversation: int, first_us: int, last_us: int) -> list[Event]:
        """The messages that decide the turns of that stretch: from the last agent message before it to the first after it."""

    def offer(self, agent_id: int, choices: Iterable[tuple[str, str, str]]) -> None:
        """Remember buttons that were pressed once: (button_event, label, value)."""

    def offered(self, agent_id: int, button_events: Collection[str]) -> dict[str, list[tuple[str, str]]]:
        """button_event -> (label, value) of every button this agent is known to offer under it."""

    def find(self, scope: Scope, row: int) -> Event | None:
        """One event by our id."""

    def describe(self, event: Event, metadata: Mapping[str, Any]) -> None:
        """Set an event's metadata; no number is made of them."""


class Conversations(Protocol):
    """Heads, filters, pages, feedback and attachment rows."""

    def next_ids(self, count: int) -> Sequence[int]: ...

    def live(
        self, agent_id: int, conversation_ids: Sequence[str], *, to_change: bool = False
    ) -> dict[str, Conversation]:
        """Live conversations by the caller's id; `to_change`: nobody else changes them before this transaction ends."""

    def get(self, scope: Scope, id: int, *, deleted: bool = False) -> Conversation | None:
        """One conversation by our id; deleted ones only if asked for."""

    def add(self, conversations: Sequence[Conversation]) -> None: ...

    def change(self, conversations: Sequence[Conversation]) -> None:
        """Write these heads over the stored ones."""

    def grow(self, conversations: Sequence[Conversation]) -> None:
        """Write of these heads only what messages, actions and feedback move: counts, ends, flags. No index changes."""

    def page(
        self,
        scope: Scope,
        where: Filter,
        *,
        limit: int,
        offset: int = 0,
        before: tuple[int, int] | None = None,
        after: tuple[int, int] | None = None,
        since_us: int | None = None,
    ) -> tuple[list[Conversation], bool]:
        """Newest first; `before` (started_us, id) continues below that row, `after` above it. True: there is more.

        `since_us` leaves out what was over before, unless it has feedback, which may be younger.
        """

    def ordered(self, scope: Scope, where: Filter, order: str, limit: int, offset: int) -> list[Conversation]:
        """By `field` or `-field` instead of newest first."""

    def chosen(self, scope: Scope, where: Filter, since_us: int, until_us: int) -> dict[int, list[int]]:
        """agent -> our ids of all that match and may have something in that time; some may have nothing, for what was found
        for a longer time is not looked up again."""

    def count(self, scope: Scope, where: Filter, *, limit: int | None = None) -> int:
        """How many match; counting stops at `limit`."""

    def values(self, scope: Scope, column: str) -> list[str]:
        """Values a dimension (country, device, source, language) has had, in lower case, in order; 200 at most."""

    def add_feedbacks(self, feedbacks: Sequence[Feedback]) -> None: ...

    def next_feedback_ids(self, count: int) -> Sequence[int]: ...

    def known_feedbacks(self, agent_id: int, event_ids: Sequence[str]) -> dict[str, Feedback]: ...

    def feedbacks(self, agent_id: int, conversations: Sequence[int]) -> dict[int, list[Feedback]]: ...

    def add_attachments(self, attachments: Sequence[Attachment]) -> None: ...

    def next_attachment_ids(self, count: int) -> Sequence[int]: ...

    def attachments(self, agent_id: int, conversations: Sequence[int]) -> dict[int, list[Attachment]]: ...

    def attachment(self, id: int) -> Attachment | None:
        """One file by our id; the signed link has already proved who may see it."""


class Tenants(Protocol):
    """Organizations, agents, keys, users, sessions."""

    def organization(self, id: int) -> Organization | None: ...

    def organization_named(self, name: str) -> Organization | None: ...

    def organization_at(self, slug: str) -> Organization | None:
        """By its part of an address alone."""

    def organizations(self) -> list[Organization]: ...

    def add_organization(self, name: str, slug: str, created_us: int) -> Organization: ...

    def agent(self, id: int) -> Agent | None: ...

    def agents(self, organization_id: int) -> list[Agent]: ...

    def agent_named(self, organization_id: int, name: str) -> Agent | None: ...

    def add_agent(self, organization_id: int, name: str, slug: str, created_us: int) -> Agent: ...

    def add_key(self, new: ApiKey, digest: str) -> ApiKey:
        """Keep it under its SHA-256; its `id` is ours to give."""

    def key(self, digest: str) -> ApiKey | None:
        """The key with this SHA-256, revoked or not."""

    def keys(self) -> list[tuple[ApiKey, Agent, Organization]]: ...

    def revoke_keys(self, prefix: str, now_us: int) -> int: ...

    def key_used(self, id: int, now_us: int) -> None: ...

    def user(self, id: int) -> User | None: ...

    def user_by_email(self, email: str) -> User | None: ...

    def add_user(
        self, organization_id: int, email: str, role: str, agent_ids: Iterable[int], created_us: int
    ) -> User: ...

    def add_link(self, digest: str, user_id: int, expires_us: int) -> None:
        """Remember a one-time sign-in link by the SHA-256 of its token."""

    def use_link(self, digest: str, now_us: int) -> User | None:
        """The user a link signs in; it works once."""


class Rollups(Protocol):
    """Sums by quarter of an hour, facet and key, and which customers were there; what the numbers are read from.

    `spans` are (place in the answer, first bucket, bucket after the last); `facets` maps dimensions to values in normal
    form; `by` is a dimension or None. `production` is False for development.

    `remembers` False: every answer is read anew, also of days that are over.
    """

    remembers: bool

    def apply(self, agent_id: int, deltas: Deltas) -> None:
        """Add these to what is stored."""

    def sums(
        self,
        scope: Scope,
        production: bool,
        measures: Sequence[int],
        facets: Mapping[str, str],
        by: str | None,
        spans: Sequence[tuple[int, int, int]],
        *,
        kept: bool = False,
    ) -> Iterable[tuple[int, str, int, str, int]]:
        """(place, value of the dimension or "", measure, key, value), summed; `kept`: of erased conversations alone."""

    def folded(
        self, scope: Scope, production: bool, measures: Sequence[int], facets: Mapping[str, str], fold: Fold
    ) -> Iterable[tuple[int, int, str, int]]:
        """(part of the fold, measure, key, value), summed."""

    def tallied(
        self, chosen: Mapping[int, Sequence[int]], measures: Sequence[int], by: str | None, fold: Fold
    ) -> Iterable[tuple[int, str | None, int, str, int]]:
        """(first bucket of the part, value of the dimension as told, measure, key, value) of these conversations of each
        agent, summed."""

    def tallied_users(
        self, chosen: Mapping[int, Sequence[int]], by: str | None, fold: Fold
    ) -> Iterable[tuple[int, str | None, str]]:
        """(first bucket of the part, value of the dimension as told, customer), once each."""

    def users(
        self,
        scope: Scope,
        production: bool,
        facets: Mapping[str, str],
        by: str | None,
        spans: Sequence[tuple[int, int, int]],
        slices: Sequence[int],
    ) -> Iterable[tuple[int, str, int]]:
        """(place, value of the dimension or "", different customers), of these sixteenths of the customers."""

    def kept_users(
        self,
        scope: Scope,
        production: bool,
        facets: Mapping[str, str],
        by: str | None,
        spans: Sequence[tuple[int, int, int]],
    ) -> Iterable[tuple[int, str, int]]:
        """(place, value of the dimension or "", customer) of erased customers, each once."""

    def facts(self, agent_id: int, conversations: Sequence[int]) -> dict[int, list[Event]]:
        """Whole timelines in order, with what the numbers need of each event: no content, no metadata."""

    def tool_runs(
        self, agent_id: int, conversations: Sequence[int], first_us: int, until_us: int
    ) -> Iterable[tuple[str, float]]:
        """(tool, how long it took in ms) of the runs in that time that told."""

    def begin_again(self, agent_id: int) -> None:
        """From here to `finish_again`, `apply` writes beside what is stored. For `rebuild`, inside one transaction."""

    def finish_again(self, agent_id: int) -> list[str]:
        """Put what was written beside in place of what was stored; a sentence for each sum that differed."""


class Older(Protocol):
    """What an older version left out of the sums it does not know, while it worked on the same database."""

    def worked(self, agent_id: int) -> bool:
        """Whether this agent's sums lack something."""

    def take_up(self, agent_id: int) -> int:
        """Let the sums by time tell of what it stored; gives since when tallies may be wrong, in microseconds."""

    def tally(self, agent_id: int, conversations: Sequence[int], deltas: Deltas) -> None:
        """Let these be the tallies of these conversations."""

    def done(self, agent_id: int) -> None:
        """All tallies are right."""


class Deliveries(Protocol):
    """What became of what was sent, by day."""

    def add(self, counted: Iterable[Delivery]) -> None:
        """Add to what is counted already."""

    def read(self, scope: Scope, first_day: int, until_day: int) -> list[Delivery]:
        """Of these days, the last excluded; in order."""

    def forget(self, before_day: int) -> None:
        """Let go of older days."""


class Reports(Protocol):
    """Reports people froze; the organization comes first."""

    def add(self, new: Report) -> Report:
        """Keep it; its `id` is ours to give."""

    def get(self, organization_id: int, id: int) -> Report | None: ...

    def all(self, organization_id: int) -> list[Report]:
        """Newest first."""

    def rename(self, organization_id: int, id: int, name: str) -> None: ...

    def delete(self, organization_id: int, id: int) -> None: ...


class Shares(Protocol):
    """Links people shared."""

    def add(self, new: Share, digest: str) -> Share:
        """Keep it under the SHA-256 of its token; its `id` is ours to give."""

    def found(self, digest: str) -> Share | None:
        """The share of this token, revoked or not."""

    def all(self, organization_id: int) -> list[Share]:
        """Newest first."""

    def expire(self, organization_id: int, id: int, expires_us: int | None) -> int: ...

    def revoke(self, organization_id: int, id: int, now_us: int) -> int: ...

    def viewed(self, id: int, now_us: int) -> None: ...


class Settings(Protocol):
    """What an organization sets for itself: its own row, its agents', its people and keys."""

    def keep_organization(self, changed: Organization) -> None: ...

    def keep_agent(self, changed: Agent) -> None: ...

    def archive_agent(self, organization_id: int, id: int, archived_us: int | None) -> None:
        """Put an agent away, or (None) take it back."""

    def users(self, organization_id: int) -> list[User]: ...

    def remove_user(self, organization_id: int, id: int) -> int:
        """How many went; their sessions and links end with them."""

    def keys(self, organization_id: int) -> list[ApiKey]: ...

    def revoke_key(self, organization_id: int, id: int, now_us: int) -> int: ...

    def end_key(self, organization_id: int, id: int, expires_us: int) -> int:
        """Let a live key end at that time."""

    def stored(self, agent_ids: tuple[int, ...]) -> dict[str, int]:
        """How much is kept: conversations, events, files, file_bytes."""


class Hosts(Protocol):
    """Host names; each belongs to one organization."""

    def found(self, host: str) -> HostName | None: ...

    def of(self, organization_id: int) -> list[HostName]:
        """Oldest first."""

    def add(self, new: HostName) -> HostName: ...

    def remove(self, organization_id: int, host: str) -> int: ...

    def seen(self, host: str, now_us: int) -> None:
        """Remember that somebody reached us by this name for the first time."""


class History(Protocol):
    """What conversations say about the agent that held them."""

    def versions(self, agent_id: int, production: bool, keys: Sequence[str]) -> list[Version]:
        """Every value of these top-level metadata keys."""


class People(Protocol):
    """How people get in: passwords, sessions, invitations; and who failed to."""

    def change_user(self, changed: User) -> None:
        """Write name, role and agents over what is stored."""

    def password(self, user_id: int) -> str | None:
        """The hash of somebody's password; None without one."""

    def set_password(self, user_id: int, hash: str) -> None: ...

    def signed_in(self, user_id: int, now_us: int) -> None: ...

    def link_user(self, digest: str, now_us: int) -> User | None:
        """Whom a one-time link would sign in, without using it."""

    def add_session(self, new: Session) -> None:
        """Keep it; what ended meanwhile is cleared away."""

    def session(self, digest: str) -> Session | None: ...

    def sessions(self, user_id: int) -> list[Session]: ...

    def see_session(self, digest: str, now_us: int, ip: str | None) -> None:
        """Remember that it was used."""

    def end_session(self, digest: str) -> None: ...

    def end_sessions(self, user_id: int, now_us: int) -> None:
        """End all of somebody's, one-time links and tokens made until now with them."""

    def add_invitation(self, new: Invitation, digest: str) -> Invitation:
        """Keep it under the SHA-256 of its token; its `id` is ours to give."""

    def invitation(self, digest: str) -> Invitation | None:
        """The invitation of this token, open or not."""

    def invitations(self, organization_id: int) -> list[Invitation]:
        """Newest first."""

    def use_invitation(self, id: int, now_us: int) -> int:
        """1, the first time."""

    def revoke_invitation(self, organization_id: int, id: int, now_us: int) -> int: ...

    def attempts(self, names: Sequence[str]) -> dict[str, Attempt]: ...

    def keep_attempt(self, name: str, failures: int, last_us: int, until_us: int) -> None: ...

    def forget_attempts(self, names: Sequence[str]) -> None: ...

    def forget_attempts_before(self, last_us: int) -> None: ...


class Audit(Protocol):
    """What was done in an organization, by whom; only ever appended."""

    def last(self, organization_id: int, *, hold: bool = False) -> tuple[int, str]:
        """Number and seal of the last line, (0, "") before the first. `hold`: nobody else appends until we committed."""

    def append(self, line: AuditLine) -> None: ...

    def after(self, organization_id: int, number: int, limit: int) -> list[AuditLine]:
        """The lines that follow that number, oldest first."""

    def page(
        self, organization_id: int, *, before: int | None = None, limit: int = 50, **where: str | int | None
    ) -> list[AuditLine]:
        """Newest first, below that number. `where`: action (or the beginning of one), actor, from_us, to_us."""


class Keeping(Protocol):
    """Letting go of data: what is found, taken out for good, and remembered of it."""

    def of_customer(self, agent_id: int, customer_id: str, limit: int) -> list[Conversation]:
        """Conversations of a customer, deleted ones too: by their head, or by what their own events say."""

    def remove(self, agent_id: int, conversations: Sequence[int], *, traceless: bool) -> Removed:
        """Take whole conversations out, with their entries in the search index; `traceless`: also from its pages."""

    def deleted_page(self, agent_id: int, before: tuple[int, int] | None, limit: int) -> list[Conversation]:
        """Deleted conversations, newest first, below (started_us, id)."""

    def with_content(
        self, agent_id: int, until_us: int, after: tuple[int, int] | None, limit: int
    ) -> list[Conversation]:
        """Live conversations that may hold content from before then, oldest first, above (started_us, id)."""

    def count_content(self, agent_id: int, until_us: int) -> tuple[int, int, int]:
        """How many conversations those are, how many messages they hold, how many files."""

    def strip_events(
        self, agent_id: int, conversation: int, from_us: int | None, until_us: int, limit: int
    ) -> tuple[Removed, int | None]:
        """Take the content out of a conversation's events of that time, about `limit` of them, of its feedback and files.

        Gives what went, and up to when it is done; None: all of it.
        """

    def expired(self, agent_id: int, until_us: int, limit: int) -> list[Conversation]:
        """Live conversations that were over before then, oldest first."""

    def count_expired(self, agent_id: int, until_us: int) -> int: ...

    def deleted(self, agent_id: int, until_us: int, limit: int) -> list[int]:
        """Conversations people deleted before then."""

    def count_deleted(self, agent_id: int, until_us: int) -> int: ...

    def forget_sums(self, agent_id: int, bucket: int) -> None:
        """Take what erased conversations had added before that bucket out of the sums, and drop sums that are nothing."""

    def unused(self, hashes: Collection[str]) -> set[str]:
        """Those of these files no attachment and no brand names any more."""

    def orphaned_buttons(self, agent_id: int, choices: Collection[tuple[str, str, str]]) -> int:
        """Forget those offered buttons (button_event, label, value) that no click tells of any more; how many went."""

    def quoting(self, organization_id: int, texts: Collection[str]) -> tuple[list[int], list[int]]:
        """Reports and shares whose address asks for one of these texts, or whose name or body holds one."""

    def remove_tickets_quoting(self, agent_id: int, text: str) -> int:
        """Take out tickets that hold this in title, tags or thread; how many went."""

    def remove_report(self, organization_id: int, id: int) -> None: ...

    def remove_share(self, organization_id: int, id: int) -> None: ...

    def shares_of(self, organization_id: int, conversations: Collection[int]) -> list[int]:
        """Shares that show one of these conversations."""

    def keep_sums(self, agent_id: int, deltas: Deltas) -> None:
        """Add to what erased conversations had contributed; the sums themselves are not touched."""

    def rename_presence(self, agent_id: int, customer: int, to: int) -> None:
        """Let what a customer was counted as be counted as somebody else, in sums and in what is kept."""

    def counts(self) -> dict[str, int]:
        """How many organizations, agents, conversations, events there are, of everybody."""

    def has_tombstones(self, agent_id: int) -> bool: ...

    def add_tombstones(self, agent_id: int, digests: Sequence[str], now_us: int) -> None: ...

    def tombstones(self, agent_id: int, digests: Sequence[str]) -> dict[str, int]:
        """Those of these that are laid, and when."""


class Moving(Protocol):
    """Whole tables of one organization, out and in, row by row."""

    def columns(self, table: str) -> list[str]: ...

    def rows(self, table: str, by: str, owners: Sequence[int], at_once: int) -> Iterator[list[tuple[Any, ...]]]:
        """The rows whose column `by` is one of the owners, some at a time, in the order of their key."""

    def base(self, table: str) -> int:
        """The highest id ever used; 0 where none was."""

    def put(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None: ...

    def retire(self, table: str, highest: int) -> None:
        """Ids up to this one are used."""

    def free_slug(self, wanted: str) -> str:
        """An organization's slug nobody has, as like `wanted` as may be."""

    def reseal(self, organization_id: int, lines: Iterator[AuditLine]) -> None:
        """Write the seals of these lines over the stored ones."""


class Spans(Protocol):
    """Spans as clients sent them. Those of deleted conversations are kept and not found.

    In this list and the next ones `where` is filters by name, their values read; `order` is `field` or `-field`.
    """

    def next_ids(self, count: int) -> Sequence[int]: ...

    def add(self, spans: Sequence[Span]) -> None:
        """Keep them; one that is kept already stays as it is."""

    def outcomes(self, agent_id: int, turn_ids: Collection[str]) -> dict[tuple[int, str], str | None]:
        """(conversation, turn) -> why it did not come to its end, None: it did; of the turns that are kept."""

    def waiting(self, agent_id: int, trace_ids: Collection[str], turn_ids: Collection[str]) -> list[Span]:
        """The tools and tasks of these turns, each of one of the traces."""

    def page(
        self, scope: Scope, where: Mapping[str, Any], order: str, limit: int, offset: int
    ) -> list[tuple[Span, str]]:
        """Spans and the conversation_id of each."""

    def count(self, scope: Scope, where: Mapping[str, Any]) -> int: ...

    def find(self, scope: Scope, id: int) -> tuple[Span, str] | None: ...

    def trace(self, scope: Scope, trace_id: str, limit: int) -> list[tuple[Span, str]]:
        """Oldest first."""


class Usage(Protocol):
    """Token usage of conversations nobody deleted: calls, and the rows they make together."""

    def page(self, scope: Scope, where: Mapping[str, Any], order: str, limit: int, offset: int) -> list[UsageGroup]: ...

    def count(self, scope: Scope, where: Mapping[str, Any]) -> int: ...

    def models(self, scope: Scope) -> list[str | None]:
        """Every model that was named."""

    def calls(self, scope: Scope, where: Mapping[str, Any], groups: Sequence[UsageGroup]) -> list[Event]:
        """The calls of these rows' conversations."""

    def every(self, scope: Scope, where: Mapping[str, Any]) -> Iterator[Event]:
        """All calls, some in memory at a time."""


class Actions(Protocol):
    """What people say of actions; what ran stands in the timeline."""

    def page(self, scope: Scope, where: Mapping[str, Any], order: str, limit: int, offset: int) -> list[Action]: ...

    def count(self, scope: Scope, where: Mapping[str, Any]) -> int: ...

    def find(self, scope: Scope, id: int) -> Action | None: ...

    def named(self, agent_ids: Sequence[int]) -> dict[tuple[int, str], Action]:
        """By agent and name."""

    def ran(self, agent_ids: Sequence[int]) -> set[tuple[int, str]]:
        """Agent and name of everything that ever ran."""

    def add(self, new: Sequence[Action]) -> None:
        """Keep those nobody has; ids are ours to give."""

    def change(self, changed: Action) -> None: ...

    def runs(self, of: Action, limit: int) -> list[Event]:
        """Newest first, in conversations nobody deleted."""


class FeedbackList(Protocol):
    """Feedback as a list of its own: (feedback, conversation_id, environment). That of deleted conversations is not found."""

    def page(
        self, scope: Scope, where: Mapping[str, Any], order: str, limit: int, offset: int
    ) -> list[tuple[Feedback, str | None, str]]: ...

    def count(self, scope: Scope, where: Mapping[str, Any]) -> int: ...

    def ticketed(self, scope: Scope, where: Mapping[str, Any]) -> dict[str, int]:
        """Status -> how many tickets were made of these."""

    def find(self, scope: Scope, id: int) -> tuple[Feedback, str | None, str] | None: ...

    def vote(self, agent_id: int, conversation: int, message: int) -> Feedback | None:
        """What was said of one message."""

    def change(self, changed: Feedback) -> None: ...

    def remove(self, gone: Feedback) -> None: ...


class Tickets(Protocol):
    """Tickets and their threads. Those of deleted conversations are not found."""

    def page(self, scope: Scope, where: Mapping[str, Any], order: str, limit: int, offset: int) -> list[Ticket]: ...

    def count(self, scope: Scope, where: Mapping[str, Any]) -> int: ...

    def find(self, scope: Scope, id: int) -> Ticket | None: ...

    def of_conversations(self, scope: Scope, conversations: Sequence[int]) -> dict[int, list[Ticket]]:
        """Newest first."""

    def of_feedback(self, scope: Scope, feedbacks: Sequence[int]) -> dict[int, list[Ticket]]: ...

    def add(self, new: Ticket) -> Ticket:
        """Keep it; its `id` is ours to give."""

    def change(self, changed: Ticket) -> None: ...

    def remove(self, agent_id: int, id: int) -> None:
        """With its thread."""

    def forget_feedback(self, agent_id: int, feedback_id: int) -> None:
        """Let no ticket name it any more."""

    def comment(self, new: Comment) -> Comment: ...

    def threads(self, scope: Scope, tickets: Collection[int]) -> dict[int, list[Comment]]:
        """Oldest first."""


class Store(Protocol):
    """One transaction: all of it happens, or nothing."""

    @property
    def timeline(self) -> Timeline: ...

    @property
    def conversations(self) -> Conversations: ...

    @property
    def tenants(self) -> Tenants: ...

    @property
    def rollups(self) -> Rollups: ...

    @property
    def older(self) -> Older: ...

    @property
    def deliveries(self) -> Deliveries: ...

    @property
    def reports(self) -> Reports: ...

    @property
    def shares(self) -> Shares: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def history(self) -> History: ...

    @property
    def audit(self) -> Audit: ...

    @property
    def keeping(self) -> Keeping: ...

    @property
    def moving(self) -> Moving: ...

    @property
    def hosts(self) -> Hosts: ...

    @property
    def people(self) -> People: ...

    @property
    def spans(self) -> Spans: ...

    @property
    def usage(self) -> Usage: ...

    @property
    def actions(self) -> Actions: ...

    @property
    def feedback(self) -> FeedbackList: ...

    @property
    def tickets(self) -> Tickets: ...


class Storage(Protocol):
    """A database somebody opened."""

    def read(self, ask: Callable[[Store], T], *, may_lag: bool = False) -> T:
        """`ask` on a consistent snapshot, in this thread.

        `may_lag`: lists and numbers, which may lack the last moment; where there is a read replica, it answers.
        """

    def write(self, change: Callable[[Store], T], *, alongside: bool = False) -> Future[T]:
        """`change` in a transaction; the future is done after the commit.

        It sees and leaves the database as if nobody else wrote meanwhile. `alongside`: it only takes events in
        (`ingest.accept`), so an engine with several writers may run it beside others of its kind. It may be run again
        from its start when the engine could not finish it, so it must not leave traces elsewhere. Neighbours in the queue
        whose `joins` are equal (`ingest.Intake`) may be run as one, by the first's `together`.

        Raises:
            ServerFailed: too much is waiting already; carries `retry_after_s`.
        """

    def listen(self, heard: Callable[[], None]) -> None:
        """Call `heard`, in any thread, soon after something was stored; by other processes too where the engine can tell."""

    def alone(self, job: str) -> AbstractContextManager[bool]:
        """True in the block for one process of all that use this database; False when another does this job now."""

    def catch_up(self) -> None:
        """After rows were put in from elsewhere: what follows from them, such as the search index and the next ids."""

    def distribute(self) -> list[str]:
        """Spread the tables over several nodes, where the engine can; gives those that were not yet.

        Raises:
            ConfigError: it cannot.
        """

    def facts(self) -> Mapping[str, str]:
        """What engine this is, for `doctor` and /readyz."""

    def check(self) -> list[str]:
        """What is wrong with the stored data; empty: it is sound."""

    def frugal(self) -> None:
        """From here on take little memory: for who reads everything once."""

    def scrub(self) -> Mapping[str, Any]:
        """Let nothing of what was deleted remain in the database's files; says what was done. Writers wait meanwhile."""

    def close(self) -> None: ...


class Blobs(Protocol):
    """Attachment bytes, by their SHA-256. Raises ServerFailed where the bytes cannot be reached now."""

    def put(self, data: bytes) -> str:
        """Keep the bytes for good, before this returns; gives their SHA-256."""

    def get(self, sha256: str) -> bytes:
        """The bytes. Raises NotFound when they are gone."""

    def open(self, sha256: str) -> BinaryIO:
        """The bytes as a file that can be read and sought in. Raises NotFound when they are gone."""

    def delete(self, sha256: str) -> None:
        """Let go of the bytes; those that are gone already are fine."""

    def each(self) -> Iterator[str]:
        """The SHA-256 of everything that is kept."""

    def older(self, than_us: int) -> Iterator[str]:
        """The SHA-256 of what was put before then for the last time; leftovers of writes cut short go on the way."""

    def check(self) -> str:
        """Where files are kept, for people; proves that they can be. Raises ServerFailed."""
