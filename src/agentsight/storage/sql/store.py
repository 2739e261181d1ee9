"""One transaction, seen as the ports core asks for."""

from __future__ import annotations

from functools import cached_property

from .conversations import SqlConversations
from .rollups import SqlRollups
from .rows import Driver
from .tenants import SqlTenants
from .timeline import SqlTimeline


class SqlStore:
    def __init__(self, driver: Driver):
        self._driver = driver

    @cached_property
    def timeline(self) -> SqlTimeline:
        return SqlTimeline(self._driver)

    @cached_property
    def conversations(self) -> SqlConversations:
        return SqlConversations(self._driver)

    @cached_property
    def tenants(self) -> SqlTenants:
        return SqlTenants(self._driver)

    @cached_property
    def rollups(self) -> SqlRollups:
        return SqlRollups(self._driver)
