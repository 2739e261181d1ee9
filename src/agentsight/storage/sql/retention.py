"""What has had its time: content taken out of conversations that stay, and those that go."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Table, and_, delete, func, or_, select, tuple_, update

from agentsight.core.measures import DAILY, DAY_BUCKETS
from agentsight.core.model import Conversation, Removed

from .conversations import to_conversation
from .keeping import choice, take_out, take_out_tickets
from .rollups import SqlRollups
from .rows import Driver, dump_or_none, load, parts
from .schema import (
    attachment,
    conversation,
    event,
    feedback,
    kept_presence,
    kept_rollup,
    presence,
    rollup,
    ticket,
    trace_span,
)


class SqlRetention:
    def __init__(self, driver: Driver, rollups: SqlRollups):
        self._driver, self._rollups = driver, rollups

    def with_content(
        self, agent_id: int, until_us: int, after: tuple[int, int] | None, limit: int
    ) -> list[Conversation]:
        place = tuple_(conversation.c.started_us, conversation.c.id)
        asked = select(conversation).where(*_with_content(agent_id, until_us)).order_by(*place)
        if after is not None:
            asked = asked.where(place > after)
        return [to_conversation(row) for row in self._driver.execute(asked.limit(limit))]

    def count_content(self, agent_id: int, until_us: int) -> tuple[int, int, int]:
        which = _with_content(agent_id, until_us)
        own = select(func.count(), func.coalesce(func.sum(conversation.c.message_count), 0)).where(*which)
        count, messages = self._driver.execute(own).one()
        files = (
            select(func.count())
            .select_from(attachment)
            .where(
                attachment.c.agent_id == agent_id,
                attachment.c.conversation.in_(select(conversation.c.id).where(*which)),
            )
        )
        return int(count), int(messages), int(self._driver.execute(files).scalar() or 0)

    def strip_events(
        self, agent_id: int, conversation: int, from_us: int | None, until_us: int, limit: int
    ) -> tuple[Removed, int | None]:
        mine = self._driver.of_agent(event, agent_id)
        own = [mine, event.c.conversation == conversation, event.c.occurred_us < until_us]
        if from_us is not None:
            own.append(event.c.occurred_us >= from_us)
        columns = (event.c.id, event.c.kind, event.c.name, event.c.error, event.c.detail, event.c.occurred_us)
        rows = self._driver.execute(select(*columns).where(*own).order_by(event.c.occurred_us).limit(limit)).all()
        reached = rows[-1].occurred_us if len(rows) == limit else None
        if reached is not None and rows[0].occurred_us == reached:  # all at one moment: that moment, whole
            rows = self._driver.execute(select(*columns).where(*own, event.c.occurred_us == reached)).all()
            reached += 1
        removed = Removed(other_events=len(rows))
        removed.buttons = {choice(row.name, row.detail) for row in rows if row.kind == "button"}
        for some in parts([row.id for row in rows]):
            self._driver.dialect.unindex(self._driver, agent_id, some, column="id")
            which = and_(attachment.c.conversation == conversation, attachment.c.event.in_(some))
            gone = (self._driver.of_agent(attachment, agent_id), which)
            removed.files |= {row[0] for row in self._driver.execute(select(attachment.c.sha256).where(*gone))}
            removed.attachments += take_out(self._driver, attachment, agent_id, which)
        told = (trace_span.c.conversation == conversation, trace_span.c.started_us < until_us)
        removed.spans = take_out(self._driver, trace_span, agent_id, and_(*told))
        about = (ticket.c.conversation == conversation, ticket.c.updated_us < until_us)
        removed.tickets = take_out_tickets(self._driver, agent_id, and_(*about))
        mark = self._driver.dialect.mark()
        self._driver.many(
            f"UPDATE event SET content = NULL, metadata = NULL, error = {mark}, detail = {mark} "
            f"WHERE id = {mark} AND agent_id = {mark}",
            [(None if row.error is None else "", _skeleton(row.kind, row.detail), row.id, agent_id) for row in rows],
        )
        said = (self._driver.of_agent(feedback, agent_id), feedback.c.conversation == conversation)
        self._driver.execute(
            update(feedback).where(*said, feedback.c.created_us < until_us).values(comment=None, metadata="{}")
        )
        return removed, reached

    def expired(self, agent_id: int, until_us: int, limit: int) -> list[Conversation]:
        place = (conversation.c.started_us, conversation.c.id)
        asked = select(conversation).where(*_over(agent_id, until_us)).order_by(*place).limit(limit)
        return [to_conversation(row) for row in self._driver.execute(asked)]

    def count_expired(self, agent_id: int, until_us: int) -> int:
        asked = select(func.count()).select_from(conversation).where(*_over(agent_id, until_us))
        return int(self._driver.execute(asked).scalar() or 0)

    def deleted(self, agent_id: int, until_us: int, limit: int) -> list[int]:
        asked = select(conversation.c.id).where(*_deleted(agent_id, until_us)).limit(limit)
        return [row.id for row in self._driver.execute(asked)]

    def count_deleted(self, agent_id: int, until_us: int) -> int:
        asked = select(func.count()).select_from(conversation).where(*_deleted(agent_id, until_us))
        return int(self._driver.execute(asked).scalar() or 0)

    def forget_sums(self, agent_id: int, bucket: int) -> None:
        day = bucket // DAY_BUCKETS  # sums by day go with the last of their quarters, and these with them
        for kept, sums, value in ((kept_rollup, rollup, "value"), (kept_presence, presence, "messages")):
            keys = [column.name for column in sums.primary_key.columns]
            same = and_(*(kept.c[key] == sums.c[key] for key in keys))
            own = (kept.c.agent_id == agent_id, _before(kept, day))
            mine = (sums.c.agent_id == agent_id, _before(sums, day))
            self._driver.execute(update(sums).where(*mine, same, *own).values({value: sums.c[value] - kept.c[value]}))
            self._driver.execute(delete(kept).where(*own))
            self._driver.execute(delete(sums).where(*mine, sums.c[value] == 0))
        self._rollups.past_changed(agent_id)


def _with_content(agent_id: int, until_us: int) -> tuple[Any, ...]:
    """Done is what was stripped up to after its end."""
    table = conversation.c
    over = func.coalesce(table.ended_us, table.started_us)
    left = or_(table.stripped_us.is_(None), and_(table.stripped_us < until_us, table.stripped_us <= over))
    return table.agent_id == agent_id, table.deleted_us.is_(None), table.started_us < until_us, left


def _over(agent_id: int, until_us: int) -> tuple[Any, ...]:
    table = conversation.c
    over = func.coalesce(table.ended_us, table.started_us) < until_us
    return table.agent_id == agent_id, table.deleted_us.is_(None), table.started_us < until_us, over


def _deleted(agent_id: int, until_us: int) -> tuple[Any, ...]:
    return conversation.c.agent_id == agent_id, conversation.c.deleted_us < until_us


_NEEDED = {
    "conversation": ("customer_id", "device", "source", "language", "environment", "is_used"),
    "action": ("started_at", "ended_at"),
    "button": (),
    "attachment": ("file_count", "message", "message_event_id"),
}
"""What the numbers and the order of a transcript need of an event's details; of other kinds, all of it."""


def _skeleton(kind: str, detail: str | None) -> str | None:
    told = load(detail)
    if kind in _NEEDED:
        told = {name: value for name, value in told.items() if name in _NEEDED[kind]}
    if kind == "button":
        told |= {"label": "", "value": ""}
    return dump_or_none(told)


def _before(sums: Table, day: int) -> ColumnElement[bool]:
    """Sums of days before that one."""
    quarters = sums.c.bucket < day * DAY_BUCKETS
    if "plane" not in sums.c:
        return quarters
    return or_(and_(sums.c.plane < DAILY, quarters), and_(sums.c.plane >= DAILY, sums.c.bucket < day))
