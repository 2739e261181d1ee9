"""Tracked items in order, until they are sent: what time it is, what they are called, how much may wait."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from typing import Any, NamedTuple

from . import wire

MAX_ITEMS = 10_000  # in memory, sent or not
MAX_BYTES = 32 * 1024 * 1024
ITEM_BYTES = 600  # what an item weighs before its text


# -- what time it is -------------------------------------------------------------------------------------------------
_ahead_ns = time.time_ns() - time.monotonic_ns()


def now_us() -> int:
    """Microseconds since 1970, never running backwards: a clock set back is ignored, one set forward is followed."""
    global _ahead_ns
    monotonic_ns = time.monotonic_ns()
    ahead_ns = time.time_ns() - monotonic_ns
    if ahead_ns - _ahead_ns > 1_000_000_000:
        _ahead_ns = ahead_ns
    return (monotonic_ns + _ahead_ns) // 1000


_node = int.from_bytes(os.urandom(6), "big") & (2**42 - 1)


def event_id(occurred_us: int, seq: int) -> str:
    """The UUIDv7 of what happened at `occurred_us` as number `seq` of this process, the same however often asked."""
    millis, micros = divmod(occurred_us, 1000)
    low = (0b10 << 62) | (_node << 20) | (seq & 0xFFFFF)
    return (
        f"{millis >> 16:08x}-{millis & 0xFFFF:04x}-{0x7000 | micros:04x}-{low >> 48:04x}-{low & 0xFFFF_FFFF_FFFF:012x}"
    )


def _forget_parent() -> None:
    """Make ids of a forked child its own, also where its parent only imported us: children track at the same microsecond."""
    global _node
    _node = int.from_bytes(os.urandom(6), "big") & (2**42 - 1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)


# -- what waits ------------------------------------------------------------------------------------------------------
class Mark(NamedTuple):
    """What a caller says of an event who knows it from elsewhere: its id and its time, either of them or both."""

    event_id: str | None
    occurred_us: int | None


class Item:
    """One thing tracked: the caller's name for it, and the events it becomes."""

    __slots__ = ("conversation_id", "error", "fields", "given_id", "kind", "label", "occurred_us", "parcels", "queued",
                 "response", "seq", "size", "ticket", "trouble")  # fmt: skip

    error: str | None  # why it never will be delivered
    trouble: str | None  # why it was not delivered yet
    queued: bool  # False once it is settled; not there before
    response: Any
    ticket: Any

    def __init__(self, label: str, kind: str, conversation_id: str, occurred_us: int, seq: int, fields: Any, size: int):
        self.label = label
        self.kind = kind
        self.conversation_id = conversation_id
        self.occurred_us = occurred_us
        self.seq = seq
        self.fields = fields
        self.size = size
        self.given_id: str | None = None  # what its caller calls it
        self.parcels: list[Any] | None = None

    def id_of(self, seq: int) -> str:
        """The id of its event number `seq`, the same however often asked."""
        if self.given_id is None:
            return event_id(self.occurred_us, seq)
        return self.given_id if seq == self.seq else f"{self.given_id}:{seq - self.seq}"[-wire.MAX_ID_CHARS :]

    @property
    def event_id(self) -> str:
        """The id of its first event."""
        return self.id_of(self.seq)

    @property
    def timestamp(self) -> str:
        """When it was tracked, ISO 8601 with +00:00."""
        return wire.instant(self.occurred_us)[:-1] + "+00:00"


class Buffer:
    """Items per conversation, in the order they were tracked, within a bound of memory."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything; also what a forked child does, whose parent keeps what was there."""
        self.lock = threading.RLock()  # a signal handler may come in while its own thread holds it
        self.pending: dict[str, list[Item]] = {}
        self.count = self.bytes = 0
        self.dropped: Counter[str] = Counter()
        self._seq = 0

    def add(
        self,
        label: str,
        kind: str,
        conversation_id: str,
        fields: Any,
        size: int,
        span: int = 1,
        mark: Mark | None = None,
    ) -> tuple[Item, bool]:
        """Keep one item that becomes `span` events; False when there is no room and the caller has to find some."""
        with self.lock:
            seq = self._seq
            self._seq = seq + span
            item = Item(label, kind, conversation_id, now_us(), seq, fields, size)
            if mark is not None:
                item.given_id = mark.event_id
                item.occurred_us = item.occurred_us if mark.occurred_us is None else mark.occurred_us
            if self.count >= MAX_ITEMS or self.bytes + size > MAX_BYTES:
                return item, False
            self.count += 1
            self.bytes += size
            items = self.pending.get(conversation_id)
            if items is None:
                self.pending[conversation_id] = [item]
            else:
                items.append(item)
            return item, True

    def next_seq(self) -> int:
        """A number nothing else of this process has."""
        with self.lock:
            self._seq += 1
            return self._seq - 1

    def has_room(self, size: int) -> bool:
        """Whether an item of `size` bytes may come in."""
        return self.count < MAX_ITEMS and self.bytes + size <= MAX_BYTES

    def is_half_empty(self) -> bool:
        """Whether there is room for a segment of the spool."""
        return self.count <= MAX_ITEMS // 2 and self.bytes <= MAX_BYTES // 2

    def occupy(self, size: int) -> None:
        """Count something held elsewhere, such as what an earlier process left."""
        with self.lock:
            self.count += 1
            self.bytes += size

    def release(self, item: Item) -> None:
        """Its place is free again; the caller holds the lock."""
        self.count -= 1
        self.bytes -= item.size

    def drop(self, reason: str, how_many: int = 1) -> None:
        """Count what is lost, by reason."""
        with self.lock:
            self.dropped[reason] += how_many
