"""Values as JSON that every database can hold."""

from __future__ import annotations

import json
import re
from typing import Any

from agentsight.wire import storable

MAX_JSON_CHARS = 65_536
MAX_NATIVE_CHARS = 1_000_000
_ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def as_json(value: Any) -> Any:
    """`value` as JSON that every database can hold; over 64 KB only its beginning, marked.

    >>> from datetime import datetime
    >>> as_json({"when": datetime(2026, 1, 2), "odd": "a\\x00b", "much": float("inf")})
    {'when': '2026-01-02 00:00:00', 'odd': 'a␀b', 'much': 'Infinity'}
    """
    text = _json_text(value)
    if len(text) <= MAX_JSON_CHARS:
        return json.loads(text, parse_constant=str)
    return {"truncated": True, "beginning": text[:MAX_JSON_CHARS]}


def native_json(messages: Any) -> Any:
    """A vendor's record as JSON, or None when it is too large to keep: the text is kept anyway."""
    text = _json_text(messages)
    return json.loads(text, parse_constant=str) if len(text) <= MAX_NATIVE_CHARS else None


def _json_text(value: Any) -> str:
    text = storable(json.dumps(value, default=str, ensure_ascii=False, skipkeys=True))
    return _ESCAPED_NUL.sub(r"\1␀", text)
