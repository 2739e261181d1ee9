"""How long tools took, half of the time and nearly always: read from conversations, because no sum keeps it.

A period with many conversations is judged by its newest ones, so that the answer takes as long whatever is stored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil

from .model import Scope
from .ports import Store
from .questions import Question

MOST = 1_000  # conversations that are looked at
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Times:
    """Nearest-rank percentiles of the runs that told how long they took."""

    runs: int
    median_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Found:
    """By tool. `whole`: every conversation of the period was looked at."""

    by_tool: Mapping[str, Times]
    whole: bool


def tool_times(store: Store, scope: Scope, asked: Question, most: int = MOST) -> Found:
    """How long the tools took in the period and filter of a question."""
    first_us, until_us = asked.bounds_us
    where = asked.where
    if where.has_action is False:
        return Found({}, True)
    latest = min(until_us - 1, until_us if where.started_at_before is None else where.started_at_before)
    environment = "production" if asked.production else "development"
    where = replace(where, has_action=True, environment=environment, include_deleted=False, started_at_before=latest)
    took: defaultdict[str, list[float]] = defaultdict(list)
    before: tuple[int, int] | None = None
    more, seen = True, 0
    while more and seen < most:
        limit = min(_PAGE, most - seen)
        heads, more = store.conversations.page(scope, where, limit=limit, before=before, since_us=first_us)
        if not heads:
            break
        seen += len(heads)
        before = heads[-1].started_us, heads[-1].id
        for agent_id in {head.agent_id for head in heads}:
            ids = [head.id for head in heads if head.agent_id == agent_id]
            for tool, ms in store.rollups.tool_runs(agent_id, ids, first_us, until_us):
                took[tool].append(ms)
    return Found({tool: _times(sorted(each)) for tool, each in took.items()}, not more)


def _times(ordered: list[float]) -> Times:
    """Of what is in order and not empty.

    >>> _times([10.0, 20.0, 30.0, 400.0])
    Times(runs=4, median_ms=20.0, p95_ms=400.0)
    """
    return Times(len(ordered), _rank(ordered, 0.5), _rank(ordered, 0.95))


def _rank(ordered: list[float], share: float) -> float:
    return ordered[ceil(share * len(ordered)) - 1]
