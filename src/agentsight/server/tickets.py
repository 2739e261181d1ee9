"""Tickets and actions, as clients 0.1.x know them. Source: contracts, SDK 0.1, 3.2 to 3.4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from agentsight.core import actions, tickets
from agentsight.core.model import Principal, Ticket
from agentsight.core.ports import Store
from agentsight.core.reading import row

from . import bodies, described, http, paging, render
from .http import Json

router = APIRouter(tags=["tickets"])

_TICKET = {
    "title": {"type": "string", "maxLength": tickets.TITLE_CHARS},
    "status": {"type": "string", "enum": list(tickets.STATUSES)},
    "priority": {"type": ["string", "null"], "enum": [*tickets.PRIORITIES, None]},
    "tags": {"type": "array", "items": {"type": "string"}, "maxItems": tickets.MOST_TAGS},
}
_NEW = {
    "environment": {"type": "string", "description": "where it was seen; it stays"},
    "conversation_id": {"type": "integer", "description": "our id of the conversation it is about"},
    "feedback_id": {"type": "integer", "description": "the feedback it was made of"},
    "agent": {"type": "integer", "description": "for people: which agent, where neither of the two tells"},
}
_ACTION = {
    "name": {"type": "string"},
    "display_name": {"type": "string"},
    "description": {"type": ["string", "null"]},
}


def shown(store: Store, asking: Principal, found: Sequence[Ticket]) -> list[dict[str, Any]]:
    """Tickets with their threads and what they are about, as far as it may be seen."""
    threads = store.tickets.threads(asking.scope, [one.id for one in found])
    rows = []
    for one in found:
        head = store.conversations.get(asking.scope, one.conversation) if one.conversation else None
        given = store.feedback.find(asking.scope, one.feedback) if one.feedback else None
        rows.append(render.ticket(one, head, given[0] if given else None, threads.get(one.id, [])))
    return rows


# -- tickets ---------------------------------------------------------------------------------------------------------
@router.get(
    "/api/tickets/",
    summary="Tickets, newest first",
    openapi_extra=described.query(paging.described(tickets.FILTERS, tickets.ORDERS)),
)
@http.needs("tickets.read")
async def get_tickets(request: Request) -> Response:
    asking = await http.principal(request)

    def find(store: Store, *asked: Any) -> tuple[int, list[dict[str, Any]]]:
        total, found = tickets.page(store, asking.scope, *asked)
        return total, shown(store, asking, found)

    return await paging.listed(request, find, may_lag=False)


@router.post(
    "/api/tickets/",
    summary="File a ticket",
    status_code=201,
    openapi_extra=described.fields(_TICKET, _NEW, required=["title"]),
)
@http.needs("tickets.change")
async def post_ticket(request: Request) -> Response:
    asking = await http.principal(request)
    body, now_us = await bodies.json_object(request), http.now_us()

    def change(store: Store) -> dict[str, Any]:
        agent = asking.agent
        if agent is None and (told := body.get("agent")) is not None:
            id = row(told, "agent")
            agent = store.tenants.agent(id) if id in asking.scope.agent_ids else None
        elif agent is None and len(asking.scope.agent_ids) == 1:
            agent = store.tenants.agent(asking.scope.agent_ids[0])
        return shown(store, asking, [tickets.create(store, asking, agent, body, now_us)])[0]

    return Json(await http.write(request, change), 201)


@router.get("/api/tickets/{id}/", summary="One ticket with its thread")
@http.needs("tickets.read")
async def get_ticket(request: Request, id: str) -> Response:
    asking = await http.principal(request)
    row = http.row_id(id)
    return Json(
        await http.read(request, lambda store: shown(store, asking, [tickets.get(store, asking.scope, row)])[0])
    )


@router.patch(
    "/api/tickets/{id}/", summary="Set title, status, priority or tags", openapi_extra=described.fields(_TICKET)
)
@http.needs("tickets.change")
async def patch_ticket(request: Request, id: str) -> Response:
    asking = await http.principal(request)
    row, body, now_us = http.row_id(id), await bodies.json_object(request), http.now_us()

    def change(store: Store) -> dict[str, Any]:
        return shown(store, asking, [tickets.change(store, asking.scope, row, body, now_us)])[0]

    return Json(await http.write(request, change))


@router.delete("/api/tickets/{id}/", summary="Take a ticket and its thread out for good", status_code=204)
@http.needs("tickets.change")
async def delete_ticket(request: Request, id: str) -> Response:
    asking = await http.principal(request)
    row, ip = http.row_id(id), http.client_address(request)
    await http.write(request, lambda store: tickets.delete(store, asking, row, http.now_us(), ip))
    return Response(status_code=204)


@router.get("/api/tickets/{id}/comments/", summary="The thread of a ticket, oldest first")
@http.needs("tickets.read")
async def get_comments(request: Request, id: str) -> Response:
    asking = await http.principal(request)
    row = http.row_id(id)

    def ask(store: Store) -> list[dict[str, Any]]:
        of = tickets.get(store, asking.scope, row)
        return [render.comment(one) for one in store.tickets.threads(asking.scope, [of.id]).get(of.id, [])]

    thread = await http.read(request, ask)
    limit, offset = paging.slice_of(request)
    return Json(paging.envelope(request, len(thread), thread[offset : offset + limit]))


@router.post(
    "/api/tickets/{id}/comments/",
    summary="Add to the thread of a ticket",
    status_code=201,
    openapi_extra=described.fields({"body": {"type": "string", "maxLength": tickets.BODY_CHARS}}, required=["body"]),
)
@http.needs("tickets.change")
async def post_comment(request: Request, id: str) -> Response:
    asking = await http.principal(request)
    row, body = http.row_id(id), await bodies.json_object(request)
    made = await http.write(request, lambda store: tickets.comment(store, asking, row, body.get("body"), http.now_us()))
    return Json(render.comment(made), 201)


# -- actions ---------------------------------------------------------------------------------------------------------
@router.get(
    "/api/actions/",
    summary="Actions that ran or were described, by name",
    openapi_extra=described.query(paging.described(actions.FILTERS, actions.ORDERS)),
)
@http.needs("conversations.read")
async def get_actions(request: Request) -> Response:
    asking = await http.principal(request)
    if await http.read(request, lambda store: actions.unknown(store, asking.scope)):
        await http.write(request, lambda store: actions.adopt(store, asking.scope))
    return await paging.listed(
        request, lambda store, *asked: actions.page(store, asking.scope, *asked), render.action, may_lag=False
    )


@router.post(
    "/api/actions/",
    summary="Describe an action before it runs",
    status_code=201,
    openapi_extra=described.fields(_ACTION, required=["name"]),
)
@http.needs("conversations.change")
async def post_action(request: Request) -> Response:
    asking = await http.principal(request)
    body = await bodies.json_object(request)
    return Json(render.action(await http.write(request, lambda store: actions.create(store, asking, body))), 201)


@router.get("/api/actions/{id}/", summary="One action")
@http.needs("conversations.read")
async def get_action(request: Request, id: str) -> Response:
    asking = await http.principal(request)
    row = http.row_id(id)
    return Json(render.action(await http.read(request, lambda store: actions.get(store, asking.scope, row))))


@router.patch(
    "/api/actions/{id}/", summary="Set name, display_name or description", openapi_extra=described.fields(_ACTION)
)
@http.needs("conversations.change")
async def patch_action(request: Request, id: str) -> Response:
    asking = await http.principal(request)
    row, body = http.row_id(id), await bodies.json_object(request)
    return Json(render.action(await http.write(request, lambda store: actions.change(store, asking.scope, row, body))))


@router.get("/api/actions/{id}/logs/", summary="The latest thousand runs of an action, newest first")
@http.needs("conversations.read")
async def get_runs(request: Request, id: str) -> Response:
    asking = await http.principal(request)
    row = http.row_id(id)
    of, runs = await http.read(request, lambda store: actions.runs(store, asking.scope, row))
    rows = [render.action_log(event, of.id) for event in runs]
    return Json(rows if asking.sight.metadata else [{**row, "metadata": {}} for row in rows])
