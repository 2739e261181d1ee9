"""Host names, each of one organization."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, insert, select, update

from agentsight.core.model import HostName

from .rows import Driver
from .schema import host_name


class SqlHosts:
    def __init__(self, driver: Driver):
        self._driver = driver

    def found(self, host: str) -> HostName | None:
        row = self._driver.execute(select(host_name).where(host_name.c.host == host)).first()
        return _host(row) if row else None

    def of(self, organization_id: int) -> list[HostName]:
        own = select(host_name).where(host_name.c.organization_id == organization_id)
        oldest = own.order_by(host_name.c.created_us, host_name.c.host)
        return [_host(row) for row in self._driver.execute(oldest)]

    def add(self, new: HostName) -> HostName:
        values = {"host": new.host, "organization_id": new.organization_id, "created_us": new.created_us}
        self._driver.execute(insert(host_name).values(**values))
        return new

    def remove(self, organization_id: int, host: str) -> int:
        own = (host_name.c.organization_id == organization_id) & (host_name.c.host == host)
        return int(self._driver.execute(delete(host_name).where(own)).rowcount)

    def seen(self, host: str, now_us: int) -> None:
        fresh = (host_name.c.host == host) & host_name.c.seen_us.is_(None)
        self._driver.execute(update(host_name).where(fresh).values(seen_us=now_us))


def _host(row: Any) -> HostName:
    return HostName(row.host, row.organization_id, row.created_us, row.seen_us)
