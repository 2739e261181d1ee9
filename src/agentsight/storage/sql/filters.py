"""Which conversations a filter means: one predicate for each of its names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, false, func, not_, or_, select, true

from agentsight.core.measures import UNKNOWN, normal
from agentsight.core.model import Filter, Scope

from .counted import belongs, counted
from .lists import in_environment
from .rows import Driver
from .schema import conversation as table
from .schema import event, feedback, ticket

_FEW_MESSAGES = 2_000  # up to here the search index's hits are cheaper than scanning the newest conversations


class Filters:
    """Filters in one transaction: what is found out for one of them is known to the next."""

    def __init__(self, driver: Driver):
        self.driver = driver
        self._says: dict[tuple[Scope, str], tuple[ColumnElement[bool], bool]] = {}

    def clauses(self, scope: Scope, where: Filter) -> list[ColumnElement[bool]]:
        """What a row of these agents has to meet."""
        clauses: list[ColumnElement[bool]] = [] if where.include_deleted else [table.c.deleted_us.is_(None)]
        for name, predicate in PREDICATES.items():
            value = getattr(where, name)
            if value is not None and value != ():
                clauses.append(predicate(self, scope, value))
        if where.feedback_sentiment is not None or where.feedback_source is not None:
            clauses.append(_given(self.driver, where.feedback_sentiment, where.feedback_source))
        if where.counted_by is not None:
            clauses.append(counted(self.driver, where))
        for name, value in where.unless:
            judged = name == "feedback_sentiment"
            clause = _given(self.driver, value, None) if judged else PREDICATES[name](self, scope, value)
            clauses.append(not_(func.coalesce(clause, false())))  # what nobody told is not it
        return clauses

    def owner(self, scope: Scope, where: Filter) -> ColumnElement[int]:
        """The column of the agent, by whose index lists are read, unless the words found lead to few rows."""
        text = where.message_contains
        return self.driver.beside(table.c.agent_id) if text and self._saying(scope, text)[1] else table.c.agent_id

    def learn(self, scope: Scope, text: str) -> None:
        """Find out who says `text`, all of it, for who comes next."""
        self._saying(scope, text, to_count=True)

    def says(self, scope: Scope, text: str) -> ColumnElement[bool]:
        """A message of the conversation contains `text`; found out once in a transaction."""
        return self._saying(scope, text)[0]

    def _saying(self, scope: Scope, text: str, *, to_count: bool = False) -> tuple[ColumnElement[bool], bool]:
        """The condition, and whether it leads to few rows.

        What many say is looked for message by message, newest first; who counts all of it finds out for who comes next.
        """
        if (scope, text) not in self._says:
            self._says[scope, text] = self._find_saying(scope, text, to_count)
        return self._says[scope, text]

    def _find_saying(self, scope: Scope, text: str, to_count: bool) -> tuple[ColumnElement[bool], bool]:
        driver, dialect = self.driver, self.driver.dialect
        certain = driver.remembered is not None  # nothing is learnt from what is not committed
        known = dialect.known_saying(driver, scope.agent_ids, text, table.c.id) if certain else None
        if known is None:
            hits = dialect.conversations_saying(driver, scope.agent_ids, text, _FEW_MESSAGES)
            if hits is not None:
                return table.c.id.in_(hits), True
        own = (*belongs(driver, event), event.c.kind == "message")
        said = exists().where(*own, dialect.contains(event.c.content, text))
        if known is None and to_count and certain:
            live = (table.c.agent_id.in_(scope.agent_ids), table.c.deleted_us.is_(None))
            asked = select(table.c.id).where(*live, said)
            known = dialect.learn_saying(
                driver, scope.agent_ids, text, table.c.id, lambda: driver.execute(asked).scalars()
            )
        return (said if known is None else or_(known, and_(table.c.deleted_us.is_not(None), said))), False

    def is_facet(self, column: Any, value: str) -> ColumnElement[bool]:
        """As numbers see it: any case, and UNKNOWN for what nobody told."""
        told = func.coalesce(func.nullif(column, ""), UNKNOWN)
        clause: ColumnElement[bool] = self.driver.dialect.lower(told) == normal(value)
        return clause

    def contains(self, column: Any, text: str) -> ColumnElement[bool]:
        clause: ColumnElement[bool] = self.driver.dialect.contains(column, text)
        return clause

    def describes(self, pairs: tuple[tuple[str, str], ...]) -> ColumnElement[bool]:
        return and_(*(self.driver.dialect.json_equals(table.c.metadata, path, value) for path, value in pairs))


def _given(driver: Driver, sentiment: str | None, source: str | None) -> ColumnElement[bool]:
    """One and the same feedback row has this sentiment and this source."""
    clause = and_(*belongs(driver, feedback))
    if sentiment is not None:
        clause = and_(clause, feedback.c.sentiment == sentiment)
    if source is not None:
        clause = and_(clause, feedback.c.source == source)
    return exists().where(clause)


def _ticketed(driver: Driver) -> ColumnElement[bool]:
    return exists().where(*belongs(driver, ticket))


def _ran(driver: Driver, name: str) -> ColumnElement[bool]:
    if name == "token_usage":  # what older clients call token usage is no action here, but still found by that name
        return exists().where(*belongs(driver, event), event.c.kind == "token_usage")
    named = (event.c.kind == "action", event.c.name == name)  # an index knows these of each agent
    return exists().where(event.c.conversation == table.c.id, event.c.agent_id == table.c.agent_id, *named)


def _ran_like(filters: Filters, text: str) -> ColumnElement[bool]:
    own = belongs(filters.driver, event)
    return exists().where(*own, event.c.kind == "action", filters.contains(event.c.name, text))


def _search(filters: Filters, scope: Scope, text: str) -> ColumnElement[bool]:
    own = (filters.contains(column, text) for column in (table.c.name, table.c.conversation_id, table.c.customer_id))
    return or_(*own, filters.says(scope, text))


PREDICATES: dict[str, Callable[[Filters, Scope, Any], ColumnElement[bool]]] = {
    "conversation_id": lambda filters, scope, value: table.c.conversation_id == value,
    "conversation_id__icontains": lambda filters, scope, value: filters.contains(table.c.conversation_id, value),
    "customer_id": lambda filters, scope, value: table.c.customer_id == value,
    "customer_id__icontains": lambda filters, scope, value: filters.contains(table.c.customer_id, value),
    "name": lambda filters, scope, value: filters.contains(table.c.name, value),
    "language": lambda filters, scope, value: filters.is_facet(table.c.language, value),
    "device": lambda filters, scope, value: filters.is_facet(table.c.device_kind, value),
    "source": lambda filters, scope, value: filters.is_facet(table.c.source, value),
    "source__icontains": lambda filters, scope, value: filters.contains(table.c.source, value),
    "country": lambda filters, scope, value: filters.is_facet(table.c.country, value),
    "customer_ip_address": lambda filters, scope, value: table.c.customer_ip_address == value,
    "environment": lambda filters, scope, value: in_environment(value),
    "is_marked": lambda filters, scope, value: table.c.is_marked.is_(value),
    "is_used": lambda filters, scope, value: table.c.is_used.is_(value),
    "started_at_after": lambda filters, scope, value: table.c.started_us >= value,
    "started_at_before": lambda filters, scope, value: table.c.started_us <= value,
    "has_messages": lambda filters, scope, value: (table.c.message_count > 0).is_(value),
    "has_feedback": lambda filters, scope, value: (table.c.feedback_count > 0).is_(value),
    "message_contains": lambda filters, scope, value: filters.says(scope, value),
    "search": _search,
    "action_name": lambda filters, scope, value: _ran(filters.driver, value),
    "action_name__icontains": lambda filters, scope, value: _ran_like(filters, value),
    "has_action": lambda filters, scope, value: (table.c.action_count > 0).is_(value),
    "has_error": lambda filters, scope, value: (table.c.error_count > 0).is_(value),
    "escalated": lambda filters, scope, value: table.c.is_escalated.is_(value),
    "metadata": lambda filters, scope, value: filters.describes(value),
    "include_tickets": lambda filters, scope, value: _ticketed(filters.driver) if value else true(),
}
"""One predicate per filter name of `wire.FILTERS`; those for feedback and `counted_*` stand beside."""
