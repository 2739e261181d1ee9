"""The audit log's rows: appended, read, never changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, insert, select, update

from agentsight.core.model import AuditLine

from .rows import Driver, dump, load
from .schema import audit, audit_head


class SqlAudit:
    def __init__(self, driver: Driver):
        self._driver = driver

    def last(self, organization_id: int, *, hold: bool = False) -> tuple[int, str]:
        asked = select(audit_head).where(audit_head.c.organization_id == organization_id)
        if hold:
            first = {"organization_id": organization_id, "number": 0, "seal": ""}
            self._driver.execute(self._driver.dialect.insert(audit_head).values(first).on_conflict_do_nothing())
            asked = asked.with_for_update()
        row = self._driver.execute(asked).first()
        return (row.number, row.seal) if row else (0, "")

    def append(self, line: AuditLine) -> None:
        own = audit_head.c.organization_id == line.organization_id
        self._driver.execute(update(audit_head).where(own).values(number=line.number, seal=line.seal))
        values = {column.name: getattr(line, column.name) for column in audit.columns}
        self._driver.execute(insert(audit).values({**values, "detail": dump(line.detail)}))

    def after(self, organization_id: int, number: int, limit: int) -> list[AuditLine]:
        following = (audit.c.organization_id == organization_id) & (audit.c.number > number)
        return self._lines(select(audit).where(following).order_by(audit.c.number).limit(limit))

    def page(
        self, organization_id: int, *, before: int | None = None, limit: int = 50, **where: str | int | None
    ) -> list[AuditLine]:
        asked = select(audit).where(audit.c.organization_id == organization_id)
        if before is not None:
            asked = asked.where(audit.c.number < before)
        for name, told in where.items():
            if told not in (None, ""):
                asked = asked.where(_CONDITIONS[name](told))
        return self._lines(asked.order_by(audit.c.number.desc()).limit(limit))

    def _lines(self, asked: Any) -> list[AuditLine]:
        return [_line(row) for row in self._driver.execute(asked)]


_CONDITIONS: dict[str, Callable[[Any], ColumnElement[bool]]] = {
    "action": lambda told: audit.c.action.startswith(told, autoescape=True),
    "actor": lambda told: audit.c.actor == told,
    "from_us": lambda told: audit.c.at_us >= told,
    "to_us": lambda told: audit.c.at_us < told,
}


def _line(row: Any) -> AuditLine:
    return AuditLine(
        row.organization_id,
        row.number,
        row.at_us,
        row.actor,
        row.role,
        row.action,
        row.subject,
        load(row.detail),
        row.ip,
        row.result,
        row.seal,
    )
