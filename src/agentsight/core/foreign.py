"""Other shapes of history turned into the lines an import reads: tables with a message a row, answers of a hosted API."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from agentsight.errors import InvalidEvent

from .exchange import FORMAT
from .ingest import DESCRIPTIVE

_COLUMNS = {  # ours -> what others call it
    "conversation_id": ("conversation_id", "conversation", "session_id", "thread_id", "chat_id"),
    "role": ("role", "sender", "author", "from"),
    "content": ("content", "message", "text", "body"),
    "timestamp": ("timestamp", "created_at", "time", "date", "occurred_at"),
}
MOST_COLUMNS = 200


def of_table(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Conversations of a CSV file, a message a row; rows of one conversation may stand anywhere.

    Raises:
        InvalidEvent: the header names no conversation, sender or text.
    """
    rows = csv.reader(lines, strict=False)
    header = [name.strip().lstrip("\ufeff").lower().replace(" ", "_") for name in next(rows, [])][:MOST_COLUMNS]
    places: dict[str, int] = {}
    for ours, theirs in _COLUMNS.items():
        found = next((header.index(name) for name in theirs if name in header), None)
        if found is not None:
            places[ours] = found
        elif ours != "timestamp":
            raise InvalidEvent("header", f"must name {ours} ({', '.join(theirs)})")
    told = {name: header.index(name) for name in DESCRIPTIVE if name in header}
    conversations: dict[str, dict[str, Any]] = {}
    for row in rows:
        row += [""] * (len(header) - len(row))
        key = row[places["conversation_id"]].strip()
        if not any(row):
            continue
        record = conversations.setdefault(key, {"conversation_id": key, "messages": []})
        for name, place in told.items():
            if row[place].strip():
                record.setdefault(name, row[place].strip())
        message = {"role": row[places["role"]].strip().lower(), "content": row[places["content"]]}
        if "timestamp" in places and row[places["timestamp"]].strip():
            message["timestamp"] = row[places["timestamp"]].strip()
        record["messages"].append(message)
    yield from conversations.values()


def of_hosted(row: Mapping[str, Any], environment: str) -> dict[str, Any]:
    """One conversation as the hosted API lists it (contracts, SDK 0.0.x, 3.8), as a line of our own form.

    Ids come from the rows' own numbers, so that pulling again finds what is here. Files are not pulled.
    `environment` is that of a row that tells none.
    """
    key = str(row.get("id"))
    opening: dict[str, Any] = {name: row[name] for name in DESCRIPTIVE if row.get(name) is not None}
    opening.setdefault("environment", environment)
    opening |= {"is_used": bool(row.get("is_used", True)), "metadata": row.get("metadata") or {}}
    opening |= {"id": f"hosted-{key}", "kind": "conversation", "occurred_at": row.get("started_at")}
    events = [opening]
    for place, message in enumerate(_objects(row.get("messages"))):
        events += _of_message(f"hosted-{key}-{message.get('id', place)}", place, message)
    for given in _objects(row.get("feedbacks")):
        told = {name: given[name] for name in ("sentiment", "comment", "source") if given.get(name) is not None}
        at = given.get("created_at") or given.get("timestamp") or row.get("started_at")
        events.append({"id": f"hosted-{key}-f{given.get('id')}", "kind": "feedback", "occurred_at": at, **told})
    state = {"is_marked": bool(row.get("is_marked"))}
    return {"format": FORMAT, "conversation_id": row.get("conversation_id"), "state": state, "events": events}


def _of_message(id: str, place: int, message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    at = {"occurred_at": message.get("timestamp"), "seq": place}
    logs, button = _objects(message.get("action_logs")), message.get("button")
    for number, log in enumerate(logs):
        names = ("action_name", "started_at", "ended_at", "duration_ms", "tools_used", "response", "error_msg")
        told = {name: log[name] for name in names if log.get(name) not in (None, "")}
        told.setdefault("action_name", message.get("action_name"))
        yield {"id": f"{id}-a{number}", "kind": "action", **at, **told}
    if isinstance(button, dict):
        pressed = {name: button.get(name) for name in ("button_event", "label", "value")}
        yield {"id": id, "kind": "button", **at, **pressed}
    elif not logs and (message.get("content") or "").strip():
        told = {"sender": message.get("sender"), "content": message["content"]}
        yield {"id": id, "kind": "message", **at, **told, "metadata": message.get("metadata") or {}}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
