"""What is listed by itself: `where` is filters by name, their values read; `order` is `field` or `-field`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

from ..model import Action, Comment, Event, Feedback, Scope, Span, Ticket, UsageGroup


class Spans(Protocol):
    """Spans as clients sent them. Those of deleted conversations are kept and not found."""

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
