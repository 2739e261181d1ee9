"""Tickets and their threads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from orjson import loads
from sqlalchemy import Select, and_, case, delete, exists, func, insert, or_, select, update

from agentsight.core.model import Comment, Scope, Ticket
from agentsight.core.tickets import PRIORITIES, STATUSES

from .lists import Predicates, counted, directed, narrowed, of_conversation, own, paged
from .rows import Driver, dump
from .schema import conversation
from .schema import ticket as table
from .schema import ticket_comment as comment

_CHANGING = ("title", "status", "priority", "tags", "updated_us")


class SqlTickets:
    def __init__(self, driver: Driver):
        self._driver = driver

    # -- reading -------------------------------------------------------------------------------------------------------
    def page(self, scope: Scope, where: Mapping[str, Any], order: str, limit: int, offset: int) -> list[Ticket]:
        asked = narrowed(_seen(scope), self._predicates, where)
        return [_ticket(row) for row in paged(self._driver, asked, directed(_ORDERS, order, table.c.id), limit, offset)]

    def count(self, scope: Scope, where: Mapping[str, Any]) -> int:
        return counted(self._driver, narrowed(_seen(scope, table.c.id), self._predicates, where))

    def find(self, scope: Scope, id: int) -> Ticket | None:
        row = self._driver.execute(_seen(scope).where(table.c.id == id)).first()
        return _ticket(row) if row else None

    def of_conversations(self, scope: Scope, conversations: Sequence[int]) -> dict[int, list[Ticket]]:
        return self._by(scope, table.c.conversation, conversations)

    def of_feedback(self, scope: Scope, feedbacks: Sequence[int]) -> dict[int, list[Ticket]]:
        return self._by(scope, table.c.feedback, feedbacks)

    def _by(self, scope: Scope, column: Any, ids: Sequence[int]) -> dict[int, list[Ticket]]:
        found: dict[int, list[Ticket]] = defaultdict(list)
        if ids:
            order = (table.c.created_us.desc(), table.c.id.desc())
            asked = select(table, column.label("of")).where(own(table, scope), column.in_(ids)).order_by(*order)
            for row in self._driver.execute(asked):
                found[row.of].append(_ticket(row[:-1]))
        return found

    # -- changing ------------------------------------------------------------------------------------------------------
    def add(self, new: Ticket) -> Ticket:
        id = self._driver.next_ids(table, 1)[0]
        self._driver.execute(insert(table).values(**_values(new), id=id))
        return Ticket(**{name: getattr(new, name) for name in Ticket.__slots__} | {"id": id})

    def change(self, changed: Ticket) -> None:
        mine = (table.c.agent_id == changed.agent_id, table.c.id == changed.id)
        told = {name: value for name, value in _values(changed).items() if name in _CHANGING}
        self._driver.execute(update(table).where(*mine).values(**told))

    def remove(self, agent_id: int, id: int) -> None:
        thread = (comment.c.agent_id == agent_id, comment.c.ticket == id)
        highest = self._driver.execute(select(func.max(comment.c.id)).where(*thread)).scalar()
        if highest is not None:
            self._driver.retire(comment, int(highest))
            self._driver.execute(delete(comment).where(*thread))
        self._driver.retire(table, id)
        self._driver.execute(delete(table).where(table.c.agent_id == agent_id, table.c.id == id))

    def forget_feedback(self, agent_id: int, feedback_id: int) -> None:
        mine = (table.c.agent_id == agent_id, table.c.feedback == feedback_id)
        self._driver.execute(update(table).where(*mine).values(feedback=None))

    # -- threads -------------------------------------------------------------------------------------------------------
    def comment(self, new: Comment) -> Comment:
        id = self._driver.next_ids(comment, 1)[0]
        made = Comment(id, *(getattr(new, name) for name in Comment.__slots__[1:]))
        self._driver.execute(insert(comment).values({name: getattr(made, name) for name in Comment.__slots__}))
        return made

    def threads(self, scope: Scope, tickets: Collection[int]) -> dict[int, list[Comment]]:
        found: dict[int, list[Comment]] = defaultdict(list)
        if tickets:
            asked = select(comment).where(own(comment, scope), comment.c.ticket.in_(tickets)).order_by(comment.c.id)
            for row in self._driver.execute(asked):
                found[row.ticket].append(Comment(*row))
        return found

    # -- what they are found by ----------------------------------------------------------------------------------------
    @property
    def _predicates(self) -> Predicates:
        contains = self._driver.dialect.contains
        said = and_(comment.c.agent_id == table.c.agent_id, comment.c.ticket == table.c.id)
        return {
            "conversation": lambda value: table.c.conversation == value,
            "conversation_id": lambda value: conversation.c.conversation_id == value,
            "created_at_after": lambda value: table.c.created_us >= value,
            "created_at_before": lambda value: table.c.created_us <= value,
            "updated_at_after": lambda value: table.c.updated_us >= value,
            "updated_at_before": lambda value: table.c.updated_us <= value,
            "environment": lambda value: table.c.environment == value,
            "has_conversation": lambda value: table.c.conversation.is_not(None).is_(value),
            "has_feedback": lambda value: table.c.feedback.is_not(None).is_(value),
            "priority": lambda value: table.c.priority == value,
            "status": lambda value: table.c.status.in_(value),
            "tags": lambda value: or_(*(contains(table.c.tags, dump(tag)) for tag in value)),
            "search": lambda value: or_(
                contains(table.c.title, value),
                contains(table.c.tags, value),
                exists().where(said, contains(comment.c.body, value)),
            ),
        }


def _seen(scope: Scope, *columns: Any) -> Select[Any]:
    """Tickets about no conversation, or about one nobody deleted."""
    joined = select(*(columns or (table,))).outerjoin(conversation, of_conversation(table))
    return joined.where(own(table, scope), or_(table.c.conversation.is_(None), conversation.c.deleted_us.is_(None)))


def _ticket(row: Any) -> Ticket:
    values = dict(zip((column.name for column in table.columns), row, strict=False))
    return Ticket(**{**values, "tags": tuple(loads(values["tags"]))})


def _values(of: Ticket) -> dict[str, Any]:
    told = {name: getattr(of, name) for name in Ticket.__slots__ if name != "id"}
    return told | {"tags": dump(of.tags)}


def _rank(column: Any, names: Sequence[str]) -> Any:
    return case({name: place for place, name in enumerate(names, 1)}, value=column, else_=0)


_ORDERS = {
    "created_at": table.c.created_us,
    "updated_at": table.c.updated_us,
    "priority": _rank(table.c.priority, PRIORITIES),
    "status": _rank(table.c.status, STATUSES),
    "title": table.c.title,
    "id": table.c.id,
}
