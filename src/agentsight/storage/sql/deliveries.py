"""What became of what was sent: counts by day, added to now and then."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple

from sqlalchemy import delete, select

from agentsight.core.model import Delivery, Scope

from .rows import Driver
from .schema import delivery as table

_KEY = ", ".join(column.name for column in table.primary_key)


class SqlDeliveries:
    def __init__(self, driver: Driver):
        self._driver = driver

    def add(self, counted: Iterable[Delivery]) -> None:
        tail = f"ON CONFLICT ({_KEY}) DO UPDATE SET count = delivery.count + excluded.count"
        self._driver.insert(table, sorted(astuple(each) for each in counted), tail=tail)

    def read(self, scope: Scope, first_day: int, until_day: int) -> list[Delivery]:
        own = (table.c.agent_id.in_(scope.agent_ids), table.c.day >= first_day, table.c.day < until_day)
        return [Delivery(*row) for row in self._driver.execute(select(table).where(*own).order_by(*table.primary_key))]

    def forget(self, before_day: int) -> None:
        self._driver.execute(delete(table).where(table.c.day < before_day))
