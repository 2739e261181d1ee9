"""Seed 004, repaired: a chat in the browser that streams, with its history; the agent is Pydantic AI's.

    python examples/seed_004_chat_app.py                 # no key needed: rules answer
    OPENAI_API_KEY=... python examples/seed_004_chat_app.py            # pip install 'agentsight[pydantic-ai]'

It prints the address to open. `GET /`, `GET /chat/` and `POST /chat/` speak the seed's protocol.

Repairs to the seed, each for a reason:
- `result.stream()` and `result.timestamp()` are gone from Pydantic AI: its event stream takes their place, which also
  shows tools and does not stop at the first text.
- `id INT PRIMARY KEY` left every id NULL, so the order of messages was luck: integer keys that count.
- any tool message crashed the history (`Unexpected message type`): messages and tool calls are rows of their own.
- `marked` into `innerHTML` runs whatever a model writes: the server renders Markdown and lets only harmless HTML out.
- scripts from three other hosts, and TypeScript compiled in the browser: one small script, from here.
- an answer was stored only after its last byte, and a closed tab lost it: the run goes on and is stored as it is written.
- anybody could read everybody's chat: who asks is told by a token.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import uvicorn

from agentsight.chat.app import create_app
from agentsight.chat.settings import Settings
from agentsight.chat.tokens import issue

PORT = int(os.environ.get("PORT", "8000"))


def make_responder() -> Any:
    """Your own agent, as you would write it without AgentSight; None has the settings choose."""
    if not os.environ.get("OPENAI_API_KEY"):
        return None
    from pydantic_ai import Agent

    from agentsight.chat.providers.pydantic_ai import Responder

    return Responder(Agent(f"openai-chat:{os.environ.get('OPENAI_MODEL', 'gpt-4o')}"))


settings = Settings.from_env(Path(os.environ.get("AGENTSIGHT_DATA", "chat-app-data")))
app = create_app(settings, responder=make_responder())

if __name__ == "__main__":
    print(f"Open http://127.0.0.1:{PORT}/#token={issue('me', settings)}", flush=True)
    uvicorn.run(app, host="127.0.0.1", port=PORT, timeout_graceful_shutdown=8)
