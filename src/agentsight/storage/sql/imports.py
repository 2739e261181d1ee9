"""Files of history on their way in."""

from __future__ import annotations

import msgspec
from sqlalchemy import delete, insert, select, update

from agentsight.core.model import ImportRun

from .rows import Driver, dump
from .schema import import_run as table


class SqlImports:
    def __init__(self, driver: Driver):
        self._driver = driver

    def get(self, organization_id: int, token: str) -> ImportRun | None:
        own = (table.c.organization_id == organization_id, table.c.token == token)
        body = self._driver.execute(select(table.c.body).where(*own)).scalar()
        return _run(body) if body else None

    def put(self, run: ImportRun) -> None:
        values = {"told_us": run.told_us, "body": dump(run)}
        own = (table.c.organization_id == run.organization_id, table.c.token == run.token)
        if not self._driver.execute(update(table).where(*own).values(**values)).rowcount:
            whose = {"token": run.token, "organization_id": run.organization_id, "agent_id": run.agent_id}
            self._driver.execute(insert(table).values(**whose, **values))

    def of(self, agent_id: int) -> list[ImportRun]:
        return [
            _run(row.body) for row in self._driver.execute(select(table.c.body).where(table.c.agent_id == agent_id))
        ]

    def remove(self, organization_id: int, token: str) -> None:
        own = (table.c.organization_id == organization_id, table.c.token == token)
        self._driver.execute(delete(table).where(*own))

    def forget(self, before_us: int) -> None:
        self._driver.execute(delete(table).where(table.c.told_us < before_us))


def _run(body: str) -> ImportRun:
    return msgspec.json.decode(body, type=ImportRun)
