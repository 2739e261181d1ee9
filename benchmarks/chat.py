"""What the chat backend costs beside its model: own time a turn, first byte, many streams at once.

`python benchmarks/chat.py [--turns 200] [--streams 300] [--database URL]` starts three servers on free ports of this
machine: a fake model in this process's thread, the chat backend, and a bare FastAPI endpoint that streams the same
fake model with nothing stored; each of the latter two in a process of its own. One JSON line a figure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from pydantic import BaseModel

SECRET = "a-benchmark-secret-of-more-than-32-bytes"
WORDS = 40


class Body(BaseModel):
    """What the bare endpoint is sent."""

    message: str


class Paced:
    """A model that needs `prompt` milliseconds before its first word and between words, and says when it spoke."""

    provider, model = "paced", "paced-1"

    async def respond(self, turn: Any) -> AsyncIterator[Any]:
        from agentsight.chat.responder import Text, Usage

        async for word in words(turn.prompt):
            yield Text(word)
        yield Usage(10, WORDS)


async def words(prompt: str) -> AsyncIterator[str]:
    pause_s = float(prompt.split()[0]) / 1000
    for _ in range(WORDS):
        await asyncio.sleep(pause_s)
        yield f"{time.monotonic_ns()} "


def serve(kind: str, port: int, folder: str, url: str) -> None:
    """One of the two servers, in this process."""
    import uvicorn

    uvicorn.run(chat_app(folder, url) if kind == "chat" else bare_app(), port=port, log_level="critical")


def chat_app(folder: str, url: str) -> Any:
    from agentsight.chat.app import create_app
    from agentsight.chat.settings import Settings

    settings = Settings(
        data_dir=Path(folder), database_url=url or f"sqlite:///{folder}/chat.db", secrets=(SECRET,),
        runs_per_minute=10**6, live_runs=10**6,
    )  # fmt: skip
    return create_app(settings, responder=Paced())


def bare_app() -> Any:
    from fastapi import FastAPI
    from fastapi.responses import StreamingResponse

    app = FastAPI()

    @app.post("/api/{user_id}/chat/stream")
    async def stream(user_id: str, body: Body) -> StreamingResponse:
        async def lines() -> AsyncIterator[str]:
            async for word in words(body.message):
                yield json.dumps({"type": "text", "delta": word}) + "\n"
            yield '{"type": "done"}\n'

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    @app.post("/api/{user_id}/chat")
    async def whole(user_id: str, body: Body) -> dict[str, str]:
        return {"response": "".join([word async for word in words(body.message)])}

    @app.get("/healthz")
    async def healthy() -> dict[str, str]:
        return {"status": "ok"}

    return app


@contextmanager
def started(kind: str, url: str) -> Iterator[tuple[str, int]]:
    """A server process: its address and number."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [sys.executable, __file__, "--serve", kind, str(port), folder, url]
        process = subprocess.Popen(command, env=os.environ)
        address = f"http://127.0.0.1:{port}"
        try:
            while True:
                try:
                    httpx.get(f"{address}/healthz")
                    break
                except httpx.HTTPError:
                    time.sleep(0.05)
            yield address, process.pid
        finally:
            process.terminate()
            process.wait()


async def stream_once(http: httpx.AsyncClient, user: str, pause_ms: float) -> tuple[list[float], float, bool]:
    """How late each word came after the model said it, in ms; the whole in seconds; whether it ended well."""
    late, began, good = [], time.monotonic(), False
    body = {"message": f"{pause_ms} please"}
    headers = {"Authorization": f"Bearer {token(user)}"}
    async with http.stream("POST", f"/api/{user}/chat/stream", json=body, headers=headers) as answer:
        async for line in answer.aiter_lines():
            event = json.loads(line)
            if event["type"] == "text":
                late.append((time.monotonic_ns() - int(event["delta"])) / 1e6)
            good = event["type"] == "done"
    return late, time.monotonic() - began, good and len(late) == WORDS


def token(user: str) -> str:
    from agentsight.chat.settings import Settings
    from agentsight.chat.tokens import issue

    return issue(user, Settings(Path(), "sqlite://", secrets=(SECRET,)))


async def turns(address: str, count: int) -> list[float]:
    """Milliseconds of a whole turn beyond the model's own, one after another, in one growing conversation a user."""
    model_ms, costs = 0.0, []
    async with httpx.AsyncClient(base_url=address, timeout=60) as http:
        headers = {"Authorization": f"Bearer {token('solo')}"}
        conversation = None
        for number in range(count + 20):
            body: dict[str, Any] = {"message": f"{model_ms} please"}
            if conversation and number % 25:
                body["conversation_id"] = conversation
            began = time.perf_counter()
            answer = (await http.post("/api/solo/chat", json=body, headers=headers)).raise_for_status().json()
            costs.append((time.perf_counter() - began) * 1000)
            conversation = answer.get("conversation_id")
    return costs[20:]


def rss_mb(pid: int) -> float:
    """Resident memory of a process."""
    fields = Path(f"/proc/{pid}/status").read_text().split()
    return int(fields[fields.index("VmRSS:") + 1]) / 1024


async def crowd(address: str, pid: int, streams: int, pause_ms: float) -> dict[str, Any]:
    """Many streams at once: errors, how late the first and the other words came, memory at its most."""
    most = rss_mb(pid)
    limits = httpx.Limits(max_connections=streams, max_keepalive_connections=streams)
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as http:
        tasks = [asyncio.create_task(stream_once(http, f"u{number}", pause_ms)) for number in range(streams)]
        before = most
        while not all(task.done() for task in tasks):
            most = max(most, rss_mb(pid))
            await asyncio.sleep(0.1)
    results = [task.result() for task in tasks if not task.exception()]
    late = sorted(ms for result in results for ms in result[0])
    return {
        "errors": streams - sum(good for *_, good in results), "word_late_p50_ms": round(statistics.median(late), 1),
        "word_late_p95_ms": round(late[int(len(late) * 0.95)], 1), "rss_before_mb": round(before),
        "rss_most_mb": round(most),
    }  # fmt: skip


async def first_bytes(address: str, count: int) -> list[float]:
    """How late the first word came after the model said it, one stream at a time."""
    async with httpx.AsyncClient(base_url=address, timeout=60) as http:
        return [(await stream_once(http, "first", 1))[0][0] for _ in range(count)]


def spread(values: list[float]) -> dict[str, float]:
    """p50 and p95."""
    ordered = sorted(values)
    return {"p50_ms": round(statistics.median(ordered), 2), "p95_ms": round(ordered[int(len(ordered) * 0.95)], 2)}


def main() -> None:
    """Measure, and say it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--streams", type=int, default=300)
    parser.add_argument("--pause-ms", type=float, default=250, help="between words, with many streams")
    parser.add_argument("--database", default="", help="default: a SQLite file of its own")
    given = parser.parse_args()
    for kind in ("bare", "chat"):
        with started(kind, given.database if kind == "chat" else "") as (address, pid):
            for name, figures in (
                ("turn", lambda a=address: spread(asyncio.run(turns(a, given.turns)))),
                ("first word after the model's", lambda a=address: spread(asyncio.run(first_bytes(a, 50)))),
                (f"{given.streams} streams", lambda a=address, p=pid: asyncio.run(
                    crowd(a, p, given.streams, given.pause_ms))),
            ):  # fmt: skip
                print(json.dumps({"server": kind, "figure": name, **figures()}), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])
    else:
        main()
