"""What was said and done: events in order, and the conversations they make."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from ..model import Attachment, Conversation, Event, Feedback, Filter, Scope


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
