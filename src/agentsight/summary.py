"""What callers are told: how many of what was tracked, a preview of each, and what became of it when sent."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from .buffer import Item

COUNTED = {
    "question": "questions",
    "answer": "answers",
    "attachments": "attachments",
    "action": "actions",
    "button": "buttons",
}


def pending(items: list[Item], conversation_id: str | None) -> dict[str, Any]:
    """What `get_tracked_data_summary` gives back."""
    counts = {"conversation": 0, **dict.fromkeys(COUNTED.values(), 0)}
    rows = []
    for index, item in enumerate(items):
        counts[COUNTED.get(item.label, item.label)] += 1
        data = copy.deepcopy(item.fields)
        if item.kind == "token_usage":
            data = {"action_name": "token_usage", "metadata": data}
        data["conversation_id"] = item.conversation_id
        preview = _PREVIEWS[item.label](data)
        rows.append({"type": item.label, "timestamp": item.timestamp, "data": data, "index": index, "preview": preview})
    return {"items": rows, "summary": {**counts, "total": len(rows)}, "conversation_id": conversation_id}


def sent(items: list[Item], handed_over: bool) -> dict[str, Any]:
    """What `send_tracked_data` gives back; `handed_over`: nobody waited for the verdicts."""
    summary = {**dict.fromkeys(COUNTED.values(), 0), "errors": 0}
    rows = []
    for index, item in enumerate(items):
        row: dict[str, Any] = {"index": index, "type": item.label, "timestamp": item.timestamp}
        error = getattr(item, "error", None)
        settled = getattr(item, "queued", True) is False
        if handed_over and not settled:
            row.update(response={"queued": True}, success=True)
        elif settled and not error:
            row.update(response=getattr(item, "response", None) or {}, success=True)
        else:
            row.update(error=error or getattr(item, "trouble", None) or "no answer yet", success=False)
            if not settled:
                row["queued"] = True
        if not row["success"]:
            summary["errors"] += 1
        elif item.label in COUNTED:
            summary[COUNTED[item.label]] += 1
        rows.append(row)
    return {"items": rows, "summary": summary}


def _said(data: dict[str, Any]) -> dict[str, Any]:
    content = data["content"]
    return {
        "content_preview": content[:100] + ("..." if len(content) > 100 else ""),
        "sender": data["sender"],
        "has_metadata": bool(data["metadata"]),
    }


def _files(data: dict[str, Any]) -> dict[str, Any]:
    names = [file.get("filename") or "unknown" for file in data["attachments"]]
    more = [f"... and {len(names) - 3} more"] if len(names) > 3 else []
    return {"count": len(names), "mode": data["mode"], "sender": data["sender"], "files": names[:3] + more}


_PREVIEWS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "conversation": lambda data: {
        name: data.get(name) for name in ("conversation_id", "customer_id", "name", "environment")
    },
    "question": _said,
    "answer": _said,
    "attachments": _files,
    "action": lambda data: {
        "action_name": data.get("action_name"),
        "duration_ms": data.get("duration_ms"),
        "has_error": bool(data.get("error_msg")),
        "has_response": bool(data.get("response")),
    },
    "button": lambda data: {"label": data["label"], "value": data["value"], "event": data["button_event"]},
}
