"""Lists with filters, an order and page numbers, as clients 0.1.x ask for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, and_, func, or_, select

from agentsight.core.model import Scope

from .rows import Driver
from .schema import conversation

Predicates = Mapping[str, Callable[[Any], ColumnElement[bool]]]
"""Name of a filter -> the condition for its value."""


def narrowed(asked: Select[Any], predicates: Predicates, where: Mapping[str, Any]) -> Select[Any]:
    """Only rows every filter given agrees to."""
    return asked.where(*(predicates[name](value) for name, value in where.items()))


def paged(
    driver: Driver, asked: Select[Any], order: Sequence[ColumnElement[Any]], limit: int, offset: int
) -> Sequence[Any]:
    return driver.execute(asked.order_by(*order).limit(limit).offset(offset)).all()  # type: ignore[no-any-return]


def counted(driver: Driver, asked: Select[Any]) -> int:
    return int(driver.execute(select(func.count()).select_from(asked.subquery())).scalar_one())


def directed(columns: Mapping[str, Any], order: str, last: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    """`field` or `-field`; rows that are equal by it in the order of `last`."""
    column, back = columns[order.removeprefix("-")], order.startswith("-")
    return [column.desc(), last.desc()] if back else [column.asc(), last.asc()]


def of_conversation(table: Table) -> ColumnElement[bool]:
    """What joins a row with its conversation, on one node."""
    return and_(conversation.c.agent_id == table.c.agent_id, conversation.c.id == table.c.conversation)


def about_conversation(table: Table) -> dict[str, Callable[[Any], ColumnElement[bool]]]:
    """The filters all rows of conversations have."""
    return {
        "conversation": lambda value: table.c.conversation == value,
        "conversation_id": lambda value: conversation.c.conversation_id == value,
        "environment": in_environment,
    }


def in_environment(value: str) -> ColumnElement[bool]:
    """Of the conversation; one that nobody said it of counts as development."""
    told = conversation.c.environment
    return told == "production" if value == "production" else or_(told.is_(None), told != "production")


def own(table: Table, scope: Scope) -> ColumnElement[bool]:
    return table.c.agent_id.in_(scope.agent_ids)
