"""Whose house a request came to: the Host header is checked here, once, and finds the organization it belongs to.

The header decides that and nothing else. In an organization's own house its addresses need not say whose they are, so
`/a/...` there is what `/o/{slug}/a/...` is elsewhere.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable
from functools import lru_cache

from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from agentsight.core.model import Organization
from agentsight.core.ports import Storage, Store
from agentsight.errors import AgentSightError, ConfigError, Invalid

from .http import HOST, error_response, now_us

MEMORY_S = 1.0
MOST_REMEMBERED = 10_000
OURS = ("/docs", "/openapi.json", "/metrics")  # about the installation, which is nobody's business in a client's house


class Houses:
    """Host name -> organization, remembered for a second; when the database is away, for longer."""

    def __init__(self, storage: Storage):
        self._storage = storage
        self._known: dict[str, tuple[float, Organization | None]] = {}

    async def at(self, name: str) -> Organization | None:
        known = self._known.get(name)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        try:
            found = await run_in_threadpool(self._storage.read, lambda store: self._find(store, name))
        except AgentSightError:
            return known[1] if known is not None else None
        if len(self._known) > MOST_REMEMBERED:
            self._known.clear()
        self._known[name] = (time.monotonic() + MEMORY_S, found)
        return found

    def forget(self) -> None:
        """Look again at the next request: somebody changed a name or a brand."""
        self._known.clear()

    def _find(self, store: Store, name: str) -> Organization | None:
        found = store.hosts.found(name)
        if found is None:
            return None
        if found.seen_us is None:
            self._storage.write(lambda later: later.hosts.seen(name, now_us()))
        return store.tenants.organization(found.organization_id)


class Hosts:
    """Pure ASGI: refuses a Host that is none, finds whose it is, and lets the organization's own addresses be short."""

    def __init__(self, app: ASGIApp, houses: Houses, unasked: Iterable[str] = ()):
        self._app, self._houses, self._unasked = app, houses, frozenset(unasked)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            name = host_name(scope)
        except Invalid as wrong:
            await error_response(wrong, scope.get("agentsight.request_id", ""))(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        house = state["house"] = await self._houses.at(name) if name and scope["path"] not in self._unasked else None
        if house is None:
            await self._app(scope, receive, send)
            return
        path, own = scope["path"], f"/o/{house.slug}"
        if path.startswith(f"{own}/") and scope["method"] in ("GET", "HEAD"):
            query = scope["query_string"].decode("latin-1")
            there = scope.get("raw_path", path.encode()).decode("latin-1").removeprefix(own)
            await RedirectResponse(there + (f"?{query}" if query else ""), 308)(scope, receive, send)
            return
        if path == "/a" or path.startswith("/a/"):
            scope = {**scope, "path": own + path}
        elif path in OURS:
            scope = {**scope, "path": f"/-{path}"}
        await self._app(scope, receive, send)


def host_name(scope: Scope) -> str:
    """The name of the Host header, without port; empty where an old client sends none. Raises Invalid."""
    told = [value for name, value in scope["headers"] if name == b"host"]
    if len(told) == 1 and told[0]:
        return _name(told[0])
    if len(told) > 1 or scope["http_version"] != "1.0":
        raise Invalid.of("Host", "is not a host name")
    return ""


@lru_cache(1_000)
def _name(told: bytes) -> str:
    host = told.decode("latin-1")
    if len(host) > 260 or not HOST.fullmatch(host):
        raise Invalid.of("Host", "is not a host name")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return name.lower().rstrip(".")


def behind(app: ASGIApp, proxies: str) -> ASGIApp:
    """`app`, believing these proxies what they say of the client: address, scheme and host name. Raises ConfigError."""
    return Proxied(ProxyHeadersMiddleware(app, proxies), proxies)  # type: ignore[arg-type]


class Proxied:
    """Pure ASGI, outermost: the host name people asked a proxy for, if the proxy is one the operator trusts."""

    def __init__(self, app: ASGIApp, trusted: str):
        self._app = app
        self._all = trusted.strip() == "*"
        parts = [] if self._all else [part.strip() for part in trusted.split(",") if part.strip()]
        try:
            self._trusted = [ipaddress.ip_network(part, strict=False) for part in parts]
        except ValueError as wrong:
            raise ConfigError(f"AGENTSIGHT_TRUSTED_PROXIES: {wrong}") from None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._trusts(scope):
            told = [value for name, value in scope["headers"] if name == b"x-forwarded-host"]
            if told:
                kept = [pair for pair in scope["headers"] if pair[0] != b"host"]
                asked = told[-1].rsplit(b",", 1)[-1].strip()  # what the proxy next to us added
                scope = {**scope, "headers": [*kept, (b"host", asked)]}
        await self._app(scope, receive, send)

    def _trusts(self, scope: Scope) -> bool:
        if self._all or not self._trusted:
            return self._all
        try:
            peer = ipaddress.ip_address((scope.get("client") or ("",))[0])
        except ValueError:
            return False
        return any(peer in network for network in self._trusted)
