"""Copies of what callers hand over, in JSON's types and of bounded size, so that later changes do no harm."""

from __future__ import annotations

import itertools
import math
from datetime import date, datetime
from datetime import time as clock_time
from enum import Enum
from typing import Any

from . import wire

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
