"""Where the measures of an answer are read: the sums, the tallies of chosen conversations, or the events themselves.

All give the same; only the time it takes tells which it was.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from functools import cached_property
from math import sqrt
from typing import Final

from . import counting
from . import measures as m
from .calendars import in_quarters, stretches
from .model import Conversation, Filter, Scope
from .ports import Store
from .questions import Question, earlier

EXACT_DAYS: Final = 31  # users are counted one by one up to here
USERS_ERROR: Final = 0.01
_SLICES = 16
_STEPS = {"hour": 1, "day": 96, "week": 96, "month": 96, "weekday_hour": 4}  # of a fold, in buckets
_PAGE = 500  # conversations read at a time
_ROLLED_UP = frozenset({*m.DIMENSIONS, "environment", "include_deleted"})  # filters rollups know
Spans = Callable[[], list[tuple[int, int, int]]]  # (place in the answer, from, until)
Counted = tuple[int, str, int, str, int]  # (place of the span, facet value, measure, key, value)


class Source:
    """Where the measures come from: rollups or events, with the same result."""

    def __init__(
        self, store: Store, scope: Scope, asked: Question, by: str | None, bounds: tuple[int, int], spans: Spans
    ):
        self._store, self._scope, self._asked, self._by = store, scope, asked, by
        self._first_us, self._until_us, self._cut = *bounds, spans
        self._zone = asked.zone
        self._production = asked.production
        self._where = asked.where
        told = {field.name for field in fields(Filter) if getattr(asked.where, field.name) != field.default}
        self._facets: dict[str, str] = {
            name: _normal(name, getattr(asked.where, name)) for name in m.DIMENSIONS if name in told
        }
        self.rolled_up = told <= _ROLLED_UP  # and know what was erased

    @cached_property
    def _spans(self) -> list[tuple[int, int, int]]:
        """All stretches asked for; a year has nine thousand hours, so who does without them does not ask."""
        return self._cut()

    @cached_property
    def aligned(self) -> bool:
        """Whether sums can tell, which know quarters of an hour."""
        if self._by == "weekday_hour":
            return in_quarters(self._first_us, self._until_us, self._zone)
        return all(us % m.BUCKET_US == 0 for _, *bounds in self._spans for us in bounds)

    # All give (counted, users): users are (place or None for the total, facet value, different customers).
    def from_rollups(
        self, measures: list[int], dimension: str | None, users: bool, split: bool
    ) -> tuple[Iterable[Counted], Iterable[tuple[int | None, str, int]]]:
        spans = [(place, first // m.BUCKET_US, until // m.BUCKET_US) for place, first, until in self._spans]
        if not spans:
            return [], []
        rollups, scope, production, facets = self._store.rollups, self._scope, self._production, self._facets
        counted: Iterable[Counted] = ()
        if measures:
            counted = rollups.sums(scope, production, measures, facets, dimension, spans)
        found: list[tuple[int | None, str, int]] = []
        if users:
            found.append((None, "", self._all_users(spans)))
            if split:
                found += rollups.users(scope, production, facets, dimension, spans, range(_SLICES))
        return counted, found

    def from_week(
        self, measures: list[int], dimension: str | None, users: bool, split: bool
    ) -> tuple[Iterable[Counted], Iterable[tuple[int | None, str, int]]]:
        """As from rollups, without a span for every hour."""
        _, found = self.from_rollups([], None, users, split) if users else ([], [])
        if self._first_us >= self._until_us or not measures:
            return [], found
        rows = self._store.rollups.folded(self._scope, self._production, measures, self._facets, self._fold())
        return ((place, "", measure, key, value) for place, measure, key, value in rows), found

    def from_tallies(
        self, measures: list[int], dimension: str | None, users: bool, split: bool
    ) -> tuple[Iterable[Counted], Iterable[tuple[int | None, str, int]]]:
        """Of the conversations that match, whatever is asked of them."""
        if not self._spans:
            return [], []
        where = replace(self._where, environment="production" if self._production else "development")
        where = replace(where, include_deleted=False)
        chosen = self._store.conversations.chosen(self._scope, where, *self._around())
        fold = self._fold()
        place_of = _Places(self._spans)

        def placed(bucket: int) -> int:
            return place_of(bucket * m.BUCKET_US) or 0

        def spelled(value: str | None) -> str:
            return _spelled(dimension, value) if dimension else ""

        rows = self._store.rollups.tallied(chosen, measures, dimension, fold) if measures else ()
        counted = ((placed(at), spelled(value), measure, key, total) for at, value, measure, key, total in rows)
        if not users:
            return counted, []
        present: dict[tuple[int | None, str], set[str]] = {(None, ""): set()}
        for at, value, customer in self._store.rollups.tallied_users(chosen, dimension, fold):
            present[None, ""].add(customer)
            if split:
                present.setdefault((placed(at), spelled(value)), set()).add(customer)
        return counted, [(place, value, len(customers)) for (place, value), customers in present.items()]

    def _around(self) -> tuple[int, int]:
        """With what is compared, where that lies beside it: looking conversations up takes longer than counting them."""
        bounds = self._asked.bounds_us
        if self._asked.compare in (None, "year"):
            return self._first_us, self._until_us
        return min(bounds[0], earlier(self._asked)[0]), bounds[1]

    def _fold(self) -> m.Fold:
        step = _STEPS.get(self._by or "", 0)
        wrap = 168 if self._by == "weekday_hour" else 0
        return m.Fold(stretches(self._first_us, self._until_us, self._zone), step, wrap)

    def _all_users(self, spans: list[tuple[int, int, int]]) -> int:
        """Different customers over the whole range.

        Customers fall into sixteen slices by their hash. Short ranges count all of them; over long ones counting stops
        as soon as what is still uncounted can be told within 1 % (3.3 standard deviations) from what was.
        """
        whole = [(0, min(first for _, first, _ in spans), max(until for *_, until in spans))]
        exact = whole[0][2] - whole[0][1] <= EXACT_DAYS * 96
        seen, slices = 0, 0
        while slices < _SLICES:
            some = range(_SLICES) if exact else range(slices, max(1, slices * 2))
            counted = self._store.rollups.users(self._scope, self._production, self._facets, None, whole, some)
            seen += sum(count for *_, count in counted)
            slices = some[-1] + 1
            estimate = seen * _SLICES / slices
            if estimate and 3.3 * sqrt((_SLICES / slices - 1) / estimate) <= USERS_ERROR:
                break
        return round(seen * _SLICES / slices)

    def from_events(
        self, measures: list[int], dimension: str | None, users: bool, split: bool
    ) -> tuple[Iterable[Counted], Iterable[tuple[int | None, str, int]]]:
        place_of = _Places(self._spans)
        counted: dict[tuple[int, str, int, str], int] = {}
        present: dict[tuple[int | None, str], set[str]] = {}
        wanted = {*measures, *([m.USERS] if users else [])}
        for head, contributions in self._contributions():
            value = counting.facet_of(head)[m.DIMENSIONS.index(dimension)] if dimension else ""
            for at_us, measure, key, amount in contributions:
                place = place_of(at_us) if measure in wanted else None
                if place is None:
                    continue
                if measure == m.USERS:
                    present.setdefault((None, ""), set()).add(key)
                    if split:
                        present.setdefault((place, value), set()).add(key)
                else:
                    slot = (place, value, measure, key)
                    counted[slot] = counted.get(slot, 0) + amount
        if self.rolled_up and self._spans:
            self._add_kept(measures, dimension, split, counted, present if users else None)
        return (
            [(*slot, amount) for slot, amount in counted.items()],
            [(place, value, len(customers)) for (place, value), customers in present.items()],
        )

    def _add_kept(
        self,
        measures: list[int],
        dimension: str | None,
        split: bool,
        counted: dict[tuple[int, str, int, str], int],
        present: dict[tuple[int | None, str], set[str]] | None,
    ) -> None:
        """What erased conversations had added; known by quarters of an hour, each counts where it begins."""
        spans = [(place, -(-first // m.BUCKET_US), -(-until // m.BUCKET_US)) for place, first, until in self._spans]
        told = (self._scope, self._production, self._facets, dimension, spans)
        if measures:
            scope, production, facets, by, spans = told
            for place, value, measure, key, amount in self._store.rollups.sums(
                scope, production, measures, facets, by, spans, kept=True
            ):
                slot = (place, value, measure, key)
                counted[slot] = counted.get(slot, 0) + amount
        if present is not None:
            for place, value, customer in self._store.rollups.kept_users(*told):
                present.setdefault((None, ""), set()).add(f"\x00{customer}")
                if split:
                    present.setdefault((place, value), set()).add(f"\x00{customer}")

    def erased(self) -> int:
        """Conversations of erased people among those counted, by the sums that stay of them."""
        spans = [(place, first // m.BUCKET_US, -(-until // m.BUCKET_US)) for place, first, until in self._spans]
        kept = self._store.rollups.sums(
            self._scope, self._production, [m.CONVERSATIONS], self._facets, None, spans, kept=True
        )
        return sum(amount for *_, amount in kept)

    def _contributions(self) -> Iterator[tuple[Conversation, Iterable[m.Contribution]]]:
        if not self._spans:
            return
        first_us, until_us = min(s[1] for s in self._spans), max(s[2] for s in self._spans)
        for agent_id in self._scope.agent_ids:
            for heads in self._pages(Scope(self._scope.organization_id, (agent_id,)), first_us, until_us):
                ids = [head.id for head in heads]
                events = self._store.rollups.facts(agent_id, ids)
                given = self._store.conversations.feedbacks(agent_id, [h.id for h in heads if h.feedback_count])
                for head in heads:
                    yield head, counting.whole(head, events.get(head.id, []), given.get(head.id, []))

    def _pages(self, scope: Scope, first_us: int, until_us: int) -> Iterator[list[Conversation]]:
        """The conversations that match and may have something in the range, some at a time."""
        latest = until_us - 1
        if self._where.started_at_before is not None:
            latest = min(latest, self._where.started_at_before)
        where = replace(
            self._where,
            environment="production" if self._production else "development",
            include_deleted=False,
            started_at_before=latest,
        )
        before: tuple[int, int] | None = None
        more = True
        while more:
            heads, more = self._store.conversations.page(scope, where, limit=_PAGE, before=before, since_us=first_us)
            if heads:
                before = heads[-1].started_us, heads[-1].id
            yield heads


class _Places:
    """When something happened -> its place in the answer; None outside the range."""

    def __init__(self, spans: list[tuple[int, int, int]]):
        self._spans = sorted((first, until, place) for place, first, until in spans)
        self._firsts = [first for first, *_ in self._spans]

    def __call__(self, at_us: int) -> int | None:
        found = bisect_right(self._firsts, at_us) - 1
        if found < 0 or at_us >= self._spans[found][1]:
            return None
        return self._spans[found][2]


def _spelled(dimension: str, value: str | None) -> str:
    """A value of a conversation as numbers call it."""
    return value or m.UNKNOWN if dimension == "country" else m.normal(value)


def _normal(dimension: str, value: str) -> str:
    if dimension == "country":
        return value.upper() if value.lower() != m.UNKNOWN else m.UNKNOWN
    return m.normal(value)
