"""Where the chats are tracked, as far as the chat backend can tell: batches in, repeats dropped, trouble on demand."""

from __future__ import annotations

import gzip
import json
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from agentsight import wire

KEY = "ags_" + "0123456789abcdef" * 2 + "_abcdef"


class FakeAgentSight:
    """Keeps events by id, checks each against the contract, and counts what came twice."""

    address = ""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.repeats = 0
        self.status = 200
        self.poison = ""  # a batch with a message of this content is refused
        self.lose_answers = 0  # so many batches are stored, but their answer is lost
        self.app = Starlette(routes=[Route("/api/batch/", self.batch, methods=["POST"])])

    async def batch(self, request: Request) -> Response:
        if request.headers["authorization"] != f"Api-Key {KEY}":
            return JSONResponse({"detail": "no"}, 401)
        if self.status != 200:
            return JSONResponse({"detail": "not now"}, self.status, {"Retry-After": "0.05"})
        body = await request.body()
        plain = gzip.decompress(body) if request.headers.get("content-encoding") == "gzip" else body
        events = json.loads(plain)["events"]
        if any(self.poison and self.poison == event.get("content") for event in events):
            return JSONResponse({"detail": "this batch makes no sense"}, 400)
        results = [self.take(event) for event in events]
        if self.lose_answers:
            self.lose_answers -= 1
            return Response(status_code=502)
        return JSONResponse({"results": results})

    def take(self, event: dict[str, Any]) -> dict[str, Any]:
        wire.parse(event)  # an event that breaks the contract is a test that fails
        self.repeats += event["id"] in self.events
        self.events.setdefault(event["id"], event)
        return {"id": event["id"], "verdict": "accepted"}

    def of(self, run_id: str) -> dict[str, dict[str, Any]]:
        """The events of one run, by the last part of their id."""
        prefix = f"run:{run_id}:"
        return {key.removeprefix(prefix): event for key, event in self.events.items() if key.startswith(prefix)}
