"""The door: who is asking, what they sent, and every refusal in the one shape of AgentSight's errors."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentsight.chat import strict
from agentsight.chat.errors import Refusal, invalid
from agentsight.chat.tokens import Verifier, unauthenticated

log = logging.getLogger(__name__)

COOKIE = "chat"
MAX_BODY_BYTES = 1_000_000
MAX_ID = 2**31 - 1
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types pages"
    ),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
M = TypeVar("M", bound=BaseModel)


# -- who -------------------------------------------------------------------------------------------------------------
def bearer(request: Request) -> str | None:
    """The token of the Authorization header, if there is such a header. Raises Refusal for one that holds none."""
    headers = request.headers.getlist("authorization")
    if not headers:
        return None
    scheme, _, token = headers[0].partition(" ")
    if len(headers) > 1 or scheme.lower() != "bearer" or not token.strip():
        raise unauthenticated()
    return token.strip()


async def signed_in(request: Request) -> str:
    """The user of the token, or of the page's cookie; a cookie changes things from its own site only.

    Raises:
        Refusal: unauthenticated, forbidden.
    """
    verifier: Verifier = request.app.state.chat.verifier
    token = bearer(request)
    if token is None:
        token = request.cookies.get(COOKIE)
        if token is None:
            raise unauthenticated()
        if request.method not in ("GET", "HEAD"):
            require_same_origin(request)
    return await verifier.check(token)


async def owner(request: Request, user_id: str) -> str:
    """The signed-in user, who must be the one of the path. Raises Refusal(unauthenticated or forbidden)."""
    user = await signed_in(request)
    if user != user_id:
        raise Refusal("forbidden", "This token is for another user.")
    return user


SignedIn = Annotated[str, Depends(signed_in)]
Owner = Annotated[str, Depends(owner)]


def require_same_origin(request: Request) -> None:
    """Refuse what another site made a browser send. Raises Refusal(forbidden)."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    same = site == "same-origin" if site else bool(origin) and urlsplit(origin).netloc == request.headers.get("host")
    if not same:
        raise Refusal("forbidden", "Send a Bearer token, or come from this site's own page.")


# -- what ------------------------------------------------------------------------------------------------------------
async def read_body(request: Request, model: type[M]) -> M:
    """The JSON body as a `model`.

    Raises:
        Refusal: bad_request (not UTF-8), unsupported_media_type, invalid (says which fields).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise Refusal("unsupported_media_type", "Send JSON, with Content-Type: application/json.")
    try:
        text = (await request.body()).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Refusal("bad_request", "The body is not UTF-8.") from None
    try:
        body = strict.loads(text)
    except (ValueError, RecursionError):
        raise invalid("body", "is not JSON") from None
    return fit(model, body)


def fit(model: type[M], body: Any) -> M:
    """`body` as a `model`. Raises Refusal(invalid) that says which fields, and never repeats what was sent."""
    try:
        return model.model_validate(body)
    except ValidationError as wrong:
        raise _refusal(wrong.errors(include_url=False, include_context=False, include_input=False)) from None


def _refusal(errors: Any) -> Refusal:
    fields: dict[str, list[str]] = {}
    for error in errors:
        place = [str(step) for step in error["loc"] if step not in ("body", "path", "query", "header")]
        name = ".".join(place).encode("utf-8", "replace").decode()[:200] or "body"
        fields.setdefault(name, []).append(str(error["msg"]).removeprefix("Value error, "))
    first, reasons = next(iter(fields.items()))
    return Refusal("invalid", f"{first}: {reasons[0]}", fields=fields)


def path_number(text: str, code: str, detail: str) -> int:
    """A row's number from a path; anything that cannot be one is unknown."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= MAX_ID):
        raise Refusal(code, detail)
    return int(text)


def query_number(request: Request, name: str, default: int | None, least: int, most: int) -> int | None:
    """A whole number of the query string, at most `most`. Raises Refusal(invalid)."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) >= least):
        raise invalid(name, f"must be a whole number of at least {least}")
    return min(int(text), most)


def body_schema(model: type[BaseModel], kind: str = "application/json") -> dict[str, Any]:
    """What /openapi.json says about a body this module reads."""
    schema = model.model_json_schema()
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema}}}}


# -- answers ---------------------------------------------------------------------------------------------------------
def problem(request: Request, status: int, code: str, detail: str, **more: Any) -> dict[str, Any]:
    """An error's body."""
    return {"detail": detail, "code": code, **more, "request_id": request_id(request.scope)}


def install_handlers(app: FastAPI) -> None:
    """Make an answer of everything that can be raised."""

    def refused(request: Request, refusal: Any) -> Response:
        more = {"fields": refusal.fields} if refusal.fields else {}
        body = problem(request, refusal.status, refusal.code, refusal.detail, **more, **refusal.extra)
        return JSONResponse(body, refusal.status, refusal.headers)

    def http(request: Request, wrong: Any) -> Response:
        code = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}.get(wrong.status_code, "bad_request")
        detail = HTTPStatus(wrong.status_code).phrase + "."
        return JSONResponse(problem(request, wrong.status_code, code, detail), wrong.status_code, wrong.headers)

    def unfit(request: Request, wrong: Any) -> Response:
        return refused(request, _refusal(wrong.errors()))

    def away(request: Request, _: Any) -> Response:
        body = problem(request, 503, "server_failed", "The database is away; try again in a moment.")
        return JSONResponse(body, 503, {"Retry-After": "2"})

    def crashed(request: Request, _: Exception) -> Response:
        return JSONResponse(problem(request, 500, "server_failed", "Something went wrong here."), 500)

    handlers: list[tuple[Any, Callable[[Request, Any], Response]]] = [
        (Refusal, refused), (HTTPException, http), (RequestValidationError, unfit), (OperationalError, away), (PoolTimeout, away),
        (Exception, crashed),
    ]  # fmt: skip
    for kind, handler in handlers:
        app.add_exception_handler(kind, handler)


def request_id(scope: Scope) -> str:
    """The request's number; a server around this app may have given it one already."""
    number: str = scope.setdefault("agentsight.request_id", secrets.token_hex(8))
    return number


class Door:
    """Around everything: the request's number, the security headers, the end of a body too large; /api/x/ is /api/x."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        numbered = "agentsight.request_id" in scope  # then whoever did it also tells the client
        number = request_id(scope)
        if scope["path"].startswith("/api/"):
            scope["path"] = scope["path"].rstrip("/")

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if not numbered:
                    headers["X-Request-ID"] = number
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, _capped(scope, receive), dressed)


def _capped(scope: Scope, receive: Receive) -> Receive:
    """`receive`, which refuses to go on when the body is over its limit: said beforehand, or found on the way."""
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    got = int(declared) if declared.isdigit() and len(declared) < 20 else 0

    async def capped() -> Message:
        nonlocal got
        if got > MAX_BODY_BYTES:
            raise Refusal("too_large", f"The body may have {MAX_BODY_BYTES} bytes at most.")
        message = await receive()
        if declared == b"0":
            got += len(message.get("body", b""))
            if got > MAX_BODY_BYTES:
                return await capped()
        return message

    return capped
