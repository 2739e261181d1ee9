"""What conversations say in their metadata about the agent that held them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import JSON, ColumnElement, String, cast, func, select

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
        value = self._value(key)
        live = (
            (c.c.agent_id == agent_id) & c.c.deleted_us.is_(None) & c.c.metadata.contains(f'"{key}":', autoescape=True)
        )
        where = (c.c.environment == "production") if production else (c.c.environment.is_distinct_from("production"))
        first, last, count = func.min(c.c.started_us), func.max(c.c.started_us), func.count()
        asked = select(value, first, last, count).where(live, where, value.is_not(None)).group_by(value)
        rows = self._driver.execute(asked.order_by(first.desc()).limit(100))
        return [Version(agent_id, key, str(told)[:MAX_VALUE_CHARS], *seen) for told, *seen in rows]

    def _value(self, key: str) -> ColumnElement[str]:
        """A top-level value of the metadata, as text."""
        text: ColumnElement[str] = cast(c.c.metadata, JSON)[key].as_string()
        if self._driver.connection.dialect.name == "sqlite":
            text = cast(func.json_extract(c.c.metadata, f'$."{key}"'), String)
        return text
