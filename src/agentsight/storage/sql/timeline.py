"""Events: append once by id, read in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import Select, and_, func, or_, select, update

from agentsight.core.model import Event, Scope

from .rows import Driver, dump_or_none, load
from .schema import button, conversation, feedback
from .schema import event as table

_NAMES = tuple(column.name for column in table.columns)
_COLUMNS = ", ".join(_NAMES)

if tuple(field.name for field in fields(Event)) != _NAMES:
    raise AssertionError("schema.event and model.Event must list the same columns in the same order")


def to_event(row: Any) -> Event:
    values = list(row)
    values[-2], values[-1] = load(values[-2]), load(values[-1])
    return Event(*values)


def _row(event: Event) -> tuple[Any, ...]:
    return (  # written out: an attrgetter takes four times as long
        event.id,
        event.agent_id,
        event.conversation,
        event.event_id,
        event.kind,
        event.occurred_us,
        event.seq,
        event.sender,
        event.content,
        event.name,
        event.duration_ms,
        event.error,
        dump_or_none(event.detail),
        dump_or_none(event.metadata),
    )


class SqlTimeline:
    def __init__(self, driver: Driver):
        self._driver = driver

    def known(self, agent_id: int, event_ids: Sequence[str]) -> dict[str, Event]:
        found: dict[str, Event] = {}
        dialect = self._driver.dialect
        for start in range(0, len(event_ids), 500):
            named, parameters = dialect.within("event_id", event_ids[start : start + 500])
            sql = f"SELECT {_COLUMNS} FROM event WHERE agent_id = {dialect.mark()} AND {named}"
            for row in self._driver.rows(sql, (agent_id, *parameters)):
                found[row[3]] = to_event(row)
        return found

    def newest(self) -> str:
        highest = (
            select(func.coalesce(func.max(of.c.id), 0)).scalar_subquery() for of in (table, conversation, feedback)
        )
        return ".".join(str(id) for id in self._driver.execute(select(*highest)).one())

    def next_ids(self, count: int) -> Sequence[int]:
        return self._driver.next_ids(table, count)

    def append(self, events: Sequence[Event]) -> None:
        self._driver.insert(table, [_row(event) for event in events])

    def of(self, agent_id: int, conversations: Sequence[int]) -> dict[int, list[Event]]:
        timelines: dict[int, list[Event]] = defaultdict(list)
        if not conversations:
            return timelines
        dialect = self._driver.dialect
        among, parameters = dialect.within("conversation", conversations)
        sql = (
            f"SELECT {_COLUMNS} FROM event WHERE {dialect.beside('agent_id')} = {dialect.mark()} AND {among} "
            "ORDER BY conversation, occurred_us, seq, id"
        )
        for row in self._driver.rows(sql, (agent_id, *parameters)):
            timelines[row[2]].append(to_event(row))
        return timelines

    def window(
        self, agent_id: int, conversation: int, *, before: int | None, after: int | None, limit: int
    ) -> list[Event]:
        place = (table.c.occurred_us, table.c.seq, table.c.id)
        asked: Select[Any] = select(table).where(table.c.agent_id == agent_id, table.c.conversation == conversation)
        mark = self._place(agent_id, conversation, before if before is not None else after)
        if mark is not None:
            asked = asked.where(_below(place, mark) if before is not None else _above(place, mark))
        backwards = before is not None
        order = [column.desc() if backwards else column.asc() for column in place]
        events = [to_event(row) for row in self._driver.execute(asked.order_by(*order).limit(limit))]
        return events[::-1] if backwards else events

    def _place(self, agent_id: int, conversation: int, row: int | None) -> tuple[int, int, int] | None:
        if row is None:
            return None
        found = self._driver.execute(
            select(table.c.occurred_us, table.c.seq, table.c.id).where(
                table.c.id == row, table.c.agent_id == agent_id, table.c.conversation == conversation
            )
        ).first()
        return (found[0], found[1], found[2]) if found else None

    def messages_between(self, agent_id: int, conversation: int, first_us: int, last_us: int) -> list[Event]:
        messages = select(table).where(
            table.c.agent_id == agent_id, table.c.conversation == conversation, table.c.kind == "message"
        )
        place = (table.c.occurred_us, table.c.seq, table.c.id)
        answers = messages.where(table.c.sender == "agent")
        previous = self._driver.execute(
            answers.where(table.c.occurred_us < first_us).order_by(*(c.desc() for c in place)).limit(1)
        ).first()
        following = self._driver.execute(answers.where(table.c.occurred_us > last_us).order_by(*place).limit(1)).first()
        if previous:
            messages = messages.where(table.c.occurred_us >= previous.occurred_us)
        if following:
            messages = messages.where(table.c.occurred_us <= following.occurred_us)
        return [to_event(row) for row in self._driver.execute(messages.order_by(*place))]

    def offer(self, agent_id: int, choices: Iterable[tuple[str, str, str]]) -> None:
        rows = [(agent_id, *choice) for choice in sorted(set(choices))]
        self._driver.insert(button, rows, tail="ON CONFLICT DO NOTHING")

    def offered(self, agent_id: int, button_events: Collection[str]) -> dict[str, list[tuple[str, str]]]:
        offered: dict[str, list[tuple[str, str]]] = defaultdict(list)
        if button_events:
            of = (button.c.agent_id == agent_id, button.c.button_event.in_(button_events))
            asked = (
                select(button).where(*of).order_by(button.c.button_event, button.c.label, button.c.value).limit(1_000)
            )
            for row in self._driver.execute(asked):
                offered[row.button_event].append((row.label, row.value))
        return offered

    def find(self, scope: Scope, row: int) -> Event | None:
        found = self._driver.execute(
            select(table).where(table.c.id == row, table.c.agent_id.in_(scope.agent_ids))
        ).first()
        return to_event(found) if found else None

    def describe(self, event: Event, metadata: Mapping[str, Any]) -> None:
        own = (table.c.id == event.id, table.c.agent_id == event.agent_id)
        self._driver.execute(update(table).where(*own).values(metadata=dump_or_none(metadata)))


def _below(place: tuple[Any, Any, Any], mark: tuple[int, int, int]) -> Any:
    time, seq, row = place
    return or_(time < mark[0], and_(time == mark[0], or_(seq < mark[1], and_(seq == mark[1], row < mark[2]))))


def _above(place: tuple[Any, Any, Any], mark: tuple[int, int, int]) -> Any:
    time, seq, row = place
    return or_(time > mark[0], and_(time == mark[0], or_(seq > mark[1], and_(seq == mark[1], row > mark[2]))))
