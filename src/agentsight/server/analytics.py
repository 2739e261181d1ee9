"""The metric API: the catalogue, the numbers, and their CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from agentsight import wire
from agentsight.core import analytics
from agentsight.core.analytics import Answer, Question
from agentsight.core.conversations import parse_filter
from agentsight.core.metrics import METRICS
from agentsight.core.model import Principal
from agentsight.core.ports import Store
from agentsight.errors import Forbidden, Invalid

from .http import needs, now_us, permitted, principal, read
from .ui.tables import cell

router = APIRouter()

_FORMATS = ("json", "csv")
_OTHERS = ("env", "format")


@router.get("/api/metrics/", summary="The catalogue of metrics")
@needs("analytics.read")
async def catalogue(request: Request) -> list[dict[str, Any]]:
    """Every metric: name, unit, what it says, which way is better (more, less, either), what it can be split by."""
    asking = await principal(request)
    seen = [x for x in METRICS.values() if asking.sight.shows(x.name)]
    return [{"name": x.name, "unit": x.unit, "says": x.says, "better": x.better, "by": list(x.by)} for x in seen]


@router.get("/api/analytics/", summary="Numbers of a range of time", response_model=None)
@needs("analytics.read")
async def numbers(request: Request) -> Response | dict[str, Any]:
    """The metrics asked for, in the local time asked for, of the conversations asked for; JSON, or CSV on request."""
    asking = await principal(request)
    params = parameters(request)
    wanted = _format(params, request)
    found = await read(request, lambda store: ask(store, asking, params, now_us()), may_lag=True)
    if wanted == "csv":
        name = f"agentsight-{found.question.start[:10]}-{found.question.end[:10]}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(as_csv(found), media_type="text/csv; charset=utf-8", headers=headers)
    return found.as_json()


def parameters(request: Request) -> dict[str, list[str]]:
    """The query string, every value of every name."""
    return {name: request.query_params.getlist(name) for name in request.query_params}


def ask(store: Store, asking: Principal, params: Mapping[str, Sequence[str]], now_us: int) -> Answer:
    """The answer to a query string, for whoever asks. Raises Invalid, also for parameters nobody knows."""
    known = (*analytics.PARAMETERS, *_OTHERS, *wire.FILTERS)
    for name in params:
        if name not in known:
            raise Invalid.of(name, f"is not a parameter; known are {', '.join(known)}")
    organization = store.tenants.organization(asking.scope.organization_id)
    zone = organization.timezone if organization else "UTC"
    where = permitted(asking, parse_filter(params))
    question: Question = analytics.parse_question(params, where, zone, now_us)
    for name in question.metrics:
        if not asking.sight.shows(name):
            raise Forbidden(f"metric: {name} is hidden from your role")
    return analytics.answer(store, asking.scope, question)


def _format(params: Mapping[str, Sequence[str]], request: Request) -> str:
    told = [value for value in params.get("format", ()) if value]
    if not told:
        return "csv" if "text/csv" in request.headers.get("accept", "") else "json"
    if told[-1] not in _FORMATS:
        raise Invalid.of("format", f"must be one of {', '.join(_FORMATS)}")
    return told[-1]


# -- CSV -------------------------------------------------------------------------------------------------------------
def as_csv(answer: Answer) -> str:
    """The answer as a table: with a split one line a key, one column a metric; without one line a metric."""
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows(
        [cell(value) for value in line] for line in _lines(answer)
    )
    return text.getvalue()


def _lines(answer: Answer) -> Iterator[list[Any]]:
    asked = answer.question
    if asked.by is None:
        compared = ["previous"] if asked.compare else []
        yield ["metric", "unit", "total", *compared]
        for series in answer.series:
            yield [series.name, series.unit, series.total, *([series.previous] if compared else [])]
        return
    yield [asked.by, *(f"{series.name} ({series.unit})" for series in answer.series)]
    columns = [{row.key: row.value for row in series.rows} for series in answer.series]
    for key in dict.fromkeys(key for column in columns for key in column):
        yield [key, *(column.get(key) for column in columns)]
