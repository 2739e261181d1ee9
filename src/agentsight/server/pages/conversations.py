"""The conversation list: its state is its address; its pages go by key, so the thousandth costs what the first does."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from agentsight.core import hours
from agentsight.core.model import Conversation, Filter
from agentsight.core.ports import Store

from . import filters
from .shell import page
from .visit import Visit

ROWS = 50
MOST_COUNTED = 20_000  # beyond it the list says so many and more
MOST_FOUND = 1_000  # of a search for words, where counting costs as much as reading
_SELDOM = frozenset(("search", "source", "device", "language", "feedback_sentiment", "environment", "before", "after"))


@dataclass(frozen=True, slots=True)
class Shown:
    """One page of the list."""

    rows: list[Conversation]
    newer: str
    older: str
    total: int
    elsewhere: int  # in the other environment, when this one has none at all
    facets: dict[str, list[str]]
    more: bool  # there are more than were counted


@page("conversations", "conversations.read")
def conversations(visit: Visit) -> Response:
    where, notices = filters.asked(visit)
    before, after = (_place(visit.params.get(name)) for name in ("before", "after"))
    shown = visit.read(lambda store: _look(store, visit, where, before, None if before else after), may_lag=True)
    chips = filters.chips(visit)
    return visit.render(
        "conversations.html",
        live=True,
        page="conversations",
        title=visit.voice.say("Conversations"),
        shown=shown,
        chips=chips,
        notices=notices,
        narrowed=any(chip for chip in chips),
        seldom=[name for name in visit.params if name not in _SELDOM],
        filters=filters,
    )


def _look(
    store: Store, visit: Visit, where: Filter, before: tuple[int, int] | None, after: tuple[int, int] | None
) -> Shown:
    hour = hours.behind(store, visit.scope, where, visit.params.get("counted_hour", ""), visit.zone)
    if hour is None:
        rows, more = store.conversations.page(visit.scope, where, limit=ROWS, before=before, after=after)
    else:
        rows, more = _part(hour, before, after)
    newer = rows and (more if after else before is not None)
    older = rows and (more if not after else True)
    searched = where.search or where.message_contains or any(name == "message_contains" for name, _ in where.unless)
    most = MOST_FOUND if searched else MOST_COUNTED
    if hour is not None:
        total = len(hour)
    elif not (newer or older) and (not before and not after):
        total = len(rows)
    else:
        total = store.conversations.count(visit.scope, where, limit=most)
    other = Filter(environment="production" if where.environment == "development" else "development")
    mine = Filter(environment=where.environment)
    bare = total == 0 and store.conversations.count(visit.scope, mine, limit=1) == 0
    return Shown(
        [visit.sight.head(row) for row in rows],
        visit.here(before=None, after=cursor(rows[0])) if newer else "",
        visit.here(after=None, before=cursor(rows[-1])) if older else "",
        total,
        store.conversations.count(visit.scope, other, limit=MOST_COUNTED) if bare else -1,
        filters.facets(store, visit),
        total == most,
    )


def _part(
    heads: list[Conversation], before: tuple[int, int] | None, after: tuple[int, int] | None
) -> tuple[list[Conversation], bool]:
    """One page of a list that is read already."""
    if before:
        heads = [head for head in heads if (head.started_us, head.id) < before]
    if after:
        heads = [head for head in heads if (head.started_us, head.id) > after]
        return heads[-ROWS:], len(heads) > ROWS
    return heads[:ROWS], len(heads) > ROWS


def cursor(head: Conversation) -> str:
    """A row's place in the list, for the address."""
    return f"{head.started_us}.{head.id}"


def neighbours(
    store: Store, visit: Visit, where: Filter, head: Conversation
) -> tuple[Conversation | None, Conversation | None]:
    """The next newer and the next older conversation in the same filter."""
    place = (head.started_us, head.id)
    newer, _ = store.conversations.page(visit.scope, where, limit=1, after=place)
    older, _ = store.conversations.page(visit.scope, where, limit=1, before=place)
    return (newer[-1] if newer else None, older[0] if older else None)


def _place(text: str | None) -> tuple[int, int] | None:
    started, _, row = (text or "").partition(".")
    if not (started.isdecimal() and row.isdecimal() and len(started) < 19 and len(row) < 19):
        return None
    return int(started), int(row)
