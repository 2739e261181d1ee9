"""LlamaIndex: your workflow agent, with its own tools, as a responder.

The model below speaks to any OpenAI-compatible server. LlamaIndex has its own package for that, but it holds the
`openai` client back to version 2, which the other vendors have left.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from llama_index.core.agent.workflow import AgentOutput, AgentStream, FunctionAgent, ToolCallResult
from llama_index.core.agent.workflow import ToolCall as ToolCalled
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LLMMetadata,
    TextBlock,
    ToolCallBlock,
)
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools.types import AsyncBaseTool, ToolMetadata, ToolOutput
from llama_index.core.workflow import WorkflowRuntimeError
from mcp import Client
from mcp.server import MCPServer
from openai import AsyncOpenAI

from agentsight.chat.providers import INSTRUCTIONS, need_a_model
from agentsight.chat.responder import MAX_STEPS, Event, Past, Text, ToolCall, ToolResult, TooManySteps, Turn, Usage
from agentsight.chat.settings import Settings


class Responder:
    """Answers with a LlamaIndex agent: a `FunctionAgent`, a `ReActAgent` or an `AgentWorkflow`."""

    provider = "llamaindex"

    def __init__(self, agent: Any, *, model: str | None = None, max_iterations: int = MAX_STEPS):
        self.agent, self.max_iterations = agent, max_iterations
        metadata = getattr(getattr(agent, "llm", None), "metadata", None)
        self.model = model or str(getattr(metadata, "model_name", None) or "default")

    async def respond(self, turn: Turn) -> AsyncIterator[Event]:
        """The events of one run. Tokens are None when the model does not say them: LlamaIndex would guess."""
        history = [message for past in turn.history for message in _messages(past)]
        run = self.agent.run(turn.prompt, chat_history=history, max_iterations=self.max_iterations)
        usage = Usage(None, None)
        try:
            async for event in run.stream_events():
                match event:
                    case AgentStream(delta=delta) if delta:
                        yield Text(delta)
                    case ToolCallResult():
                        yield _result(event)
                    case ToolCalled():
                        yield ToolCall(event.tool_id, event.tool_name, event.tool_kwargs)
                    case AgentOutput():
                        usage = _plus(usage, event.raw)
            await run
            yield usage
        except WorkflowRuntimeError as trouble:
            if "Max iterations" in str(trouble):  # the limit has no class of its own
                raise TooManySteps from trouble
            raise
        finally:
            if not run.is_done():
                await run.cancel_run()


def _messages(past: Past) -> list[ChatMessage]:
    said = [ChatMessage(role="user", content=past.user)]
    return [*said, ChatMessage(role="assistant", content=past.assistant)] if past.assistant else said


def _result(event: ToolCallResult) -> ToolResult:
    output = event.tool_output
    known = isinstance(output.raw_output, (dict, list, str, int, float, bool))
    return ToolResult(event.tool_id, output.raw_output if known else output.content, output.is_error)


def _plus(usage: Usage, raw: Any) -> Usage:
    step = raw.get("usage") if isinstance(raw, dict) else None
    if not isinstance(step, dict):
        return usage
    sent, received = step.get("prompt_tokens") or 0, step.get("completion_tokens") or 0
    return Usage((usage.input_tokens or 0) + sent, (usage.output_tokens or 0) + received)


# -- the todo tools --------------------------------------------------------------------------------------------------
@dataclass
class _Metadata(ToolMetadata):
    """What the model is told about a tool, in the words of its MCP server."""

    schema: dict[str, Any] = field(default_factory=dict)

    def get_parameters_dict(self) -> dict[str, Any]:
        return self.schema


class McpTool(AsyncBaseTool):
    """One tool of an MCP server of this process; its calls see who is acting."""

    def __init__(self, server: MCPServer, tool: Any):
        self.server = server
        self._metadata = _Metadata(tool.description or tool.name, name=tool.name, schema=tool.input_schema)

    @property
    def metadata(self) -> ToolMetadata:
        return self._metadata

    def call(self, *args: Any, **kwargs: Any) -> ToolOutput:
        return asyncio.run(self.acall(*args, **kwargs))

    async def acall(self, *args: Any, **kwargs: Any) -> ToolOutput:
        async with Client(self.server) as client:
            answer = await client.call_tool(self.metadata.get_name(), kwargs)
        text = "\n".join(part.text for part in answer.content if part.type == "text")
        structured = dict(answer.structured_content or {})
        value = text if answer.is_error else structured.get("result", structured)
        name = self.metadata.get_name()
        return ToolOutput(
            tool_name=name, content=text or "[]", raw_input=kwargs, raw_output=value, is_error=bool(answer.is_error)
        )


async def _tools(server: MCPServer) -> list[McpTool]:
    async with Client(server) as client:
        return [McpTool(server, tool) for tool in (await client.list_tools()).tools]


# -- a model on any OpenAI-compatible server -------------------------------------------------------------------------
class CompatibleLLM(FunctionCallingLLM):
    """A chat model behind an OpenAI-compatible address, with tools and true token counts."""

    model: str
    _client: AsyncOpenAI = PrivateAttr()

    def __init__(self, model: str, client: AsyncOpenAI):
        super().__init__(model=model)
        self._client = client

    @classmethod
    def class_name(cls) -> str:
        return "CompatibleLLM"

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(
            model_name=self.model, is_chat_model=True, is_function_calling_model=True, context_window=128_000
        )

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        return self._stream(messages, **kwargs)

    async def _stream(self, messages: Sequence[ChatMessage], **kwargs: Any) -> AsyncIterator[ChatResponse]:
        sent = [_to_wire(message) for message in messages]
        options: Any = {"stream_options": {"include_usage": True}, **kwargs}
        text, calls, usage = "", _Calls(), None
        chunks = await self._client.chat.completions.create(model=self.model, messages=sent, stream=True, **options)
        try:
            async for chunk in chunks:
                usage = chunk.usage.model_dump() if chunk.usage else usage
                delta = chunk.choices[0].delta if chunk.choices else None
                piece = (delta.content if delta else None) or ""
                text += piece
                calls.add(delta.tool_calls if delta else None)
                if piece:
                    yield ChatResponse(message=ChatMessage(role="assistant", content=text), delta=piece, raw={})
        finally:
            await chunks.close()
        said = [TextBlock(text=text)] if text else []
        message = ChatMessage(role="assistant", blocks=[*said, *calls.blocks()])
        yield ChatResponse(message=message, delta="", raw={"usage": usage})

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        pieces = [piece async for piece in self._stream(messages, **kwargs)]
        return pieces[-1]

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return asyncio.run(self.achat(messages, **kwargs))

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Generator[ChatResponse]:
        yield self.chat(messages, **kwargs)

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        answer = await self.achat([ChatMessage(role="user", content=prompt)], **kwargs)
        return CompletionResponse(text=answer.message.content or "", raw=answer.raw)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return asyncio.run(self.acomplete(prompt, formatted, **kwargs))

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        async def pieces() -> AsyncIterator[CompletionResponse]:
            async for piece in self._stream([ChatMessage(role="user", content=prompt)], **kwargs):
                yield CompletionResponse(text=piece.message.content or "", delta=piece.delta, raw=piece.raw)

        return pieces()

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Generator[CompletionResponse]:
        yield self.complete(prompt, formatted, **kwargs)

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[Any],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        messages = list(chat_history or [])
        if user_msg is not None:
            messages.append(ChatMessage(role="user", content=user_msg) if isinstance(user_msg, str) else user_msg)
        prepared: dict[str, Any] = {"messages": messages}
        if tools:
            prepared["tools"] = [tool.metadata.to_openai_tool() for tool in tools]
            # what is the default anyway is left out: not every server knows the words
            prepared |= {"tool_choice": "required"} if tool_required else {}
            prepared |= {} if allow_parallel_tool_calls else {"parallel_tool_calls": False}
        return prepared

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        calls = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
        if error_on_no_tool_call and not calls:
            raise ValueError("The model called no tool.")
        return [
            ToolSelection(tool_id=call.tool_call_id or "", tool_name=call.tool_name, tool_kwargs=_object(arguments))
            for call in calls
            for arguments in [call.tool_kwargs]
        ]


class _Calls:
    """Tool calls as they arrive in pieces."""

    def __init__(self) -> None:
        self.parts: dict[int, list[str]] = {}

    def add(self, deltas: Any) -> None:
        for delta in deltas or []:
            part = self.parts.setdefault(delta.index, ["", "", ""])
            part[0] += delta.id or ""
            if delta.function:
                part[1] += delta.function.name or ""
                part[2] += delta.function.arguments or ""

    def blocks(self) -> list[ToolCallBlock]:
        return [ToolCallBlock(tool_call_id=id_, tool_name=name, tool_kwargs=text) for id_, name, text in
                self.parts.values()]  # fmt: skip


def _object(arguments: Any) -> dict[str, Any]:
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError:
            return {}
    return arguments if isinstance(arguments, dict) else {}


def _to_wire(message: ChatMessage) -> Any:
    wire: dict[str, Any] = {"role": str(message.role.value), "content": message.content or ""}
    if wire["role"] == "tool":
        wire["tool_call_id"] = message.additional_kwargs.get("tool_call_id")
    calls = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
    if calls:
        wire["tool_calls"] = [
            {"id": call.tool_call_id, "type": "function",
             "function": {"name": call.tool_name, "arguments": json.dumps(_object(call.tool_kwargs))}}
            for call in calls
        ]  # fmt: skip
    return wire


class _Todo(Responder):
    """The agent over the todo tools, made at its first turn: its tools are read over MCP."""

    def __init__(self, llm: CompatibleLLM, server: MCPServer):
        super().__init__(None, model=llm.model)
        self.llm, self.server = llm, server

    async def respond(self, turn: Turn) -> AsyncIterator[Event]:
        """As `Responder.respond`."""
        if self.agent is None:
            tools: Any = await _tools(self.server)
            self.agent = FunctionAgent(tools=tools, llm=self.llm, system_prompt=INSTRUCTIONS)
        async for event in super().respond(turn):
            yield event


def open(settings: Settings, todo: MCPServer) -> Responder:
    """An agent with the todo tools on any OpenAI-compatible server. Raises ConfigError without a key or address."""
    client = AsyncOpenAI(api_key=need_a_model(settings), base_url=settings.base_url)
    return _Todo(CompatibleLLM(settings.model, client), todo)
