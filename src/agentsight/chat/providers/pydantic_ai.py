"""Pydantic AI: your `Agent`, with its own tools and toolsets, as a responder."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from mcp.server import MCPServer
from pydantic import ValidationError
from pydantic_ai import Agent, AgentRunResultEvent
from pydantic_ai.exceptions import UnexpectedModelBehavior, UsageLimitExceeded
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import (
    FunctionToolCallEvent,
    FunctionToolResultEvent,
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    UserPromptPart,
)
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.usage import UsageLimits

from agentsight.chat.providers import INSTRUCTIONS, need_a_model
from agentsight.chat.responder import (
    MAX_STEPS,
    EmptyAnswer,
    Event,
    Native,
    Past,
    Text,
    ToolCall,
    ToolResult,
    TooManySteps,
    Turn,
    Usage,
)
from agentsight.chat.settings import Settings

FORMAT = "pydantic_ai"


class Responder:
    """Answers with an `Agent` of Pydantic AI; `deps` is what its tools are given."""

    provider = FORMAT

    def __init__(self, agent: Agent[Any, Any], *, deps: Any = None, max_requests: int = MAX_STEPS):
        self.agent, self.deps = agent, deps
        self.limits = UsageLimits(request_limit=max_requests)
        model = agent.model
        self.model = str(model if isinstance(model, str) else getattr(model, "model_name", "default"))

    async def respond(self, turn: Turn) -> AsyncIterator[Event]:
        """The events of one run, and its messages, for the next turn's history."""
        history = [message for past in turn.history for message in _messages(past)]
        running = self.agent.run_stream_events(
            turn.prompt, message_history=history, deps=self.deps, usage_limits=self.limits
        )
        try:
            async with running as events:
                async for event in events:
                    if isinstance(event, AgentRunResultEvent):
                        usage = event.result.usage
                        known = bool(usage.input_tokens or usage.output_tokens)
                        yield Usage(usage.input_tokens, usage.output_tokens) if known else Usage(None, None)
                        yield Native(FORMAT, json.loads(event.result.new_messages_json()))
                    elif told := _told(event):
                        yield told
        except UsageLimitExceeded as limit:
            raise TooManySteps from limit
        except UnexpectedModelBehavior as odd:
            if "without content" in str(odd):  # a class for many things
                raise EmptyAnswer from odd
            raise


def _told(event: Any) -> Event | None:
    match event:
        case PartStartEvent(part=TextPart(content=text)) if text:
            return Text(text)  # the first piece comes with the start
        case PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
            return Text(text)
        case FunctionToolCallEvent(part=part):
            return ToolCall(part.tool_call_id, part.tool_name, _arguments(part))
        case FunctionToolResultEvent(part=part):
            failed = getattr(part, "part_kind", "") == "retry-prompt" or getattr(part, "outcome", "") == "failed"
            return ToolResult(part.tool_call_id, _value(part.content), failed)
    return None


def _arguments(part: Any) -> dict[str, Any]:
    try:
        arguments: dict[str, Any] = part.args_as_dict()
    except ValueError:
        return {"arguments": part.args}
    return arguments


def _value(content: Any) -> Any:
    if isinstance(content, dict) and set(content) == {"result"}:
        return content["result"]
    return content


def _messages(past: Past) -> list[ModelMessage]:
    if past.format == FORMAT:
        try:
            kept: list[ModelMessage] = ModelMessagesTypeAdapter.validate_python(past.native)
            return kept
        except ValidationError:
            pass  # of a version that is too far away: the text will do
    said: list[ModelMessage] = [ModelRequest(parts=[UserPromptPart(past.user)])]
    return [*said, ModelResponse(parts=[TextPart(past.assistant)])] if past.assistant else said


def open(settings: Settings, todo: MCPServer) -> Responder:
    """An agent with the todo tools on any OpenAI-compatible server. Raises ConfigError without a key or address."""
    provider = OpenAIProvider(api_key=need_a_model(settings), base_url=settings.base_url)
    # "retry", the default, ends the whole run at the second failure of a tool.
    tools: Any = MCPToolset(todo, tool_error_behavior="failed")
    model = OpenAIChatModel(settings.model, provider=provider)
    return Responder(Agent(model, instructions=INSTRUCTIONS, toolsets=[tools]))
