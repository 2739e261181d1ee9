"""How the routes that read their own bodies describe themselves in /openapi.json, from the contract."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from agentsight import errors, wire


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
    required = [name for name in schema["required"] if name in own]
    return fields(place | own | more, required=["conversation_id"] if kind == "conversation" else required)


def fields(*parts: Mapping[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    """A body that is an object of these fields."""
    properties = {name: of for part in parts for name, of in part.items()}
    return json_body({"type": "object", "properties": properties} | ({"required": required} if required else {}))


def json_body(schema: Mapping[str, Any], **others: Mapping[str, Any]) -> dict[str, Any]:
    """A body in JSON; `others`: content types it may have instead."""
    content = {"application/json": {"schema": dict(schema)}} | {kind: {"schema": of} for kind, of in others.items()}
    return {"requestBody": {"required": True, "content": content}}


# -- what all operations share ---------------------------------------------------------------------------------------
KNOWN: Final[dict[int | str, dict[str, Any]]] = {200: {"description": "It was stored before"}}
"""Beside 201, of routes that take the same again for what it is."""

_REFUSALS = (errors.Invalid, errors.Unauthorized, errors.Forbidden, errors.NotFound, errors.Conflict,
             errors.RateLimited, errors.ServerFailed)  # fmt: skip
_OF_BODIES = (errors.TooLarge, errors.UnsupportedMedia)
_ERROR = {
    "type": "object",
    "required": ["detail", "code", "request_id"],
    "properties": {
        "detail": {"type": "string", "description": "for people"},
        "code": {"type": "string", "description": "for programs"},
        "fields": {
            "type": "object",
            "description": "what is wrong with which field",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
        "request_id": {"type": "string", "description": "the header X-Request-ID, and the log's word for it"},
    },
}


def complete(document: dict[str, Any], opened: Collection[tuple[str, str]]) -> None:
    """Say of every operation who may ask and how it refuses. `opened`: method and path of those open to anybody."""
    key = {"type": "apiKey", "in": "header", "name": "Authorization", "description": "Api-Key ags_..."}
    refusals = {
        refusal.__name__: {
            "description": (refusal.__doc__ or "").partition("\n")[0],
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
        for refusal in (*_REFUSALS, *_OF_BODIES)
    }
    document["components"] = {"schemas": {"Error": _ERROR}, "securitySchemes": {"key": key}, "responses": refusals}
    document["security"] = [{"key": []}]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            responses.pop("422", None)  # FastAPI's own; bodies are read by the contract here
            if (method.upper(), path) in opened:
                operation["security"] = []
            possible = (*_REFUSALS, *(_OF_BODIES if "requestBody" in operation else ()))
            responses |= {str(one.status): {"$ref": f"#/components/responses/{one.__name__}"} for one in possible}


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
    },
    **{
        "multipart/form-data": {
            "type": "object",
            "description": "the same fields; files are attachment_0, attachment_1, ...; metadata is JSON text",
            "properties": {"attachment_0": {"type": "string", "format": "binary"}},
        }
    },
)
OTLP = json_body({"type": "object"}, **{"application/x-protobuf": {"type": "string", "format": "binary"}})
