"""HTTP, once for every surface: who is asking, how a body is read, what an error looks like, paging."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path

from agentsight import wire
from agentsight.core import sessions, tenancy
from agentsight.core.model import Filter, Organization, Principal, Session
from agentsight.core.permissions import Needed
from agentsight.core.ports import Storage, Store
from agentsight.errors import (
    AgentSightError,
    ConfigError,
    Forbidden,
    Invalid,
    InvalidEvent,
    NotAllowed,
    NotFound,
    Refused,
    ServerFailed,
    Unauthorized,
)

T = TypeVar("T")
E = TypeVar("E", bound=Callable[..., Any])

SESSION_COOKIE = "session"
KEY_MEMORY_S, KEY_GRACE_S = 0.8, 0.2  # how long a verified key is believed; so long a revoked one may still pass
HOST = re.compile(r"[A-Za-z0-9._\-]+(:\d{1,5})?|\[[0-9a-fA-F:.]+\](:\d{1,5})?")
_HOW = "send the header Authorization: Api-Key ags_..."
_log = logging.getLogger("agentsight.server")


# -- time and storage ------------------------------------------------------------------------------------------------
def now_us() -> int:
    return time.time_ns() // 1000


def storage(request: Request) -> Storage:
    opened: Storage = request.app.state.storage
    return opened


async def read(request: Request, ask: Callable[[Store], T], *, may_lag: bool = False) -> T:
    """`ask` in a read transaction, off the event loop; `may_lag`: by the read replica, where there is one."""
    return await run_in_threadpool(partial(storage(request).read, ask, may_lag=may_lag))


async def write(request: Request, change: Callable[[Store], T], *, alongside: bool = False) -> T:
    """`change` in a write transaction; returns after its commit. `alongside`: it only takes events in."""
    return await after(storage(request).write(change, alongside=alongside))


async def after(done: Future[T]) -> T:
    """What it came to; who stops waiting does not stop it."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not told.done():
            told.set_result(None)

    def hear(_: Future[T]) -> None:
        with suppress(RuntimeError):  # nobody waits: the loop is closed
            loop.call_soon_threadsafe(tell)

    done.add_done_callback(hear)
    await told
    return done.result()


# -- what a route needs ----------------------------------------------------------------------------------------------
def needs(needed: Needed) -> Callable[[E], E]:
    """Name what somebody must be allowed to do to use this route: under the decorator that puts it at its path."""

    def named(endpoint: E) -> E:
        endpoint.needs = needed  # type: ignore[attr-defined]
        return endpoint

    return named


def needed_by(endpoint: Any) -> Needed:
    """What a route needs. Raises ConfigError for one that does not say: nothing is open by oversight."""
    needed: Needed | None = getattr(endpoint, "needs", None)
    if needed is None:
        raise ConfigError(f"{endpoint} names no permission; put @needs(...) on it")
    return needed


def every_route(routes: Iterable[Any]) -> Iterator[tuple[str, str, Any]]:
    """Method, path and endpoint of all there is below these routes."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from every_route(inner.routes)
        for method in sorted(getattr(route, "methods", None) or ()):
            yield method, route.path, route.endpoint


# -- who is asking ---------------------------------------------------------------------------------------------------
async def principal(request: Request) -> Principal:
    """Who asks, allowed to do what this route needs: the API key of the header, else the person of the session cookie.

    Raises:
        Unauthorized: neither, or not a valid one.
        Forbidden: the key or person may not do what the route needs.
    """
    asking = await _principal(request)
    asking.require(needed_by(request.scope["endpoint"]))
    return asking


def permitted(asking: Principal, where: Filter) -> Filter:
    """A filter this principal may use. Raises Forbidden for one that would tell what is hidden from them."""
    asked, hidden = asking.sight.asks(where)
    if hidden:
        raise Forbidden(f"{hidden[0]}: is hidden from your role")
    return asked


def knows_spans(request: Request) -> bool:
    """A client 0.1.x asks: some words mean another thing to it than to those before."""
    return request.headers.get("user-agent", "").startswith("agentsight-python/0.1.")


def header(request: Request, name: bytes, otherwise: str = "") -> str:
    """The first header of this name, which is in lower case: what every event asks; `request.headers` takes ten times as long."""
    for told, value in request.scope["headers"]:
        if told == name:
            return str(value, "latin-1")
    return otherwise


def client_address(request: Request) -> str | None:
    """Where a request came from."""
    return request.client.host if request.client else None


async def _principal(request: Request) -> Principal:
    told = [value for name, value in request.scope["headers"] if name == b"authorization"]
    if not told:
        token = session_token(request)
        if not token:
            raise Unauthorized(_HOW)
        if request.method not in ("GET", "HEAD"):
            require_own_page(request)
        return await signed_in(request, token)
    scheme, _, secret = str(told[0], "latin-1").partition(" ")
    if len(told) == 1:
        if scheme.lower() == "api-key" and len(told[0]) <= 1_024:
            return await _of_key(request, secret.strip())
        if scheme.lower() == "bearer":
            return await _of_token(request, secret.strip())
    raise Unauthorized(_HOW)


def is_https(request: Request) -> bool:
    """Whether people reach this server by https, here or at whatever stands before it."""
    return request.url.scheme == "https" or str(request.app.state.settings.public_url or "").startswith("https://")


def session_cookie(request: Request) -> str:
    """The name of the session's cookie; by https one that no other host and no plain page can have set."""
    return f"__Host-{SESSION_COOKIE}" if is_https(request) else SESSION_COOKIE


def session_token(request: Request) -> str:
    """The session's secret; empty without one."""
    return request.cookies.get(session_cookie(request), "")


def require_own_page(request: Request) -> None:
    """Raises Forbidden when a page of another site sent this request with our cookie."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    ours = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not (site in ("same-origin", "none") if site else ours):
        raise Forbidden("this came from another site")


async def signed_in(request: Request, token: str) -> Principal:
    """The person of this session. Raises Unauthorized when it ended."""
    found = await read(request, lambda store: _person(store, token))
    if found is None or not at_home(request, found[0].scope.organization_id):
        raise Unauthorized("this session has ended; sign in again")
    note_session(request, found[1])
    return found[0]


def _person(store: Store, token: str) -> tuple[Principal, Session] | None:
    found = sessions.find(store, token, now_us())
    return (sessions.principal(store, found[1]), found[0]) if found else None


def note_session(request: Request, session: Session) -> None:
    """Remember when and where from a session was last used, once a minute at most; nobody waits for it."""
    if session.seen_us < now_us() - sessions.NOTED_US:
        ip = client_address(request)
        with suppress(AgentSightError):
            storage(request).write(lambda store: store.people.see_session(session.digest, now_us(), ip))


async def _of_token(request: Request, token: str) -> Principal:
    claims = request.app.state.tokens.read(token)

    def ask(store: Store) -> Principal | None:
        user = store.tenants.user(claims.user_id)
        if user is None or claims.issued_us <= (user.signed_out_us or 0):
            return None
        if claims.session and claims.session not in {one.handle for one in sessions.of(store, user.id, now_us())}:
            return None
        return sessions.principal(store, user)

    found = await read(request, ask) if claims else None
    if found is None or not at_home(request, found.scope.organization_id):
        raise Unauthorized("this token is not valid, or no longer; ask for a new one at /api/auth/token/")
    return found


# -- whose house it is -----------------------------------------------------------------------------------------------
def house(request: Request) -> Organization | None:
    """The organization whose own host name the request came to; None: the installation's."""
    found: Organization | None = getattr(request.state, "house", None)
    return found


def at_home(request: Request, organization_id: int) -> bool:
    """Whether people and things of this organization are known where the request came to."""
    here = house(request)
    return here is None or here.id == organization_id


async def _of_key(request: Request, key: str) -> Principal:
    memory: dict[str, tuple[float, Principal]] = request.app.state.keys
    remembered = memory.get(key)
    if remembered is not None:
        request.state.asking = remembered[1]
        if remembered[0] > time.monotonic():
            return remembered[1]
        memory[key] = (time.monotonic() + KEY_GRACE_S, remembered[1])  # one request looks again, the others go on
    try:
        found = await read(request, lambda store: tenancy.verify_key(store, key, now_us()))
    except Unauthorized:
        memory.pop(key, None)
        raise
    if len(memory) > 10_000:
        memory.clear()
    memory[key] = (time.monotonic() + KEY_MEMORY_S, found)
    request.state.asking = found
    await _note_use(request, found)
    return found


async def _note_use(request: Request, asking: Principal) -> None:
    """Remember when a key was last used, once a minute at most."""
    noted: dict[int, float] = request.app.state.keys_noted
    key_id = asking.key_id
    if key_id is not None and noted.get(key_id, 0) < time.monotonic() - 60:
        noted[key_id] = time.monotonic()
        storage(request).write(lambda store: store.tenants.key_used(key_id, now_us()))


# -- answers ---------------------------------------------------------------------------------------------------------
class Json(Response):
    """An answer of the API: somebody's data, so no cache keeps it."""

    media_type = "application/json"

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        if headers:
            super().init_headers({"Cache-Control": "no-store", **headers})
            return
        length = str(len(self.body)).encode()
        self.raw_headers = [
            (b"content-length", length),
            (b"content-type", b"application/json"),
            (b"cache-control", b"no-store"),
        ]

    def render(self, content: Any) -> bytes:
        try:
            return orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS, default=str)
        except TypeError:  # it repeats text that no UTF-8 can hold, back to whoever sent that
            return wire.storable(json.dumps(content, ensure_ascii=False, default=str)).encode()


def error_body(error: AgentSightError, request_id: str) -> dict[str, Any]:
    """The one shape of every error."""
    body: dict[str, Any] = {"detail": str(error), "code": error.code}
    if isinstance(error, InvalidEvent):
        body["fields"] = {error.field: [error.reason]}
    elif isinstance(error, Refused) and error.fields:
        body["fields"] = error.fields
    body["request_id"] = request_id
    return body


def error_response(error: AgentSightError, request_id: str, fields_on_top: bool = False) -> Response:
    """`fields_on_top`: once more where clients 0.1.x look for them."""
    headers: dict[str, str] = {}
    status = error.status_code if isinstance(error, Refused) and error.status_code else error.status
    if status == 401:
        headers["WWW-Authenticate"] = "Api-Key"
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(retry_after_s)))
    body = error_body(error, request_id)
    return Json({**body.get("fields", {}), **body} if fields_on_top else body, status, headers)


def request_id(request: Request) -> str:
    known: str = request.scope.get("agentsight.request_id", "")
    return known


async def on_refusal(request: Request, error: Exception) -> Response:
    if not isinstance(error, AgentSightError):
        raise error
    if error.status >= 500:
        _log.error("request %s failed: %s", request_id(request), error, exc_info=error)
    request.app.state.ledger.refuse(request, error.status, error.code)
    return error_response(error, request_id(request), fields_on_top=knows_spans(request))


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own refusals (no such path, no such method), in our shape."""
    if not isinstance(error, HTTPException):
        raise error
    known: dict[int, AgentSightError] = {
        404: NotFound("there is nothing at this path"),
        405: NotAllowed(f"{request.method} is not possible here"),
    }
    refusal = known.get(error.status_code) or Refused(str(error.detail), error.status_code)
    response = error_response(refusal, request_id(request))
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    if error.status_code == 405:  # of every route at this path; the one that refused knows its own
        response.headers["Allow"] = ", ".join(_methods_at(request))
    return response


def _methods_at(request: Request) -> list[str]:
    path = request.scope["path"]
    routes = every_route(request.app.routes)
    return sorted({method for method, template, _ in routes if compile_path(template)[0].match(path)})


async def on_crash(request: Request, error: Exception) -> Response:
    """The edge: whatever nobody expected is logged whole and told in general."""
    _log.error("request %s crashed", request_id(request), exc_info=error)
    refusal = ServerFailed("something went wrong here; the log has it under this request id", 500)
    return error_response(refusal, request_id(request))


# -- paths and ids ---------------------------------------------------------------------------------------------------
def row_id(text: str) -> int:
    """An id of ours out of a path. Raises NotFound for anything that cannot be one."""
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise NotFound("there is no such id")
    return int(text)


def base_url(request: Request) -> str:
    """How people reach what this request reached, for absolute links: in its own house an organization's host name,
    elsewhere the configured public URL, else as the request says."""
    settings = request.app.state.settings
    if settings.public_url and house(request) is None:
        return str(settings.public_url)
    host = request.headers.get("host", "")
    if not HOST.fullmatch(host):
        raise Invalid.of("Host", "is not a host name")
    return f"{request.url.scheme}://{host}"


def url_at(request: Request, host: str | None) -> str:
    """The same at an organization's own host name, when it has one that people have used."""
    base = base_url(request)
    if host is None or house(request) is not None:
        return base
    parts = urlsplit(base)
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def multi(request: Request) -> Mapping[str, list[str]]:
    """The query string as name -> values."""
    values: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        values.setdefault(name, []).append(value)
    return values
