"""Links people shared, found by the SHA-256 of their token."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import insert, select, update

from agentsight.core.model import Share

from .rows import Driver, dump
from .schema import share


class SqlShares:
    def __init__(self, driver: Driver):
        self._driver = driver

    def add(self, new: Share, digest: str) -> Share:
        values = {
            "organization_id": new.organization_id,
            "agent_ids": dump(new.agent_ids),
            "digest": digest,
            "kind": new.kind,
            "target": new.target,
            "name": new.name,
            "author": new.author,
            "address": new.address,
            "hosts": dump(new.hosts),
            "password": new.password,
            "created_us": new.created_us,
            "expires_us": new.expires_us,
            "sight": new.sight,
            "theme": new.theme,
            "widgets": dump(new.widgets),
        }
        id = int(self._driver.execute(insert(share).values(**values)).inserted_primary_key[0])
        return _share(self._driver.execute(select(share).where(share.c.id == id)).one())

    def found(self, digest: str) -> Share | None:
        row = self._driver.execute(select(share).where(share.c.digest == digest)).first()
        return _share(row) if row else None

    def all(self, organization_id: int) -> list[Share]:
        own = share.c.organization_id == organization_id
        newest = select(share).where(own).order_by(share.c.created_us.desc(), share.c.id.desc()).limit(500)
        return [_share(row) for row in self._driver.execute(newest)]

    def expire(self, organization_id: int, id: int, expires_us: int | None) -> int:
        live = (share.c.organization_id == organization_id) & (share.c.id == id) & share.c.revoked_us.is_(None)
        return int(self._driver.execute(update(share).where(live).values(expires_us=expires_us)).rowcount)

    def revoke(self, organization_id: int, id: int, now_us: int) -> int:
        live = (share.c.organization_id == organization_id) & (share.c.id == id) & share.c.revoked_us.is_(None)
        return int(self._driver.execute(update(share).where(live).values(revoked_us=now_us)).rowcount)

    def viewed(self, id: int, now_us: int) -> None:
        self._driver.execute(update(share).where(share.c.id == id).values(views=share.c.views + 1, viewed_us=now_us))


def _share(row: Any) -> Share:
    return Share(
        row.id,
        row.organization_id,
        tuple(orjson.loads(row.agent_ids)),
        row.kind,
        row.target,
        row.name,
        row.author,
        row.address,
        tuple(orjson.loads(row.hosts)),
        row.password,
        row.created_us,
        row.expires_us,
        row.revoked_us,
        row.views,
        row.viewed_us,
        row.sight,
        row.theme,
        tuple(orjson.loads(row.widgets)),
    )
