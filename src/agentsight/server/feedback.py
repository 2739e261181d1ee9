"""Feedback as clients 0.1.x know it, and single messages. Source: contracts, SDK 0.1, 3.2 to 3.4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from agentsight import wire
from agentsight.core import conversations
from agentsight.core import feedback as core
from agentsight.core.model import Event, Principal
from agentsight.core.ports import Store
from agentsight.errors import Forbidden, Invalid, NotFound

from . import bodies, described, http, paging, places, render
from .http import Json
from .tickets import shown

router = APIRouter(tags=["feedback"])

_JUDGED: dict[str, Any] = {
    "sentiment": {"type": "string", "enum": list(wire.SENTIMENTS)},
    "comment": {"type": ["string", "null"], "maxLength": wire.MAX_COMMENT_CHARS},
    "topic": {"type": ["string", "null"], "maxLength": core.SLUG_CHARS, "description": "of a vote on a message"},
    "reason": {"type": ["string", "null"], "maxLength": core.SLUG_CHARS, "description": "of a vote on a message"},
}
_KIND: dict[str, Any] = {
    "kind": {"type": "string", "enum": list(core.KINDS[:3]), "default": "conversation"},
    "message": {"type": "integer", "description": "our id of the message, for kind message"},
    "agent": {"type": "integer", "description": "for kind agent"},
    "environment": {"type": "string", "description": "for kind agent"},
}


def _rows(store: Store, asking: Principal, found: Sequence[core.Placed], with_tickets: bool) -> list[dict[str, Any]]:
    rows = [render.vote(given, key, lies_in) for given, key, lies_in in found]
    if not asking.sight.metadata:
        rows = [{**row, "metadata": {}} for row in rows]
    if with_tickets:
        made = store.tickets.of_feedback(asking.scope, [given.id for given, *_ in found])
        for row in rows:
            row["ticket"] = next(iter(shown(store, asking, made.get(row["id"], [])[:1])), None)
    return rows


@router.get(
    "/api/feedbacks/",
    summary="Feedback, newest first",
    openapi_extra=described.query(paging.described(core.FILTERS, core.ORDERS)),
)
@http.needs("conversations.read")
async def get_votes(request: Request) -> Response:
    asking = await http.principal(request)
    limit, offset = paging.slice_of(request)
    asked = http.multi(request)

    def ask(store: Store) -> tuple[dict[str, int], list[dict[str, Any]]]:
        counts, found, with_tickets = core.page(store, asking.scope, asked, limit, offset)
        if with_tickets:
            asking.require("tickets.read")
        return counts, _rows(store, asking, found, with_tickets)

    counts, rows = await http.read(request, ask, may_lag=True)
    return Json(paging.envelope(request, counts["all"], rows) | {"counts": counts})


@router.post(
    "/api/feedbacks/",
    summary="Judge a conversation, a message or an agent",
    status_code=201,
    responses=described.KNOWN,
    openapi_extra=described.body("feedback", **_JUDGED, **_KIND),
)
@http.needs("conversations.change")
async def post_vote(request: Request) -> Response:
    """One vote a message: another one changes it, and is answered with 200."""
    asking = await http.principal(request)
    body = await bodies.json_object(request)
    kind, now_us = core.require_kind(body), http.now_us()

    def change(store: Store) -> tuple[dict[str, Any], bool]:
        fresh = True
        if kind == "message":
            given, fresh = core.on_message(store, asking, body, now_us)
        elif kind == "agent":
            given = core.on_agent(store, asking, body, now_us)
        else:
            given = core.on_conversation(store, asking, *places.judged(store, asking, body), body, now_us)
        return _rows(store, asking, [core.get(store, asking.scope, given.id)], False)[0], fresh

    row, fresh = await http.write(request, change)
    return Json(row, 201 if fresh else 200)


@router.get("/api/feedbacks/{id}/", summary="One feedback")
@http.needs("conversations.read")
async def get_vote(request: Request, id: str) -> Response:
    asking = await http.principal(request)
    row = http.row_id(id)

    def ask(store: Store) -> dict[str, Any]:
        return _rows(store, asking, [core.get(store, asking.scope, row)], asking.may("tickets.read"))[0]

    return Json(await http.read(request, ask))


@router.patch(
    "/api/feedbacks/{id}/",
    summary="Set sentiment or comment, of a vote on a message topic or reason",
    openapi_extra=described.fields(_JUDGED),
)
@http.needs("conversations.change")
async def patch_vote(request: Request, id: str) -> Response:
    asking = await http.principal(request)
    row, body = http.row_id(id), await bodies.json_object(request)

    def change(store: Store) -> dict[str, Any]:
        core.change(store, asking.scope, row, body)
        return _rows(store, asking, [core.get(store, asking.scope, row)], False)[0]

    return Json(await http.write(request, change))


@router.delete("/api/feedbacks/{id}/", summary="Take a feedback back for good", status_code=204)
@http.needs("conversations.change")
async def delete_vote(request: Request, id: str) -> Response:
    asking = await http.principal(request)
    row, ip = http.row_id(id), http.client_address(request)
    await http.write(request, lambda store: core.delete(store, asking, row, http.now_us(), ip))
    return Response(status_code=204)


# -- messages --------------------------------------------------------------------------------------------------------
@router.get("/api/track/{id}/", summary="One row of a transcript", tags=["conversations"])
@http.needs("conversations.read")
async def get_message(request: Request, id: str) -> Response:
    asking = await http.principal(request)
    row = http.row_id(id)
    return Json(await http.read(request, lambda store: _message(request, store, asking, row)))


@router.patch(
    "/api/track/{id}/",
    summary="Set a message's metadata, replaced whole",
    tags=["conversations"],
    openapi_extra=described.fields({"metadata": {"type": ["object", "null"]}}),
)
@http.needs("conversations.change")
async def patch_message(request: Request, id: str) -> Response:
    asking = await http.principal(request)
    row, body = http.row_id(id), await bodies.json_object(request)

    def change(store: Store) -> dict[str, Any]:
        event = core.said(store, asking.scope, row)
        store.timeline.describe(event, _metadata(body))
        return _message(request, store, asking, row)

    return Json(await http.write(request, change))


def _metadata(body: dict[str, Any]) -> dict[str, Any]:
    if "metadata" not in body or not isinstance(body["metadata"], dict | None):
        raise Invalid.of("metadata", "must be an object")
    return wire.read_metadata(body["metadata"])


def _message(request: Request, store: Store, asking: Principal, id: int) -> dict[str, Any]:
    event: Event = core.said(store, asking.scope, id)
    whole = asking.sight.whole(conversations.transcript(store, asking.scope, event.conversation))
    rows = render.messages(whole, request.app.state.signer, http.base_url(request))
    found = next((row for row in rows if row["id"] == id), None)
    if found is None:
        raise NotFound("no such message")
    return {**found, "metadata": event.metadata if asking.sight.metadata else {}}


# -- keys of metadata ------------------------------------------------------------------------------------------------
async def _who_sees_metadata(request: Request) -> Principal:
    asking = await http.principal(request)
    if not asking.sight.metadata:
        raise Forbidden("metadata: is hidden from your role")
    return asking


@router.get(
    "/api/conversations/metadata-keys/", summary="Keys of conversations' metadata, dotted", tags=["conversations"]
)
@http.needs("conversations.read")
async def get_metadata_keys(request: Request) -> Response:
    asking = await _who_sees_metadata(request)
    keys = await http.read(request, lambda store: conversations.metadata_keys(store, asking.scope), may_lag=True)
    return Json({"keys": keys})


@router.get(
    "/api/conversations/metadata-values/",
    summary="Values of one key of conversations' metadata",
    tags=["conversations"],
    openapi_extra=described.query({"key": "the key, dotted"}),
)
@http.needs("conversations.read")
async def get_metadata_values(request: Request) -> Response:
    asking = await _who_sees_metadata(request)
    key = request.query_params.get("key", "")
    if not key:
        raise Invalid.of("key", "is required")
    values = await http.read(
        request, lambda store: conversations.metadata_values(store, asking.scope, key), may_lag=True
    )
    return Json({"key": key, "values": values})


@router.get("/api/conversations/message-metadata-keys/", summary="Keys of messages' metadata", tags=["conversations"])
@http.needs("conversations.read")
async def get_message_metadata_keys(request: Request) -> Response:
    asking = await _who_sees_metadata(request)
    keys = await http.read(
        request, lambda store: conversations.message_metadata_keys(store, asking.scope), may_lag=True
    )
    return Json({"keys": keys})
