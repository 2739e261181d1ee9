"""What requests bring: read whole within bounds of size, time and memory, unpacked, and decoded strictly."""

from __future__ import annotations

import asyncio
import json
import zlib
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from agentsight.errors import Invalid, InvalidEvent, ServerFailed, TooLarge, UnsupportedMedia

from .http import header

MOST_HELD_BYTES = 48 * 1024 * 1024  # of batches being stored; decoded they take about five times as much
OBJECT_BYTES = 1_048_576  # of a request that changes one thing
BODY_S = 30  # a body that takes longer is cut


async def read_body(request: Request, most: int) -> bytes:
    """The whole body, gunzipped where it says so.

    Raises:
        TooLarge: it is over `most` bytes, before or after gunzip.
        Invalid: it is cut short, not gzip though it says so, or takes too long to arrive.
        UnsupportedMedia: another encoding.
    """
    encoding = header(request, b"content-encoding").strip().lower()
    if encoding not in ("identity", "gzip", ""):
        raise UnsupportedMedia(f"Content-Encoding {encoding[:40]} is not read; send gzip or none")
    if declared_bytes(request) > most:
        raise over(most)
    try:
        async with asyncio.timeout(BODY_S):
            body = await _collect(request, most)
    except TimeoutError:
        raise Invalid.of("body", f"did not arrive within {BODY_S} seconds") from None
    except ClientDisconnect:
        raise Invalid.of("body", "was cut short") from None
    return _gunzip(body, most) if encoding == "gzip" else body


def declared_bytes(request: Request) -> int:
    """What Content-Length says, 0 where it says nothing usable."""
    length = header(request, b"content-length")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 19 else 0


def over(most: int) -> TooLarge:
    """The refusal of a body over `most` bytes."""
    return TooLarge(f"the body is over {most // 1_000_000} MB; send it in parts")


async def _collect(request: Request, most: int) -> bytes:
    chunks: list[bytes] = []
    size, is_more = 0, True
    while is_more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect()
        chunks.append(message.get("body", b""))
        size, is_more = size + len(chunks[-1]), message.get("more_body", False)
        if size > most:
            raise over(most)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def capped(receive: Receive, most: int) -> Receive:
    """`receive` that refuses to hand over more than `most` bytes in all."""
    size = 0

    async def counting() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > most:
            raise over(most)
        return message

    return counting


def _gunzip(body: bytes, most: int) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    try:
        plain = inflater.decompress(body, most + 1)
    except zlib.error:
        raise Invalid.of("body", "is not gzip, though Content-Encoding says so") from None
    if len(plain) > most:
        raise over(most)
    if not inflater.eof:
        raise Invalid.of("body", "is gzip cut short")
    if inflater.unused_data.strip(b"\x00"):
        raise Invalid.of("body", "has something after its gzip")
    return plain


class Room:
    """How much of batches is in memory at once; what comes beyond is asked to come back, so that memory has an end."""

    def __init__(self, most: int = MOST_HELD_BYTES):
        self._most, self._held = most, 0

    def take(self, size: int) -> int:
        """Room for `size` bytes, to be given back. Raises ServerFailed when there is none; one always fits."""
        if self._held and self._held + size > self._most:
            raise ServerFailed("too much at once; try again", retry_after_s=1)
        self._held += size
        return size

    def give(self, size: int) -> None:
        self._held -= size


class HeldBody:
    """The body, with room for it until the end of the block: first for what it says it is, then for what it unpacked to."""

    def __init__(self, request: Request, most: int):
        self._request, self._most, self._held = request, most, 0
        self._room: Room = request.app.state.room

    async def __aenter__(self) -> bytes:
        self._held = self._room.take(declared_bytes(self._request))
        try:
            body = await read_body(self._request, self._most)
            self._held += self._room.take(max(0, len(body) - self._held))
        except BaseException:
            self._room.give(self._held)
            raise
        return body

    async def __aexit__(self, *_: object) -> None:
        self._room.give(self._held)


def require_json(request: Request) -> None:
    """Raises UnsupportedMedia when the body says it is something else. Old clients always say JSON; silence is fine."""
    told = header(request, b"content-type", "application/json").partition(";")[0].strip().lower()
    if told != "application/json" and not told.endswith("+json"):
        raise UnsupportedMedia("send the body as application/json")


async def json_object(request: Request) -> dict[str, Any]:
    """The JSON object a request of no great size brings. Raises Invalid, TooLarge, UnsupportedMedia."""
    require_json(request)
    return decode_object(await read_body(request, OBJECT_BYTES))


def decode_object(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises Invalid, naming the field where one is to blame."""
    document = decode(body)
    if not isinstance(document, dict):
        raise Invalid.of("body", "must be a JSON object")
    return document


def decode(body: bytes) -> Any:
    """A JSON document; what no JSON document may hold (NaN, one name twice, endless depth) is refused by name."""
    if not body:
        raise Invalid.of("body", "must be JSON; it is empty")
    try:
        text = body.decode("utf-8-sig")
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_unique)
    except UnicodeDecodeError:
        raise Invalid.of("body", "must be UTF-8") from None
    except RecursionError:
        raise Invalid.of("body", "is nested too deep") from None
    except InvalidEvent as wrong:
        raise Invalid.of(wrong.field, wrong.reason) from None
    except ValueError as wrong:
        raise Invalid.of("body", f"is not JSON: {str(wrong)[:120]}") from None


def _no_constant(name: str) -> float:
    raise InvalidEvent("body", f"holds {name}, which JSON does not have")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise InvalidEvent("body", f"holds {text[:40]}, which is too large for a number")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidEvent(twice[:100] or "body", "is given twice")
    return unique
