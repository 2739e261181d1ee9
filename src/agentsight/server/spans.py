"""Spans in: what clients 0.1.x need beside the routes they share with older ones, and OTLP.

Source: the contract of SDK 0.1, sections 2.2 to 2.4 and 3.2; OTLP 1.x over HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from agentsight.core import actions, conversations
from agentsight.core import ingest as core
from agentsight.core import spans as archive
from agentsight.core.model import Agent, Conversation, Scope, Span, Verdict
from agentsight.core.ports import Store
from agentsight.errors import InvalidEvent, UnsupportedMedia
from agentsight.wire import ENVIRONMENTS, Draft

from . import blocks, bodies, described, http, otlp, traces
from .http import Json

router = APIRouter(tags=["spans"])

MOST_BYTES = 40_000_000  # of one request; the client never splits by size and drops what is refused as too large
_OVERWRITTEN = ("name", "customer_id", "device", "language", "metadata")


@router.get("/api/me/", summary="Whose key this is, and what the server can do")
@http.needs("conversations.read")
async def me(request: Request) -> Response:
    asking = await http.principal(request)
    agent = conversations.only_agent(asking.agent)
    environments = [
        {"id": number, "slug": slug, "name": slug.capitalize(), "is_production": slug == "production",
         "created_at": None, "updated_at": None}
        for number, slug in enumerate(ENVIRONMENTS, 1)
    ]  # fmt: skip
    return Json(
        {
            "agent_id": agent.id,
            "agent_name": agent.name,
            "role": asking.role,
            "environments": environments,
            "capabilities": ["gzip-ingest"],
        }
    )


@router.post(
    "/api/ingest/",
    summary="Store the spans of clients 0.1.x",
    status_code=201,
    openapi_extra=described.json_body(
        {
            "type": "object",
            "required": ["conversations"],
            "properties": {"sdk": {"type": "object"}, "conversations": {"type": "array", "items": {"type": "object"}}},
        }
    ),
)
@http.needs("events.write")
async def ingest(request: Request) -> Response:
    """Answers after the commit. A block that breaks the contract costs its neighbours nothing and is named."""
    asking = await http.principal(request)
    agent = conversations.only_agent(asking.agent)
    bodies.require_json(request)
    async with bodies.HeldBody(request, MOST_BYTES) as body:
        read, wrong = await run_in_threadpool(lambda: blocks.read(bodies.decode_object(body)))
        verdicts = await http.write(request, partial(_store, agent=agent, read=read, now_us=http.now_us()))
    outcomes = request.app.state.ledger.note(request, verdicts)
    tally = {name: outcomes[name] for name in ("accepted", "duplicate", "rejected")}
    return Json(tally | ({"conversations": wrong[:100], "truncated": len(wrong) > 100} if wrong else {}), 201)


@router.post(
    "/v1/traces",
    summary="OTLP over HTTP, protobuf or JSON: traces of generative AI as conversations",
    openapi_extra=described.OTLP,
)
@http.needs("events.write")
async def otlp_traces(request: Request) -> Response:
    """Answers after the commit. Spans that are not about generative AI are let go."""
    asking = await http.principal(request)
    agent = conversations.only_agent(asking.agent)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/x-protobuf", "application/json"):
        raise UnsupportedMedia("send OTLP as application/x-protobuf or application/json")
    async with bodies.HeldBody(request, MOST_BYTES) as body:
        drafts, kept = await run_in_threadpool(_traced, body, kind)
        verdicts = await http.write(request, partial(_store_traced, agent, drafts, kept, http.now_us()))
    request.app.state.ledger.note(request, verdicts)
    wrong = [verdict for verdict in verdicts if verdict.verdict == "rejected"]
    why = f"{wrong[0].field}: {wrong[0].reason}" if wrong else ""
    if kind == "application/json":
        return Json({"partialSuccess": {"rejectedSpans": len(wrong), "errorMessage": why}} if wrong else {})
    return Response(otlp.partial_success(len(wrong), why), media_type="application/x-protobuf")


def _traced(body: bytes, kind: str) -> tuple[list[Draft | InvalidEvent], dict[str, list[Span]]]:
    is_json = kind == "application/json"
    spans = otlp.from_json(bodies.decode_object(body)) if is_json else otlp.from_protobuf(body)
    return traces.read(spans, http.now_us())


def _store_traced(
    agent: Agent, drafts: Sequence[Draft | InvalidEvent], kept: Mapping[str, list[Span]], now_us: int, store: Store
) -> list[Verdict]:
    verdicts = core.accept(store, agent, drafts, now_us)
    gone = _discarded(drafts, verdicts)
    archive.keep(store, agent, {key: own for key, own in kept.items() if key not in gone})
    return verdicts


def _store(store: Store, agent: Agent, read: list[blocks.Block], now_us: int) -> list[Verdict]:
    heads = store.conversations.live(agent.id, [block.conversation_id for block in read], to_change=True)
    drafts: list[Draft | InvalidEvent] = []
    for block in read:
        head = heads.get(block.conversation_id)
        about = block.about if head is None else _unknown(block, head)
        if head is None or about or head.environment is None or (block.is_used and not head.is_used):
            drafts.append(block.described(about, None if head and head.environment else "production"))
        drafts += block.drafts
    drafts += _of_turns(store, agent, read, heads)
    verdicts = core.accept(store, agent, drafts, now_us)
    gone = _discarded(drafts, verdicts)
    for block in read:
        head = heads.get(block.conversation_id) if block.conversation_id not in gone else None
        if head is not None and block.newest_us > (head.described_us or 0) and (news := _news(block, head)):
            conversations.update(store, Scope(agent.organization_id, (agent.id,)), head.id, news)
    ran = {draft.fields["action_name"] for draft in drafts if isinstance(draft, Draft) and draft.kind == "action"}
    actions.met(store, agent.id, ran)
    kept: dict[str, list[Span]] = {}
    for block in read:
        if block.conversation_id not in gone:
            kept.setdefault(block.conversation_id, []).extend(block.rows)
    archive.keep(store, agent, kept)
    return verdicts


def _discarded(drafts: Sequence[Draft | InvalidEvent], verdicts: Sequence[Verdict]) -> set[str]:
    """Conversations of which something was let go of at once, for they or their customer were erased."""
    return {
        draft.conversation_id
        for draft, verdict in zip(drafts, verdicts, strict=True)
        if verdict.discarded and isinstance(draft, Draft)
    }


def _of_turns(
    store: Store, agent: Agent, read: list[blocks.Block], heads: Mapping[str, Conversation]
) -> list[Draft | InvalidEvent]:
    """What tools did in turns that came to their end, whichever of the two arrived first."""
    ended = {(block.conversation_id, turn): fine for block in read for turn, fine in block.turns.items()}
    asked = {turn for block in read for turn in block.of_turns if (block.conversation_id, turn) not in ended}
    known = store.spans.outcomes(agent.id, asked) if asked else {}
    names = {head.id: key for key, head in heads.items()}
    ended |= {(names[id], turn): why is None for (id, turn), why in known.items() if id in names}
    drafts = [
        draft
        for block in read
        for turn, own in block.of_turns.items()
        if ended.get((block.conversation_id, turn))
        for draft in own
    ]
    turns = {turn for block in read for turn, fine in block.turns.items() if fine and block.conversation_id in heads}
    if turns:
        there = {draft.event_id for draft in drafts}
        traces = {row.trace_id for block in read for row in block.rows if row.kind == "turn"}
        for row in store.spans.waiting(agent.id, traces, turns):
            if row.conversation in names and ended.get((names[row.conversation], row.turn_id or "")):
                drafts += (draft for draft in blocks.again(names[row.conversation], row) if draft.event_id not in there)
    return drafts


def _news(block: blocks.Block, head: Conversation) -> dict[str, Any]:
    """What the block says otherwise than we know: here what is told last holds, and metadata are told whole."""
    return {
        name: block.about[name]
        for name in _OVERWRITTEN
        if name in block.about and block.about[name] != getattr(head, name)
    }


def _unknown(block: blocks.Block, head: Conversation) -> dict[str, Any]:
    """What it says that nobody said before; a block from before what we know says nothing else."""
    fresh = _news(block, head) if block.newest_us > (head.described_us or 0) else {}
    return {name: value for name, value in block.about.items() if name in fresh or not getattr(head, name)}
