"""The outbox: every finished run reaches AgentSight exactly once, also after a crash or an outage.

A run's row is its own outbox entry, written by the transaction that ends the run. Its events carry ids derived from
the run, so sending them again changes nothing; the row is stamped when AgentSight has confirmed them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import threading
from contextlib import suppress
from typing import Any

from agentsight import ConversationTracker, wire
from agentsight.chat.database import Database
from agentsight.chat.settings import Settings
from agentsight.chat.store import Store

log = logging.getLogger(__name__)

RUNS_A_BATCH = 50  # a run is a handful of events
MAX_BATCH_CHARS = 4_000_000
TIMEOUT_S = 5.0
LOOK_EVERY_S = 15.0  # for runs that another process left unsent
MAX_WAIT_S = 60.0

Story = dict[str, Any]


class Outbox:
    """Carries finished runs to AgentSight, one batch at a time, as long as it takes."""

    def __init__(self, db: Database, store: Store, settings: Settings):
        self.db, self.store = db, store
        # Beside the tracker of a program that this backend is part of. The runs' rows are its spool.
        self._tracker = ConversationTracker.separate(
            settings.tracking_key, settings.tracking_endpoint, spool="off", background=False
        )
        self._handed_over: list[Story] = []  # the tracker has these, AgentSight perhaps not yet
        self._sending = threading.Lock()
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin with whatever an earlier process left."""
        self._woken.set()
        self._task = asyncio.create_task(self._carry(), name="chat-outbox")

    def wake(self) -> None:
        """A run has ended."""
        self._woken.set()

    async def close(self) -> None:
        """Try once more, briefly; what is left is sent at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        with suppress(Exception):
            async with asyncio.timeout(2):
                while await self._send_some(timeout_s=1.0):
                    pass
        await asyncio.to_thread(self._tracker.forget)

    async def _carry(self) -> None:
        failures = 0
        while True:
            if not failures:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY_S):
                        await self._woken.wait()
            self._woken.clear()
            try:
                while await self._send_some():
                    failures = 0
                failures = 0
            except _NotYet as trouble:
                failures += 1
                log.log(logging.WARNING if failures == 3 else logging.INFO, "not tracked yet: %s", trouble)
                await asyncio.sleep(random.uniform(0.5, 1) * min(MAX_WAIT_S, 0.5 * 2 ** min(failures, 8)))
            except Exception:
                failures += 1
                log.exception("the outbox failed; it goes on")
                await asyncio.sleep(MAX_WAIT_S / 2)

    async def _send_some(self, timeout_s: float = TIMEOUT_S) -> bool:
        """Send a batch; False when there is nothing to send. Raises _NotYet."""
        batch = self._handed_over or _fitting(await self.db.call(self.store.untracked, RUNS_A_BATCH))
        if batch:
            await asyncio.to_thread(self._deliver, batch, timeout_s)
            await self.db.call(self.store.tracked, [story["run_id"] for story in batch])
        return bool(batch)

    def _deliver(self, batch: list[Story], timeout_s: float) -> None:
        """Have AgentSight store these runs; when it will not have them together, one at a time. Raises _NotYet."""
        with self._sending:
            if self._handed_over is not batch:
                for story in batch:
                    tell(self._tracker, story)
                self._handed_over = batch
            items = self._tracker.send_tracked_data(timeout_s=timeout_s)["items"]
            if waiting := next((item for item in items if item.get("queued")), None):
                raise _NotYet(waiting["error"])
            self._handed_over = []
        refused = [item["error"] for item in items if not item["success"]]
        if refused and len(batch) > 1:
            for story in batch:
                self._deliver([story], timeout_s)
        elif refused:
            log.error("run %s is not tracked in full: %s", batch[0]["run_id"], refused[0])


class _NotYet(Exception):
    """AgentSight has not confirmed it; the tracker keeps it for the next attempt."""


def _fitting(stories: list[Story]) -> list[Story]:
    """As many runs as one batch should carry, at least one."""
    room, many = MAX_BATCH_CHARS, 0
    for story in stories:
        room -= len(json.dumps(story))
        if many and room < 0:
            break
        many += 1
    return stories[:many]


def tell(tracker: ConversationTracker, run: Story) -> None:
    """Track a finished run, in order, with the same ids every time it is told."""
    about = {"run_id": run["run_id"], "provider": run["provider"], "model": run["model"]}
    about |= {"demo": True} if run["provider"] == "demo" else {}
    start_us, end_us = run["started_us"], run["finished_us"]
    thread = {"external_id": run["external_id"]} if run["external_id"] else {}

    def at(part: str, us: int) -> Any:
        return {"event_id": f"run:{run['run_id']}:{part}", "occurred_at": wire.instant(us)}

    with tracker.conversation(
        f"chat-{run['uid']}", customer_id=run["user_id"], name=run["title"], source="chat",
        environment="production", metadata=thread | {"chat_conversation_id": run["conversation_id"]},
        **at("conversation", start_us),
    ):  # fmt: skip
        if not run["regenerates"]:  # the question is known: it was asked once
            tracker.track_human_message(run["message"], metadata={"run_id": run["run_id"]}, **at("user", start_us))
        for number, call in enumerate(run["tool_calls"]):
            tracker.track_action(**_action(call), metadata=about, **at(f"tool:{number}", call["started_us"]))
        if run["response"].strip():
            partial = {"partial": True} if run["status"] != "completed" else {}
            again = {"regenerated": True} if run["regenerates"] else {}
            tracker.track_agent_message(run["response"], metadata=about | partial | again, **at("agent", end_us))
        if run["error"]:
            tracker.track_action(
                "chat_error", duration_ms=(end_us - start_us) // 1000, error_msg=run["error"]["detail"],
                metadata=about | {"code": run["error"]["code"]}, **at("error", end_us),
            )  # fmt: skip
        sent, received = run["usage"]["input_tokens"] or 0, run["usage"]["output_tokens"] or 0
        if sent or received:
            tracker.track_token_usage(sent, received, sent + received, model=run["model"], **at("usage", end_us))


def _action(call: dict[str, Any]) -> dict[str, Any]:
    took_ms, result = call["duration_ms"], call["result"]
    failed = {"error": str(result), "interrupted": "interrupted"}.get(call["status"])
    return {
        "action_name": call["tool_name"], "tools_used": call["parameters"], "duration_ms": took_ms,
        "started_at": wire.instant(call["started_us"]),
        "ended_at": None if took_ms is None else wire.instant(call["started_us"] + took_ms * 1000),
        "response": None if failed else result, "error_msg": failed,
    }  # fmt: skip
