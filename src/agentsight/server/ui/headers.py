"""The headers every response carries: what a browser may do with it."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; object-src 'none'; "
    "frame-ancestors {ancestors}; require-trusted-types-for 'script'; trusted-types pages"
)
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


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
                headers = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    headers.setdefault(name, value)
                if _is_trustworthy(scope):
                    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
                policy = POLICY.format(ancestors=state.get("ancestors", "'none'"))
                frames = f"; frame-src {state['frames']}" if "frames" in state else ""
                headers.setdefault("Content-Security-Policy", policy + frames)
            await send(message)

        await self.app(scope, receive, answer)


def _is_trustworthy(scope: Scope) -> bool:
    """Whether browsers heed an opener policy: they do over https and on this machine, and complain elsewhere."""
    host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
    name = host.rpartition(":")[0] or host
    return scope["scheme"] == "https" or name in ("localhost", "127.0.0.1", "[::1]") or name.endswith(".localhost")
