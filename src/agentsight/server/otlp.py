"""OTLP over HTTP, protobuf and JSON, read into plain spans. The few messages of a trace need no library.

Source: opentelemetry-proto 1.x, `trace.proto`, `common.proto` and `resource.proto`; the JSON mapping writes ids in hex and
64-bit numbers as text.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentsight.errors import Invalid

MAX_DEPTH = 16
Fields = dict[int, list[Any]]


@dataclass(slots=True)
class Span:
    """One span, with the attributes of its resource."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start_us: int
    end_us: int
    attributes: dict[str, Any]
    resource: dict[str, Any]
    events: list[tuple[str, int, dict[str, Any]]] = field(default_factory=list)  # name, when, attributes
    failed: bool = False
    status: str = ""


# -- protobuf --------------------------------------------------------------------------------------------------------
def from_protobuf(body: bytes) -> list[Span]:
    """The spans of an ExportTraceServiceRequest. Raises Invalid when it is none."""
    try:
        return [
            _span(_fields(span), resource)
            for resource_spans in _messages(_fields(body), 1)
            for resource in (_attributes(_first(_messages(resource_spans, 1)), 1),)
            for scope_spans in _messages(resource_spans, 2)
            for span in scope_spans.get(2, ())
        ]
    except (ValueError, IndexError, struct.error, UnicodeDecodeError, TypeError, AttributeError) as wrong:
        raise Invalid.of("body", "is not an OTLP trace request in protobuf") from wrong


def _span(told: Fields, resource: dict[str, Any]) -> Span:
    status = _first(_messages(told, 15))
    return Span(
        _bytes(told, 1).hex(),
        _bytes(told, 2).hex(),
        _bytes(told, 4).hex(),
        _text(told, 5),
        _fixed(told, 7) // 1000,
        _fixed(told, 8) // 1000,
        _attributes(told, 9),
        resource,
        [(_text(event, 2), _fixed(event, 1) // 1000, _attributes(event, 3)) for event in _messages(told, 11)],
        status.get(3, [0])[-1] == 2,
        _text(status, 2),
    )


def _attributes(told: Fields, number: int) -> dict[str, Any]:
    pairs = _messages(told, number)
    return {_text(pair, 1): _value(_first(_messages(pair, 2)), MAX_DEPTH) for pair in pairs}


def _value(told: Fields, depth: int) -> Any:
    if depth == 0:
        raise ValueError("nested too deep")
    for number, values in told.items():
        last = values[-1]
        match number:
            case 1:
                return last.decode("utf-8", "replace")
            case 2:
                return bool(last)
            case 3:
                return last - 2**64 if last >= 2**63 else last
            case 4:
                return struct.unpack("<d", last)[0]
            case 5:
                return [_value(_fields(item), depth - 1) for item in _fields(last).get(1, ())]
            case 6:
                pairs = [_fields(item) for item in _fields(last).get(1, ())]
                return {_text(pair, 1): _value(_first(_messages(pair, 2)), depth - 1) for pair in pairs}
            case 7:
                return base64.b64encode(last).decode()
    return None


def _fields(data: bytes) -> Fields:
    """What a message holds: field number -> its values; numbers as int, all else as bytes."""
    found: Fields = {}
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        value: int | bytes
        if kind == 0:
            value, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = data[at : at + size], at + size
        elif kind == 2:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            raise ValueError("a group, which OTLP does not have")
        if at > end:
            raise ValueError("cut short")
        found.setdefault(number, []).append(value)
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number without end")


def _messages(told: Fields, number: int) -> list[Fields]:
    return [_fields(item) for item in told.get(number, ())]


def _first(messages: list[Fields]) -> Fields:
    return messages[-1] if messages else {}


def _bytes(told: Fields, number: int) -> bytes:
    return bytes(told.get(number, [b""])[-1])


def _text(told: Fields, number: int) -> str:
    return _bytes(told, number).decode("utf-8", "replace")


def _fixed(told: Fields, number: int) -> int:
    return int.from_bytes(_bytes(told, number), "little")


# -- JSON ------------------------------------------------------------------------------------------------------------
def from_json(document: Mapping[str, Any]) -> list[Span]:
    """The spans of an ExportTraceServiceRequest in JSON. Raises Invalid when it is none."""
    listed = document.get("resourceSpans")
    if not isinstance(listed, list):
        raise Invalid.of("resourceSpans", "must be an array")
    try:
        return list(_json_spans(listed))
    except (ValueError, TypeError, AttributeError, KeyError) as wrong:
        raise Invalid.of("resourceSpans", "is not an OTLP trace request") from wrong


def _json_spans(listed: list[Any]) -> Iterator[Span]:
    for resource_spans in listed:
        resource = _json_attributes(resource_spans.get("resource") or {})
        for scope_spans in resource_spans.get("scopeSpans") or ():
            for told in scope_spans.get("spans") or ():
                status = told.get("status") or {}
                yield Span(
                    str(told.get("traceId") or "").lower(),
                    str(told.get("spanId") or "").lower(),
                    str(told.get("parentSpanId") or "").lower(),
                    str(told.get("name") or ""),
                    int(told.get("startTimeUnixNano") or 0) // 1000,
                    int(told.get("endTimeUnixNano") or 0) // 1000,
                    _json_attributes(told),
                    resource,
                    [
                        (
                            str(event.get("name") or ""),
                            int(event.get("timeUnixNano") or 0) // 1000,
                            _json_attributes(event),
                        )
                        for event in told.get("events") or ()
                    ],
                    status.get("code") in (2, "STATUS_CODE_ERROR"),
                    str(status.get("message") or ""),
                )


def _json_attributes(told: Mapping[str, Any]) -> dict[str, Any]:
    return {str(pair["key"]): _json_value(pair.get("value"), MAX_DEPTH) for pair in told.get("attributes") or ()}


def _json_value(told: Any, depth: int) -> Any:
    if depth == 0:
        raise ValueError("nested too deep")
    for kind, value in (told or {}).items():
        match kind:
            case "intValue":
                return int(value)
            case "arrayValue":
                return [_json_value(item, depth - 1) for item in value.get("values") or ()]
            case "kvlistValue":
                return {
                    str(pair["key"]): _json_value(pair.get("value"), depth - 1) for pair in value.get("values") or ()
                }
            case _:
                return value
    return None


# -- the answer ------------------------------------------------------------------------------------------------------
def partial_success(rejected: int, why: str) -> bytes:
    """An ExportTraceServiceResponse in protobuf; empty when all went well."""
    if not rejected:
        return b""
    text = why.encode()[:100]
    inner = b"\x08" + _written(rejected) + b"\x12" + _written(len(text)) + text
    return b"\x0a" + _written(len(inner)) + inner


def _written(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
