"""The query and management API of the seeds. Source: contracts, SDK 0.0.x, sections 3.8 to 3.14."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from agentsight import wire
from agentsight.core import audit, conversations, usage
from agentsight.core.model import Conversation, Feedback, Principal, Transcript
from agentsight.core.ports import Store
from agentsight.core.reading import ordering
from agentsight.errors import NotFound

from . import bodies, described, http, paging, places, render, tickets, translate
from .http import Json

router = APIRouter(tags=["conversations"])

PAGE_SIZE = 10


# -- reading ---------------------------------------------------------------------------------------------------------
_LIST = {
    **wire.FILTERS,
    "metadata_key": "with metadata_value: one more such pair; its value may hold any character",
    "metadata_value": "with metadata_key",
    "page": "1 and up",
    "page_size": f"1 to {paging.MAX_PAGE_SIZE}, default {PAGE_SIZE}; more is cut to {paging.MAX_PAGE_SIZE}",
    "full": "false leaves out what was said",
    "ordering": f"one of {', '.join(conversations.ORDERS)}; with - in front backwards",
}


@router.get(
    "/api/conversations/", summary="Conversations, newest first, with all filters", openapi_extra=described.query(_LIST)
)
@http.needs("conversations.read")
async def get_conversations(request: Request) -> Response:
    asking = await http.principal(request)
    where = http.permitted(asking, conversations.parse_filter(_asked(request)))
    limit, offset = paging.slice_of(request, PAGE_SIZE)
    order = ordering(http.multi(request), conversations.ORDERS, conversations.NEWEST)
    is_full = request.query_params.get("full", "true").lower() not in ("false", "0")
    with_tickets = bool(where.include_tickets) or is_full
    if where.include_tickets:
        asking.require("tickets.read")

    def ask(store: Store) -> tuple[int, list[Conversation] | list[Transcript], Beside]:
        total = store.conversations.count(asking.scope, where)
        if order == conversations.NEWEST:
            rows, _ = store.conversations.page(asking.scope, where, limit=limit, offset=offset)
        else:
            rows = store.conversations.ordered(asking.scope, where, order, limit, offset)
        beside = _beside(store, asking, rows) if with_tickets else Beside({}, {})
        if is_full:
            return total, [asking.sight.whole(found) for found in conversations.transcripts(store, rows)], beside
        return total, [asking.sight.head(row) for row in rows], beside

    total, rows, beside = await http.read(request, ask, may_lag=True)
    results = []
    for row in rows:
        if isinstance(row, Transcript):
            results.append(_whole(request, asking, row, beside))
        else:
            results.append(render.lean(row) | ({"tickets": beside.tickets.get(row.id, [])} if with_tickets else {}))
    return Json(paging.envelope(request, total, results, PAGE_SIZE))


def _asked(request: Request) -> Mapping[str, Sequence[str]]:
    """The query string; clients 0.1.x mean a part of a name where older ones mean all of it."""
    asked = dict(http.multi(request))
    if http.knows_spans(request) and "action_name" in asked:
        asked["action_name__icontains"] = asked.pop("action_name")
    return asked


@dataclass(frozen=True, slots=True)
class Beside:
    """What stands beside transcripts: tickets of each conversation, newest first; ids of actions by agent and name."""

    tickets: Mapping[int, list[dict[str, Any]]]
    actions: Mapping[tuple[int, str], int]


def _beside(store: Store, asking: Principal, heads: Sequence[Conversation]) -> Beside:
    made: dict[int, list[dict[str, Any]]] = {}
    if asking.may("tickets.read"):
        found = store.tickets.of_conversations(asking.scope, [head.id for head in heads])
        made = {id: tickets.shown(store, asking, own) for id, own in found.items()}
    agents = sorted({head.agent_id for head in heads if head.action_count})
    named = store.actions.named(agents) if agents else {}
    return Beside(made, {key: action.id for key, action in named.items()})


def _whole(request: Request, asking: Principal, transcript: Transcript, beside: Beside) -> dict[str, Any]:
    row = render.full(transcript, request.app.state.signer, http.base_url(request))
    for said in row["messages"]:
        for log in said["action_logs"]:
            log["action"] = beside.actions.get((transcript.conversation.agent_id, said["action_name"]))
    spent = usage.of_transcript(transcript.events) if asking.sight.costs else None
    return {**row, "tickets": beside.tickets.get(transcript.conversation.id, []), "token_usage": spent}


@router.get("/api/conversations/lookup/", summary="Our id of a conversation_id")
@http.needs("conversations.read")
async def lookup(request: Request) -> Response:
    asking = await http.principal(request)
    wanted = request.query_params.get("conversation_id", "")
    if not wanted.strip():
        raise NotFound("no such conversation")
    _, head = await http.read(request, lambda store: places.named(store, asking, wanted))
    return Json({"id": head.id, "conversation_id": head.conversation_id})


@router.get("/api/conversations/{id}/", summary="One conversation with its transcript")
@http.needs("conversations.read")
async def get_conversation(request: Request, id: str) -> Response:
    asking, transcript, beside = await _transcript(request, id)
    return Json(_whole(request, asking, transcript, beside))


@router.get("/api/conversations/{id}/attachments/", summary="The files of one conversation")
@http.needs("conversations.read")
async def get_attachments(request: Request, id: str) -> Response:
    _, transcript, _ = await _transcript(request, id)
    return Json(render.attachment_listing(transcript, request.app.state.signer, http.base_url(request)))


async def _transcript(request: Request, id: str) -> tuple[Principal, Transcript, Beside]:
    asking = await http.principal(request)
    row = http.row_id(id)
    deleted = http.knows_spans(request) or conversations.parse_filter(http.multi(request)).include_deleted

    def ask(store: Store) -> tuple[Transcript, Beside]:
        found = conversations.transcript(store, asking.scope, row, deleted=deleted)
        return asking.sight.whole(found), _beside(store, asking, [found.conversation])

    return asking, *await http.read(request, ask)


# -- changes ---------------------------------------------------------------------------------------------------------
_TEXT = {"type": ["string", "null"], "maxLength": wire.MAX_NAME_CHARS}
_BY_HAND: dict[str, dict[str, Any]] = {
    "name": {"type": "string", "minLength": 1, "maxLength": wire.MAX_NAME_CHARS},
    "is_marked": {"type": "boolean"},
    "customer_id": _TEXT,
    "device": _TEXT,
    "language": _TEXT,
    "metadata": {"type": "object", "description": "replaces what is there"},
}


async def _change(
    request: Request, id: str, change: Callable[[Store, Principal, int, dict[str, Any]], Conversation]
) -> tuple[Conversation, dict[str, Any]]:
    asking = await http.principal(request)
    row = http.row_id(id)
    raw = await bodies.read_body(request, bodies.OBJECT_BYTES)
    body = bodies.decode_object(raw) if raw.strip() else {}
    return await http.write(request, lambda store: change(store, asking, row, body)), body


def _ids(head: Conversation) -> dict[str, Any]:
    return {"id": head.id, "conversation_id": head.conversation_id}


@router.patch(
    "/api/conversations/{id}/rename/",
    summary="Give a conversation a name",
    openapi_extra=described.fields({"name": _BY_HAND["name"]}, required=["name"]),
)
@http.needs("conversations.change")
async def rename(request: Request, id: str) -> Response:
    head, _ = await _change(
        request, id, lambda store, who, row, body: conversations.rename(store, who.scope, row, body.get("name"))
    )
    return Json({**_ids(head), "name": head.name})


@router.post(
    "/api/conversations/{id}/mark/",
    summary="Mark a conversation as important, or not",
    openapi_extra=described.fields({"is_marked": _BY_HAND["is_marked"]}, required=["is_marked"]),
)
@http.needs("conversations.change")
async def mark(request: Request, id: str) -> Response:
    head, _ = await _change(
        request, id, lambda store, who, row, body: conversations.mark(store, who.scope, row, body.get("is_marked"))
    )
    return Json({**_ids(head), "is_marked": head.is_marked})


@router.patch(
    "/api/conversations/{id}/update/",
    summary="Set name, is_marked, customer_id, device, language, metadata",
    openapi_extra=described.fields(_BY_HAND),
)
@http.needs("conversations.change")
async def update(request: Request, id: str) -> Response:
    head, body = await _change(
        request, id, lambda store, who, row, body: conversations.update(store, who.scope, row, body)
    )
    shown = render.lean(head)
    changed = {name: shown[name] for name in body if name in shown and name not in ("id", "conversation_id")}
    return Json({**_ids(head), "updated_fields": sorted(changed), **changed})


@router.delete("/api/conversations/{id}/delete/", summary="Hide a conversation everywhere")
@http.needs("conversations.delete")
async def delete(request: Request, id: str) -> Response:
    head, _ = await _change(
        request, id, lambda store, who, row, body: _deleted(store, who, row, http.client_address(request))
    )
    shown = render.lean(head)
    return Json({**_ids(head), "is_deleted": True, "deleted_at": shown["deleted_at"]})


def _deleted(store: Store, who: Principal, row: int, ip: str | None) -> Conversation:
    audit.note(store, who, "conversation.deleted", str(row), ip=ip, now_us=http.now_us())
    return conversations.delete(store, who.scope, row, http.now_us())


@router.post(
    "/api/conversation-feedbacks/",
    summary="Store feedback on a conversation",
    status_code=201,
    openapi_extra=described.body("feedback"),
)
@http.needs("conversations.change")
async def post_feedback(request: Request) -> Response:
    asking = await http.principal(request)
    body = await bodies.json_object(request)
    given, _ = await _give(request, asking, body)
    return Json(render.feedback(given), 201)


async def _give(request: Request, asking: Principal, body: dict[str, Any]) -> tuple[Feedback, Conversation]:
    fields = wire.check("feedback", body)
    event_id = translate.told_id(body)

    def change(store: Store) -> tuple[Feedback, Conversation]:
        agent, head = places.judged(store, asking, body)
        source = "customer" if asking.key_id is not None else "platform"
        name = event_id or str(uuid.uuid4())
        return conversations.add_feedback(store, agent, head, fields, name, http.now_us(), source), head

    return await http.write(request, change)
