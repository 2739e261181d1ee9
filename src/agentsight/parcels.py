"""From a tracked item to the bytes that travel: the events it becomes, made sound, and the bodies of requests."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from . import wire
from .buffer import Item
from .errors import InvalidEvent
from .snapshot import small
from .spool import Segment
from .transport import multipart

INLINE_FILE_BYTES = 1_000_000  # larger files travel by themselves

logger = logging.getLogger("agentsight")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_quoted = lru_cache(1_024)(_encode)


class Parcel:
    """One encoded event on its way: in memory, perhaps in a segment too. `upload`: too large for a batch."""

    __slots__ = ("body", "id", "item", "segment", "upload")

    def __init__(self, item: Item, parcel_id: str, body: bytes, upload: bool = False, segment: Segment | None = None):
        self.item, self.id, self.body, self.upload, self.segment = item, parcel_id, body, upload, segment


def parcel_of(item: Item, kind: str, seq: int, fields: dict[str, Any], parcel_id: str) -> Parcel:
    """One event of `item`, encoded. Raises InvalidEvent when it cannot be made sound."""
    own = _encode(sound(kind, fields))
    text = (
        f'{{"id":{_encode(parcel_id)},"kind":"{kind}","conversation_id":{_quoted(item.conversation_id)},'
        f'"occurred_at":"{wire.instant(item.occurred_us)}","seq":{seq}{"," if len(own) > 2 else ""}{own[1:]}'
    )
    upload = kind == "attachment" and len(fields["data"]) > INLINE_FILE_BYTES * 4 // 3
    return Parcel(item, parcel_id, text.encode("utf-8", "replace"), upload)


def adopted(parcel_id: str, body: bytes, segment: Segment) -> Item:
    """An item for an event that was found on disk."""
    item = Item("", "", "", 0, 0, None, len(body))
    item.parcels = [Parcel(item, parcel_id, body, len(body) > INLINE_FILE_BYTES * 4 // 3, segment)]
    return item


def events_of(item: Item) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """The events one tracked item becomes, in order: kind, number, fields."""
    fields, seq = item.fields, item.seq
    alone = item.kind == "attachment"
    if not alone:
        yield item.kind, seq, fields
        seq += 1
    for file in fields.get("attachments") or ():
        data = file["data"]
        body = {
            "sender": fields.get("sender"),
            "message_event_id": None if alone else item.event_id,
            "filename": file["filename"],
            "mime_type": file["mime_type"],
            "metadata": fields.get("metadata") if alone else None,
            "data": data if isinstance(data, str) else base64.b64encode(data).decode("ascii"),
        }
        yield "attachment", seq, body
        seq += 1


def sound(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    """`fields` as the contract wants them; an optional one that breaks it is cut or left out, never the event.

    Raises:
        InvalidEvent: a required field breaks it.
    """
    for again in range(len(fields) + 1):
        try:
            checked = wire.check(kind, fields)
        except InvalidEvent as wrong:
            if wrong.field not in fields or wire.EVENTS[kind][wrong.field].required:
                raise
            fields = fields if again else dict(fields)
            value = fields.pop(wrong.field)
            if wrong.field in ("metadata", "tools_used", "response"):
                fields[wrong.field] = small(value)
            elif isinstance(value, str) and "longer" in wrong.reason:
                fields[wrong.field] = value[:254] + "…"
            logger.warning("AgentSight cut or left out %s of a tracked %s: %s", wrong.field, kind, wrong.reason)
        else:
            if kind == "action":
                for moment in checked.keys() & {"started_at", "ended_at"}:
                    checked[moment] = wire.instant(checked[moment])
            return checked
    raise InvalidEvent(kind, "cannot be made sound")


def batch_body(head: Mapping[str, Any], parcels: list[Parcel]) -> bytes:
    """The body of one batch request."""
    return b'%b,"events":[%b]}' % (_encode(head).encode()[:-1], b",".join(parcel.body for parcel in parcels))


def upload_body(parcel: Parcel) -> tuple[bytes, Mapping[str, str]]:
    """The body of a request that carries one file, and its headers."""
    event = json.loads(parcel.body)
    fields = [
        ("timestamp", event["occurred_at"]),
        ("conversation_id", event["conversation_id"]),
        ("event_id", event["id"]),
        ("sender", event.get("sender", "end_user")),
        ("mode", "form_data"),
        ("metadata", _encode(event.get("metadata", {}))),
    ]
    if event.get("message_event_id"):
        fields.append(("message_event_id", event["message_event_id"]))
    file = ("attachment_0", event["filename"], event["mime_type"], base64.b64decode(event["data"]))
    return multipart(fields, [file])
