"""How the routes that read their own bodies describe themselves in /openapi.json, from the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentsight import wire


def query(named: Mapping[str, str]) -> dict[str, Any]:
    """Query parameters, all optional: name -> what it says."""
    return {
        "parameters": [
            {"name": name, "in": "query", "required": False, "description": says, "schema": {"type": "string"}}
            for name, says in named.items()
        ]
    }


def body(kind: str, /, **more: Mapping[str, Any]) -> dict[str, Any]:
    """The body of an older client's route: the fields of an event kind and where it belongs."""
    schema = wire.json_schema(kind)
    own = {name: field for name, field in schema["properties"].items() if name in wire.EVENTS[kind]}
    place = {
        "timestamp": {"type": "string", "format": "date-time", "description": "when it happened; absent: now"},
        "conversation": {"type": ["integer", "null"], "description": "our id of the conversation"},
        "conversation_id": {"type": ["string", "null"], "description": "the caller's id of it; made when unknown"},
    }
    return fields(place | own | more)


def fields(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """A body that is an object of these fields, none of them required."""
    properties = {name: of for part in parts for name, of in part.items()}
    return json_body({"type": "object", "properties": properties})


def json_body(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": dict(schema)}}}}


BATCH = json_body(
    {
        "type": "object",
        "required": ["events"],
        "properties": {
            "sdk": {"type": "object"},
            "sent_at": {"type": "string", "format": "date-time", "description": "the client's clock, to correct it by"},
            "dropped": {"type": "object", "description": "what the client had to drop: reason -> how many"},
            "events": {
                "type": "array",
                "minItems": 1,
                "maxItems": wire.MAX_BATCH_EVENTS,
                "items": {"oneOf": [wire.json_schema(kind) for kind in wire.EVENTS]},
            },
        },
    }
)
FILES = json_body(
    {
        "type": "object",
        "required": ["attachments"],
        "properties": {
            "attachments": {
                "type": "array",
                "maxItems": wire.MAX_FILES,
                "items": {
                    "type": "object",
                    "required": ["data"],
                    "properties": {
                        "filename": {"type": "string"},
                        "mime_type": {"type": "string"},
                        "data": {"type": "string", "contentEncoding": "base64"},
                    },
                },
            },
            "message": {"type": "integer", "description": "the message they belong to; absent: they stand alone"},
            "conversation": {"type": ["integer", "null"]},
            "conversation_id": {"type": ["string", "null"]},
            "sender": {"type": "string", "enum": list(wire.SENDERS)},
            "metadata": {"type": "object"},
            "timestamp": {"type": "string", "format": "date-time"},
        },
    }
)
