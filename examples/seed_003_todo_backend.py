"""Seed 003, repaired: `POST /api/{user_id}/chat` with stored conversations, JWT sign-in and todo tools over MCP.

    python examples/seed_003_todo_backend.py             # no key needed: rules answer, and really use the tools
    OPENAI_API_KEY=... python examples/seed_003_todo_backend.py        # pip install 'agentsight[openai-agents]'

It prints a token and the command to try it. BETTER_AUTH_SECRET, DATABASE_URL, OPENAI_API_KEY and OPENAI_MODEL mean what
they mean in the seed; AGENTSIGHT_API_KEY and AGENTSIGHT_API_ENDPOINT have every conversation tracked.

Repairs to the seed, each for a reason:
- one tool round and then a canned "Task completed successfully!": the agent goes on until it has an answer.
- a synchronous OpenAI client inside `async def` holds up every other request: the vendor's asynchronous one.
- `user_id` was put into the tool's parameters, where a model could write it and the log would show it: it comes from
  the token.
- `detail=str(e)` told strangers about our insides: stable codes instead.
- an unknown conversation silently became a new one: it is a 404, the same as a stranger's.
- "user message first" and "both together" contradict each other: a run row joins them. Naive `utcnow` is gone.
"""

from __future__ import annotations

import os
from pathlib import Path

import uvicorn

from agentsight.chat.app import create_app
from agentsight.chat.settings import Settings
from agentsight.chat.tokens import issue

PORT = int(os.environ.get("PORT", "8000"))
settings = Settings.from_env(Path(os.environ.get("AGENTSIGHT_DATA", "todo-backend-data")))
app = create_app(settings)

if __name__ == "__main__":
    token = issue("user123", settings)
    print(
        f"""Try it:
curl http://127.0.0.1:{PORT}/api/user123/chat -H 'Content-Type: application/json' \\
  -H 'Authorization: Bearer {token}' -d '{{"message": "Add a task to buy groceries"}}'
or open http://127.0.0.1:{PORT}/chat/#token={token}""",
        flush=True,
    )
    uvicorn.run(app, host="127.0.0.1", port=PORT, timeout_graceful_shutdown=8)
