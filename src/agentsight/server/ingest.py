"""Events in: batches as our own SDK sends them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from agentsight import wire
from agentsight.core import attachments, conversations, ingest
from agentsight.core.model import Agent, Verdict
from agentsight.core.ports import Blobs
from agentsight.errors import Invalid, InvalidEvent, TooLarge
from agentsight.wire import Draft

from . import batches, bodies, http, salvage
from .http import Json

_SKEW_US = 60_000_000  # a client whose clock is off by more than this is corrected by what it says it sent at
_BIG_BYTES = 262_144  # bodies above this are decoded off the event loop


@http.needs("events.write")
async def batch(request: Request) -> Response:
    """Store a batch of events; a verdict per event, after the commit."""
    asking = await http.principal(request)
    agent = conversations.only_agent(asking.agent)
    bodies.require_json(request)
    async with bodies.HeldBody(request, wire.MAX_BATCH_BYTES) as body:
        return await _store_batch(request, agent, body)


async def _store_batch(request: Request, agent: Agent, body: bytes) -> Response:
    now_us = http.now_us()
    drafts, dropped = await run_in_threadpool(_read, body, now_us) if len(body) > _BIG_BYTES else _read(body, now_us)
    if any(isinstance(draft, Draft) and draft.kind == "attachment" for draft in drafts):
        drafts = await run_in_threadpool(_with_files, request.app.state.blobs, drafts)
    ingest.prepare(agent, drafts)
    verdicts = await http.write(request, ingest.Intake(agent, drafts, now_us), alongside=True)
    outcomes = request.app.state.ledger.note(request, verdicts, dropped)
    return Json(_batch_answer(verdicts, outcomes))


def _read(body: bytes, now_us: int) -> tuple[Sequence[Draft | InvalidEvent], Any]:
    """A batch's events, and what its sender says it had to drop."""
    batch = batches.read(body)
    drafts: Sequence[Draft | InvalidEvent] | None = batches.drafts(batch) if batch else None
    if batch is not None and drafts is not None:
        sent_at, dropped = batch.sent_at, batch.dropped
    else:
        document = _decode(body)
        sent_at, dropped = document.get("sent_at"), document.get("dropped")
        drafts = _one_by_one(document)
    if skew_us := _skew_us(sent_at, now_us):
        for draft in drafts:
            if isinstance(draft, Draft):
                draft.occurred_us = max(0, draft.occurred_us + skew_us)
    return drafts, dropped


def _decode(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except ValueError:
        document = salvage.batch(body) if body.strip() else None
    if not isinstance(document, dict):
        raise Invalid.of("body", 'must be an object: {"events": [...]}')
    return document


def _one_by_one(document: Mapping[str, Any]) -> list[Draft | InvalidEvent]:
    items = document.get("events")
    if not isinstance(items, list) or not items:
        raise Invalid.of("events", "must be an array of at least one event")
    if len(items) > wire.MAX_BATCH_EVENTS:
        raise TooLarge(f"a batch may have {wire.MAX_BATCH_EVENTS} events at most; send the rest in another")
    return [_draft(item) for item in items]


def _draft(item: Any) -> Draft | InvalidEvent:
    if isinstance(item, InvalidEvent):
        return item
    try:
        return wire.parse(item)
    except InvalidEvent as wrong:
        if isinstance(item, dict) and isinstance(item.get("id"), str):
            wrong.event_id = item["id"][:128]
        return wrong


def _skew_us(sent_at: Any, now_us: int) -> int:
    """What to add to a client's times: nothing, unless its clock is clearly wrong."""
    if sent_at is None:
        return 0
    try:
        skew_us = now_us - wire.read_instant(sent_at, "sent_at")
    except InvalidEvent:
        return 0
    return skew_us if abs(skew_us) > _SKEW_US else 0


def _with_files(blobs: Blobs, drafts: Sequence[Draft | InvalidEvent]) -> list[Draft | InvalidEvent]:
    """The same drafts with the bytes of attachments put away; bad base64 costs only its own event."""
    kept: list[Draft | InvalidEvent] = []
    for draft in drafts:
        if isinstance(draft, Draft) and draft.kind == "attachment":
            try:
                draft.fields = attachments.kept(blobs, draft.fields)
            except InvalidEvent as wrong:
                wrong.event_id = draft.event_id
                kept.append(wrong)
                continue
        kept.append(draft)
    return kept


def _batch_answer(verdicts: list[Verdict], outcomes: Mapping[str, int]) -> dict[str, Any]:
    results = []
    for index, verdict in enumerate(verdicts):
        result: dict[str, Any] = {"index": index, "id": verdict.event_id, "verdict": verdict.verdict}
        if verdict.verdict == "rejected":
            result |= {"field": verdict.field, "reason": verdict.reason}
        if verdict.discarded:
            result["discarded"] = True
        results.append(result)
    return {name: outcomes.get(name, 0) for name in ("accepted", "duplicate", "rejected")} | {"results": results}
