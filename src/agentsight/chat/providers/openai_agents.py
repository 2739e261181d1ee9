"""The OpenAI Agents SDK: your `Agent`, with its own tools, handoffs and MCP servers, as a responder."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from agents import Agent, MaxTurnsExceeded, Model, ModelSettings, OpenAIChatCompletionsModel, RunConfig, Runner
from agents.mcp import MCPServer as AgentsMCPServer
from mcp import Client
from mcp.server import MCPServer
from openai import AsyncOpenAI

from agentsight.chat.providers import INSTRUCTIONS, need_a_model
from agentsight.chat.responder import (
    MAX_STEPS,
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

FORMAT = "openai_agents"


class Responder:
    """Answers with an `Agent` of the OpenAI Agents SDK. Nothing is traced to OpenAI; AgentSight tracks."""

    provider = FORMAT

    def __init__(self, agent: Agent[Any], *, max_turns: int = MAX_STEPS):
        self.agent, self.max_turns = agent, max_turns
        named = getattr(agent.model, "model", None) if isinstance(agent.model, Model) else agent.model
        self.model = str(named or "default")

    async def respond(self, turn: Turn) -> AsyncIterator[Event]:
        """The events of one run, and the run's own items, for the next turn's history."""
        items = [item for past in turn.history for item in _items(past)]
        items.append({"role": "user", "content": turn.prompt})
        run = Runner.run_streamed(
            self.agent, items, max_turns=self.max_turns, run_config=RunConfig(tracing_disabled=True)
        )
        try:
            async for event in run.stream_events():
                if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                    yield Text(event.data.delta)
                elif event.type == "run_item_stream_event" and (told := _tool_event(event)):
                    yield told
            usage = run.context_wrapper.usage
            yield Usage(usage.input_tokens, usage.output_tokens) if usage.total_tokens else Usage(None, None)
            yield Native(FORMAT, run.to_input_list()[len(items) :])
        except MaxTurnsExceeded as limit:
            raise TooManySteps from limit
        finally:
            if not run.is_complete:
                run.cancel()


def _items(past: Past) -> list[Any]:
    asked: list[Any] = [{"role": "user", "content": past.user}]
    if past.format == FORMAT and isinstance(past.native, list):
        return asked + past.native
    return asked + ([{"role": "assistant", "content": past.assistant}] if past.assistant else [])


def _tool_event(event: Any) -> ToolCall | ToolResult | None:
    raw = event.item.raw_item if event.name in ("tool_called", "tool_output") else None
    if raw is None or (call_id := _of(raw, "call_id")) is None:
        return None
    if event.name == "tool_called":
        return ToolCall(call_id, str(_of(raw, "name")), _arguments(_of(raw, "arguments")))
    failed = bool((getattr(event.item, "custom_data", None) or {}).get("is_error"))
    return ToolResult(call_id, _output(event.item.output), failed)


def _output(output: Any) -> Any:
    """A tool's result without its wrapping: MCP tools answer in text parts, lists under the name `result`."""
    if isinstance(output, list):
        return [_output(part) for part in output]
    value = _value(output["text"] if isinstance(output, dict) and set(output) >= {"type", "text"} else output)
    return value["result"] if isinstance(value, dict) and set(value) == {"result"} else value


def _of(raw: Any, name: str) -> Any:
    return raw.get(name) if isinstance(raw, dict) else getattr(raw, name, None)


def _arguments(text: Any) -> dict[str, Any]:
    value = _value(text or "{}")
    return value if isinstance(value, dict) else {"arguments": value}


def _value(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text


class InProcess(AgentsMCPServer):
    """An MCP server of this process as the Agents SDK takes it; its calls see who is acting."""

    def __init__(self, server: MCPServer):
        # Without this the SDK shows a tool's failure as if it were its result.
        super().__init__(
            use_structured_content=True, custom_data_extractor=lambda told: {"is_error": bool(told.is_error)}
        )
        self.server = server

    @property
    def name(self) -> str:
        return str(self.server.name)

    async def connect(self) -> None:
        """Nothing to do: every call opens its own client, which costs less than a millisecond."""

    async def cleanup(self) -> None:
        """Nothing to do."""

    async def list_tools(self, run_context: Any = None, agent: Any = None) -> Any:
        async with Client(self.server) as client:
            return (await client.list_tools()).tools

    async def call_tool(self, tool_name: str, arguments: Any, meta: Any = None) -> Any:
        async with Client(self.server) as client:
            return await client.call_tool(tool_name, arguments or {})

    async def list_prompts(self) -> Any:
        async with Client(self.server) as client:
            return await client.list_prompts()

    async def get_prompt(self, name: str, arguments: Any = None) -> Any:
        async with Client(self.server) as client:
            return await client.get_prompt(name, arguments)


def open(settings: Settings, todo: MCPServer) -> Responder:
    """An agent with the todo tools on any OpenAI-compatible server. Raises ConfigError without a key or address."""
    client = AsyncOpenAI(api_key=need_a_model(settings), base_url=settings.base_url)
    agent: Agent[Any] = Agent(
        name="todo",
        instructions=INSTRUCTIONS,
        model=OpenAIChatCompletionsModel(model=settings.model, openai_client=client),
        model_settings=ModelSettings(include_usage=True),  # streamed answers say their tokens only when asked
        mcp_servers=[InProcess(todo)],
    )
    return Responder(agent)
