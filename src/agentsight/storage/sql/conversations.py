"""Conversation heads, their filters and pages, and the feedback and attachment rows beside them."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, Table, and_, exists, false, func, not_, or_, select, true, tuple_

from agentsight.core.measures import DIMENSIONS, UNKNOWN, normal
from agentsight.core.model import Attachment, Conversation, Feedback, Filter, Scope

from .counted import belongs, counted
from .rows import Driver, dump, load
from .schema import attachment, event, facet, feedback, ticket
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
_FEEDBACK_METADATA = [column.name for column in feedback.columns].index("metadata")
_BOOLEANS = tuple(_NAMES.index(name) for name in ("is_used", "is_opened", "is_marked", "is_escalated"))
_FEW_MESSAGES = 2_000  # up to here the search index's hits are cheaper than scanning the newest conversations

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
        self._says: dict[tuple[Scope, str], tuple[ColumnElement[bool], bool]] = {}

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
            sql = (
                f"SELECT {_COLUMNS} FROM conversation WHERE agent_id = {dialect.mark()} AND deleted_us IS NULL "
                f"AND {named}{lock}"
            )
            for row in self._driver.rows(sql, (agent_id, *parameters)):
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
        clauses = self._clauses(scope, where)
        if since_us is not None:
            clauses.append(_lasting(since_us))
        if before is not None:
            clauses.append(_older(before))
        if after is not None:
            clauses.append(_newer(after))
        upwards = after is not None
        owner = self._owner(scope, where)
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
        """One agent's rows along the index; whole rows are fetched for the page alone, so depth costs index steps only."""
        order = (table.c.started_us, table.c.id)
        ordered = order if upwards else tuple(column.desc() for column in order)
        ids = select(table.c.id).where(owner == agent_id, *clauses).order_by(*ordered).limit(limit).offset(offset)
        own = (self._driver.of_agent(table, agent_id), table.c.id.in_(ids.scalar_subquery()))
        asked = select(table).where(*own).order_by(*ordered)
        return [to_conversation(row) for row in self._driver.execute(asked).all()]

    def _owner(self, scope: Scope, where: Filter) -> ColumnElement[int]:
        """The column of the agent, by whose index lists are read, unless the words found lead to few rows."""
        text = where.message_contains
        return self._driver.beside(table.c.agent_id) if text and self._saying(scope, text)[1] else table.c.agent_id

    def ordered(self, scope: Scope, where: Filter, order: str, limit: int, offset: int) -> list[Conversation]:
        column, back = _ORDERS[order.removeprefix("-")], order.startswith("-")
        by = [column.desc().nulls_last(), table.c.id.desc()] if back else [column.asc().nulls_last(), table.c.id.asc()]
        own = (table.c.agent_id.in_(scope.agent_ids), *self._clauses(scope, where))
        asked = select(table).where(*own).order_by(*by).limit(limit).offset(offset)
        return [to_conversation(row) for row in self._driver.execute(asked)]

    def chosen(self, scope: Scope, where: Filter, since_us: int, until_us: int) -> dict[int, list[int]]:
        known = self._chosen.setdefault((scope, where), {})
        for (first_us, last_us), wider in known.items():
            if first_us <= since_us and until_us <= last_us:
                return wider
        clauses = [*self._clauses(scope, where), _lasting(since_us), table.c.started_us < until_us]
        found = known[since_us, until_us] = {}
        for agent_id in scope.agent_ids:
            rows = self._driver.execute(select(table.c.id).where(table.c.agent_id == agent_id, *clauses)).all()
            found[agent_id] = [row[0] for row in rows]
        return found

    def count(self, scope: Scope, where: Filter, *, limit: int | None = None) -> int:
        text = where.message_contains or where.search
        if limit is None and text and where in (Filter(message_contains=text), Filter(search=text)):
            self._saying(scope, text, to_count=True)
        own = self._owner(scope, where).in_(scope.agent_ids)
        matching: Select[Any] = select(table.c.id).where(own, *self._clauses(scope, where))
        if limit is not None:
            matching = matching.limit(limit)
        return int(self._driver.execute(select(func.count()).select_from(matching.subquery())).scalar_one())

    def values(self, scope: Scope, column: str) -> list[str]:
        own = facet.c[column]
        plane = 1 << DIMENSIONS.index(column)
        of = (facet.c.agent_id.in_(scope.agent_ids), facet.c.plane == plane, own != UNKNOWN)
        return [row[0] for row in self._driver.execute(select(own).where(*of).distinct().order_by(own).limit(200))]

    def _clauses(self, scope: Scope, where: Filter) -> list[ColumnElement[bool]]:
        clauses: list[ColumnElement[bool]] = [] if where.include_deleted else [table.c.deleted_us.is_(None)]
        for name, predicate in PREDICATES.items():
            value = getattr(where, name)
            if value is not None and value != ():
                clauses.append(predicate(self, scope, value))
        if where.feedback_sentiment is not None or where.feedback_source is not None:
            clauses.append(_given(self._driver, where.feedback_sentiment, where.feedback_source))
        if where.counted_by is not None:
            clauses.append(counted(self._driver, where))
        for name, value in where.unless:
            clause = (
                _given(self._driver, value, None)
                if name == "feedback_sentiment"
                else PREDICATES[name](self, scope, value)
            )
            clauses.append(not_(func.coalesce(clause, false())))  # what nobody told is not it
        return clauses

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
        driver, dialect = self._driver, self._driver.dialect
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
        clause: ColumnElement[bool] = self._driver.dialect.lower(told) == normal(value)
        return clause

    def contains(self, column: Any, text: str) -> ColumnElement[bool]:
        clause: ColumnElement[bool] = self._driver.dialect.contains(column, text)
        return clause

    def describes(self, pairs: tuple[tuple[str, str], ...]) -> ColumnElement[bool]:
        return and_(*(self._driver.dialect.json_equals(table.c.metadata, path, value) for path, value in pairs))

    # -- feedback and files ------------------------------------------------------------------------------------------
    def next_feedback_ids(self, count: int) -> Sequence[int]:
        return self._driver.next_ids(feedback, count)

    def add_feedbacks(self, feedbacks: Sequence[Feedback]) -> None:
        rows = [
            (
                f.id,
                f.agent_id,
                f.conversation,
                f.event_id,
                f.sentiment,
                f.source,
                f.created_us,
                f.comment,
                dump(f.metadata),
                f.message,
                f.topic,
                f.reason,
                f.environment,
            )
            for f in feedbacks
        ]
        self._driver.insert(feedback, rows)

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


def _ran_like(store: SqlConversations, text: str) -> ColumnElement[bool]:
    own = belongs(store._driver, event)
    return exists().where(*own, event.c.kind == "action", store.contains(event.c.name, text))


def _search(store: SqlConversations, scope: Scope, text: str) -> ColumnElement[bool]:
    own = (store.contains(column, text) for column in (table.c.name, table.c.conversation_id, table.c.customer_id))
    return or_(*own, store.says(scope, text))


def _environment(value: str) -> ColumnElement[bool]:
    if value == "production":
        return table.c.environment == "production"
    return or_(table.c.environment.is_(None), table.c.environment != "production")


_ORDERS = {
    "started_at": table.c.started_us,
    "ended_at": table.c.ended_us,
    **{name: table.c[name] for name in ("id", "customer_id", "is_marked", "language")},
}
PREDICATES: dict[str, Callable[[SqlConversations, Scope, Any], ColumnElement[bool]]] = {
    "conversation_id": lambda store, scope, value: table.c.conversation_id == value,
    "conversation_id__icontains": lambda store, scope, value: store.contains(table.c.conversation_id, value),
    "customer_id": lambda store, scope, value: table.c.customer_id == value,
    "customer_id__icontains": lambda store, scope, value: store.contains(table.c.customer_id, value),
    "name": lambda store, scope, value: store.contains(table.c.name, value),
    "language": lambda store, scope, value: store.is_facet(table.c.language, value),
    "device": lambda store, scope, value: store.is_facet(table.c.device_kind, value),
    "source": lambda store, scope, value: store.is_facet(table.c.source, value),
    "source__icontains": lambda store, scope, value: store.contains(table.c.source, value),
    "country": lambda store, scope, value: store.is_facet(table.c.country, value),
    "customer_ip_address": lambda store, scope, value: table.c.customer_ip_address == value,
    "environment": lambda store, scope, value: _environment(value),
    "is_marked": lambda store, scope, value: table.c.is_marked.is_(value),
    "is_used": lambda store, scope, value: table.c.is_used.is_(value),
    "started_at_after": lambda store, scope, value: table.c.started_us >= value,
    "started_at_before": lambda store, scope, value: table.c.started_us <= value,
    "has_messages": lambda store, scope, value: (table.c.message_count > 0).is_(value),
    "has_feedback": lambda store, scope, value: (table.c.feedback_count > 0).is_(value),
    "message_contains": lambda store, scope, value: store.says(scope, value),
    "search": _search,
    "action_name": lambda store, scope, value: _ran(store._driver, value),
    "action_name__icontains": lambda store, scope, value: _ran_like(store, value),
    "has_action": lambda store, scope, value: (table.c.action_count > 0).is_(value),
    "has_error": lambda store, scope, value: (table.c.error_count > 0).is_(value),
    "escalated": lambda store, scope, value: table.c.is_escalated.is_(value),
    "metadata": lambda store, scope, value: store.describes(value),
    "include_tickets": lambda store, scope, value: _ticketed(store._driver) if value else true(),
}
"""One predicate per filter name of `wire.FILTERS`; those for feedback and `counted_*` stand beside."""
