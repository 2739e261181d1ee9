"""What an engine does with a lot at once: let go of it, move it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Protocol

from ..measures import Deltas
from ..model import AuditLine, Conversation, Removed


class Keeping(Protocol):
    """Letting go of data: what is found, taken out for good, and remembered of it."""

    def of_customer(self, agent_id: int, customer_id: str, limit: int) -> list[Conversation]:
        """Conversations of a customer, deleted ones too: by their head, or by what their own events say."""

    def remove(self, agent_id: int, conversations: Sequence[int], *, traceless: bool) -> Removed:
        """Take whole conversations out, with their entries in the search index; `traceless`: also from its pages."""

    def deleted_page(self, agent_id: int, before: tuple[int, int] | None, limit: int) -> list[Conversation]:
        """Deleted conversations, newest first, below (started_us, id)."""

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


class Retention(Protocol):
    """What has had its time: content taken out of conversations that stay, and those that go."""

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
