"""Which conversations stand behind a number: `counted_by` of the list's filters, and the three that go with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, true, tuple_

from agentsight.core import measures as m
from agentsight.core.measures import UNKNOWN
from agentsight.core.model import Filter

from .rows import Driver
from .schema import conversation, event, feedback, tally

Clause = Callable[[Driver, Filter], ColumnElement[bool]]


def belongs(driver: Driver, of: Any, to: Any = conversation) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """What ties rows to the conversation of `to`: they are found along it, never along all rows of its agent."""
    id = to.c.id if to is conversation else to.c.conversation
    return of.c.conversation == id, driver.beside(of.c.agent_id) == to.c.agent_id


def counted(driver: Driver, where: Filter) -> ColumnElement[bool]:
    """A conversation adds something to what `where.counted_by` names, inside its time, under its key.

    Its tally says so at once; its events where the time is no whole quarters of an hour, or it is deleted.
    """
    measure = _MEASURES.get(where.counted_by or "")
    bounds = (where.counted_from or 0, where.counted_to or 0)
    if measure is None or where.include_deleted or any(us % m.BUCKET_US for us in bounds):
        return _CLAUSES[where.counted_by or ""](driver, where)
    added = _added(driver, measure, where)
    return and_(_named(), added) if where.counted_by == "users" else added


def _added(driver: Driver, measure: int, where: Filter) -> ColumnElement[bool]:
    family, place = m.place_of(measure)
    own = [tally.c.agent_id == driver.beside(conversation.c.agent_id), tally.c.conversation == conversation.c.id]
    if where.counted_from is not None:
        own.append(tally.c.bucket >= where.counted_from // m.BUCKET_US)
    if where.counted_to is not None:
        own.append(tally.c.bucket < where.counted_to // m.BUCKET_US)
    if where.counted_key is not None and family in _KEYED:
        own.append(tally.c.key == where.counted_key)
    return exists().where(*own, tally.c.family == family, tally.c[f"sum{place + 1}"] > 0)


def _named() -> ColumnElement[bool]:
    return func.coalesce(conversation.c.customer_id, "") != ""


def _between(column: Any, where: Filter) -> ColumnElement[bool]:
    bounds: list[Any] = [true()]
    if where.counted_from is not None:
        bounds.append(column >= where.counted_from)
    if where.counted_to is not None:
        bounds.append(column < where.counted_to)
    return and_(*bounds)


def _started(*clauses: Any) -> Clause:
    return lambda driver, where: and_(_between(conversation.c.started_us, where), *clauses)


def _event(kind: str, *clauses: Any, keyed: bool = False) -> Clause:
    def clause(driver: Driver, where: Filter) -> ColumnElement[bool]:
        own = [*belongs(driver, event)]
        if keyed and where.counted_key is not None:
            own.append(func.coalesce(func.nullif(event.c.name, ""), UNKNOWN) == where.counted_key)
        return exists().where(*own, event.c.kind == kind, _between(event.c.occurred_us, where), *clauses)

    return clause


def _spoken(driver: Driver, where: Filter) -> ColumnElement[bool]:
    """The latest customer feedback was given then, and says so."""
    later = feedback.alias("later")
    latest = ~exists().where(
        *belongs(driver, later, feedback),
        later.c.source == "customer",
        tuple_(later.c.created_us, later.c.id) > tuple_(feedback.c.created_us, feedback.c.id),
    )
    own = [*belongs(driver, feedback), feedback.c.source == "customer"]
    if where.counted_key is not None:
        own.append(feedback.c.sentiment == where.counted_key)
    return exists().where(*own, _between(feedback.c.created_us, where), latest)


def _answered(driver: Driver, where: Filter) -> ColumnElement[bool]:
    """An agent message then, whose last message before it of anybody but the system is the customer's."""
    reply, earlier = event.alias("reply"), event.alias("earlier")
    previous = (
        select(earlier.c.sender)
        .where(
            *belongs(driver, earlier, reply),
            earlier.c.kind == "message",
            earlier.c.sender != "system",
            or_(
                earlier.c.occurred_us < reply.c.occurred_us,
                and_(
                    earlier.c.occurred_us == reply.c.occurred_us,
                    tuple_(earlier.c.seq, earlier.c.id) < tuple_(reply.c.seq, reply.c.id),
                ),
            ),
        )
        .order_by(earlier.c.occurred_us.desc(), earlier.c.seq.desc(), earlier.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    return exists().where(
        *belongs(driver, reply),
        reply.c.kind == "message",
        reply.c.sender == "agent",
        _between(reply.c.occurred_us, where),
        previous == "end_user",
    )


_MESSAGE = _event("message", event.c.sender != "system")
_TOOL = event.c.name != "token_usage"

_CLAUSES: dict[str, Clause] = {
    "started": _started(conversation.c.is_used.is_(True)),
    "opened": _started(conversation.c.is_opened.is_(True)),
    "escalated": _started(conversation.c.is_used.is_(True), conversation.c.is_escalated.is_(True)),
    "timed": _started(conversation.c.ended_us.is_not(None)),
    "messages": _MESSAGE,
    "users": lambda driver, where: and_(_named(), _MESSAGE(driver, where)),
    "answered": _answered,
    "feedback": _spoken,
    "tool_runs": _event("action", _TOOL, keyed=True),
    "tool_errors": _event("action", _TOOL, event.c.error.is_not(None), keyed=True),
    "tool_timed": _event("action", _TOOL, event.c.duration_ms.is_not(None), keyed=True),
    "tokens": _event("token_usage", keyed=True),
    "clicks": _event("button", keyed=True),
    "files": _event("attachment"),
}

_MEASURES: dict[str, int] = {
    "messages": m.MESSAGES,
    "users": m.MESSAGES,
    "answered": m.WAITS,
    "tool_runs": m.TOOL_RUNS,
    "tool_errors": m.TOOL_ERRORS,
    "tool_timed": m.TOOL_TIMED,
    "clicks": m.CLICKS,
    "files": m.FILES,
}
_KEYED = frozenset(m.families([m.TOOL_RUNS, m.CLICKS]))
