"""What conversations say in their metadata about the agent that held them."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from sqlalchemy import func, select

from agentsight.core.model import Version

from .rows import Driver
from .schema import conversation as c

MAX_VALUE_CHARS = 200


class SqlHistory:
    def __init__(self, driver: Driver):
        self._driver = driver

    def versions(self, agent_id: int, production: bool, keys: Sequence[str]) -> list[Version]:
        return [version for key in keys for version in self._of(agent_id, production, key)]

    def _of(self, agent_id: int, production: bool, key: str) -> list[Version]:
        value = self._driver.dialect.json_member(c.c.metadata, key)
        live = (
            (c.c.agent_id == agent_id) & c.c.deleted_us.is_(None) & c.c.metadata.contains(f'"{key}":', autoescape=True)
        )
        where = (c.c.environment == "production") if production else (c.c.environment.is_distinct_from("production"))
        first, last, count = func.min(c.c.started_us), func.max(c.c.started_us), func.count()
        asked = (
            select(value, first, last, count).where(live, where, value.is_not(None), value != "null").group_by(value)
        )
        rows = self._driver.execute(asked.order_by(first.desc()).limit(100))
        return [Version(agent_id, key, _shown(told), *seen) for told, *seen in rows]


def _shown(told: str) -> str:
    """A string as it reads, anything else as JSON has it."""
    value = orjson.loads(told)
    return (value if isinstance(value, str) else told)[:MAX_VALUE_CHARS]
