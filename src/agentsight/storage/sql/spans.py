"""Spans as clients sent them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from operator import attrgetter
from typing import Any

from sqlalchemy import Select, select

from agentsight.core.model import Scope, Span

from .lists import Predicates, about_conversation, counted, directed, narrowed, of_conversation, own, paged
from .rows import Driver, parts
from .schema import conversation
from .schema import trace_span as table

_values_of = attrgetter(*(column.name for column in table.columns))


class SqlSpans:
    def __init__(self, driver: Driver):
        self._driver = driver

    def next_ids(self, count: int) -> Sequence[int]:
        return self._driver.next_ids(table, count)

    def add(self, spans: Sequence[Span]) -> None:
        self._driver.insert(table, [_values_of(span) for span in spans], tail="ON CONFLICT DO NOTHING")

    # -- what events are made of ---------------------------------------------------------------------------------------
    def outcomes(self, agent_id: int, turn_ids: Collection[str]) -> dict[tuple[int, str], str | None]:
        asked = select(table.c.conversation, table.c.span_id, table.c.incomplete).where(
            table.c.agent_id == agent_id, table.c.kind == "turn"
        )
        return {
            (row.conversation, row.span_id): row.incomplete
            for some in parts(sorted(turn_ids))
            for row in self._driver.execute(asked.where(table.c.turn_id.in_(some), table.c.span_id.in_(some)))
        }

    def waiting(self, agent_id: int, trace_ids: Collection[str], turn_ids: Collection[str]) -> list[Span]:
        own, turns = (table.c.agent_id == agent_id, table.c.kind.in_(("tool", "task"))), set(turn_ids)
        return [
            Span(*row)
            for some in parts(sorted(trace_ids))
            for row in self._driver.execute(select(table).where(*own, table.c.trace_id.in_(some)))
            if row.turn_id in turns
        ]

    # -- reading -------------------------------------------------------------------------------------------------------
    def page(
        self, scope: Scope, where: Mapping[str, Any], order: str, limit: int, offset: int
    ) -> list[tuple[Span, str]]:
        asked = narrowed(_seen(scope), _PREDICATES, where)
        return [_named(row) for row in paged(self._driver, asked, directed(_ORDERS, order, table.c.id), limit, offset)]

    def count(self, scope: Scope, where: Mapping[str, Any]) -> int:
        return counted(self._driver, narrowed(_seen(scope, table.c.id), _PREDICATES, where))

    def find(self, scope: Scope, id: int) -> tuple[Span, str] | None:
        row = self._driver.execute(_seen(scope).where(table.c.id == id)).first()
        return _named(row) if row else None

    def trace(self, scope: Scope, trace_id: str, limit: int) -> list[tuple[Span, str]]:
        asked = _seen(scope).where(table.c.trace_id == trace_id)
        return [
            _named(row) for row in self._driver.execute(asked.order_by(table.c.started_us, table.c.id).limit(limit))
        ]


def _seen(scope: Scope, *columns: Any) -> Select[Any]:
    """Spans of conversations nobody deleted."""
    asked: Select[Any] = select(*(columns or (table, conversation.c.conversation_id.label("named"))))
    return asked.join(conversation, of_conversation(table)).where(
        own(table, scope), conversation.c.deleted_us.is_(None)
    )


def _named(row: Any) -> tuple[Span, str]:
    return Span(*row[:-1]), row[-1]


_PREDICATES: Predicates = {
    **about_conversation(table),
    **{name: table.c[name].__eq__ for name in ("trace_id", "span_id", "parent_span_id", "kind", "name", "status")},
    "started_at_after": lambda value: table.c.started_us >= value,
    "started_at_before": lambda value: table.c.started_us <= value,
}
_ORDERS = {
    "started_at": table.c.started_us,
    "ended_at": table.c.ended_us,
    "duration_ms": table.c.duration_ms,
    "id": table.c.id,
    "kind": table.c.kind,
    "name": table.c.name,
}
