"""A responder whose prompts are its script: the model of the tests that are not about vendors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from agentsight.chat.responder import Event, Text, ToolCall, ToolResult, Turn, Usage


class Scripted:
    """`slow N`: N words, 20 ms each. `say TEXT`, `blurt TEXT` in one piece. `tool`, `hang`, `hang in tool`. `fail`.

    `history`: what was said before. Anything else: an echo.
    """

    provider, model = "scripted", "script-1"

    def __init__(self) -> None:
        self.closed = 0

    async def respond(self, turn: Turn) -> AsyncIterator[Event]:
        try:
            async for event in self._play(turn):
                yield event
        finally:
            self.closed += 1

    async def _play(self, turn: Turn) -> AsyncIterator[Event]:
        prompt = turn.prompt
        if prompt.startswith("slow "):
            for number in range(int(prompt.split()[1])):
                await asyncio.sleep(0.02)
                yield Text(f"w{number} ")
        elif prompt.startswith("blurt "):
            yield Text(prompt[6:])
        elif prompt.startswith("say "):
            for start in range(4, len(prompt), 7):
                yield Text(prompt[start : start + 7])
        elif prompt == "hang":
            yield Text("Half")
            await asyncio.sleep(60)
        elif prompt in ("tool", "hang in tool"):
            yield Text("Looking.")
            yield ToolCall("c1", "look_up", {"what": prompt})
            await asyncio.sleep(60 if "hang" in prompt else 0.01)
            yield ToolResult("c1", {"found": True})
            yield Text("Found.")
        elif prompt.startswith("fail"):
            yield Text("Half an ans")
            raise RuntimeError("secret-path /etc/passwd")
        elif prompt == "history":
            yield Text(json.dumps([[past.user, past.assistant] for past in turn.history]))
        else:
            yield Text(f"You said {prompt}.")
        yield Usage(3, 2)
