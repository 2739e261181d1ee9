"""The seam between a run and whatever writes the answer: one method, four events, failure is an exception."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

MAX_STEPS = 8  # model calls a run, unless told otherwise: a model that only ever calls tools comes to an end

acting_user: ContextVar[str | None] = ContextVar("acting_user", default=None)
"""Whose run this is, inside its task. Tools read it here, because a model can write anything into arguments."""


@dataclass(frozen=True, slots=True)
class Past:
    """One earlier turn: what was asked, what was answered (None: nothing), and the vendor's own record of it."""

    user: str
    assistant: str | None = None
    native: Any = None
    format: str | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What a responder is given: who asks what, after which turns."""

    user_id: str
    prompt: str
    history: list[Past] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer."""

    delta: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model calls a tool."""

    call_id: str
    tool_name: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """A tool came back, or failed."""

    call_id: str
    result: Any
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of the whole run as the vendor counts them; None where it does not say."""

    input_tokens: int | None
    output_tokens: int | None


@dataclass(frozen=True, slots=True)
class Native:
    """The vendor's own record of this turn, replayed by an adapter of the same `format` in later ones."""

    format: str
    messages: Any


class EmptyAnswer(Exception):
    """The model answered nothing."""


class TooManySteps(Exception):
    """The agent was stopped by its limit of model calls."""


Event = Text | ToolCall | ToolResult | Usage | Native


class Responder(Protocol):
    """Anything that answers a turn. It wraps the user's own agent: its tools, prompts and settings stay its own."""

    provider: str
    model: str

    def respond(self, turn: Turn) -> AsyncIterator[Event]:
        """The events of one answer. Closing the iterator must end the vendor's run."""
        ...
