"""Spans as the client 0.1.4 writes them, for what no client can be made to send: odd orders, other times, broken parts."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta
from typing import Any

from served import Api, at

BEGAN = datetime.fromisoformat(at(0))


def when(second: float) -> str:
    """A moment as that client writes it: no fraction where there is none."""
    return (BEGAN + timedelta(seconds=second)).isoformat()


def span(kind: str, second: float = 0, lasts: float = 1, **more: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "span_id": uuid.uuid4().hex[:16], "trace_id": uuid.uuid4().hex, "parent_span_id": None, "kind": kind,
        "name": kind, "started_at": when(second), "ended_at": when(second + lasts), "duration_ms": lasts * 1000,
        "status": "ok", "attributes": {}, "events": [], "otel": {"dropped": {"events": 0}},
    }  # fmt: skip
    return told | more


def turn(
    *said: tuple[str, str], second: float = 0, complete: bool = True, reason: str = "", **more: Any
) -> dict[str, Any]:
    """A turn with its messages: (sender, text)."""
    own = span("turn", second, **more)
    own["attributes"] |= {"agentsight.turn.id": own["span_id"], "agentsight.turn.complete": complete}
    if reason:
        own["attributes"]["agentsight.turn.incomplete_reason"] = reason
    own["events"] = [
        {"name": "agentsight.message", "timestamp": own["started_at"], "attributes": {
            "agentsight.message.sender": sender, "agentsight.message.content": content}}
        for sender, content in said
    ]  # fmt: skip
    return own


def within(of: dict[str, Any], kind: str, second: float = 0.1, **attributes: Any) -> dict[str, Any]:
    """A span inside a turn."""
    own = span(kind, second, 0.2, trace_id=of["trace_id"], parent_span_id=of["span_id"])
    own["attributes"] = {"agentsight.turn.id": of["span_id"], **attributes}
    return own


def tool(of: dict[str, Any], name: str, second: float = 0.1, **attributes: Any) -> dict[str, Any]:
    return within(
        of, "tool", second, **{"agentsight.tool.name": name, "agentsight.tool.arguments": '{"n": 1}', **attributes}
    )


def llm(of: dict[str, Any] | None, model: str | None, second: float = 0.1, **counts: Any) -> dict[str, Any]:
    own = within(of, "llm", second) if of else span("llm", second)
    own["attributes"] |= {"gen_ai.system": "openai", "gen_ai.usage.input_tokens": counts.pop("input", 0)}
    own["attributes"] |= {"gen_ai.usage.output_tokens": counts.pop("output", 0)}
    own["attributes"] |= {"gen_ai.request.model": model} if model else {}
    own["attributes"] |= {f"agentsight.llm.{name}": count for name, count in counts.items()}
    return own


def send(api: Api, conversation_id: str, *spans: dict[str, Any], **about: Any) -> dict[str, Any]:
    """One block to the server; its answer."""
    block = {"conversation_id": conversation_id, "spans": list(spans), **about}
    return post(api, {"sdk": {"name": "agentsight-python", "version": "0.1.4"}, "conversations": [block]})


def post(api: Api, document: Any) -> dict[str, Any]:
    answer = api.post("/api/ingest/", content=json.dumps(document), headers={"Content-Type": "application/json"})
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()
    return told


def whole(api: Api, conversation_id: str) -> dict[str, Any]:
    """A conversation as the client 0.1.x reads it."""
    found = api.get("/api/conversations/", params={"conversation_id": conversation_id, "include_deleted": "true"})
    (row,) = found.json()["results"]
    shown: dict[str, Any] = row
    return shown


def rows(api: Api, path: str, **params: Any) -> list[dict[str, Any]]:
    answer = api.get(path, params=params)
    assert answer.status_code == 200, answer.text
    listed: list[dict[str, Any]] = answer.json()["results"]
    return listed


def said(conversation: dict[str, Any]) -> list[tuple[str, str]]:
    """What people and agent said in it."""
    return [(row["sender"], row["content"]) for row in conversation["messages"] if not row["action_logs"]]
