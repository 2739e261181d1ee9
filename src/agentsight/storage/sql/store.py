"""One transaction, seen as the ports core asks for."""

from __future__ import annotations

from functools import cached_property

from .actions import SqlActions
from .audit import SqlAudit
from .conversations import SqlConversations
from .deliveries import SqlDeliveries
from .feedback import SqlFeedback
from .history import SqlHistory
from .hosts import SqlHosts
from .imports import SqlImports
from .keeping import SqlKeeping
from .moving import SqlMoving
from .older import SqlOlder
from .people import SqlPeople
from .reports import SqlReports
from .retention import SqlRetention
from .rollups import SqlRollups
from .rows import Driver
from .settings import SqlSettings
from .shares import SqlShares
from .spans import SqlSpans
from .tenants import SqlTenants
from .tickets import SqlTickets
from .timeline import SqlTimeline
from .usage import SqlUsage


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

    @cached_property
    def older(self) -> SqlOlder:
        return SqlOlder(self._driver, self.rollups)

    @cached_property
    def deliveries(self) -> SqlDeliveries:
        return SqlDeliveries(self._driver)

    @cached_property
    def reports(self) -> SqlReports:
        return SqlReports(self._driver)

    @cached_property
    def imports(self) -> SqlImports:
        return SqlImports(self._driver)

    @cached_property
    def shares(self) -> SqlShares:
        return SqlShares(self._driver)

    @cached_property
    def settings(self) -> SqlSettings:
        return SqlSettings(self._driver)

    @cached_property
    def history(self) -> SqlHistory:
        return SqlHistory(self._driver)

    @cached_property
    def people(self) -> SqlPeople:
        return SqlPeople(self._driver)

    @cached_property
    def audit(self) -> SqlAudit:
        return SqlAudit(self._driver)

    @cached_property
    def moving(self) -> SqlMoving:
        return SqlMoving(self._driver)

    @cached_property
    def keeping(self) -> SqlKeeping:
        return SqlKeeping(self._driver, self.rollups)

    @cached_property
    def retention(self) -> SqlRetention:
        return SqlRetention(self._driver, self.rollups)

    @cached_property
    def hosts(self) -> SqlHosts:
        return SqlHosts(self._driver)

    @cached_property
    def spans(self) -> SqlSpans:
        return SqlSpans(self._driver)

    @cached_property
    def usage(self) -> SqlUsage:
        return SqlUsage(self._driver)

    @cached_property
    def actions(self) -> SqlActions:
        return SqlActions(self._driver)

    @cached_property
    def feedback(self) -> SqlFeedback:
        return SqlFeedback(self._driver)

    @cached_property
    def tickets(self) -> SqlTickets:
        return SqlTickets(self._driver)

    def hand_over(self, to: SqlStore) -> None:
        """Leave what is still to be written to the store that ends the transaction."""
        if "rollups" in self.__dict__:
            for agent_id, deltas in self.rollups.pending.items():
                to.rollups.apply(agent_id, deltas)

    def settle(self) -> None:
        """Write what is still to be written; the last thing before a commit."""
        if "rollups" in self.__dict__:
            self.rollups.settle()
