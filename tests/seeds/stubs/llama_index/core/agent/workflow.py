"""An agent that thinks for a moment, runs its first tool on sums and repeats the rest."""

import asyncio
import random


class FunctionAgent:
    def __init__(self, tools, llm):
        self.tools, self.llm = tools, llm

    async def run(self, message: str):
        await asyncio.sleep(random.random() / 20)
        if message.startswith("fail"):
            raise RuntimeError(message)
        if self.tools and message.startswith("sum "):
            return await asyncio.to_thread(self.tools[0], message.removeprefix("sum "))
        return f"echo {message}"
