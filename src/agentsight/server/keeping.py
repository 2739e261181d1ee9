"""The API of letting go: a person taken out of everything."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from agentsight.core import erasing
from agentsight.core.model import Agent, Principal
from agentsight.core.ports import Store
from agentsight.errors import Invalid, NotFound

from . import bodies, http
from .http import Json

router = APIRouter(tags=["keeping"])

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["agent", "customer_id", "confirm"],
                    "properties": {
                        "agent": {"type": "integer", "description": "The agent's id"},
                        "customer_id": {"type": "string", "maxLength": 255},
                        "confirm": {"type": "string", "description": "The customer_id once more"},
                    },
                }
            }
        },
    },
    "responses": {"200": {"description": "The signed certificate"}},
}


@router.post("/api/customers/erase/", summary="Take a customer out of everything", openapi_extra=_BODY)
@http.needs("customers.erase")
async def erase(request: Request) -> Response:
    asking = await http.principal(request)
    bodies.require_json(request)
    body = bodies.decode_object(await bodies.read_body(request, 16_384))
    customer_id, agent_id = body.get("customer_id"), body.get("agent")
    if not isinstance(customer_id, str):
        raise Invalid.of("customer_id", "must be a customer's id")
    if not isinstance(agent_id, int) or isinstance(agent_id, bool):
        raise Invalid.of("agent", "must be an agent's id")
    if body.get("confirm") != customer_id:
        raise Invalid.of("confirm", "must repeat the customer_id")
    agent = await http.read(request, partial(_agent, asking=asking, agent_id=agent_id))
    ip = http.client_address(request)
    return Json(await run_in_threadpool(certificate, request.app, asking, agent, customer_id, ip))


def _agent(store: Store, asking: Principal, agent_id: int) -> Agent:
    found = store.tenants.agent(agent_id) if agent_id in asking.scope.agent_ids else None
    if found is None:
        raise NotFound("no such agent")
    return found


def certificate(app: Starlette, who: Principal, agent: Agent, customer_id: str, ip: str | None) -> dict[str, Any]:
    """Erase, and what proves it. Raises Invalid."""
    state = app.state
    owner = state.storage.read(lambda store: store.tenants.organization(agent.organization_id))
    elsewhere = state.elsewhere(agent)
    return erasing.erase(state.storage, state.blobs, who, owner, agent, customer_id, http.now_us, ip, elsewhere)
