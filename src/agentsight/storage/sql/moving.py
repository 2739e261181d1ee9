"""Whole tables of one organization, out and in, row by row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import select, tuple_, update

from agentsight.core.model import AuditLine

from .rows import Driver
from .schema import audit, audit_head, metadata, organization

_FORBIDDEN = re.compile(r"[^a-z0-9-]+")


class SqlMoving:
    def __init__(self, driver: Driver):
        self._driver = driver

    def columns(self, table: str) -> list[str]:
        return [column.name for column in metadata.tables[table].columns]

    def rows(self, table: str, by: str, owners: Sequence[int], at_once: int) -> Iterator[list[tuple[Any, ...]]]:
        whole = metadata.tables[table]
        keys = list(whole.primary_key.columns)
        places = [self.columns(table).index(key.name) for key in keys]
        for owner in owners:
            along_id = by == "agent_id" and [key.name for key in keys] == ["id"]
            own = self._driver.of_agent(whole, owner) if along_id else whole.c[by] == owner
            asked = select(whole).where(own).order_by(*keys).limit(at_once)
            last: tuple[Any, ...] | None = None
            while True:
                beyond = asked if last is None else asked.where(tuple_(*keys) > last)
                some = [tuple(row) for row in self._driver.execute(beyond)]
                if some:
                    yield some
                if len(some) < at_once:
                    break
                last = tuple(some[-1][place] for place in places)

    def base(self, table: str) -> int:
        """One id is taken and left unused, for only that tells on every engine; where none ever was, it is the first."""
        return int(self._driver.next_ids(metadata.tables[table], 1)[0]) - 1

    def put(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        self._driver.insert(metadata.tables[table], rows, columns)

    def retire(self, table: str, highest: int) -> None:
        self._driver.retire(metadata.tables[table], highest)

    def free_slug(self, wanted: str) -> str:
        plain = _FORBIDDEN.sub("-", wanted.lower()).strip("-") or "organization"
        taken = {row[0] for row in self._driver.execute(select(organization.c.slug))}
        return next(
            slug for slug in (plain, *(f"{plain}-{number}" for number in range(2, 10_000))) if slug not in taken
        )

    def reseal(self, organization_id: int, lines: Iterator[AuditLine]) -> None:
        seal = ""
        for line in lines:
            seal = line.seal
            own = (audit.c.organization_id == organization_id, audit.c.number == line.number)
            self._driver.execute(update(audit).where(*own).values(seal=seal))
        own_head = audit_head.c.organization_id == organization_id
        self._driver.execute(update(audit_head).where(own_head).values(seal=seal))
