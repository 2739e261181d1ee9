"""Feedback as a list of its own, and changes to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, delete, exists, func, or_, select, update

from agentsight.core.model import Feedback, Scope

from .conversations import to_feedback
from .lists import Predicates, counted, directed, in_environment, narrowed, of_conversation, own, paged
from .rows import Driver
from .schema import conversation, ticket
from .schema import feedback as table

_CHANGING = ("sentiment", "comment", "topic", "reason")


class SqlFeedback:
    def __init__(self, driver: Driver):
        self._driver = driver

    def page(
        self, scope: Scope, where: Mapping[str, Any], order: str, limit: int, offset: int
    ) -> list[tuple[Feedback, str | None, str]]:
        asked = narrowed(_seen(scope, *_ROW), self._predicates, where)
        return [_placed(row) for row in paged(self._driver, asked, directed(_ORDERS, order, table.c.id), limit, offset)]

    def count(self, scope: Scope, where: Mapping[str, Any]) -> int:
        return counted(self._driver, narrowed(_seen(scope, table.c.id), self._predicates, where))

    def ticketed(self, scope: Scope, where: Mapping[str, Any]) -> dict[str, int]:
        matching = narrowed(_seen(scope, table.c.id), self._predicates, where).scalar_subquery()
        asked = select(ticket.c.status, func.count()).where(own(ticket, scope), ticket.c.feedback.in_(matching))
        return Counter(dict(row._tuple() for row in self._driver.execute(asked.group_by(ticket.c.status))))

    def find(self, scope: Scope, id: int) -> tuple[Feedback, str | None, str] | None:
        row = self._driver.execute(_seen(scope, *_ROW).where(table.c.id == id)).first()
        return _placed(row) if row else None

    def vote(self, agent_id: int, conversation: int, message: int) -> Feedback | None:
        own = (self._driver.of_agent(table, agent_id), table.c.conversation == conversation)
        row = self._driver.execute(select(table).where(*own, table.c.message == message).limit(1)).first()
        return to_feedback(row) if row else None

    def change(self, changed: Feedback) -> None:
        told = {name: getattr(changed, name) for name in _CHANGING}
        self._driver.execute(update(table).where(*_mine(changed)).values(**told))

    def remove(self, gone: Feedback) -> None:
        self._driver.retire(table, gone.id)
        self._driver.execute(delete(table).where(*_mine(gone)))

    @property
    def _predicates(self) -> Predicates:
        contains = self._driver.dialect.contains
        promoted = and_(self._driver.beside(ticket.c.agent_id) == table.c.agent_id, ticket.c.feedback == table.c.id)
        said = func.coalesce(table.c.comment, "") != ""
        return {
            "agent": lambda value: table.c.agent_id == value,
            "category": lambda value: _NONE,  # of feedback on a product, which nobody keeps here
            "user": lambda value: _NONE,
            "comment_contains": lambda value: contains(table.c.comment, value),
            "conversation": lambda value: table.c.conversation == value,
            "conversation_id": lambda value: conversation.c.conversation_id == value,
            "created_at_after": lambda value: table.c.created_us >= value,
            "created_at_before": lambda value: table.c.created_us <= value,
            "environment": _environment,
            "has_comment": lambda value: said if value else ~said,
            "has_ticket": lambda value: exists().where(promoted) if value else ~exists().where(promoted),
            "kind": _KINDS.__getitem__,
            "message": lambda value: table.c.message == value,
            "reason": lambda value: table.c.reason == value,
            "topic": lambda value: table.c.topic == value,
            "sentiment": lambda value: table.c.sentiment == value,
            "source": lambda value: table.c.source == value,
            "ticket_status": lambda value: exists().where(promoted, ticket.c.status.in_(value)),
            "search": lambda value: or_(
                *(contains(column, value) for column in (table.c.comment, table.c.topic, table.c.reason)),
                contains(conversation.c.conversation_id, value),
            ),
        }


_ROW = (table, conversation.c.conversation_id.label("named"), conversation.c.environment.label("lies_in"))
_NONE = table.c.id < 0  # not simply false, which would leave nothing to say of whom
_KINDS: dict[str, ColumnElement[bool]] = {
    "agent": table.c.conversation == 0,
    "conversation": and_(table.c.conversation != 0, table.c.message.is_(None)),
    "message": table.c.message.is_not(None),
    "product": _NONE,
}
_ORDERS = {
    "created_at": table.c.created_us,
    "id": table.c.id,
    "kind": case((table.c.message.is_not(None), "message"), (table.c.conversation == 0, "agent"), else_="conversation"),
    "sentiment": table.c.sentiment,
    "category": table.c.created_us,
}


def _seen(scope: Scope, *columns: Any) -> Select[Any]:
    """Feedback on an agent itself, or on a conversation nobody deleted."""
    joined = select(*columns).outerjoin(conversation, of_conversation(table))
    live = and_(conversation.c.id.is_not(None), conversation.c.deleted_us.is_(None))
    return joined.where(own(table, scope), or_(table.c.conversation == 0, live))


def _environment(value: str) -> ColumnElement[bool]:
    of_agent = and_(table.c.conversation == 0, func.coalesce(table.c.environment, "production") == value)
    return or_(of_agent, and_(table.c.conversation != 0, in_environment(value)))


def _placed(row: Any) -> tuple[Feedback, str | None, str]:
    """Feedback, its conversation's id for callers, and the environment it counts in."""
    given = to_feedback(row[:-2])
    if given.conversation == 0:
        return given, None, given.environment or "production"
    return given, row.named, row.lies_in or "development"


def _mine(given: Feedback) -> tuple[ColumnElement[bool], ...]:
    return table.c.agent_id == given.agent_id, table.c.id == given.id
