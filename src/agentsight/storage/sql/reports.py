"""Reports people froze."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import delete, insert, select, update

from agentsight.core.model import Report

from .rows import Driver, dump, load
from .schema import report


class SqlReports:
    def __init__(self, driver: Driver):
        self._driver = driver

    def add(self, new: Report) -> Report:
        values = {
            "organization_id": new.organization_id,
            "agent_ids": dump(new.agent_ids),
            "name": new.name,
            "author": new.author,
            "created_us": new.created_us,
            "address": new.address,
            "body": dump(new.body),
        }
        id = int(self._driver.execute(insert(report).values(**values)).inserted_primary_key[0])
        return self._report(self._driver.execute(select(report).where(report.c.id == id)).one())

    def get(self, organization_id: int, id: int) -> Report | None:
        own = (report.c.organization_id == organization_id) & (report.c.id == id)
        row = self._driver.execute(select(report).where(own)).first()
        return self._report(row) if row else None

    def all(self, organization_id: int) -> list[Report]:
        own = report.c.organization_id == organization_id
        newest = select(report).where(own).order_by(report.c.created_us.desc(), report.c.id.desc()).limit(500)
        return [self._report(row) for row in self._driver.execute(newest)]

    def rename(self, organization_id: int, id: int, name: str) -> None:
        own = (report.c.organization_id == organization_id) & (report.c.id == id)
        self._driver.execute(update(report).where(own).values(name=name))

    def delete(self, organization_id: int, id: int) -> None:
        own = (report.c.organization_id == organization_id) & (report.c.id == id)
        self._driver.execute(delete(report).where(own))

    def _report(self, row: Any) -> Report:
        agents = tuple(orjson.loads(row.agent_ids))
        return Report(
            row.id, row.organization_id, agents, row.name, row.author, row.created_us, row.address, load(row.body)
        )
