"""Report history: numbers frozen with a name, opened again as they were, two of them side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from functools import partial
from typing import Any

from starlette.datastructures import FormData
from starlette.responses import Response

from agentsight.core import reports as core
from agentsight.core.analytics import Row, Series
from agentsight.core.metrics import METRICS
from agentsight.core.model import Report
from agentsight.core.ports import Store
from agentsight.errors import Invalid, NotFound

from ..http import now_us
from .board import MAIN, SMALL, Board, Delta, delta, overview, said, title
from .period import Period, period
from .shell import act, page
from .visit import Visit


@page("reports", "analytics.read")
def reports(visit: Visit) -> Response:
    found = visit.read(lambda store: core.every(store, visit.scope))
    return visit.render(
        "reports.html",
        page="reports",
        title=visit.voice.say("Report history"),
        reports=found,
        period_of=period_of,
    )


@act("reports/save", "reports.manage")
def save(visit: Visit, form: FormData) -> Response:
    """Freeze the analytics page the form stands on."""
    chosen, _ = period(visit)
    facts = {**asdict(chosen), "start": chosen.start.isoformat(), "end": chosen.end.isoformat()}
    del facts["where"]
    name = str(form.get("name") or "")

    def change(store: Store) -> Report:
        answers = overview(store, visit.scope, chosen)
        return core.save(store, visit.principal, name, visit.query_string, answers, facts, now_us())

    return visit.redirect(visit.link(f"reports/{visit.write(change).id}"), "saved")


@page("reports/{id:row}", "analytics.read")
def report(visit: Visit) -> Response:
    found = visit.read(lambda store: core.get(store, visit.scope, visit.request.path_params["id"]))
    return visit.render(
        "report.html",
        page="reports",
        title=found.name,
        report=found,
        board=thawed(visit, found),
        live_url=visit.root + "analytics" + found.address,
    )


@page("reports/compare", "analytics.read")
def compare(visit: Visit) -> Response:
    """Two reports, number by number."""
    ids = [visit.params.get(name, "") for name in ("a", "b")]
    if not all(text.isdecimal() and len(text) < 19 for text in ids):
        raise NotFound("choose two reports")
    one, two = (visit.read(partial(core.get, scope=visit.scope, id=int(text))) for text in ids)
    return visit.render(
        "compare.html",
        page="reports",
        title=visit.voice.say("Compare reports"),
        one=one,
        two=two,
        period_of=period_of,
        lines=_lines(visit, one, two),
    )


@act("reports/{id:row}/rename", "reports.manage")
def rename(visit: Visit, form: FormData) -> Response:
    id = visit.request.path_params["id"]
    visit.write(lambda store: core.rename(store, visit.scope, id, str(form.get("name") or "")))
    return visit.redirect(visit.link(f"reports/{id}"), "renamed")


@act("reports/{id:row}/delete", "reports.manage")
def delete(visit: Visit, form: FormData) -> Response:
    id = visit.request.path_params["id"]
    visit.write(lambda store: core.delete(store, visit.scope, id))
    return visit.redirect(visit.link("reports"), "removed")


def period_of(report: Report) -> Period:
    """The period a report is about."""
    told: Mapping[str, Any] = report.body["facts"]
    known = {name: told[name] for name in ("tz", "step", "preset", "compare") if name in told}
    try:
        return Period(date.fromisoformat(told["start"]), date.fromisoformat(told["end"]), **known)
    except (KeyError, TypeError, ValueError):
        raise Invalid.of("report", "was written by a version that did it differently") from None


def thawed(visit: Visit, report: Report) -> Board:
    """The board as it was. Nothing on it leads anywhere: the conversations behind it may have changed."""
    answers = core.thaw(report.body["answers"])
    return Board(visit.voice, period_of(report), answers, nowhere, report.created_us, shows_tokens=visit.shows_tokens)


def nowhere(name: str, by: str | None = None, row: Row | None = None) -> str:
    return ""


def _lines(visit: Visit, one: Report, two: Report) -> list[tuple[str, str, str, Delta | None]]:
    """A metric, its value in both, and how it changed from the first to the second."""
    voice = visit.voice
    first, second = (core.thaw(each.body["answers"])["time"].series for each in (one, two))
    before = {series.name: series.total for series in first}
    after = {series.name: series.total for series in second}
    lines = []
    for name in (*MAIN, *SMALL, "feedback_positive", "feedback_neutral", "feedback_negative"):
        if name in before and name in after and visit.sight.shows(name):
            metric = METRICS[name]
            both = Series(name, metric.unit, after[name], before[name])
            values = (said(voice, metric.unit, before[name]), said(voice, metric.unit, after[name]))
            lines.append((title(voice, name), *values, delta(voice, metric, both)))
    return lines
