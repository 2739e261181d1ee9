"""The analytics page: the period in its address, every number a way to its conversations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import RedirectResponse, Response

from agentsight import wire
from agentsight.core import analytics as core
from agentsight.core import conversations, metrics
from agentsight.core.analytics import Answer, Row
from agentsight.core.model import Conversation, Filter
from agentsight.core.ports import Store
from agentsight.errors import NotFound

from ..http import now_us
from . import filters, history
from .board import Board, Drill, overview
from .period import PRESETS, STATE, STEPS, Period, period, state
from .shell import page
from .visit import Visit

LATEST = 6


@dataclass(frozen=True, slots=True)
class Looked:
    """What the page needs beside its numbers."""

    answers: dict[str, Answer]
    latest: list[Conversation]  # of the period and the filter
    seen_us: int | None  # when the newest of all last grew
    anything: bool
    elsewhere: int
    facets: dict[str, list[str]]
    changes: list[tuple[int, str]]
    erased: int


@page("analytics", "analytics.read")
def analytics(visit: Visit) -> Response:
    chosen, notices = period(visit)
    looked = visit.read(lambda store: _look(store, visit, chosen), may_lag=True)
    return visit.render(
        "analytics.html",
        live=True,
        page="analytics",
        title=visit.voice.say("Analytics"),
        board=Board(
            visit.voice,
            chosen,
            looked.answers,
            drill(visit, chosen),
            now_us(),
            changes=looked.changes,
            shows_tokens=visit.shows_tokens,
        ),
        looked=looked,
        everything=visit.link("conversations", _kept(visit) | _started(chosen)),
        seen_us=looked.seen_us,
        now_us=now_us(),
        **toolbar(visit, chosen, notices),
    )


@page("chat", "settings.manage")
def chat(visit: Visit) -> Response:
    """Off to the chat beside this server, as oneself."""
    if not visit.chat_open:
        raise NotFound("the chat backend does not run beside this server; start it with --chat")
    link: str = visit.request.app.state.chat_link(visit.user.email)
    return RedirectResponse("/chat/#" + link.partition("#")[2], 303)


def toolbar(visit: Visit, chosen: Period, notices: list[str]) -> dict[str, Any]:
    """What the toolbar of a page about a period shows."""
    return {
        "period": chosen,
        "presets": PRESETS,
        "steps": STEPS,
        "notices": notices,
        "chips": filters.chips(visit),
        "filters": filters,
        "state": STATE,
        "moment": dict(state(visit)),
        "what": "overview",
    }


def _look(store: Store, visit: Visit, chosen: Period) -> Looked:
    mine = Filter(environment=chosen.where.environment)
    other = Filter(environment="production" if chosen.where.environment == "development" else "development")
    newest, _ = store.conversations.page(visit.scope, mine, limit=LATEST)
    answers = overview(store, visit.scope, chosen)
    return Looked(
        answers,
        [visit.sight.head(row) for row in _latest(store, visit, chosen, newest)],
        max((head.ended_us or head.started_us for head in newest), default=None),
        bool(newest),
        0 if newest else store.conversations.count(visit.scope, other, limit=100_000),
        filters.facets(store, visit),
        history.changes(store, visit),
        core.erased(store, visit.scope, answers["time"].question),
    )


def _latest(store: Store, visit: Visit, chosen: Period, newest: list[Conversation]) -> list[Conversation]:
    """The newest that began in the period and fit the filter: among the newest of all, where that is all it asks."""
    first_us, until_us = chosen.bounds_us
    if chosen.where == Filter(environment=chosen.where.environment) and until_us > now_us():
        return [head for head in newest if head.started_us >= first_us]
    within = replace(
        chosen.where,
        started_at_after=max(first_us, chosen.where.started_at_after or first_us),
        started_at_before=min(until_us - 1, chosen.where.started_at_before or until_us - 1),
    )
    return store.conversations.page(visit.scope, within, limit=LATEST)[0]


def _started(chosen: Period) -> dict[str, list[str]]:
    """Filters of the list that say: began in this period."""
    first_us, until_us = chosen.bounds_us
    return {"started_at_after": [wire.instant(first_us)], "started_at_before": [wire.instant(until_us - 1)]}


def _kept(visit: Visit) -> dict[str, list[str]]:
    """The filters of this page's address."""
    return {name: values for name, values in filters.parameters(visit).items() if filters.is_filter(name)}


def counted(visit: Visit, chosen: Period, name: str) -> Filter:
    """The conversations behind a number of this page, as a question to the list."""
    behind_it = {key: [value] for key, value in behind(chosen, name).items()}
    return conversations.parse_filter_leniently(_kept(visit) | {"environment": [visit.environment]} | behind_it)[0]


def drill(visit: Visit, chosen: Period) -> Drill:
    """Addresses of exactly the conversations behind a number of this page."""
    kept = _kept(visit)

    def address(name: str, by: str | None = None, row: Row | None = None) -> str:
        return visit.link("conversations", {**kept, **behind(chosen, name, by, row)})

    return address


def behind(chosen: Period, name: str, by: str | None = None, row: Row | None = None) -> dict[str, str]:
    """The parameters that, beside the page's filter, name the conversations behind a number."""
    first_us, until_us = chosen.bounds_us
    if by == "weekday_hour" and row is not None:
        found = metrics.drill_down(name, None, None, first_us, until_us) or {}
        return {**found, "counted_hour": row.key, "tz": chosen.tz}
    timed = row is not None and row.first_us is not None and by in STEPS
    start = row.first_us if row and timed and row.first_us is not None else first_us
    end = row.until_us if row and timed and row.until_us is not None else until_us
    return metrics.drill_down(name, by, row.key if row else None, start, end) or {}
