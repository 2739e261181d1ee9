"""The outermost layers: what happens to every request before it is anybody's, and the short way for events."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentsight.errors import AgentSightError, NotAllowed

from .http import on_crash, on_refusal

_SLASHES = re.compile(r"//+")
_CHAT = re.compile(r"/api/[^/]+/chat(/|$)")  # the chat backend beside us has paths without a last slash


class Door:
    """Pure ASGI, around everything: a request id on every answer, and paths as clients mean them.

    Old clients join URLs by hand (`//api/track/`) and cannot follow a redirect of a POST, so duplicate slashes are
    collapsed and a missing last slash under /api/ is added here, without a redirect.
    """

    def __init__(self, app: ASGIApp, new_id: Callable[[], str], answered: Callable[[int, float], None]):
        """`answered` hears the status of every answer and the seconds it took to begin it."""
        self._app, self._new_id, self._answered = app, new_id, answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if "//" in path:
            path = _SLASHES.sub("/", path)
        if path.startswith("/api/") and not path.endswith("/") and not _CHAT.match(path):
            path += "/"
        request_id = self._new_id()
        scope = {**scope, "path": path, "agentsight.request_id": request_id}
        if scope["method"] == "HEAD" and path.startswith(("/api/", "/files/")):
            scope["method"] = "GET"  # the server below keeps the body back
        await self._app(scope, receive, self._marked(send, request_id.encode()))

    def _marked(self, send: Send, request_id: bytes) -> Callable[[Message], Awaitable[None]]:
        began = time.perf_counter()

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
                self._answered(message["status"], time.perf_counter() - began)
            await send(message)

        return marked


class Express:
    """Pure ASGI: one path goes straight to its endpoint, past routing and middleware, which cost more than the work."""

    def __init__(self, app: FastAPI, path: str, endpoint: Callable[[Request], Awaitable[Response]]):
        self._app, self._path, self._endpoint = app, path, endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != self._path:
            await self._app(scope, receive, send)
            return
        request = Request({**scope, "app": self._app, "endpoint": self._endpoint}, receive)
        response = await self._answer(request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        try:
            if request.method != "POST":
                refused = await on_refusal(request, NotAllowed(f"{request.method} is not possible here; POST is"))
                refused.headers["Allow"] = "POST"
                return refused
            return await self._endpoint(request)
        except AgentSightError as refused:
            return await on_refusal(request, refused)
        except Exception as crash:
            return await on_crash(request, crash)
