"""Runs: started, followed, stopped, ended. A run is a task of the server; a request only follows it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from agentsight.chat.database import Database
from agentsight.chat.errors import FAILURES, classify
from agentsight.chat.render import render
from agentsight.chat.responder import (
    EmptyAnswer,
    Event,
    Native,
    Responder,
    Text,
    ToolCall,
    ToolResult,
    TooManySteps,
    Turn,
    Usage,
    acting_user,
)
from agentsight.chat.runs import Ask, Beat, Begun, End, Ending
from agentsight.chat.settings import Settings
from agentsight.chat.storable import as_json, native_json
from agentsight.chat.store import Store
from agentsight.chat.stream import PING, Line, line
from agentsight.wire import storable

log = logging.getLogger(__name__)

MAX_ANSWER_CHARS = 256 * 1024
KEEP_S = 60.0  # how long a finished run's events stay in memory for those who come back,
KEEP_BYTES = 32_000_000  # and how much of them
SAVE_AGAIN_S = (0.2, 1.0, 5.0)  # when the database is away at the wrong moment
POLL_S = 0.5  # how often a run that another process writes is looked at
SWEEP_EVERY_BEATS = 5


class AnswerTooLong(Exception):
    """The model does not stop."""


class Silence(Exception):
    """The model has not said anything for too long."""


LIMITS: dict[type[Exception], str] = {
    AnswerTooLong: "answer_too_long",
    EmptyAnswer: "empty_answer",
    Silence: "timeout",
    TooManySteps: "too_many_steps",
}


class Outbox(Protocol):
    """Whoever carries finished runs to AgentSight."""

    def wake(self) -> None:
        """There is something to carry."""
        ...


@dataclass(slots=True)
class Live:
    """A run this process writes, and everything about it that was shown so far."""

    begun: Begun
    user_id: str
    task: asyncio.Task[None] | None = None
    lines: list[Line] = field(default_factory=list)
    over: bool = False
    cancelled_as: Ending | None = None
    end: End = field(default_factory=End)
    pieces: list[str] = field(default_factory=list)
    chars: int = 0
    chars_kept: int = 0
    after_tool: bool = False
    open_calls: dict[str, list[tuple[int, float]]] = field(default_factory=dict)  # some models call twice by one id
    saving: asyncio.Future[Any] | None = None
    view: dict[str, Any] | None = None  # what is stored, once it is
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def show(self, kind: str, **fields: Any) -> None:
        """Tell everybody who follows."""
        self.lines.append(line(len(self.lines) + 1, kind, **fields))
        self.changed.set()
        self.changed = asyncio.Event()

    @property
    def shown(self) -> bool:
        """Whether there is anything beyond `started`."""
        return len(self.lines) > 1

    def text(self) -> str:
        """What is written so far."""
        self.pieces = ["".join(self.pieces)]
        return self.pieces[0]


class Runs:
    """All runs of one process; the only place that owns their tasks."""

    def __init__(self, db: Database, store: Store, responder: Responder, settings: Settings):
        self.db, self.store, self.responder, self.settings = db, store, responder, settings
        self.outbox: Outbox | None = None
        self._live: dict[str, Live] = {}
        self._kept: dict[str, int] = {}  # finished ones among them, oldest first, and their bytes
        self._ticker: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """End what a crash left open, and begin to beat."""
        await self.db.call(self.store.reconcile)
        self._ticker = asyncio.create_task(self._tick(), name="chat-beat")

    async def close(self) -> None:
        """Interrupt the runs under way and save what they have; gives up after five seconds."""
        if self._ticker is not None:
            self._ticker.cancel()
        tasks = [live.task for live in self._live.values() if live.task and self._cancel(live, "interrupted")]
        if tasks:
            await asyncio.wait(tasks, timeout=5)

    async def start(self, user_id: str, ask: Ask) -> Begun:
        """A run for `ask`: a new one, or the one an earlier request with the same key began.

        Raises:
            Refusal: as `Store.start`.
        """
        return await asyncio.shield(self._start(user_id, ask))  # a cancelled request leaves no run without a task

    async def _start(self, user_id: str, ask: Ask) -> Begun:
        responder = self.responder
        begun = await self.db.call(self.store.start, user_id, ask, responder.provider, responder.model)
        if begun.fresh:
            live = self._live[begun.run_id] = Live(begun, user_id)
            live.show(
                "started",
                run_id=begun.run_id,
                conversation_id=begun.conversation_id,
                user_message_id=begun.user_message_id,
            )
            live.task = asyncio.create_task(self._drive(live), name=f"run-{begun.run_id}")
        return begun

    async def view(self, user_id: str, run_id: str) -> dict[str, Any]:
        """The run as its owner sees it. Raises Refusal(run_not_found)."""
        return await self.db.call(self.store.view, user_id, run_id)

    async def result(self, user_id: str, run_id: str) -> dict[str, Any]:
        """The run once it is over."""
        live = self._live.get(run_id)
        if live is not None and live.user_id == user_id and live.task is not None:
            await asyncio.wait([live.task])
            if live.view is not None:
                return live.view
        while (view := await self.view(user_id, run_id))["status"] == "running":
            await asyncio.sleep(POLL_S)
        return view

    async def follow(self, user_id: str, run_id: str, after: int = 0) -> AsyncIterator[list[Line]]:
        """The run's lines from `after` on, as they come, and a ping when nothing comes for long."""
        live = self._live.get(run_id)
        own = live is not None and live.user_id == user_id
        lines = self._follow_live(live, after) if live and own else self._follow_stored(user_id, run_id, after)
        async for batch in lines:
            yield batch

    async def stop(self, user_id: str, run_id: str) -> dict[str, Any]:
        """The run, stopped and saved; one that is over already stays as it is. Raises Refusal(run_not_found)."""
        view = await self.view(user_id, run_id)
        if view["status"] != "running":
            return view
        live = self._live.get(run_id)
        if live is not None:
            self._cancel(live, "stopped")
        else:
            await self.db.call(self.store.request_stop, user_id, run_id)
        return await self.result(user_id, run_id)

    def abandon(self, run_id: str) -> None:
        """Stop a run of this process without waiting; others see their `stop_requested` at the next beat."""
        if live := self._live.get(run_id):
            self._cancel(live, "stopped")

    # -- following ---------------------------------------------------------------------------------------------------
    async def _follow_live(self, live: Live, after: int) -> AsyncIterator[list[Line]]:
        while True:
            changed = live.changed
            if new := live.lines[after:]:
                after += len(new)
                yield new
            elif live.over:
                return
            else:
                try:
                    async with asyncio.timeout(self.settings.ping_s):
                        await changed.wait()
                except TimeoutError:
                    yield [PING]

    async def _follow_stored(self, user_id: str, run_id: str, after: int) -> AsyncIterator[list[Line]]:
        """A run that ended earlier, or that another process writes: its end, preceded by all it said."""
        pinged = time.monotonic()
        while (view := await self.view(user_id, run_id))["status"] == "running":
            if time.monotonic() - pinged > self.settings.ping_s:
                pinged = time.monotonic()
                yield [PING]
            await asyncio.sleep(POLL_S)
        if not after or after < view["last_seq"]:
            last = await self.db.call(_last_line, view)
            yield [line(after + 1, "snapshot", **view), line(max(after + 2, view["last_seq"]), **last)]

    # -- one run, start to finish --------------------------------------------------------------------------------------
    async def _drive(self, live: Live) -> None:
        acting_user.set(live.user_id)
        turn = Turn(live.user_id, live.begun.prompt, live.begun.history)
        deadline = asyncio.timeout(self.settings.deadline_s)
        try:
            async with deadline, aclosing(_closable(self.responder.respond(turn))) as events:
                while (event := await self._next(live, events)) is not None:
                    await self._take(live, event)
            if not live.shown:
                raise EmptyAnswer
        except asyncio.CancelledError:
            live.cancelled_as = live.cancelled_as or "interrupted"
        except Exception as failure:
            code = "timeout" if deadline.expired() else LIMITS.get(type(failure)) or classify(failure)
            live.end.status, live.end.error_code = "failed", code
            unknown = code == "agent_error" and live.cancelled_as is None
            log.warning("run %s: %s (%s)", live.begun.run_id, code, type(failure).__name__, exc_info=unknown)
        if live.cancelled_as is not None:  # also when the vendor made something else of the cancellation
            live.end.status = live.cancelled_as
            live.end.error_code = "interrupted" if live.cancelled_as == "interrupted" else None
        await self._finish(live)

    async def _next(self, live: Live, events: AsyncIterator[Event]) -> Event | None:
        """The next event, None after the last. A tool may take its time, a model may not. Raises Silence."""
        patience = asyncio.timeout(None if any(live.open_calls.values()) else self.settings.silence_s)
        event: Event | None = None
        try:
            async with patience:
                event = await anext(events, None)
        except Exception:  # a vendor may make anything of being cancelled
            if not patience.expired():
                raise
        if patience.expired():
            raise Silence
        return event

    async def _take(self, live: Live, event: Event) -> None:
        match event:
            case Text(delta):
                self._write(live, storable(delta))
            case ToolCall(call_id, tool_name):
                began_s = time.monotonic()
                parameters = as_json(event.parameters)
                live.show("tool_call", call_id=call_id, tool_name=tool_name, parameters=parameters)
                row = await self._save(live, self.db.call(self.store.tool_started, live.begun.run_id, event))
                live.open_calls.setdefault(call_id, []).append((row, began_s))
            case ToolResult(call_id, result, is_error):
                await self._tool_ended(live, call_id, as_json(result), is_error)
            case Usage():
                live.end.usage = event
            case Native(native_format, messages):
                live.end.native, live.end.native_format = native_json(messages), native_format

    def _write(self, live: Live, delta: str) -> None:
        if not delta:
            return
        if live.after_tool and live.chars:
            delta = "\n\n" + delta.lstrip("\n")
        live.after_tool = False
        delta = delta[: MAX_ANSWER_CHARS - live.chars]
        live.pieces.append(delta)
        live.chars += len(delta)
        live.show("text", delta=delta)
        if live.chars >= MAX_ANSWER_CHARS:
            raise AnswerTooLong

    async def _tool_ended(self, live: Live, call_id: str, result: Any, is_error: bool) -> None:
        if not live.open_calls.get(call_id):
            return  # an answer to a call nobody made: a vendor's repair of its own history
        row, began_s = live.open_calls[call_id].pop(0)
        duration_ms = round((time.monotonic() - began_s) * 1000)
        live.after_tool = True
        live.show("tool_result", call_id=call_id, result=result, is_error=is_error, duration_ms=duration_ms)
        await self._save(live, self.db.call(self.store.tool_ended, row, result, is_error, duration_ms))

    async def _save(self, live: Live, saving: Awaitable[Any]) -> Any:
        """Await a commit that a stop may leave waiting but must not lose: `_finish` comes after it."""
        live.saving = asyncio.ensure_future(saving)
        return await asyncio.shield(live.saving)

    async def _finish(self, live: Live) -> None:
        """T2, then the last line: what a client saw as done is stored."""
        with suppress(Exception):
            await (live.saving or asyncio.sleep(0))
        live.end.text = live.text()
        live.end.last_seq = len(live.lines) + 1
        last = await self._save_end(live)
        live.over = True
        live.show(**last)
        self._remember(live)
        if self.outbox is not None:
            self.outbox.wake()

    async def _save_end(self, live: Live) -> dict[str, Any]:
        for wait_s in (*SAVE_AGAIN_S, None):
            try:
                return await self.db.call(self._close_run, live)
            except Exception:
                if wait_s is None:
                    log.exception("run %s could not be saved; what its draft holds is kept", live.begun.run_id)
                else:
                    await asyncio.sleep(wait_s)
        failure = FAILURES["agent_error"]._asdict()
        return {"kind": "error", "code": "agent_error", "message_id": None, **failure, "status": "failed"}

    def _remember(self, live: Live) -> None:
        """Keep the events for a minute, and of all runs together no more than there is room for."""
        self._kept[live.begun.run_id] = sum(len(one.json) for one in live.lines)
        asyncio.get_running_loop().call_later(KEEP_S, self._forget, live.begun.run_id)
        while len(self._kept) > 1 and sum(self._kept.values()) > KEEP_BYTES:
            self._forget(next(iter(self._kept)))

    def _forget(self, run_id: str) -> None:
        self._kept.pop(run_id, None)
        self._live.pop(run_id, None)

    def _close_run(self, live: Live) -> dict[str, Any]:
        live.view = self.store.finish(live.begun.run_id, live.end)
        return _last_line(live.view)

    def _cancel(self, live: Live, status: Ending) -> bool:
        """Cancel once: a second cancel could hit the save."""
        if live.task is None or live.task.done():
            return False
        if live.cancelled_as is None and live.end.last_seq == 0:
            live.cancelled_as = status
            live.task.cancel()
        return True

    # -- signs of life -------------------------------------------------------------------------------------------------
    async def _tick(self) -> None:
        beats = 0
        while True:
            await asyncio.sleep(self.settings.beat_s)
            beats += 1
            try:
                await self._beat()
                if beats % SWEEP_EVERY_BEATS == 0:
                    if await self.db.call(self.store.reconcile) and self.outbox is not None:
                        self.outbox.wake()
                    await self.db.call(self.store.purge, tracked_only=self.outbox is not None)
            except Exception:
                log.exception("a heartbeat of the chat runs failed")

    async def _beat(self) -> None:
        writing = [live for live in self._live.values() if not live.over]
        beats = []
        for live in writing:
            grown = live.chars > live.chars_kept
            live.chars_kept = live.chars
            beats.append(Beat(live.begun.run_id, live.text() if grown else None))
        if beats:
            stopped = await self.db.call(self.store.beat, beats)
            for live in writing:
                if live.begun.run_id in stopped:
                    self._cancel(live, "stopped")


def _last_line(view: dict[str, Any]) -> dict[str, Any]:
    """The `done` or `error` that ends a run's stream."""
    html = render(view["response"]) if view["message_id"] else ""
    shared = {"message_id": view["message_id"], "usage": view["usage"], "html": html}
    if view["error"]:
        return {"kind": "error", **view["error"], "status": view["status"], **shared}
    return {"kind": "done", "status": view["status"], **shared}


async def _closable(events: AsyncIterator[Event]) -> AsyncGenerator[Event]:
    """`events` as a generator, so that leaving early closes the vendor's run too."""
    try:
        async for event in events:
            yield event
    finally:
        close: Callable[[], Awaitable[None]] | None = getattr(events, "aclose", None)
        if close is not None:
            await close()
