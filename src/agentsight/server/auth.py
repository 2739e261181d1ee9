"""A person's way into the API: a short-lived token, for a password or for the session of the dashboard."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from agentsight.core import audit, sessions, signing
from agentsight.core.model import Principal, User
from agentsight.core.permissions import PERMISSIONS
from agentsight.core.ports import Store
from agentsight.core.sight import NAMES
from agentsight.errors import Invalid, Unauthorized

from . import bodies, described, http, render
from .http import Json
from .tokens import LIFETIME_S

router = APIRouter(tags=["people"])

_BODY_BYTES = 10_000
MOST_LINES = 500
_BODY = {
    "requestBody": {
        "required": False,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"email": {"type": "string"}, "password": {"type": "string"}},
                }
            }
        },
    }
}


@router.post("/api/auth/token/", summary="A token for the API, good for 15 minutes", openapi_extra=_BODY)
@http.needs("anybody")
async def token(request: Request) -> Response:
    """For e-mail address and password; without a body, for the session of the dashboard. Send it as Bearer."""
    raw = await bodies.read_body(request, _BODY_BYTES)
    if raw.strip():
        bodies.require_json(request)
        body = bodies.decode_object(raw)
        email, password = (_text(body.get(name), name) for name in ("email", "password"))
        user, session = await run_in_threadpool(_by_password, request, email, password), ""
    else:
        user, session = await _by_session(request)
    issued = request.app.state.tokens.issue(user.id, http.now_us(), session)
    return Json({"token": issued, "token_type": "Bearer", "expires_in": LIFETIME_S})


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise Invalid.of(name, "is required")
    return value


def _by_password(request: Request, email: str, password: str) -> User:
    ip, now_us = http.client_address(request), http.now_us()
    storage = http.storage(request)
    user = signing.authenticate(storage, email, password, ip, now_us)

    def note(store: Store) -> None:
        audit.note(store, sessions.principal(store, user), "sign_in", detail={"by": "token"}, ip=ip, now_us=now_us)

    storage.write(note).result()
    return user


async def _by_session(request: Request) -> tuple[User, str]:
    secret = http.session_token(request)
    if not secret:
        raise Unauthorized("send email and password, or the session of the dashboard")
    http.require_own_page(request)
    found = await http.read(request, lambda store: sessions.find(store, secret, http.now_us()))
    if found is None:
        raise Unauthorized("this session has ended; sign in again")
    return found[1], found[0].handle


@router.get(
    "/api/audit/",
    summary="The audit log, newest first",
    openapi_extra=described.query(
        {
            "action": "an action, or how it begins, such as key.",
            "actor": "who did it",
            "before": "only lines below this number: the last one of the page before",
            "limit": f"1 to {MOST_LINES}, default 50",
        }
    ),
)
@http.needs("audit.read")
async def audit_log(request: Request) -> Response:
    asking = await http.principal(request)
    params = request.query_params
    numbers = {name: _number(params.get(name), name) for name in ("before", "limit")}
    limit = min(numbers["limit"] or 50, MOST_LINES)
    where = {name: params.get(name) for name in ("action", "actor")}
    own = asking.scope.organization_id
    lines = await http.read(request, lambda s: s.audit.page(own, before=numbers["before"], limit=limit, **where))
    return Json({"results": [render.audit_line(line) for line in lines], "before": lines[-1].number if lines else None})


def _number(text: str | None, name: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 15 or int(text) < 1:
        raise Invalid.of(name, "must be a whole number from 1")
    return int(text)


@router.get("/api/auth/me/", summary="Who is asking, and what they may do and see")
@http.needs("signed_in")
async def me(request: Request) -> Response:
    asking: Principal = await http.principal(request)
    return Json(
        {
            "email": asking.name,
            "role": asking.role,
            "agents": list(asking.scope.agent_ids),
            "permissions": sorted(PERMISSIONS[asking.role]),
            "sees": {name: getattr(asking.sight, name) for name in NAMES},
        }
    )
