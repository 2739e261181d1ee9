"""Token usage, call by call, as the events tell it; together are the calls of one turn to one model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Select, Text, cast, exists, func, literal, or_, select

from agentsight.core.model import Event, Scope, UsageGroup

from .lists import Predicates, about_conversation, counted, directed, narrowed, of_conversation, own, paged
from .rows import Driver
from .schema import conversation, trace_span
from .schema import event as table
from .timeline import to_event

_TOGETHER = 2_000


class SqlUsage:
    def __init__(self, driver: Driver):
        self._driver = driver

    def page(self, scope: Scope, where: Mapping[str, Any], order: str, limit: int, offset: int) -> list[UsageGroup]:
        groups = self._groups(scope, where)
        rows = paged(self._driver, select(groups), directed(groups.c, order, groups.c.id), limit, offset)
        return [UsageGroup(*row) for row in rows]

    def count(self, scope: Scope, where: Mapping[str, Any]) -> int:
        return counted(self._driver, select(self._groups(scope, where)))

    def models(self, scope: Scope) -> list[str | None]:
        mine = (own(table, scope), table.c.kind == "token_usage")
        return [row[0] for row in self._driver.execute(select(table.c.name).where(*mine).distinct())]

    def calls(self, scope: Scope, where: Mapping[str, Any], groups: Sequence[UsageGroup]) -> list[Event]:
        ids = sorted({group.conversation for group in groups})
        asked = self._calls(scope, where, table).where(table.c.conversation.in_(ids))
        return [to_event(row) for row in self._driver.execute(asked)] if ids else []

    def every(self, scope: Scope, where: Mapping[str, Any]) -> Iterator[Event]:
        last = 0
        while True:
            asked = self._calls(scope, where, table).where(table.c.id > last).order_by(table.c.id).limit(_TOGETHER)
            rows = self._driver.execute(asked).all()
            yield from map(to_event, rows)
            if len(rows) < _TOGETHER:
                return
            last = rows[-1][0]

    # -- statements ----------------------------------------------------------------------------------------------------
    def _calls(self, scope: Scope, where: Mapping[str, Any], *columns: Any) -> Select[Any]:
        joined = select(*columns).join(conversation, of_conversation(table))
        live = joined.where(own(table, scope), table.c.kind == "token_usage", conversation.c.deleted_us.is_(None))
        return narrowed(live, self._predicates, where)

    def _groups(self, scope: Scope, where: Mapping[str, Any]) -> Any:
        calls = self._calls(
            scope, where, table.c.id, table.c.agent_id, table.c.conversation, table.c.name, table.c.occurred_us,
            self._turn.label("turn"),
        ).subquery()  # fmt: skip
        keys = (calls.c.agent_id, calls.c.conversation, calls.c.turn, calls.c.name)
        return (
            select(
                func.min(calls.c.id).label("id"), *keys, func.min(calls.c.occurred_us).label("started_at"),
                func.max(calls.c.occurred_us).label("ended_at"),
            ).group_by(*keys).subquery()
        )  # fmt: skip

    @property
    def _turn(self) -> Any:
        return cast(self._driver.dialect.json_member(table.c.metadata, "turn_id"), Text)

    @property
    def _predicates(self) -> Predicates:
        turn = self._turn
        broken = exists().where(
            self._driver.beside(trace_span.c.agent_id) == table.c.agent_id,
            trace_span.c.conversation == table.c.conversation,
            trace_span.c.kind == "turn",
            trace_span.c.incomplete.is_not(None),
            literal('"', Text).concat(trace_span.c.span_id).concat('"') == turn,
        )
        return {
            **about_conversation(table),
            "model": lambda value: table.c.name == value,
            "models": lambda value: _among(value),
            "turn_id": lambda value: turn == f'"{value}"',
            "incomplete": lambda value: broken if value else ~broken,
            "started_at_after": lambda value: table.c.occurred_us >= value,
            "started_at_before": lambda value: table.c.occurred_us <= value,
        }


def _among(models: Sequence[str | None]) -> Any:
    named = table.c.name.in_([model for model in models if model is not None])
    return or_(named, table.c.name.is_(None)) if None in models else named
