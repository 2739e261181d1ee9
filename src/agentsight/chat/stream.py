"""A run's events as lines: NDJSON, or the same lines as server-sent events."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

STREAM_HEADERS = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
NDJSON, SSE = "application/x-ndjson", "text/event-stream"


class Line(NamedTuple):
    """One event, encoded once for all who follow. `seq` 0 is a ping."""

    seq: int
    type: str
    json: bytes


PING = Line(0, "ping", b'{"type":"ping"}')


def line(seq: int, kind: str, **fields: Any) -> Line:
    """The line of one event."""
    body = {"seq": seq, "type": kind, **fields}
    return Line(seq, kind, json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())


def as_ndjson(lines: list[Line]) -> bytes:
    r"""One JSON object a line.

    >>> as_ndjson([PING])
    b'{"type":"ping"}\n'
    """
    return b"".join(one.json + b"\n" for one in lines)


def as_sse(lines: list[Line]) -> bytes:
    r"""Server-sent events whose id is the event's number; a ping is a comment.

    >>> as_sse([PING, line(1, "text", delta="Hi")])
    b': ping\n\nid: 1\nevent: text\ndata: {"seq":1,"type":"text","delta":"Hi"}\n\n'
    """
    return b"".join(
        b"id: %d\nevent: %s\ndata: %s\n\n" % (one.seq, one.type.encode(), one.json) if one.seq else b": ping\n\n"
        for one in lines
    )


def encoder(accept: str) -> tuple[str, Any]:
    """The media type a client asks for, and how to write it: server-sent events by name, else NDJSON."""
    return (SSE, as_sse) if SSE in accept.lower() else (NDJSON, as_ndjson)
