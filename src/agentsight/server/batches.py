"""Batches in which nothing needs mending, as nearly all are, read and checked in one go.

The types are made of `wire.EVENTS`, so there is one set of rules. They know less than `wire.parse`, never more: for what
they do not take as it stands, and for anything out of order, the answer is None, and every event is looked at by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import chain
from operator import attrgetter, or_
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from agentsight import wire
from agentsight.errors import InvalidEvent
from agentsight.wire import Draft, Field

_EPOCH, _US = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_NUL = b"\\u0000"  # the one thing JSON lets into a text that no database holds


@dataclass(frozen=True, slots=True)
class _Kind:
    """How an event of one kind, decoded, becomes a draft."""

    name: str
    fields: tuple[str, ...]
    values: Callable[[Any], Sequence[Any]]
    told: tuple[str, ...]  # texts that need more than white space in them
    read: tuple[tuple[str, Callable[[Any, str], Any]], ...]  # fields whose rule is no type


def _type(of: Field) -> Any:
    """What a field may be to be taken as it stands; Any: its rule is no type."""
    least = 1 if of.required else 0
    limits = Meta(ge=of.schema.get("minimum"), le=of.schema.get("maximum"))
    if of.choices:
        return Literal[tuple(sorted(of.choices))]
    if of.plain_chars:
        return Annotated[str, Meta(min_length=least, max_length=of.plain_chars)]
    match of.schema.get("type"):
        case "integer":
            return Annotated[int, limits]
        case "number":
            return Annotated[int, limits] | Annotated[float, limits]
        case "boolean":
            return bool
        case "object":
            return dict[str, Any]
    return Any


def _struct(kind: str) -> tuple[type[Struct], _Kind]:
    fields = wire.EVENTS[kind]
    own: list[Any] = [
        (name, _type(of)) if of.required else (name, _type(of) | None, None) for name, of in fields.items()
    ]
    envelope: list[Any] = [
        ("id", Annotated[str, Meta(min_length=1, max_length=wire.MAX_ID_CHARS)]),
        ("conversation_id", Annotated[str, Meta(min_length=1, max_length=wire.MAX_NAME_CHARS)]),
        ("occurred_at", Annotated[datetime, Meta(tz=True)]),
        ("seq", Annotated[int, Meta(ge=0, le=wire.MAX_SAFE_INTEGER)], 0),
    ]
    made = msgspec.defstruct(kind, [*envelope, *own], tag=kind, tag_field="kind", kw_only=True, gc=False)
    told = tuple(name for name, of in fields.items() if of.required and not of.choices)
    read = tuple((name, of.read) for name, of in fields.items() if _type(of) in (Any, dict[str, Any]))
    return made, _Kind(kind, tuple(fields), attrgetter(*fields), told, read)


_KINDS = dict(_struct(kind) for kind in wire.EVENTS if kind != "attachment")  # whose bytes are put away one by one

_Event: Any = reduce(or_, _KINDS)


class Batch(Struct):
    """A batch whose every event is of a known kind and shape."""

    events: Annotated[list[_Event], Meta(min_length=1, max_length=wire.MAX_BATCH_EVENTS)]
    sent_at: Any = None
    dropped: Any = None


_decode = msgspec.json.Decoder(Batch).decode
_ids_of = attrgetter("id", "conversation_id")


def read(body: bytes) -> Batch | None:
    """The batch, if every event in it is of the right types and sizes and no text has to be mended."""
    if b"\\" in body and _NUL in body:  # one letter is found much sooner
        return None
    try:
        return _decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def drafts(batch: Batch) -> list[Draft] | None:
    """Its events as drafts, by the rules that are no types."""
    ids = "".join(chain.from_iterable(map(_ids_of, batch.events)))
    if not (ids.isascii() and ids.isprintable()) or " " in ids:
        return None
    made = []
    try:
        for event in batch.events:
            kind = _KINDS[type(event)]
            fields = {}
            for name, value in zip(kind.fields, kind.values(event), strict=False):
                if value is not None:
                    fields[name] = value
            for name in kind.told:
                if fields[name].isspace():
                    return None
            for name, reader in kind.read:
                if (value := fields.get(name)) is not None:
                    fields[name] = reader(value, name)
            occurred_us = wire.within_years((event.occurred_at - _EPOCH) // _US, "occurred_at")
            made.append(Draft(event.id, kind.name, event.conversation_id, occurred_us, event.seq, fields))
    except InvalidEvent:
        return None
    return made
