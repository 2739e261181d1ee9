"""Letting go of data: conversations taken out for good, what is kept of them in the sums, who must not come back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from sqlalchemy import ColumnElement, Table, and_, delete, func, or_, select, tuple_, update

from agentsight.core.measures import DAILY, DAY_BUCKETS, Deltas
from agentsight.core.model import Conversation, Removed

from .conversations import to_conversation
from .rollups import KEPT, SqlRollups
from .rows import Driver, dump_or_none, load
from .schema import (
    agent,
    attachment,
    button,
    conversation,
    event,
    feedback,
    kept_presence,
    kept_rollup,
    organization,
    presence,
    report,
    rollup,
    share,
    tally,
    ticket,
    ticket_comment,
    tombstone,
    trace_span,
)

T = TypeVar("T")
_TOGETHER = 500


class SqlKeeping:
    def __init__(self, driver: Driver, rollups: SqlRollups):
        self._driver, self._rollups = driver, rollups

    # -- finding -----------------------------------------------------------------------------------------------------
    def of_customer(self, agent_id: int, customer_id: str, limit: int) -> list[Conversation]:
        """A head may name somebody else since, by hand; what its own events say of the customer counts as well."""
        own = select(conversation).where(conversation.c.agent_id == agent_id)
        named = self._driver.execute(own.where(conversation.c.customer_id == customer_id).limit(limit)).all()
        found = {row.id: to_conversation(row) for row in named}
        if len(found) < limit:
            missing = [id for id in self._told(agent_id, customer_id) if id not in found][: limit - len(found)]
            for some in _parts(missing):
                found |= {
                    row.id: to_conversation(row) for row in self._driver.execute(own.where(conversation.c.id.in_(some)))
                }
        return list(found.values())

    def _told(self, agent_id: int, customer_id: str) -> list[int]:
        """Conversations with an event that says they are this customer's."""
        asked = select(event.c.conversation, event.c.detail).where(
            event.c.agent_id == agent_id, event.c.kind == "conversation", event.c.detail.contains('"customer_id":')
        )
        if customer_id.isascii() and '"' not in customer_id and "\\" not in customer_id:
            asked = asked.where(event.c.detail.contains(customer_id, autoescape=True))
        return [row[0] for row in self._driver.execute(asked) if load(row[1]).get("customer_id") == customer_id]

    # -- taking out --------------------------------------------------------------------------------------------------
    def remove(self, agent_id: int, conversations: Sequence[int], *, traceless: bool) -> Removed:
        removed = Removed()
        self._rollups.settle()  # or tallies of what is removed would be written after it
        for some in _parts(conversations):
            removed.add(self._remove(agent_id, some, traceless))
        return removed

    def _remove(self, agent_id: int, ids: list[int], traceless: bool) -> Removed:
        removed = Removed()
        self._driver.dialect.unindex(self._driver, agent_id, ids, traceless=traceless)
        own = (self._driver.of_agent(event, agent_id), event.c.conversation.in_(ids))
        for kind, count in self._driver.execute(select(event.c.kind, func.count()).where(*own).group_by(event.c.kind)):
            if kind == "message":
                removed.messages += count
            else:
                removed.other_events += count
        for name, detail in self._driver.execute(
            select(event.c.name, event.c.detail).where(*own, event.c.kind == "button")
        ):
            removed.buttons.add(_choice(name, detail))
        mine = self._driver.of_agent(attachment, agent_id)
        files = select(attachment.c.sha256).where(mine, attachment.c.conversation.in_(ids))
        removed.files = {row[0] for row in self._driver.execute(files)}
        removed.attachments = self._delete(attachment, agent_id, attachment.c.conversation.in_(ids))
        removed.feedback = self._delete(feedback, agent_id, feedback.c.conversation.in_(ids))
        removed.spans = self._delete(trace_span, agent_id, trace_span.c.conversation.in_(ids))
        removed.tickets = self._remove_tickets(agent_id, ticket.c.conversation.in_(ids))
        self._delete(event, agent_id, event.c.conversation.in_(ids))
        self._driver.execute(delete(tally).where(tally.c.agent_id == agent_id, tally.c.conversation.in_(ids)))
        removed.conversations = self._delete(conversation, agent_id, conversation.c.id.in_(ids))
        return removed

    def _remove_tickets(self, agent_id: int, which: Any) -> int:
        own = select(ticket.c.id).where(self._driver.of_agent(ticket, agent_id), which)
        self._delete(ticket_comment, agent_id, ticket_comment.c.ticket.in_(own))
        return self._delete(ticket, agent_id, which)

    def _delete(self, table: Table, agent_id: int, which: Any) -> int:
        own = (self._driver.of_agent(table, agent_id), which)
        # of ids, not of the column: along the index of all ids PostgreSQL would pass everything younger than these
        highest = self._driver.execute(select(func.max(table.c.id + 0)).where(*own)).scalar()
        if highest is None:
            return 0
        self._driver.retire(table, int(highest))
        return int(self._driver.execute(delete(table).where(*own)).rowcount)

    # -- what has had its time ---------------------------------------------------------------------------------------
    def deleted_page(self, agent_id: int, before: tuple[int, int] | None, limit: int) -> list[Conversation]:
        place = tuple_(conversation.c.started_us, conversation.c.id)
        asked = select(conversation).where(conversation.c.agent_id == agent_id, conversation.c.deleted_us.is_not(None))
        if before is not None:
            asked = asked.where(place < before)
        ordered = asked.order_by(conversation.c.started_us.desc(), conversation.c.id.desc()).limit(limit)
        return [to_conversation(row) for row in self._driver.execute(ordered)]

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
        removed.buttons = {_choice(row.name, row.detail) for row in rows if row.kind == "button"}
        for some in _parts([row.id for row in rows]):
            self._driver.dialect.unindex(self._driver, agent_id, some, column="id")
            which = and_(attachment.c.conversation == conversation, attachment.c.event.in_(some))
            gone = (self._driver.of_agent(attachment, agent_id), which)
            removed.files |= {row[0] for row in self._driver.execute(select(attachment.c.sha256).where(*gone))}
            removed.attachments += self._delete(attachment, agent_id, which)
        told = (trace_span.c.conversation == conversation, trace_span.c.started_us < until_us)
        removed.spans = self._delete(trace_span, agent_id, and_(*told))
        about = (ticket.c.conversation == conversation, ticket.c.updated_us < until_us)
        removed.tickets = self._remove_tickets(agent_id, and_(*about))
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

    def unused(self, hashes: Collection[str]) -> set[str]:
        left = set(hashes)
        for some in _parts(sorted(hashes)):
            used = select(attachment.c.sha256).where(attachment.c.sha256.in_(some)).distinct()
            left -= {row[0] for row in self._driver.execute(used)}
        if left:
            for (settings,) in self._driver.execute(select(organization.c.settings)):
                left = {sha256 for sha256 in left if sha256 not in settings}
        return left

    def orphaned_buttons(self, agent_id: int, choices: Collection[tuple[str, str, str]]) -> int:
        if not choices:
            return 0
        left = set(choices)
        for some in _parts(sorted({name for name, _, _ in choices})):
            own = (event.c.agent_id == agent_id, event.c.kind == "button", event.c.name.in_(some))
            for name, detail in self._driver.execute(select(event.c.name, event.c.detail).where(*own).distinct()):
                left.discard(_choice(name, detail))
        gone = 0
        for name, label, value in sorted(left):
            which = (button.c.button_event == name) & (button.c.label == label) & (button.c.value == value)
            gone += int(self._driver.execute(delete(button).where(button.c.agent_id == agent_id, which)).rowcount)
        return gone

    # -- what quotes it ----------------------------------------------------------------------------------------------
    def quoting(self, organization_id: int, texts: Collection[str]) -> tuple[list[int], list[int]]:
        reports = select(report.c.id, report.c.address, report.c.name, report.c.body)
        shares = select(share.c.id, share.c.address, share.c.name)
        return (
            [
                row.id
                for row in self._driver.execute(reports.where(report.c.organization_id == organization_id))
                if _asks(row.address, texts) or _holds(row.name, texts) or _holds(row.body, texts)
            ],
            [
                row.id
                for row in self._driver.execute(shares.where(share.c.organization_id == organization_id))
                if _asks(row.address, texts) or _holds(row.name, texts)
            ],
        )

    def shares_of(self, organization_id: int, conversations: Collection[int]) -> list[int]:
        own = (share.c.organization_id == organization_id, share.c.kind == "conversation")
        return [
            row.id
            for some in _parts(sorted(conversations))
            for row in self._driver.execute(select(share.c.id).where(*own, share.c.target.in_(some)))
        ]

    def remove_tickets_quoting(self, agent_id: int, text: str) -> int:
        threads = select(ticket.c.id, ticket.c.title, ticket.c.tags, ticket_comment.c.body).outerjoin(
            ticket_comment, and_(ticket_comment.c.agent_id == ticket.c.agent_id, ticket_comment.c.ticket == ticket.c.id)
        )
        found = {
            row.id
            for row in self._driver.execute(threads.where(ticket.c.agent_id == agent_id))
            if any(_holds(said or "", [text]) for said in (row.title, row.tags, row.body))
        }
        return sum(self._remove_tickets(agent_id, ticket.c.id.in_(some)) for some in _parts(sorted(found)))

    def remove_report(self, organization_id: int, id: int) -> None:
        own = (report.c.organization_id == organization_id, report.c.id == id)
        self._driver.execute(delete(report).where(*own))

    def remove_share(self, organization_id: int, id: int) -> None:
        own = (share.c.organization_id == organization_id, share.c.id == id)
        self._driver.execute(delete(share).where(*own))

    # -- what stays --------------------------------------------------------------------------------------------------
    def keep_sums(self, agent_id: int, deltas: Deltas) -> None:
        SqlRollups(self._driver, KEPT).apply(agent_id, deltas)

    def rename_presence(self, agent_id: int, customer: int, to: int) -> None:
        for table in (presence, kept_presence):
            own = (table.c.agent_id == agent_id, table.c.slice == customer & 15, table.c.customer == customer)
            self._driver.execute(delete(table).where(*own, table.c.messages == 0))
            self._driver.execute(update(table).where(*own).values(customer=to))
        self._rollups.past_changed(agent_id)

    def counts(self) -> dict[str, int]:
        told = {"organizations": organization, "agents": agent, "conversations": conversation, "events": event}
        return {
            name: int(self._driver.execute(select(func.count()).select_from(table)).scalar() or 0)
            for name, table in told.items()
        }

    # -- tombstones --------------------------------------------------------------------------------------------------
    def has_tombstones(self, agent_id: int) -> bool:
        mark = self._driver.dialect.mark()
        return bool(self._driver.rows(f"SELECT 1 FROM tombstone WHERE agent_id = {mark} LIMIT 1", (agent_id,)))

    def add_tombstones(self, agent_id: int, digests: Sequence[str], now_us: int) -> None:
        rows = [(agent_id, digest, now_us) for digest in sorted(set(digests))]
        tail = "ON CONFLICT (agent_id, digest) DO UPDATE SET erased_us = excluded.erased_us"
        self._driver.insert(tombstone, rows, tail=tail)

    def tombstones(self, agent_id: int, digests: Sequence[str]) -> dict[str, int]:
        asked = select(tombstone.c.digest, tombstone.c.erased_us).where(tombstone.c.agent_id == agent_id)
        return {
            row.digest: row.erased_us
            for some in _parts(digests)
            for row in self._driver.execute(asked.where(tombstone.c.digest.in_(some)))
        }


def _choice(name: str | None, detail: str | None) -> tuple[str, str, str]:
    """The button a click was on: button_event, label, value."""
    told = load(detail)
    return name or "", str(told.get("label", "")), str(told.get("value", ""))


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


def _parts(items: Iterable[T]) -> Iterable[list[T]]:
    """Some at a time: a statement takes only so many parameters."""
    rest = iter(items)
    while some := list(islice(rest, _TOGETHER)):
        yield some


def _asks(address: str, texts: Collection[str]) -> bool:
    """The query of a page's address names one of these."""
    told = parse_qsl(urlsplit(address).query or address.lstrip("?"), keep_blank_values=True)
    return any(value in texts for _, value in told)


def _holds(text: str, texts: Collection[str]) -> bool:
    """One of these stands in it: short ones only in quotes, for they stand everywhere."""
    return any((len(one) >= 4 and one in text) or f'"{one}"' in text for one in texts)
