"""The outbox: every finished run reaches AgentSight exactly once, also after a crash or an outage.

A run's row is its own outbox entry, written by the transaction that ends the run. Its events carry ids derived from
the run, so sending them again changes nothing; the row is stamped when AgentSight has confirmed them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from contextlib import suppress
from typing import Any

from agentsight import wire
from agentsight.chat.database import Database, now_us
from agentsight.chat.settings import Settings
from agentsight.chat.store import Store
from agentsight.config import Config
from agentsight.errors import AgentSightError
from agentsight.exceptions import ConversationTrackingException
from agentsight.transport import Answer, Transport

log = logging.getLogger(__name__)

RUNS_A_BATCH = 50  # a run is a handful of events; a batch takes a thousand
MAX_BATCH_CHARS = 4_000_000
TIMEOUT_S = 5.0
LOOK_EVERY_S = 15.0  # for runs that another process left unsent
MAX_WAIT_S = 60.0
SDK = {"name": "agentsight-chat", "version": "1"}


class Outbox:
    """Carries finished runs to AgentSight, one batch at a time, as long as it takes."""

    def __init__(self, db: Database, store: Store, settings: Settings):
        self.db, self.store = db, store
        config = Config(api_key=settings.tracking_key, endpoint=settings.tracking_endpoint)
        self.environment = str(getattr(config.environment, "value", config.environment or "production"))
        self._transport = Transport(config)
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
                while await self._send_some():
                    pass
        self._transport.close()

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
            except _TryAgain as trouble:
                failures += 1
                wait_s = trouble.after_s or random.uniform(0.5, 1) * min(MAX_WAIT_S, 0.5 * 2 ** min(failures, 8))
                log.log(logging.WARNING if failures == 3 else logging.INFO, "not tracked yet: %s", trouble)
                await asyncio.sleep(min(wait_s, MAX_WAIT_S))
            except Exception:
                failures += 1
                log.exception("the outbox failed; it goes on")
                await asyncio.sleep(MAX_WAIT_S / 2)

    async def _send_some(self) -> bool:
        """Send a batch; False when there is nothing to send. Raises _TryAgain."""
        stories = await self.db.call(self.store.untracked, RUNS_A_BATCH)
        if stories:
            batch = _fitting(stories, self.environment)
            await self._deliver(batch)
            await self.db.call(self.store.tracked, [run_id for run_id, _ in batch])
        return bool(stories)

    async def _deliver(self, batch: list[tuple[str, list[dict[str, Any]]]]) -> None:
        """Send these runs; when AgentSight will not have them together, one at a time."""
        answer = await asyncio.to_thread(self._post, [event for _, events in batch for event in events])
        if answer.status >= 500 or answer.status in (401, 403, 408, 425, 429):
            raise _TryAgain(f"AgentSight answered {answer.status}", answer.retry_after_s)
        if answer.status >= 300 and len(batch) > 1:
            for one in batch:
                await self._deliver([one])
        elif answer.status >= 300:
            log.error("run %s cannot be tracked: AgentSight answered %d", batch[0][0], answer.status)
        elif not isinstance(answer.body, dict) or "results" not in answer.body:
            raise _TryAgain("the answer cannot be understood; is the endpoint right?")
        else:
            for verdict in answer.body["results"]:
                if verdict.get("verdict") == "rejected":
                    log.error("event %s was rejected: %s", verdict.get("id"), verdict.get("reason"))

    def _post(self, events: list[dict[str, Any]]) -> Answer:
        body = {"sdk": SDK, "sent_at": wire.instant(now_us()), "events": events}
        sent = json.dumps(body, ensure_ascii=False).encode()
        try:
            return self._transport.exchange(
                "POST", "/api/batch/", sent, {"Content-Type": "application/json"}, TIMEOUT_S
            )
        except (ConversationTrackingException, AgentSightError, OSError) as trouble:
            raise _TryAgain(str(trouble)) from None


class _TryAgain(Exception):
    """Not now; `after_s` is when AgentSight asked to be tried again, if it did."""

    def __init__(self, why: str, after_s: float | None = None):
        super().__init__(why)
        self.after_s = after_s


def _fitting(stories: list[dict[str, Any]], environment: str) -> list[tuple[str, list[dict[str, Any]]]]:
    """As many runs as fit into one request, at least one."""
    batch: list[tuple[str, list[dict[str, Any]]]] = []
    room = MAX_BATCH_CHARS
    for story in stories:
        events = events_of(story, environment)
        room -= len(json.dumps(events))
        if batch and (room < 0 or sum(len(known) for _, known in batch) + len(events) > wire.MAX_BATCH_EVENTS):
            break
        batch.append((story["run_id"], events))
    return batch


def events_of(run: dict[str, Any], environment: str) -> list[dict[str, Any]]:
    """What AgentSight is told about a finished run, in order, with the same ids every time it is asked."""
    about = {"run_id": run["run_id"], "provider": run["provider"], "model": run["model"]}
    about |= {"demo": True} if run["provider"] == "demo" else {}
    events: list[dict[str, Any]] = []

    def tell(part: str, kind: str, at_us: int, **fields: Any) -> None:
        envelope = {
            "id": f"run:{run['run_id']}:{part}", "kind": kind, "conversation_id": f"chat-{run['uid']}",
            "occurred_at": wire.instant(at_us), "seq": len(events),
        }  # fmt: skip
        known = {field: value for field, value in fields.items() if value is not None}
        events.append(envelope | known)

    start_us, end_us = run["started_us"], run["finished_us"]
    thread = {"external_id": run["external_id"]} if run["external_id"] else {}
    tell(
        "conversation", "conversation", start_us, customer_id=run["user_id"], name=run["title"], source="chat",
        environment=environment, is_used=True, metadata=thread | {"chat_conversation_id": run["conversation_id"]},
    )  # fmt: skip
    if not run["regenerates"]:  # the question is known: it was asked once
        tell("user", "message", start_us, sender="end_user", content=run["message"], metadata={"run_id": run["run_id"]})
    for number, call in enumerate(run["tool_calls"]):
        tell(f"tool:{number}", "action", call["started_us"], metadata=about, **_action(call))
    if run["response"]:
        partial = {"partial": True} if run["status"] != "completed" else {}
        again = {"regenerated": True} if run["regenerates"] else {}
        tell("agent", "message", end_us, sender="agent", content=run["response"], metadata=about | partial | again)
    if run["error"]:
        tell(
            "error", "action", end_us, action_name="chat_error", duration_ms=(end_us - start_us) // 1000,
            error_msg=run["error"]["detail"], metadata=about | {"code": run["error"]["code"]},
        )  # fmt: skip
    sent, received = run["usage"]["input_tokens"], run["usage"]["output_tokens"]
    if sent or received:
        tell(
            "usage", "token_usage", end_us, prompt_tokens=sent or 0, completion_tokens=received or 0,
            total_tokens=(sent or 0) + (received or 0), model=run["model"],
        )  # fmt: skip
    return events


def _action(call: dict[str, Any]) -> dict[str, Any]:
    took_ms, result = call["duration_ms"], call["result"]
    failed = {"error": str(result), "interrupted": "interrupted"}.get(call["status"])
    return {
        "action_name": call["tool_name"], "tools_used": call["parameters"], "duration_ms": took_ms,
        "started_at": wire.instant(call["started_us"]),
        "ended_at": None if took_ms is None else wire.instant(call["started_us"] + took_ms * 1000),
        "response": None if failed else result, "error_msg": failed,
    }  # fmt: skip
