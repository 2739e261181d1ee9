"""Seed 000, repaired: a FastAPI chat endpoint with LlamaIndex, tracked in the background after the answer is sent.

    python examples/seed_000_background_tasks.py          # no key needed: a calculator answers
    OPENAI_API_KEY=... python examples/seed_000_background_tasks.py    # pip install llama-index-llms-openai

Tracking goes wherever AGENTSIGHT_API_KEY and AGENTSIGHT_API_ENDPOINT point.

Repairs to the seed, each for a reason:
- `customer_id` was used but never defined: it is a field of the request.
- `eval` of what a model or a customer wrote runs anything: a calculator over the syntax tree does not.
- the sending was `async def` around a blocking call, which holds up every other request: it is a plain function.
- a background task does not run when the endpoint raises, so failures were never tracked: the error is an answer that
  carries the task itself; and it does not repeat `str(e)` to the customer.
- one conversation id a process mixed concurrent customers up: our tracker keeps one a task.
"""

from __future__ import annotations

import ast
import operator
import os
import re
import time
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.background import BackgroundTask

from agentsight import ConversationTracker
from agentsight.helpers import generate_conversation_id

app = FastAPI(title="AgentSight FastAPI example")
tracker = ConversationTracker()

ARITHMETIC: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Mod: operator.mod, ast.USub: operator.neg,
}  # fmt: skip


def evaluate(expression: str) -> float:
    """The value of simple arithmetic. Raises ValueError for anything else."""

    def value(node: Any) -> Any:
        match node:
            case ast.Expression(body=body):
                return value(body)
            case ast.Constant(value=int() | float() as number):
                return number
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                return ARITHMETIC[type(op)](value(left), value(right))
            case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=int() as power)) if 0 <= power <= 100:
                return value(left) ** power
            case ast.UnaryOp(op=op, operand=operand) if type(op) in ARITHMETIC:
                return ARITHMETIC[type(op)](value(operand))
        raise ValueError("only numbers and + - * / % ^ can be calculated")

    if len(expression) > 200:
        raise ValueError("the expression is too long")
    try:
        return float(value(ast.parse(expression.replace("^", "**"), mode="eval")))
    except (SyntaxError, ZeroDivisionError, OverflowError) as wrong:
        raise ValueError(str(wrong)) from None


def calculate(expression: str) -> str:
    """Basic calculator for simple expressions; every use is tracked, also one that fails."""
    began = time.perf_counter()
    outcome: dict[str, Any] = {}
    try:
        result = f"{evaluate(expression):g}"
        outcome = {"response": result}
    except ValueError as wrong:
        result = f"Error: {wrong}"
        outcome = {"error_msg": str(wrong)}
    duration_ms = int((time.perf_counter() - began) * 1000)
    metadata = {"expression": expression, "tool_type": "calculator"}
    tracker.track_action("calculate", duration_ms=duration_ms, metadata=metadata, **outcome)
    return result


class Calculator:
    """The agent without a key: it says what it is, and it uses the tool."""

    async def run(self, message: str) -> str:
        """The result of the arithmetic in `message`."""
        found = re.search(r"[\d(][\d\s.()+*/%^-]*", message)
        if found is None:
            return "I am a calculator, not an AI model. Ask me: what is 2 + 3 * 4?"
        return f"{found[0].strip()} = {calculate(found[0])}"


def make_agent() -> Any:
    """The seed's agent when there is a key, else the calculator."""
    if not os.environ.get("OPENAI_API_KEY"):
        return Calculator()
    from llama_index.core.agent.workflow import FunctionAgent
    from llama_index.core.tools import FunctionTool
    from llama_index.llms.openai import OpenAI

    llm = OpenAI(model=os.environ.get("OPENAI_MODEL", "gpt-4o"))
    return FunctionAgent(tools=[FunctionTool.from_defaults(calculate)], llm=llm)


agent = make_agent()


class ChatRequest(BaseModel):
    """The seed's request."""

    message: str
    conversation_id: str | None = None
    customer_id: str | None = None


class ChatResponse(BaseModel):
    """The seed's response."""

    response: str


def send_tracking_data() -> None:
    """Runs in a thread after the answer is sent; what cannot be delivered is kept and tried again by the SDK."""
    tracker.send_tracked_data()


@app.post("/chat", response_model=ChatResponse)
async def chat_endpoint(request: ChatRequest, background_tasks: BackgroundTasks) -> Any:
    """Chat, with instant tracking and background sending."""
    conversation_id = request.conversation_id or generate_conversation_id()
    tracker.get_or_create_conversation(conversation_id=conversation_id, customer_id=request.customer_id)
    tracker.track_question(request.message)
    began = time.perf_counter()
    try:
        response = str(await agent.run(request.message))
    except Exception as failure:
        duration_ms = int((time.perf_counter() - began) * 1000)
        tracker.track_action("chat_error", duration_ms=duration_ms, error_msg=type(failure).__name__)
        return JSONResponse({"detail": "The agent failed."}, 500, background=BackgroundTask(send_tracking_data))
    tracker.track_answer(response)
    background_tasks.add_task(send_tracking_data)
    return ChatResponse(response=response)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
