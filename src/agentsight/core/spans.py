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

    A span that is its own ancestor, as only a broken client tells, is a root too.
    """
    by_span: dict[str, dict[str, Any]] = {}
    for span, row in rows:
        row["children"] = []
        by_span.setdefault(span.span_id, row)
    parents = {span.span_id: span.parent_span_id for span, _ in reversed(rows)}
    roots = []
    for span, row in rows:
        above = by_span.get(span.parent_span_id or "")
        if above is None or above is row or _circles(span.span_id, parents):
            roots.append(row)
        else:
            above["children"].append(row)
    return roots


def _circles(span_id: str, parents: Mapping[str, str | None]) -> bool:
    seen, at = {span_id}, parents.get(span_id)
    while at is not None and at in parents:
        if at in seen:
            return at == span_id
        seen.add(at)
        at = parents[at]
    return False
