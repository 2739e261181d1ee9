"""Actions as people describe them, and what ran under their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any

from sqlalchemy import Select, select, update

from agentsight.core.model import Action, Event, Scope

from .lists import Predicates, counted, directed, narrowed, of_conversation, own, paged
from .rows import Driver
from .schema import action as table
from .schema import conversation, event
from .timeline import to_event


class SqlActions:
    def __init__(self, driver: Driver):
        self._driver = driver

    def page(self, scope: Scope, where: Mapping[str, Any], order: str, limit: int, offset: int) -> list[Action]:
        asked = narrowed(_own(scope), self._predicates, where)
        return [Action(*row) for row in paged(self._driver, asked, directed(_ORDERS, order, table.c.id), limit, offset)]

    def count(self, scope: Scope, where: Mapping[str, Any]) -> int:
        return counted(self._driver, narrowed(_own(scope), self._predicates, where))

    def find(self, scope: Scope, id: int) -> Action | None:
        row = self._driver.execute(_own(scope).where(table.c.id == id)).first()
        return Action(*row) if row else None

    def named(self, agent_ids: Sequence[int]) -> dict[tuple[int, str], Action]:
        rows = self._driver.execute(select(table).where(table.c.agent_id.in_(agent_ids)))
        return {(row.agent_id, row.name): Action(*row) for row in rows}

    def ran(self, agent_ids: Sequence[int]) -> set[tuple[int, str]]:
        own = (event.c.agent_id.in_(agent_ids), event.c.kind == "action", event.c.name.is_not(None))
        return {
            (row[0], row[1])
            for row in self._driver.execute(select(event.c.agent_id, event.c.name).where(*own).distinct())
        }

    def add(self, new: Sequence[Action]) -> None:
        ids = self._driver.next_ids(table, len(new)) if new else ()
        rows = [(id, *astuple(action)[1:]) for id, action in zip(ids, new, strict=True)]
        self._driver.insert(table, rows, tail="ON CONFLICT DO NOTHING")

    def change(self, changed: Action) -> None:
        mine = (table.c.agent_id == changed.agent_id, table.c.id == changed.id)
        told = {name: getattr(changed, name) for name in ("name", "display_name", "description")}
        self._driver.execute(update(table).where(*mine).values(**told))

    def runs(self, of: Action, limit: int) -> list[Event]:
        mine = (event.c.agent_id == of.agent_id, event.c.kind == "action", event.c.name == of.name)
        joined = (
            select(event).join(conversation, of_conversation(event)).where(*mine, conversation.c.deleted_us.is_(None))
        )
        newest = joined.order_by(event.c.occurred_us.desc(), event.c.id.desc()).limit(limit)
        return [to_event(row) for row in self._driver.execute(newest)]

    @property
    def _predicates(self) -> Predicates:
        contains = self._driver.dialect.contains
        return {
            "name": lambda value: table.c.name == value,
            "name__icontains": lambda value: contains(table.c.name, value),
            "display_name": lambda value: contains(table.c.display_name, value),
            "search": lambda value: (
                contains(table.c.name, value)
                | contains(table.c.display_name, value)
                | contains(table.c.description, value)
            ),
        }


def _own(scope: Scope) -> Select[Any]:
    return select(table).where(own(table, scope))


_ORDERS = {"name": table.c.name, "display_name": table.c.display_name, "id": table.c.id}
