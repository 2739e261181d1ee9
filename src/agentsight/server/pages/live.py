"""Tells an open page that something new is there. What is new, the page asks for itself, as anybody would."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from agentsight.core.ports import Storage

from .shell import PLACE, allowed, pulse, put

LOOK_S = 2.0  # between two looks when no bell rings, and between two `new`
LONGEST_S = 600  # then the browser comes back and shows its session again
MOST = 400  # open at once in one process; the rest look every half minute instead

_open = 0


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
        bell, state = _bell(request), request.app.state
        ends = time.monotonic() + LONGEST_S
        before = request.query_params.get("since") or await bell.pulse()
        yield "retry: 3000\n\n: here\n\n"
        while time.monotonic() < ends and not getattr(state, "stopping", False):
            heard, now = bell.rung, await bell.pulse()
            yield f"event: new\ndata: {now}\n\n" if now != before else ": still here\n\n"
            if now != before:
                await asyncio.sleep(LOOK_S)  # a page that shows itself again has work to do
            else:
                await bell.wait(heard)
            before = now
    finally:
        _open -= 1


class Bell:
    """Rings in this process when something was stored, by whichever process; all watchers share it, and one look."""

    def __init__(self, storage: Storage):
        self._storage, self._loop = storage, asyncio.get_running_loop()
        self.rung = 0
        self._next = asyncio.Event()
        self._is_due = False
        self._looked_at, self._looked_s, self._word = -1, 0.0, ""
        self._looking = asyncio.Lock()
        storage.listen(self._hear)

    def _hear(self) -> None:
        """In any thread, as often as there are commits: the loop is told once until it has listened."""
        if not self._is_due:
            self._is_due = True
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        self._is_due = False
        self.rung += 1
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, heard: int) -> None:
        """Until it rang after it had rung `heard` times; LOOK_S at most, for some engines cannot tell of others."""
        if self.rung == heard:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._next.wait(), LOOK_S)

    async def pulse(self) -> str:
        """A word that changes when anything is stored."""
        async with self._looking:
            if self._looked_at != self.rung or time.monotonic() - self._looked_s > LOOK_S / 2:
                self._looked_at, self._looked_s = self.rung, time.monotonic()
                self._word = await run_in_threadpool(self._storage.read, pulse)
            return self._word


def _bell(request: Request) -> Bell:
    state = request.app.state
    if not hasattr(state, "bell"):
        state.bell = Bell(state.storage)
    bell: Bell = state.bell
    return bell


put(f"{PLACE}/live", live, "analytics.read")
