"""Conversation heads and pages of them, and the feedback and attachment rows beside them."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, Table, func, or_, select, tuple_

from agentsight.core.measures import DIMENSIONS, UNKNOWN
from agentsight.core.model import Attachment, Conversation, Feedback, Filter, Scope

from .filters import Filters
from .rows import Driver, dump, load
from .schema import attachment, facet, feedback
from .schema import conversation as table

T = TypeVar("T")

_NAMES = tuple(column.name for column in table.columns)
_COLUMNS = ", ".join(_NAMES)
_values_of = attrgetter(*_NAMES)
_GROWING = (
    "ended_us",
    "is_used",
    "is_escalated",
    "message_count",
    "action_count",
    "error_count",
    "feedback_count",
    "sentiment",
    "open_since_us",
    "last_message_us",
    "last_message_seq",
    "stripped_us",
)
_growth_of = attrgetter(*_GROWING, "id", "agent_id")
_FEEDBACK_NAMES = [column.name for column in feedback.columns]
_FEEDBACK_METADATA = _FEEDBACK_NAMES.index("metadata")
_feedback_values = attrgetter(*_FEEDBACK_NAMES)
_BOOLEANS = tuple(_NAMES.index(name) for name in ("is_used", "is_opened", "is_marked", "is_escalated"))

if tuple(field.name for field in fields(Conversation)) != _NAMES:
    raise AssertionError("schema.conversation and model.Conversation must list the same columns in the same order")


def to_conversation(row: Sequence[Any]) -> Conversation:
    values = list(row)
    for place in _BOOLEANS:
        values[place] = bool(values[place])
    values[-2], values[-1] = load(values[-2]), load(values[-1])
    return Conversation(*values)


def _row(head: Conversation) -> list[Any]:
    values = list(_values_of(head))
    values[-2], values[-1] = dump(values[-2]), dump(values[-1])
    return values


class SqlConversations:
    def __init__(self, driver: Driver):
        self._driver = driver
        self._chosen: dict[tuple[Scope, Filter], dict[tuple[int, int], dict[int, list[int]]]] = {}
        self._filters = Filters(driver)

    # -- heads -------------------------------------------------------------------------------------------------------
    def next_ids(self, count: int) -> Sequence[int]:
        return self._driver.next_ids(table, count)

    def live(
        self, agent_id: int, conversation_ids: Sequence[str], *, to_change: bool = False
    ) -> dict[str, Conversation]:
        dialect = self._driver.dialect
        found: dict[str, Conversation] = {}
        lock = dialect.lock(self._driver) if to_change and conversation_ids else ""
        wanted = sorted(conversation_ids) if to_change else conversation_ids  # locks are taken in one order by all
        for start in range(0, len(wanted), 500):
            named, parameters = dialect.within("conversation_id", wanted[start : start + 500])
            rest = f"FROM conversation WHERE agent_id = {dialect.mark()} AND deleted_us IS NULL AND {named}{lock}"
            for row in dialect.rows_at_once(self._driver, _COLUMNS, rest, (agent_id, *parameters)):
                found[row[2]] = to_conversation(row)
        missing = [key for key in wanted if key not in found] if to_change else []
        if missing and dialect.claim(self._driver, agent_id):
            found |= self.live(agent_id, missing, to_change=True)
        return found

    def get(self, scope: Scope, id: int, *, deleted: bool = False) -> Conversation | None:
        dialect = self._driver.dialect
        own = f"id = {dialect.mark()} AND {dialect.in_list('agent_id', len(scope.agent_ids))}"
        sql = f"SELECT {_COLUMNS} FROM conversation WHERE {own}{'' if deleted else ' AND deleted_us IS NULL'}"
        rows = self._driver.rows(sql, (id, *scope.agent_ids))
        return to_conversation(rows[0]) if rows else None

    def add(self, conversations: Sequence[Conversation]) -> None:
        self._driver.insert(table, [_row(head) for head in conversations])

    def change(self, conversations: Sequence[Conversation]) -> None:
        self._update(_NAMES[2:], [(*(row := _row(head))[2:], row[0], row[1]) for head in conversations])

    def grow(self, conversations: Sequence[Conversation]) -> None:
        self._update(_GROWING, [_growth_of(head) for head in conversations])

    def _update(self, names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
        self._driver.update(table, names, rows)

    # -- lists -------------------------------------------------------------------------------------------------------
    def page(
        self,
        scope: Scope,
        where: Filter,
        *,
        limit: int,
        offset: int = 0,
        before: tuple[int, int] | None = None,
        after: tuple[int, int] | None = None,
        since_us: int | None = None,
    ) -> tuple[list[Conversation], bool]:
        clauses = self._filters.clauses(scope, where)
        if since_us is not None:
            clauses.append(_lasting(since_us))
        if before is not None:
            clauses.append(_older(before))
        if after is not None:
            clauses.append(_newer(after))
        upwards = after is not None
        owner = self._filters.owner(scope, where)
        if len(scope.agent_ids) == 1:
            merged = self._page_of(scope.agent_ids[0], owner, clauses, limit + 1, offset, upwards)
        else:  # each agent's rows lie in order; as many of each as the page could need are merged
            deep = offset + limit + 1
            merged = _merge(
                [self._page_of(agent, owner, clauses, deep, 0, upwards) for agent in scope.agent_ids], upwards, deep
            )
            merged = merged[offset:]
        rows = merged[:limit]
        return (rows[::-1] if upwards else rows), len(merged) > limit

    def _page_of(
        self,
        agent_id: int,
        owner: ColumnElement[int],
        clauses: list[ColumnElement[bool]],
        limit: int,
        offset: int,
        upwards: bool,
    ) -> list[Conversation]:
        """One agent's rows along the index; whole rows are fetched for the page alone, so depth costs index steps only.

        The page is found once: PostgreSQL would look for it again with every row, were it to expect but few.
        """
        order = (table.c.started_us, table.c.id)
        ordered = order if upwards else tuple(column.desc() for column in order)
        ids = select(table.c.id).where(owner == agent_id, *clauses).order_by(*ordered).limit(limit).offset(offset)
        found = ids.cte("page").prefix_with("MATERIALIZED", dialect="postgresql")
        own = (self._driver.of_agent(table, agent_id), table.c.id.in_(select(found.c.id)))
        asked = select(table).where(*own).order_by(*ordered)
        return [to_conversation(row) for row in self._driver.execute(asked).all()]

    def ordered(self, scope: Scope, where: Filter, order: str, limit: int, offset: int) -> list[Conversation]:
        column, back = _ORDERS[order.removeprefix("-")], order.startswith("-")
        by = [column.desc().nulls_last(), table.c.id.desc()] if back else [column.asc().nulls_last(), table.c.id.asc()]
        own = (table.c.agent_id.in_(scope.agent_ids), *self._filters.clauses(scope, where))
        asked = select(table).where(*own).order_by(*by).limit(limit).offset(offset)
        return [to_conversation(row) for row in self._driver.execute(asked)]

    def chosen(self, scope: Scope, where: Filter, since_us: int, until_us: int) -> dict[int, list[int]]:
        known = self._chosen.setdefault((scope, where), {})
        for (first_us, last_us), wider in known.items():
            if first_us <= since_us and until_us <= last_us:
                return wider
        clauses = [*self._filters.clauses(scope, where), _lasting(since_us), table.c.started_us < until_us]
        found = known[since_us, until_us] = {}
        for agent_id in scope.agent_ids:
            rows = self._driver.execute(select(table.c.id).where(table.c.agent_id == agent_id, *clauses)).all()
            found[agent_id] = [row[0] for row in rows]
        return found

    def count(self, scope: Scope, where: Filter, *, limit: int | None = None) -> int:
        text = where.message_contains or where.search
        if limit is None and text and where in (Filter(message_contains=text), Filter(search=text)):
            self._filters.learn(scope, text)
        own = self._filters.owner(scope, where).in_(scope.agent_ids)
        matching: Select[Any] = select(table.c.id).where(own, *self._filters.clauses(scope, where))
        if limit is not None:
            matching = matching.limit(limit)
        return int(self._driver.execute(select(func.count()).select_from(matching.subquery())).scalar_one())

    def values(self, scope: Scope, column: str) -> list[str]:
        own = facet.c[column]
        plane = 1 << DIMENSIONS.index(column)
        of = (facet.c.agent_id.in_(scope.agent_ids), facet.c.plane == plane, own != UNKNOWN)
        return [row[0] for row in self._driver.execute(select(own).where(*of).distinct().order_by(own).limit(200))]

    # -- feedback and files ------------------------------------------------------------------------------------------
    def next_feedback_ids(self, count: int) -> Sequence[int]:
        return self._driver.next_ids(feedback, count)

    def add_feedbacks(self, feedbacks: Sequence[Feedback]) -> None:
        self._driver.insert(feedback, [_of_feedback(given) for given in feedbacks])

    def known_feedbacks(self, agent_id: int, event_ids: Sequence[str]) -> dict[str, Feedback]:
        asked = select(feedback).where(feedback.c.agent_id == agent_id, feedback.c.event_id.in_(event_ids))
        return {row.event_id: to_feedback(row) for row in self._driver.execute(asked)}

    def feedbacks(self, agent_id: int, conversations: Sequence[int]) -> dict[int, list[Feedback]]:
        order = "created_us, event_id, id"  # ids are made in order of time, whatever came first
        return self._beside(feedback, order, agent_id, conversations, to_feedback)

    def next_attachment_ids(self, count: int) -> Sequence[int]:
        return self._driver.next_ids(attachment, count)

    def add_attachments(self, attachments: Sequence[Attachment]) -> None:
        rows = [tuple(getattr(file, column.name) for column in attachment.columns) for file in attachments]
        self._driver.insert(attachment, rows)

    def attachments(self, agent_id: int, conversations: Sequence[int]) -> dict[int, list[Attachment]]:
        return self._beside(attachment, "id", agent_id, conversations, lambda row: Attachment(*row))

    def attachment(self, id: int) -> Attachment | None:
        row = self._driver.execute(select(attachment).where(attachment.c.id == id)).first()
        return Attachment(*row) if row else None

    def _beside(
        self, of: Table, order: str, agent_id: int, conversations: Sequence[int], read: Callable[[Any], T]
    ) -> dict[int, list[T]]:
        by_conversation: dict[int, list[T]] = defaultdict(list)
        if conversations:
            dialect, names = self._driver.dialect, [column.name for column in of.columns]
            among, parameters = dialect.within("conversation", conversations)
            own = f"{dialect.beside('agent_id')} = {dialect.mark()} AND {among}"
            place = names.index("conversation")
            sql = f"SELECT {', '.join(names)} FROM {of.name} WHERE {own} ORDER BY {order}"
            for row in self._driver.rows(sql, (agent_id, *parameters)):
                by_conversation[row[place]].append(read(row))
        return by_conversation


def _of_feedback(given: Feedback) -> list[Any]:
    values = list(_feedback_values(given))
    values[_FEEDBACK_METADATA] = dump(values[_FEEDBACK_METADATA])
    return values


def to_feedback(row: Any) -> Feedback:
    values = list(row)
    values[_FEEDBACK_METADATA] = load(values[_FEEDBACK_METADATA])
    return Feedback(*values)


def _merge(per_agent: list[list[Conversation]], upwards: bool, limit: int) -> list[Conversation]:
    merged = heapq.merge(*per_agent, key=lambda head: (head.started_us, head.id), reverse=not upwards)
    return [head for head, _ in zip(merged, range(limit), strict=False)]


def _lasting(since_us: int) -> ColumnElement[bool]:
    """Not over before; feedback may be younger than the rest."""
    return or_(table.c.started_us >= since_us, table.c.ended_us >= since_us, table.c.feedback_count > 0)


def _older(place: tuple[int, int]) -> ColumnElement[bool]:
    return tuple_(table.c.started_us, table.c.id) < place  # as a pair it is one step into the index


def _newer(place: tuple[int, int]) -> ColumnElement[bool]:
    return tuple_(table.c.started_us, table.c.id) > place


_ORDERS = {
    "started_at": table.c.started_us,
    "ended_at": table.c.ended_us,
    **{name: table.c[name] for name in ("id", "customer_id", "is_marked", "language")},
}
