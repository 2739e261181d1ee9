"""What reading and checking an event costs, beside a pydantic body as FastAPI reads it: `python benchmarks/decode.py` (T6)."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal

import ingest
import orjson
import table
from pydantic import BaseModel, Field, TypeAdapter
from table import Row

from agentsight import wire
from agentsight.server import batches


class _Event(BaseModel):
    id: str = Field(max_length=128)
    conversation_id: str = Field(max_length=255)
    occurred_at: datetime
    seq: int = 0
    metadata: dict[str, Any] = {}


class _Conversation(_Event):
    kind: Literal["conversation"]
    customer_id: str | None = Field(None, max_length=255)
    device: str | None = Field(None, max_length=255)
    source: str | None = Field(None, max_length=255)
    language: str | None = Field(None, max_length=255)
    environment: Literal["production", "development"] | None = None


class _Message(_Event):
    kind: Literal["message"]
    sender: Literal["end_user", "agent", "system"]
    content: str = Field(min_length=1, max_length=262_144)


class _Action(_Event):
    kind: Literal["action"]
    action_name: str = Field(max_length=255)
    duration_ms: float | None = None
    response: str | None = None


class _Batch(BaseModel):
    events: list[Annotated[_Conversation | _Message | _Action, Field(discriminator="kind")]]


def best_us(read: Callable[[], Any], events: int, rounds: int = 15) -> float:
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        read()
        taken.append((time.process_time() - began) / events * 1e6)
    return statistics.median(sorted(taken)[: rounds // 2])


def main() -> None:
    body = ingest.bodies(1, 500, 7, senders=1)[0][0]
    adapter = TypeAdapter(_Batch)

    def drafts() -> None:
        batch = batches.read(body)
        if batch is None or batches.drafts(batch) is None:
            raise RuntimeError("the benchmark's own events are not sound")

    ours = best_us(lambda: batches.read(body), 500)
    whole = best_us(drafts, 500)
    apart = best_us(lambda: [wire.parse(item) for item in orjson.loads(body)["events"]], 500)
    theirs = best_us(lambda: adapter.validate_python(json.loads(body)), 500)
    told = "decode and check an event, to a pydantic body"
    drafted = "the same and the rules that are no types, to a pydantic body"
    one_by_one = "the same where an event of the batch has to be mended, to a pydantic body"
    table.give(
        [
            Row("T6", told, f"{ours:.2f} us", f"{theirs:.2f} us", ours / theirs, "<= 0.25"),
            Row("", drafted, f"{whole:.2f} us", f"{theirs:.2f} us", whole / theirs),
            Row("", one_by_one, f"{apart:.2f} us", f"{theirs:.2f} us", apart / theirs),
        ]
    )


if __name__ == "__main__":
    main()
