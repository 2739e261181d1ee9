"""The query and management API of the seeds. Source: contracts, SDK 0.0.x, sections 3.8 to 3.14."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from agentsight import wire
from agentsight.core import audit, conversations
from agentsight.core.model import Agent, Conversation, Feedback, Principal, Transcript
from agentsight.core.ports import Store
from agentsight.errors import Conflict, Invalid, InvalidEvent, NotFound

from . import described, http, render
from .http import Json

router = APIRouter(tags=["conversations"])

PAGE_SIZE, MAX_PAGE_SIZE, MAX_PAGE = 10, 100, 1_000_000
_BODY_BYTES = 1_048_576
MOST_VOTED = 1_000


# -- reading ---------------------------------------------------------------------------------------------------------
_LIST = {
    **wire.FILTERS,
    "page": "1 and up",
    "page_size": f"1 to {MAX_PAGE_SIZE}, default {PAGE_SIZE}; more is cut to {MAX_PAGE_SIZE}",
    "full": "false leaves out what was said",
}


@router.get(
    "/api/conversations/", summary="Conversations, newest first, with all filters", openapi_extra=described.query(_LIST)
)
@http.needs("conversations.read")
async def get_conversations(request: Request) -> Response:
    asking = await http.principal(request)
    where = http.permitted(asking, conversations.parse_filter(http.multi(request)))
    number, size = _page_number(request), _page_size(request)
    is_full = request.query_params.get("full", "true").lower() not in ("false", "0")

    def ask(store: Store) -> tuple[int, list[Conversation] | list[Transcript]]:
        total = store.conversations.count(asking.scope, where)
        rows, _ = conversations.page(store, asking.scope, where, limit=size, offset=(number - 1) * size)
        if is_full:
            return total, [asking.sight.whole(found) for found in conversations.transcripts(store, rows)]
        return total, [asking.sight.head(row) for row in rows]

    total, rows = await http.read(request, ask, may_lag=True)
    if number > 1 and not rows:
        raise NotFound("Invalid page.")
    signer, base = request.app.state.signer, http.base_url(request)
    results = [render.full(row, signer, base) if isinstance(row, Transcript) else render.lean(row) for row in rows]
    return Json(_envelope(request, total, number, size, results))


def _page_number(request: Request) -> int:
    text = request.query_params.get("page") or "1"
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or not 1 <= int(text) <= MAX_PAGE:
        raise NotFound("Invalid page.")
    return int(text)


def _page_size(request: Request) -> int:
    text = request.query_params.get("page_size") or str(PAGE_SIZE)
    if not (text.isascii() and text.isdigit()) or int(text[:18]) < 1:
        raise Invalid.of("page_size", f"must be a whole number from 1 to {MAX_PAGE_SIZE}")
    return min(int(text[:18]), MAX_PAGE_SIZE)


def _envelope(request: Request, total: int, number: int, size: int, results: list[Any]) -> dict[str, Any]:
    pages = max(1, math.ceil(total / size))

    def link(page: int) -> str:
        others = [(name, value) for name, value in request.query_params.multi_items() if name != "page"]
        return f"{http.base_url(request)}{request.url.path}?{urlencode([*others, ('page', str(page))])}"

    return {
        "count": total,
        "page_size": size,
        "total_pages": pages,
        "current_page": number,
        "next": link(number + 1) if number < pages else None,
        "previous": link(number - 1) if number > 1 else None,
        "results": results,
    }


@router.get("/api/conversations/lookup/", summary="Our id of a conversation_id")
@http.needs("conversations.read")
async def lookup(request: Request) -> Response:
    asking = await http.principal(request)
    wanted = request.query_params.get("conversation_id", "")
    if not wanted.strip():
        raise NotFound("no such conversation")
    _, head = await http.read(request, lambda store: _named(store, asking, wanted))
    return Json({"id": head.id, "conversation_id": head.conversation_id})


@router.get("/api/conversations/{id}/", summary="One conversation with its transcript")
@http.needs("conversations.read")
async def get_conversation(request: Request, id: str) -> Response:
    transcript = await _transcript(request, id)
    return Json(render.full(transcript, request.app.state.signer, http.base_url(request)))


@router.get("/api/conversations/{id}/attachments/", summary="The files of one conversation")
@http.needs("conversations.read")
async def get_attachments(request: Request, id: str) -> Response:
    transcript = await _transcript(request, id)
    return Json(render.attachment_listing(transcript, request.app.state.signer, http.base_url(request)))


async def _transcript(request: Request, id: str) -> Transcript:
    asking = await http.principal(request)
    row = http.row_id(id)
    deleted = conversations.parse_filter(http.multi(request)).include_deleted

    def ask(store: Store) -> Transcript:
        return asking.sight.whole(conversations.transcript(store, asking.scope, row, deleted=deleted))

    return await http.read(request, ask)


# -- changes ---------------------------------------------------------------------------------------------------------
async def _change(
    request: Request, id: str, change: Callable[[Store, Principal, int, dict[str, Any]], Conversation]
) -> tuple[Conversation, dict[str, Any]]:
    asking = await http.principal(request)
    row = http.row_id(id)
    raw = await http.read_body(request, _BODY_BYTES)
    body = http.decode_object(raw) if raw.strip() else {}
    return await http.write(request, lambda store: change(store, asking, row, body)), body


def _ids(head: Conversation) -> dict[str, Any]:
    return {"id": head.id, "conversation_id": head.conversation_id}


@router.patch("/api/conversations/{id}/rename/", summary="Give a conversation a name")
@http.needs("conversations.change")
async def rename(request: Request, id: str) -> Response:
    head, _ = await _change(
        request, id, lambda store, who, row, body: conversations.rename(store, who.scope, row, body.get("name"))
    )
    return Json({**_ids(head), "name": head.name})


@router.post("/api/conversations/{id}/mark/", summary="Mark a conversation as important, or not")
@http.needs("conversations.change")
async def mark(request: Request, id: str) -> Response:
    head, _ = await _change(
        request, id, lambda store, who, row, body: conversations.mark(store, who.scope, row, body.get("is_marked"))
    )
    return Json({**_ids(head), "is_marked": head.is_marked})


@router.patch("/api/conversations/{id}/update/", summary="Set name, is_marked, customer_id, device, language, metadata")
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
    "/api/conversation-feedbacks/", summary="Store feedback on a conversation", openapi_extra=described.body("feedback")
)
@http.needs("conversations.change")
async def post_feedback(request: Request) -> Response:
    asking = await http.principal(request)
    http.require_json(request)
    body = http.decode_object(await http.read_body(request, _BODY_BYTES))
    given, _ = await _give(request, asking, body)
    return Json(render.feedback(given), 201)


async def _give(request: Request, asking: Principal, body: dict[str, Any]) -> tuple[Feedback, Conversation]:
    fields = wire.check("feedback", body)
    event_id = body.get("event_id") if isinstance(body.get("event_id"), str) else None

    def change(store: Store) -> tuple[Feedback, Conversation]:
        agent, head = _feedback_target(store, asking, body)
        source = "customer" if asking.key_id is not None else "platform"
        name = (event_id or str(uuid.uuid4()))[:128]
        return conversations.add_feedback(store, agent, head, fields, name, http.now_us(), source), head

    return await http.write(request, change)


# -- feedback as the clients 0.1.x know it -----------------------------------------------------------------------------
@router.post("/api/feedbacks/", summary="Store feedback on a conversation", openapi_extra=described.body("feedback"))
@http.needs("conversations.change")
async def post_vote(request: Request) -> Response:
    asking = await http.principal(request)
    http.require_json(request)
    body = http.decode_object(await http.read_body(request, _BODY_BYTES))
    if body.get("kind", "conversation") != "conversation":
        raise Invalid.of("kind", "must be conversation; feedback on a message or an agent is not kept")
    given, head = await _give(request, asking, body)
    return Json(render.vote(given, head), 201)


@router.get("/api/feedbacks/", summary="Feedback, newest first, on the newest thousand conversations that have any")
@http.needs("conversations.read")
async def get_votes(request: Request) -> Response:
    asking = await http.principal(request)
    told = request.query_params
    asked = {**http.multi(request), "has_feedback": ["true"]}
    if sentiment := told.get("sentiment"):
        asked["feedback_sentiment"] = [sentiment]
    where = http.permitted(asking, conversations.parse_filter(asked))
    row = http.row_id(told["conversation"]) if "conversation" in told else None
    number, size = _page_number(request), _page_size(request)

    def ask(store: Store) -> list[dict[str, Any]]:
        heads = (
            [conversations.get(store, asking.scope, row)]
            if row is not None
            else conversations.page(store, asking.scope, where, limit=MOST_VOTED)[0]
        )
        by_agent: dict[int, list[Conversation]] = {}
        for head in heads:
            by_agent.setdefault(head.agent_id, []).append(head)
        votes = []
        for agent_id, own in by_agent.items():
            given = store.conversations.feedbacks(agent_id, [head.id for head in own])
            votes += [(one, head) for head in own for one in given.get(head.id, ())]
        votes = [vote for vote in votes if sentiment in (None, vote[0].sentiment)]
        shown = [render.vote(*vote) for vote in sorted(votes, key=lambda vote: -vote[0].created_us)]
        return shown if asking.sight.metadata else [{**vote, "metadata": {}} for vote in shown]

    votes = await http.read(request, ask)
    if number > 1 and (number - 1) * size >= len(votes):
        raise NotFound("Invalid page.")
    shown = votes[(number - 1) * size : number * size]
    return Json(_envelope(request, len(votes), number, size, shown) | {"counts": {"all": len(votes)}})


def _feedback_target(store: Store, asking: Principal, body: dict[str, Any]) -> tuple[Agent, Conversation]:
    row, told = body.get("conversation"), body.get("conversation_id")
    if row is not None:
        head = conversations.get(store, asking.scope, http.row_id(str(row)))
        agent = store.tenants.agent(head.agent_id)
        if agent is None:
            raise NotFound("no such conversation")
        return agent, head
    try:
        return _named(store, asking, wire.read_conversation_id(told))
    except InvalidEvent as wrong:
        raise Invalid.of(wrong.field, wrong.reason) from None


def _named(store: Store, asking: Principal, conversation_id: str) -> tuple[Agent, Conversation]:
    """The conversation of that id, at a key's agent or at the one of a person's agents that has it.

    Raises:
        NotFound: none has it.
        Conflict: several of a person's agents have.
    """
    agents = [asking.agent] if asking.agent else [store.tenants.agent(id) for id in asking.scope.agent_ids]
    found = []
    for agent in agents:
        with suppress(NotFound):
            if agent is not None:
                found.append((agent, conversations.lookup(store, agent, conversation_id)))
    if len(found) > 1:
        raise Conflict("several of your agents have a conversation of this conversation_id; send our id")
    if not found:
        raise NotFound("no such conversation")
    return found[0]
