"""What a page shows, to take along: CSV or JSON, streamed, with the page's own query."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from starlette.responses import Response, StreamingResponse

from agentsight.core import analytics, hours
from agentsight.core.model import Conversation, Filter
from agentsight.core.ports import Store
from agentsight.core.tool_times import tool_times
from agentsight.errors import NotFound
from agentsight.wire import instant

from ..ui.tables import csv_lines, json_lines
from . import filters
from .board import MAIN, SMALL
from .details import PERCENTILES, TOPICS
from .period import Period, period
from .shell import page
from .visit import Visit

AT_ONCE = 500
_TYPES = {"csv": "text/csv; charset=utf-8", "json": "application/json"}
_OVERVIEW = (*MAIN, *SMALL)
_HEADS = (
    "conversation_id",
    "agent",
    "name",
    "started_at",
    "ended_at",
    "customer_id",
    "source",
    "device",
    "language",
    "country",
    "environment",
    "message_count",
    "action_count",
    "error_count",
    "feedback",
    "is_escalated",
    "is_marked",
    "is_used",
    "metadata",
)


@page("export/{what}.{kind}", "data.export")
def export(visit: Visit) -> Response:
    what, kind = visit.request.path_params["what"], visit.request.path_params["kind"]
    if kind not in _TYPES or what not in (*TOPICS, "conversations", "overview"):
        raise NotFound("there is no such page")
    visit.write(lambda store: visit.note(store, "export", f"{what}.{kind}", {"agents": list(visit.scope.agent_ids)}))
    if what == "conversations":
        where, _ = filters.asked(visit)
        hour = visit.params.get("counted_hour", "")
        found = visit.read(lambda store: hours.behind(store, visit.scope, where, hour, visit.zone), may_lag=True)
        if found is not None:
            return _file(what, kind, _HEADS, (_head(visit, head) for head in found))
        return _file(what, kind, _HEADS, _conversations(visit, where))
    chosen, _ = period(visit)
    if what == "overview":
        names = tuple(name for name in _OVERVIEW if visit.sight.shows(name))
        return _file(what, kind, (chosen.step, *names), _answered(visit, chosen, names, chosen.step))
    if what not in TOPICS or (what == "tokens" and not visit.shows_tokens):
        raise NotFound("there is no such page")
    topic = TOPICS[what]
    split = visit.params.get("split")
    split = split if split in topic.splits else topic.splits[0]
    columns = tuple(name for name in topic.columns if visit.sight.shows(name))
    rows = _answered(visit, chosen, columns, split)
    if split != "tool":
        return _file(what, kind, (split, *columns), rows)
    question = chosen.question(*columns, by=split)
    times = visit.read(lambda store: tool_times(store, visit.scope, question), may_lag=True).by_tool
    for row in rows:
        known = times.get(row["tool"])
        row |= {name: getattr(known, name, None) for name in PERCENTILES}
    return _file(what, kind, (split, *columns, *PERCENTILES), rows)


def _file(what: str, kind: str, columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> Response:
    lines = csv_lines(list(columns), rows) if kind == "csv" else json_lines(rows)
    headers = {"Content-Disposition": f'attachment; filename="{what}.{kind}"', "Cache-Control": "no-store"}
    return StreamingResponse(lines, headers=headers, media_type=_TYPES[kind])


def _answered(visit: Visit, chosen: Period, names: tuple[str, ...], by: str) -> list[dict[str, Any]]:
    """One row a key, one column a metric."""
    question = chosen.question(*names, by=by)
    answer = visit.read(lambda store: analytics.answer(store, visit.scope, question), may_lag=True)
    table: dict[str, dict[str, Any]] = {}
    for series in answer.series:
        for row in series.rows:
            table.setdefault(row.key, {by: row.key})[series.name] = row.value
    return list(table.values())


def _conversations(visit: Visit, where: Filter) -> Iterator[dict[str, Any]]:
    """The whole list, some at a time; each part is a read of its own, so that nobody's transaction stays open."""
    before: tuple[int, int] | None = None
    more = True
    while more:

        def ask(store: Store, before: tuple[int, int] | None = before) -> tuple[list[Conversation], bool]:
            return store.conversations.page(visit.scope, where, limit=AT_ONCE, before=before)

        rows, more = visit.read(ask, may_lag=True)
        for head in rows:
            yield _head(visit, head)
        if rows:
            before = rows[-1].started_us, rows[-1].id


def _head(visit: Visit, head: Conversation) -> dict[str, Any]:
    told = asdict(visit.sight.head(head))
    told |= {
        "agent": visit.agent_of(head.agent_id).name,
        "started_at": instant(head.started_us),
        "ended_at": instant(head.ended_us) if head.ended_us is not None else None,
        "feedback": head.sentiment,
        "metadata": dict(told["metadata"]),
    }
    return {name: told[name] for name in _HEADS}
