"""What is listed by itself beside conversations."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Span:
    """One span as a client sent it. `incomplete`: why a turn did not come to its end; None: it did, or is no turn.

    `payload` is the span itself, JSON in ASCII.
    """

    id: int
    agent_id: int
    conversation: int
    trace_id: str
    span_id: str
    parent_span_id: str | None
    turn_id: str | None
    kind: str
    name: str
    status: str
    started_us: int
    ended_us: int | None
    duration_ms: float | None
    incomplete: str | None
    payload: str


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """The calls of one turn to one model; calls outside of turns are one group a conversation. `turn` is JSON."""

    id: int
    agent_id: int
    conversation: int
    turn: str | None
    model: str | None
    started_us: int
    ended_us: int


@dataclass(frozen=True, slots=True)
class Action:
    """What people say of an action that runs under this name, or will."""

    id: int
    agent_id: int
    name: str
    display_name: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Ticket:
    """Something to be done about the agent, mostly about one conversation."""

    id: int
    agent_id: int
    conversation: int | None
    feedback: int | None
    title: str
    status: str
    priority: str | None
    tags: tuple[str, ...]
    environment: str
    author: str
    created_us: int
    updated_us: int


@dataclass(frozen=True, slots=True)
class Comment:
    """One word in the thread of a ticket. `role`: agent (a key wrote it) or dev (a person)."""

    id: int
    agent_id: int
    ticket: int
    author: str
    role: str
    body: str
    created_us: int
