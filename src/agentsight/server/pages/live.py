"""Tells an open page that something new is there. What is new, the page asks for itself, as anybody would."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from agentsight.core.ports import Storage

from .shell import PLACE, allowed, pulse, put

LOOK_S = 2.0
LONGEST_S = 600  # then the browser comes back and shows its session again
MOST = 400  # open at once in one process; the rest look every half minute instead

_open = 0
_seen: dict[int, tuple[float, str]] = {}


async def live(request: Request) -> Response:
    """Server-sent events: `new` whenever something was stored, and at once if it was since the page was made."""
    await run_in_threadpool(allowed, request, "analytics.read")
    if _open >= MOST:
        return Response(status_code=204)  # tells EventSource not to come back
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_watch(request), headers=headers, media_type="text/event-stream")


async def _watch(request: Request) -> AsyncIterator[str]:
    global _open
    _open += 1
    try:
        storage: Storage = request.app.state.storage
        ends = time.monotonic() + LONGEST_S
        before = request.query_params.get("since") or await _pulse(storage)
        yield "retry: 3000\n\n: here\n\n"
        while time.monotonic() < ends and not getattr(request.app.state, "stopping", False):
            now = await _pulse(storage)
            yield f"event: new\ndata: {now}\n\n" if now != before else ": still here\n\n"
            before = now
            await asyncio.sleep(LOOK_S)
    finally:
        _open -= 1


async def _pulse(storage: Storage) -> str:
    """A word that changes when anything is stored; all watchers of a process share one look."""
    at, word = _seen.get(id(storage), (0.0, ""))
    if time.monotonic() - at < LOOK_S / 2:
        return word
    word = await run_in_threadpool(storage.read, pulse)
    _seen[id(storage)] = (time.monotonic(), word)
    return word


put(f"{PLACE}/live", live, "analytics.read")
