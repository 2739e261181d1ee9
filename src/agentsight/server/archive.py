"""Spans as they were sent, the trees of their traces, and what models used. Source: contracts, SDK 0.1, 3.2 to 3.4."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from agentsight.core import spans, usage
from agentsight.core.model import Principal
from agentsight.core.reading import choice, flag
from agentsight.core.sight import EVERYTHING
from agentsight.errors import Forbidden

from . import described, http, paging, render
from .http import Json

router = APIRouter(tags=["spans"])


async def _who_sees_all(request: Request) -> Principal:
    """Spans tell everything: customer, metadata, tokens."""
    asking = await http.principal(request)
    if asking.sight != EVERYTHING:
        raise Forbidden("spans hold what is hidden from your role")
    return asking


@router.get(
    "/api/spans/",
    summary="Spans as they were sent, newest first",
    openapi_extra=described.query(paging.described(spans.FILTERS, spans.ORDERS)),
)
@http.needs("conversations.read")
async def get_spans(request: Request) -> Response:
    asking = await _who_sees_all(request)
    return await paging.listed(
        request, lambda store, *asked: spans.page(store, asking.scope, *asked), lambda row: render.span(*row)
    )


@router.get(
    "/api/spans/{id}/",
    summary="One span",
    openapi_extra=described.query({"payload": "true: with the span exactly as it was sent"}),
)
@http.needs("conversations.read")
async def get_span(request: Request, id: str) -> Response:
    asking = await _who_sees_all(request)
    row = http.row_id(id)
    whole = flag(request.query_params.get("payload") or "false", "payload")
    found = await http.read(request, lambda store: spans.get(store, asking.scope, row))
    return Json(render.span(*found, whole=whole))


@router.get("/api/traces/{trace_id}/", summary="The spans of a trace, as a tree")
@http.needs("conversations.read")
async def get_trace(request: Request, trace_id: str) -> Response:
    asking = await _who_sees_all(request)
    found, truncated = await http.read(request, lambda store: spans.trace(store, asking.scope, trace_id))
    rows = [(span, render.span(span, key)) for span, key in found]
    roots = spans.tree(rows)
    return Json({"trace_id": trace_id, "span_count": len(rows), "truncated": truncated, "roots": roots})


# -- what models used ------------------------------------------------------------------------------------------------
async def _who_sees_costs(request: Request) -> Principal:
    asking = await http.principal(request)
    if not (asking.sight.tokens and asking.sight.costs):
        raise Forbidden("token usage is hidden from your role")
    return asking


@router.get(
    "/api/token-usage/",
    summary="What models used, a row for each turn and model, newest first",
    openapi_extra=described.query(paging.described(usage.FILTERS, usage.ORDERS)),
)
@http.needs("analytics.read")
async def get_usage(request: Request) -> Response:
    asking = await _who_sees_costs(request)
    now_us = http.now_us()
    return await paging.listed(request, lambda store, *asked: usage.page(store, asking.scope, *asked, now_us=now_us))


@router.get(
    "/api/token-usage/summary/",
    summary="The same, summed by model, conversation or day, the dearest first",
    openapi_extra=described.query(
        {
            **dict.fromkeys(usage.FILTERS, "a filter; all are joined by AND"),
            "group_by": "model, conversation or day (UTC)",
            "currency": "usd or eur; costs are in dollars, in euros too where somebody knows a rate",
        }
    ),
)
@http.needs("analytics.read")
async def get_summary(request: Request) -> Response:
    asking = await _who_sees_costs(request)
    told = request.query_params
    by = choice(*usage.GROUPS)(told.get("group_by") or "model", "group_by")
    currency = choice("usd", "eur")((told.get("currency") or "usd").lower(), "currency")
    asked, now_us = http.multi(request), http.now_us()
    rows = await http.read(request, lambda store: usage.summary(store, asking.scope, asked, now_us, by), may_lag=True)
    return Json({"group_by": by, "currency": currency.upper(), "results": rows})
