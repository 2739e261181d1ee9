"""The headers every response carries: what a browser may do with it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; object-src 'none'; "
    "frame-ancestors {ancestors}; require-trusted-types-for 'script'; trusted-types pages"
)
_NOBODY = POLICY.format(ancestors="'none'").encode()
_ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
_OPENER = (b"cross-origin-opener-policy", b"same-origin")


class SecurityHeaders:
    """Adds what a response has not set itself.

    In `request.state`, a framed page names its framers (`ancestors`), a page that frames another what it frames (`frames`).
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = message.get("headers", ())
                said = {name for name, _ in own}
                host = next((value for name, value in scope["headers"] if name == b"host"), b"")
                ours = [(b"content-security-policy", _policy(state)), *_ALWAYS]
                if _is_trustworthy(scope["scheme"], host):
                    ours.append(_OPENER)
                message["headers"] = [*own, *[pair for pair in ours if pair[0] not in said]]
            await send(message)

        await self.app(scope, receive, answer)


def _policy(state: Mapping[str, Any]) -> bytes:
    if "ancestors" not in state and "frames" not in state:
        return _NOBODY
    frames = f"; frame-src {state['frames']}" if "frames" in state else ""
    return (POLICY.format(ancestors=state.get("ancestors", "'none'")) + frames).encode("latin-1")


@lru_cache(1_000)
def _is_trustworthy(scheme: str, host: bytes) -> bool:
    """Whether browsers heed an opener policy: they do over https and on this machine, and complain elsewhere."""
    if scheme == "https":
        return True
    name = host.rpartition(b":")[0] or host
    return name in (b"localhost", b"127.0.0.1", b"[::1]") or name.endswith(b".localhost")
