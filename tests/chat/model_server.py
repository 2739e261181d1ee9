"""A deterministic OpenAI-compatible server on a real port: the model behind the vendors in these tests.

It answers by rules over the last user message. Words in that message make trouble on demand:
`!500 !429 !401 !quota !refuse` HTTP errors, `!html` a page instead of an answer, `!slow` 50 ms a word,
`!hang` nothing for a minute after the first byte, `!mute` nothing at all, `!cut` the socket breaks, `!short` the stream
ends early, `!flood` 10 MB, `!loop` tool calls without end, `!say TEXT` exactly TEXT.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

RULES: list[tuple[str, str, Any]] = [
    (r"add (?:a task )?(?:to )?([^!]+)", "add_task", lambda m: {"title": m[1].strip(" .")}),
    (r"list|show", "list_tasks", lambda m: {}),
    (r"complete\D*(\d+)", "complete_task", lambda m: {"task_id": int(m[1])}),
    (r"rename (\d+) to (.+)", "update_task", lambda m: {"task_id": int(m[1]), "title": m[2]}),
    (r"delete\D*(\d+)", "delete_task", lambda m: {"task_id": int(m[1])}),
]
ERRORS = {"!500": (500, "server_error"), "!429": (429, "rate_limit_exceeded"), "!401": (401, "invalid_api_key"),
          "!quota": (429, "insufficient_quota"), "!refuse": (400, "content_policy_violation")}  # fmt: skip
SECRET = "internal detail that must not leak"
numbers = itertools.count(1)
seen: list[dict[str, Any]] = []


def words(text: str) -> list[str]:
    return re.findall(r"\s*\S+\s*$|\s*\S+\s*", text)


def flat(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or [])


def decide(messages: list[dict[str, Any]], tools: set[str]) -> tuple[str, dict[str, Any]] | str:
    asked = max(i for i, message in enumerate(messages) if message["role"] == "user")
    prompt = flat(messages[asked]["content"])
    results = [flat(message["content"]) for message in messages[asked + 1 :] if message["role"] == "tool"]
    if "!loop" in prompt and tools:
        return "list_tasks", {}
    if results:
        return "Done: " + "; ".join(results)
    if "!say " in prompt:
        return prompt.split("!say ", 1)[1]
    for pattern, name, arguments in RULES:
        if name in tools and (match := re.search(pattern, prompt, re.IGNORECASE)):
            return name, arguments(match)
    turns = sum(message["role"] == "user" for message in messages)
    return f"You said {prompt!r} in turn {turns}. " + "And so on, word by word. " * 4 * ("!" in prompt)


def trouble(prompt: str) -> Response | None:
    for word, (status, code) in ERRORS.items():
        if word in prompt:
            error = {"message": SECRET, "type": code, "code": code}
            return JSONResponse({"error": error}, status, {"x-should-retry": "false"})
    return HTMLResponse(f"<h1>{SECRET}</h1>") if "!html" in prompt else None


async def completions(request: Request) -> Response:
    body = await request.json()
    seen.append(body)
    messages = body["messages"]
    prompt = next(flat(message["content"]) for message in messages[::-1] if message["role"] == "user")
    if answer := trouble(prompt):
        return answer
    if "!mute" in prompt:
        await asyncio.sleep(60)
    decision = decide(messages, {tool["function"]["name"] for tool in body.get("tools") or []})
    return StreamingResponse(chunks(body, prompt, decision), media_type="text/event-stream")


async def chunks(body: dict[str, Any], prompt: str, decision: Any) -> AsyncIterator[str]:
    base = {"id": f"c-{next(numbers)}", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        return "data: " + json.dumps({**base, "choices": choices, **more}) + "\n\n"

    yield chunk({"role": "assistant", "content": ""})
    if "!hang" in prompt:
        await asyncio.sleep(60)
    if isinstance(decision, tuple):
        name, arguments = decision
        call = {"index": 0, "id": f"call_{next(numbers)}", "type": "function"}
        yield chunk({"tool_calls": [{**call, "function": {"name": name, "arguments": ""}}]})
        text = json.dumps(arguments)
        for piece in (text[:5], text[5:]):
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    else:
        for number, word in enumerate(["flood " * 10_000] * 170 if "!flood" in prompt else words(decision)):
            if "!slow" in prompt:
                await asyncio.sleep(0.05)
            if number == 3 and "!short" in prompt:
                return
            if number == 3 and "!cut" in prompt:
                raise ConnectionError("cut")
            yield chunk({"content": word})
    yield chunk({}, "tool_calls" if isinstance(decision, tuple) else "stop")
    if (body.get("stream_options") or {}).get("include_usage"):
        usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
        yield "data: " + json.dumps({**base, "choices": [], "usage": usage}) + "\n\n"
    yield "data: [DONE]\n\n"


app = Starlette(routes=[Route("/v1/chat/completions", completions, methods=["POST"])])


@contextmanager
def served(asgi: Any, **options: Any) -> Iterator[str]:
    """`asgi` on a free port of this machine, in a thread; gives its address."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(asgi, log_level="critical", timeout_graceful_shutdown=1, **options))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
