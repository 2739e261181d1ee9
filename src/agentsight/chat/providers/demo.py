"""Rules instead of a model: it says so, and it really uses the tools. No key, no vendor."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

from mcp import Client
from mcp.server import MCPServer

from agentsight.chat.responder import Event, Text, ToolCall, ToolResult, Turn, Usage
from agentsight.chat.settings import Settings

HELP = (
    "I am the rule-based demo, not an AI model. Try: **add** buy milk · **list tasks** · **complete** 1 · "
    "**rename** 1 **to** buy oat milk · **delete** 1."
)
Arguments = Callable[[re.Match[str]], dict[str, Any]]
RULES: list[tuple[str, str, Arguments, str]] = [
    (r"\s*(?:please )?add (?:a task )?(?:to )?(.+?)[\s.!]*", "add_task", lambda m: {"title": m[1]}, "Added"),
    (r"\s*rename\D*(\d+) to (.+?)\s*", "update_task", lambda m: {"task_id": int(m[1]), "title": m[2]}, "Renamed"),
    (r"\s*(?:complete|finish)\D*(\d+)\D*", "complete_task", lambda m: {"task_id": int(m[1])}, "Done"),
    (r"\s*(?:delete|remove)\D*(\d+)\D*", "delete_task", lambda m: {"task_id": int(m[1])}, "Deleted"),
    (r"(?:.*\b(?:list|show|what)\b.*\btasks?\b.*|\s*list\W*)", "list_tasks", lambda m: {}, ""),
]


class Responder:
    """Knows five sentences, and which tool each of them asks for."""

    provider, model = "demo", "demo-rules"

    def __init__(self, todo: MCPServer):
        self.todo = todo

    async def respond(self, turn: Turn) -> AsyncIterator[Event]:
        """The answer of the first rule that fits, word by word."""
        text = HELP
        for pattern, tool, arguments, done in RULES:
            if match := re.fullmatch(pattern, turn.prompt, re.IGNORECASE | re.DOTALL):
                call = ToolCall(uuid.uuid4().hex, tool, arguments(match))
                yield call
                result = await self._use(call)
                yield result
                text = _say(result, done)
                break
        for word in re.findall(r"\S+\s*", text):
            yield Text(word)
        yield Usage(0, 0)

    async def _use(self, call: ToolCall) -> ToolResult:
        async with Client(self.todo) as client:
            answer = await client.call_tool(call.tool_name, call.parameters)
        if answer.is_error:
            return ToolResult(call.call_id, getattr(answer.content[0], "text", "it failed"), is_error=True)
        structured = dict(answer.structured_content or {})
        return ToolResult(call.call_id, structured["result"] if set(structured) == {"result"} else structured)


def _say(answer: ToolResult, done: str) -> str:
    if answer.is_error:
        return f"That did not work: {str(answer.result).split(': ', 1)[-1]}"
    if isinstance(answer.result, dict):
        return f"{done}: {answer.result['id']}. {answer.result['title']}"
    lines = [f"- {'☑' if task['completed'] else '☐'} {task['id']}. {task['title']}" for task in answer.result]
    return "\n".join(lines) or "No tasks yet."


def open(settings: Settings, todo: MCPServer) -> Responder:
    """The demo over the todo tools; it needs no settings."""
    return Responder(todo)
