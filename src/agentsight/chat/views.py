"""Conversations, messages and runs as their owner sees them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, and_, select
from sqlalchemy.orm import Session, aliased

from agentsight.chat.errors import FAILURES
from agentsight.chat.schema import Conversation, Message, Run, ToolRun


def instant(us: int | None) -> str | None:
    """Microseconds since 1970 as ISO 8601, UTC."""
    return None if us is None else datetime.fromtimestamp(us / 1_000_000, UTC).isoformat().replace("+00:00", "Z")


def conversation(row: Conversation) -> dict[str, Any]:
    """One conversation of a list."""
    return {
        "id": row.id, "title": row.title, "external_id": row.external_id,
        "created_at": instant(row.created_us), "updated_at": instant(row.updated_us),
    }  # fmt: skip


def message(row: Message) -> dict[str, Any]:
    """One message of a list."""
    return {
        "id": row.id, "role": row.role, "content": row.content, "partial": row.partial,
        "created_at": instant(row.created_us),
    }  # fmt: skip


def page(s: Session, query: Select[Any], key: Any, before: int | None, limit: int, show: Any) -> dict[str, Any]:
    """Rows below the key `before`, the highest first, each shown; `next_before` is None where nothing follows."""
    if before is not None:
        query = query.where(key < before)
    rows = s.scalars(query.order_by(key.desc()).limit(limit + 1)).all()
    items = [show(row) for row in rows[:limit]]
    return {"items": items, "next_before": items[-1]["id"] if len(rows) > limit else None}


def _calls(s: Session, run_ids: Sequence[str]) -> dict[str, list[ToolRun]]:
    calls: dict[str, list[ToolRun]] = {run_id: [] for run_id in run_ids}
    for call in s.scalars(select(ToolRun).where(ToolRun.run_id.in_(run_ids)).order_by(ToolRun.id)):
        calls[call.run_id].append(call)
    return calls


def _tool_view(call: ToolRun) -> dict[str, Any]:
    return {
        "tool_name": call.tool_name, "parameters": call.parameters, "result": call.result, "status": call.status,
        "duration_ms": call.duration_ms, "call_id": call.call_id,
    }  # fmt: skip


def _run_view(run: Run, text: str, calls: Sequence[ToolRun]) -> dict[str, Any]:
    failure = FAILURES.get(run.error_code or "")
    error = {"code": run.error_code, "retryable": failure.retryable, "detail": failure.detail} if failure else None
    return {
        "conversation_id": run.conversation_id, "response": text, "tool_calls": [_tool_view(call) for call in calls],
        "run_id": run.id, "message_id": run.message_id, "user_message_id": run.user_message_id, "status": run.status,
        "usage": {"input_tokens": run.input_tokens, "output_tokens": run.output_tokens},
        "error": error, "model": run.model, "last_seq": run.last_seq,
    }  # fmt: skip


def run_of(s: Session, run: Run) -> dict[str, Any]:
    """The run with its answer, or as much of it as is written."""
    text = s.scalar(select(Message.content).where(Message.id == run.message_id)) if run.message_id else run.draft
    return _run_view(run, text or "", _calls(s, [run.id])[run.id])


def telling(s: Session, question_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """The run of each question: the one whose answer stands, else the latest."""
    answer = aliased(Message)
    query = (
        select(Run)
        .outerjoin(answer, and_(Run.message_id == answer.id, ~answer.superseded))
        .where(Run.user_message_id.in_(question_ids))
        .order_by(answer.id.nulls_first(), Run.started_us)
    )
    runs = {run.user_message_id: run for run in s.scalars(query)}
    calls = _calls(s, [run.id for run in runs.values()])
    keep = ("run_id", "status", "error", "usage", "tool_calls", "message_id")
    return {asked: {k: v for k, v in _run_view(run, "", calls[run.id]).items() if k in keep}
            for asked, run in runs.items()}  # fmt: skip


def story(s: Session, run: Run) -> dict[str, Any]:
    """The run with all that is told AgentSight about it."""
    conversation = s.scalar(select(Conversation).where(Conversation.id == run.conversation_id))
    question = s.scalar(select(Message).where(Message.id == run.user_message_id))
    assert conversation is not None and question is not None  # foreign keys
    view = run_of(s, run)
    for shown, call in zip(view["tool_calls"], _calls(s, [run.id])[run.id], strict=True):
        shown["started_us"] = call.started_us
    return view | {
        "user_id": run.user_id, "uid": conversation.uid, "title": conversation.title,
        "external_id": conversation.external_id, "message": question.content, "provider": run.provider,
        "regenerates": run.regenerates, "started_us": run.started_us, "finished_us": run.finished_us,
    }  # fmt: skip
