"""Letting go of data: conversations taken out for good, what is kept of them in the sums, who must not come back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from sqlalchemy import Table, and_, delete, func, select, tuple_, update

from agentsight.core.measures import Deltas
from agentsight.core.model import Conversation, Removed

from .conversations import to_conversation
from .rollups import KEPT, SqlRollups
from .rows import Driver, load, parts
from .schema import (
    agent,
    attachment,
    button,
    conversation,
    event,
    feedback,
    kept_presence,
    organization,
    presence,
    report,
    share,
    tally,
    ticket,
    ticket_comment,
    tombstone,
    trace_span,
)


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
            for some in parts(missing):
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

    def deleted_page(self, agent_id: int, before: tuple[int, int] | None, limit: int) -> list[Conversation]:
        place = tuple_(conversation.c.started_us, conversation.c.id)
        asked = select(conversation).where(conversation.c.agent_id == agent_id, conversation.c.deleted_us.is_not(None))
        if before is not None:
            asked = asked.where(place < before)
        ordered = asked.order_by(conversation.c.started_us.desc(), conversation.c.id.desc()).limit(limit)
        return [to_conversation(row) for row in self._driver.execute(ordered)]

    # -- taking out --------------------------------------------------------------------------------------------------
    def remove(self, agent_id: int, conversations: Sequence[int], *, traceless: bool) -> Removed:
        removed = Removed()
        self._rollups.settle()  # or tallies of what is removed would be written after it
        for some in parts(conversations):
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
            removed.buttons.add(choice(name, detail))
        mine = self._driver.of_agent(attachment, agent_id)
        files = select(attachment.c.sha256).where(mine, attachment.c.conversation.in_(ids))
        removed.files = {row[0] for row in self._driver.execute(files)}
        removed.attachments = take_out(self._driver, attachment, agent_id, attachment.c.conversation.in_(ids))
        removed.feedback = take_out(self._driver, feedback, agent_id, feedback.c.conversation.in_(ids))
        removed.spans = take_out(self._driver, trace_span, agent_id, trace_span.c.conversation.in_(ids))
        removed.tickets = take_out_tickets(self._driver, agent_id, ticket.c.conversation.in_(ids))
        take_out(self._driver, event, agent_id, event.c.conversation.in_(ids))
        self._driver.execute(delete(tally).where(tally.c.agent_id == agent_id, tally.c.conversation.in_(ids)))
        removed.conversations = take_out(self._driver, conversation, agent_id, conversation.c.id.in_(ids))
        return removed

    def unused(self, hashes: Collection[str]) -> set[str]:
        left = set(hashes)
        for some in parts(sorted(hashes)):
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
        for some in parts(sorted({name for name, _, _ in choices})):
            own = (event.c.agent_id == agent_id, event.c.kind == "button", event.c.name.in_(some))
            for name, detail in self._driver.execute(select(event.c.name, event.c.detail).where(*own).distinct()):
                left.discard(choice(name, detail))
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
            for some in parts(sorted(conversations))
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
        return sum(take_out_tickets(self._driver, agent_id, ticket.c.id.in_(some)) for some in parts(sorted(found)))

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
            for some in parts(digests)
            for row in self._driver.execute(asked.where(tombstone.c.digest.in_(some)))
        }


def take_out_tickets(driver: Driver, agent_id: int, which: Any) -> int:
    """Delete tickets with their threads; how many went."""
    own = select(ticket.c.id).where(driver.of_agent(ticket, agent_id), which)
    take_out(driver, ticket_comment, agent_id, ticket_comment.c.ticket.in_(own))
    return take_out(driver, ticket, agent_id, which)


def take_out(driver: Driver, table: Table, agent_id: int, which: Any) -> int:
    """Delete rows whose ids nobody gets again; how many went."""
    own = (driver.of_agent(table, agent_id), which)
    # of ids, not of the column: along the index of all ids PostgreSQL would pass everything younger than these
    highest = driver.execute(select(func.max(table.c.id + 0)).where(*own)).scalar()
    if highest is None:
        return 0
    driver.retire(table, int(highest))
    return int(driver.execute(delete(table).where(*own)).rowcount)


def choice(name: str | None, detail: str | None) -> tuple[str, str, str]:
    """The button a click was on: button_event, label, value."""
    told = load(detail)
    return name or "", str(told.get("label", "")), str(told.get("value", ""))


def _asks(address: str, texts: Collection[str]) -> bool:
    """The query of a page's address names one of these."""
    told = parse_qsl(urlsplit(address).query or address.lstrip("?"), keep_blank_values=True)
    return any(value in texts for _, value in told)


def _holds(text: str, texts: Collection[str]) -> bool:
    """One of these stands in it: short ones only in quotes, for they stand everywhere."""
    return any((len(one) >= 4 and one in text) or f'"{one}"' in text for one in texts)
