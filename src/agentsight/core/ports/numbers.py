"""What numbers are read from, and what became of what was sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from ..measures import Deltas, Fold
from ..model import Delivery, Event, Scope


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
