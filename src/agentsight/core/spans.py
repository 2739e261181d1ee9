"""Spans as clients sent them: kept beside the events they became, listed, put together as the tree of a trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentsight import wire
from agentsight.errors import NotFound

from .model import Agent, Scope, Span
from .ports import Store
from .reading import Reader, asked, environment, moment, number, ordering, text

FILTERS: Mapping[str, Reader] = {
    "conversation": number,
    "conversation_id": text,
    "environment": environment,
    "kind": text,
    "name": text,
    "parent_span_id": text,
    "span_id": text,
    "status": text,
    "trace_id": text,
    "started_at_after": moment,
    "started_at_before": moment,
}
ORDERS = ("started_at", "ended_at", "duration_ms", "id", "kind", "name")
MOST_OF_TRACE = 5_000  # spans shown of one trace
DEEPEST = 100  # levels of its tree, for writers of JSON and readers of pages go only so deep
Named = tuple[Span, str]
"""A span and the conversation_id of its conversation."""


def keep(store: Store, agent: Agent, spans: Mapping[str, Sequence[Span]]) -> None:
    """Keep spans with their conversations, given by conversation_id; one that is kept already stays as it is.

    Call it after the events made of them are stored: a conversation that is not there then was erased or deleted.
    """
    heads = store.conversations.live(agent.id, list(spans))
    rows = [span for key, own in spans.items() if key in heads for span in own]
    for key, head in heads.items():
        for span in spans[key]:
            span.agent_id, span.conversation = agent.id, head.id
        if head.stripped_us is not None and any(span.started_us < head.stripped_us for span in spans[key]):
            again_us = min(head.stripped_us, head.ended_us or head.started_us)
            store.conversations.change([head.but(stripped_us=again_us)])  # what comes late has to go again
    for span, id in zip(rows, store.spans.next_ids(len(rows)) if rows else (), strict=True):
        span.id = id
    store.spans.add(rows)


def page(
    store: Store, scope: Scope, params: Mapping[str, Sequence[str]], limit: int, offset: int
) -> tuple[int, list[Named]]:
    """How many match, and some of them, newest first unless ordered otherwise."""
    where, order = asked(params, FILTERS), ordering(params, ORDERS, "-started_at")
    return store.spans.count(scope, where), store.spans.page(scope, where, order, limit, offset)


def get(store: Store, scope: Scope, id: int) -> Named:
    """One span by our id. Raises NotFound."""
    found = store.spans.find(scope, id)
    if found is None:
        raise NotFound("no such span")
    return found


def trace(store: Store, scope: Scope, trace_id: str) -> tuple[list[Named], bool]:
    """The spans of a trace in order of time, and whether there are more than are shown. Raises NotFound."""
    found = store.spans.trace(scope, wire.storable(trace_id), MOST_OF_TRACE + 1)
    if not found:
        raise NotFound("no such trace")
    return found[:MOST_OF_TRACE], len(found) > MOST_OF_TRACE


def tree(rows: Sequence[tuple[Span, dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of a trace, each with its `children`; those whose parent is not there are roots.

    So is one of a circle, as only a broken client tells it. What lies deeper than DEEPEST stands on that level.
    """
    by_span: dict[str, dict[str, Any]] = {}
    for span, row in rows:
        row["children"] = []
        by_span.setdefault(span.span_id, row)
    above = {id(row): by_span.get(span.parent_span_id or "") for span, row in rows}
    for _, row in rows:
        if (parent := above[id(row)]) is not None:
            parent["children"].append(row)
    roots = [row for _, row in rows if above[id(row)] is None]
    reached: set[int] = set()
    for root in roots:
        _reach(root, reached)
    for _, row in rows:
        if id(row) not in reached:  # a circle: its first span is its root
            parent = above[id(row)] or {"children": [row]}
            parent["children"] = [child for child in parent["children"] if child is not row]
            roots.append(row)
            _reach(row, reached)
    return roots


def _reach(root: dict[str, Any], reached: set[int]) -> None:
    """Note everything below, and lift what lies too deep."""
    waiting = [(root, 1)]
    while waiting:
        row, depth = waiting.pop()
        reached.add(id(row))
        row["children"] = [child for child in row["children"] if id(child) not in reached]
        if depth == DEEPEST:
            row["children"] = _all_below(row, reached)
        else:
            waiting += ((child, depth + 1) for child in row["children"])


def _all_below(top: dict[str, Any], reached: set[int]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    waiting = list(reversed(top["children"]))
    while waiting:
        row = waiting.pop()
        if id(row) not in reached:
            reached.add(id(row))
            found.append(row)
            waiting += reversed(row["children"])
            row["children"] = []
    return found
