"""Tracked items in order, until they are sent: which conversation this task is in, what time it is, how much may wait.

The current conversation lives in a `ContextVar`, so two requests served at once never see each other's. A plain
script has no tasks: there the last conversation set is current everywhere, as callers have always known it.
"""

from __future__ import annotations

import itertools
import math
import os
import sys
import threading
import time
from collections import Counter
from contextvars import ContextVar
from datetime import date, datetime
from datetime import time as clock_time
from enum import Enum
from typing import Any

from . import wire

MAX_ITEMS = 10_000  # in memory, sent or not
MAX_BYTES = 32 * 1024 * 1024
ITEM_BYTES = 600  # what an item weighs before its text

_scope: ContextVar[str | None] = ContextVar("agentsight_conversation", default=None)


# -- where we are ----------------------------------------------------------------------------------------------------
class Scope:
    """The conversation this task, thread or script is in."""

    def __init__(self) -> None:
        self._script: str | None = None

    def current(self) -> str | None:
        """Its id, None before there is one."""
        return _scope.get() or self._script

    def enter(self, conversation_id: str) -> None:
        """Make it current: here only, or everywhere when this is a plain script."""
        _scope.set(conversation_id)
        if not _apart():
            self._script = conversation_id

    def mark(self) -> tuple[str | None, str | None]:
        """What `leave` needs to come back here."""
        return _scope.get(), self._script

    def leave(self, mark: tuple[str | None, str | None]) -> None:
        """Go back to where `mark` was taken."""
        _scope.set(mark[0])
        if not _apart():
            self._script = mark[1]


def _apart() -> bool:
    """Whether this code runs beside other code: in an asyncio task, or in a thread that is not the first."""
    return in_event_loop() or threading.current_thread() is not threading.main_thread()


def in_event_loop() -> bool:
    """Whether blocking here would stall an asyncio event loop."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


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


# -- what was given --------------------------------------------------------------------------------------------------
_PLAIN = frozenset({str, int, bool, type(None)})


def snapshot(value: Any) -> Any:
    """A copy of `value` in JSON's types, so that changing the original later changes nothing here. Never raises.

    >>> snapshot({"when": datetime(2026, 1, 2), "how": {3}, "ratio": float("nan")})
    {'when': '2026-01-02T00:00:00', 'how': [3], 'ratio': 'NaN'}
    """
    if type(value) is dict:
        for key, child in value.items():
            if type(key) is not str or type(child) not in _PLAIN:
                return _Copier().copy(value)
        return value.copy()
    return value if type(value) in _PLAIN else _Copier().copy(value)


class _Copier:
    """One walk over a value: cycles are named, and what is too wide or deep is cut, visibly."""

    def __init__(self, max_depth: int = wire.MAX_METADATA_DEPTH, max_chars: int = wire.MAX_PAYLOAD_CHARS):
        self.max_depth, self.room, self.above = max_depth, max_chars, set[int]()

    def copy(self, node: Any, depth: int = 0) -> Any:
        kind = type(node)
        if self.room <= 0:
            return "…"
        self.room -= 1
        if kind is str:
            self.room -= len(node)
            return node if self.room >= 0 else node[: max(0, len(node) + self.room)] + "…"
        if node is None or kind is bool:
            return node
        if kind is int:
            return node if abs(node) <= wire.MAX_SAFE_INTEGER else _text(node)
        if kind is float:
            return node if math.isfinite(node) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(node, "NaN")
        if isinstance(node, Enum):
            return self.copy(node.value, depth)
        if isinstance(node, (datetime, date, clock_time)):
            return node.isoformat()
        if isinstance(node, (dict, list, tuple, set, frozenset)):
            return self._children(node, depth)
        return self.copy(_text(node), depth)

    def _children(self, node: Any, depth: int) -> Any:
        if id(node) in self.above:
            return "<cycle>"
        if depth >= self.max_depth:
            return "…"
        self.above.add(id(node))
        try:
            if isinstance(node, dict):
                some = itertools.islice(list(node.items()), wire.MAX_METADATA_KEYS)
                return {_text(getattr(key, "value", key))[:256]: self.copy(child, depth + 1) for key, child in some}
            return [self.copy(child, depth + 1) for child in list(node)]
        except Exception:  # a dict changed by another thread, a container that will not be walked
            return "<unreadable>"
        finally:
            self.above.discard(id(node))


def small(value: Any) -> Any:
    """`value` cut until it fits the limits of metadata."""
    return _Copier(wire.MAX_METADATA_DEPTH - 1, wire.MAX_METADATA_CHARS // 2).copy(value)


def _text(node: Any) -> str:
    try:
        return str(node)[:10_000]
    except Exception:
        return f"<unprintable {type(node).__name__}>"


def cut(text: str, max_chars: int = wire.MAX_CONTENT_CHARS) -> str:
    """`text`, its end replaced by a visible mark when it is too long to keep whole."""
    if len(text) <= max_chars:
        return text
    mark = f" … [cut: {len(text):,} characters]"
    return text[: max_chars - len(mark)] + mark


# -- what waits ------------------------------------------------------------------------------------------------------
class Item:
    """One thing tracked: the caller's name for it, and the events it becomes."""

    __slots__ = ("conversation_id", "error", "fields", "kind", "label", "occurred_us", "parcels", "queued", "response",
                 "seq", "size", "ticket", "trouble")  # fmt: skip

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
        self.parcels: list[Any] | None = None

    @property
    def event_id(self) -> str:
        """The id of its first event."""
        return event_id(self.occurred_us, self.seq)

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
        self, label: str, kind: str, conversation_id: str, fields: Any, size: int, span: int = 1
    ) -> tuple[Item, bool]:
        """Keep one item that becomes `span` events; False when there is no room and the caller has to find some."""
        with self.lock:
            seq = self._seq
            self._seq = seq + span
            item = Item(label, kind, conversation_id, now_us(), seq, fields, size)
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


def forget_parent() -> None:
    """Make ids of a forked child its own."""
    global _node
    _node = int.from_bytes(os.urandom(6), "big") & (2**42 - 1)
