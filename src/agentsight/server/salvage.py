"""A batch that is not clean JSON, taken apart event by event, so that one bad event never costs its neighbours.

Only reached when the fast decoder refuses the whole body (NaN, a lone surrogate, endless depth somewhere in it).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from agentsight.errors import Invalid, InvalidEvent

from . import bodies

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}:,]|[^\s"\[\]{}:,]+', re.DOTALL)
_OPEN, _CLOSE = frozenset("[{"), frozenset("]}")


def batch(body: bytes) -> dict[str, Any]:
    """The document with every event decoded on its own; one that cannot be is an InvalidEvent in its place.

    Raises:
        Invalid: the body is not even an object of balanced brackets.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid.of("body", "must be UTF-8") from None
    document: dict[str, Any] = {}
    for name, value in _members(text):
        document[name] = [_event(item) for item in _items(value)] if name == "events" else _value(value)
    return document


def _value(text: str) -> Any:
    try:
        return bodies.decode(text.encode("utf-8", "surrogatepass"))
    except Invalid:
        return None


def _event(text: str) -> Any:
    """One event, or the InvalidEvent that names its first bad field."""
    if not text.startswith("{"):
        return _value(text)
    event: dict[str, Any] = {}
    wrong: InvalidEvent | None = None
    for name, value in _members(text):
        try:
            event[name] = bodies.decode(value.encode("utf-8", "surrogatepass"))
        except Invalid as refused:
            reason = next(iter(refused.fields.values()), [str(refused)])[0]
            wrong = wrong or InvalidEvent(name[:100] or "body", reason)
    if wrong is None:
        return event
    wrong.event_id = event.get("id") if isinstance(event.get("id"), str) else None
    return wrong


def _members(text: str) -> Iterator[tuple[str, str]]:
    """Name and raw value of each member of a JSON object."""
    for member in _split(text, "{"):
        match = _TOKEN.match(member)
        rest = member[match.end() :].lstrip() if match else ""
        if match is None or not match[0].startswith('"') or not rest.startswith(":"):
            raise Invalid.of("body", "is not JSON")
        yield str(bodies.decode(match[0].encode("utf-8", "surrogatepass"))), rest[1:].strip()


def _items(text: str) -> Iterator[str]:
    """The raw items of a JSON array."""
    yield from _split(text, "[")


def _split(text: str, bracket: str) -> Iterator[str]:
    text = text.strip()
    if not text.startswith(bracket):
        raise Invalid.of("body", "must be an object with an array of events")
    depth, start = 0, 1
    for token in _TOKEN.finditer(text):
        sign = token[0]
        if sign in _OPEN:
            depth += 1
        elif sign in _CLOSE:
            depth -= 1
            if depth == 0:
                if text[start : token.start()].strip():
                    yield text[start : token.start()].strip()
                if text[token.end() :].strip():
                    raise Invalid.of("body", "has something after its end")
                return
        elif sign == "," and depth == 1:
            yield text[start : token.start()].strip()
            start = token.end()
    raise Invalid.of("body", "is JSON cut short")
