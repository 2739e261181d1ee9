"""A transcript as lines to show, in order: what was said, done, pressed, sent, used and judged."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from agentsight.core.model import Attachment, Event, Feedback

from ..ui.text import visible
from ..ui.words import Voice

MAX_PAYLOAD_CHARS = 8_000
CLOSE_US = 60_000_000
PICTURES = frozenset(("image/png", "image/jpeg", "image/gif", "image/webp"))


@dataclass(slots=True)
class Tokens:
    prompt: int = 0
    completion: int = 0
    embedding: int = 0
    total: int = 0

    def add(self, event: Event) -> None:
        def told(name: str) -> int:
            return int(event.detail.get(name) or 0)

        prompt, completion, embedding = told("prompt_tokens"), told("completion_tokens"), told("embedding_tokens")
        self.prompt += prompt
        self.completion += completion
        self.embedding += embedding
        self.total += told("total_tokens") or prompt + completion + embedding


@dataclass(slots=True)
class Line:
    """`kind` is day, message, action, button, attachment, tokens or feedback; the rest fits the kind."""

    kind: str
    us: int
    event: Event | None = None
    feedback: Feedback | None = None
    files: Sequence[Attachment] = ()
    follows: bool = False  # the same sender goes on at once: no second head
    waited_ms: float | None = None  # the customer's wait this message ended
    tokens: Tokens | None = None
    share: float = 0  # of the longest action here, in percent
    buttons: Sequence[tuple[str, str]] = ()  # label and value of each button offered where one was pressed

    @property
    def id(self) -> str:
        return f"m{self.event.id}" if self.event else f"f{self.feedback.id}" if self.feedback else ""


@dataclass(slots=True)
class Lines:
    """Builds the lines of one stretch."""

    voice: Voice
    files: Mapping[int, list[Attachment]]
    slowest_ms: float
    buttons: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    day: date | None = None
    asked_us: int | None = None
    spoke: Line | None = None  # the last message, while nothing came between
    answered: Line | None = None  # the agent's last message since the customer's
    spent: Tokens | None = None  # used before the agent said anything

    def add(self, item: Event | Feedback) -> None:
        if isinstance(item, Feedback):
            self._put(Line("feedback", item.created_us, feedback=item))
        elif item.kind == "message":
            self._message(item)
        elif item.kind == "token_usage":
            self._usage(item)
        elif item.kind == "action":
            share = 100 * (item.duration_ms or 0) / self.slowest_ms if self.slowest_ms else 0
            self._put(Line("action", item.occurred_us, item, share=share))
        elif item.kind == "button":
            pressed = (str(item.detail.get("label", "")), str(item.detail.get("value", "")))
            self._put(Line("button", item.occurred_us, item, buttons=self.buttons.get(item.name or "") or (pressed,)))
        elif item.kind == "attachment":
            self._put(Line(item.kind, item.occurred_us, item, files=self.files.get(item.id, ())))

    def _put(self, line: Line) -> None:
        day = self.voice.moment(line.us).date()
        if day != self.day:
            self.day, self.spoke = day, None
            self.lines.append(Line("day", line.us))
        self.lines.append(line)
        self.spoke = line if line.kind == "message" else None

    def _message(self, event: Event) -> None:
        before = self.spoke
        line = Line("message", event.occurred_us, event)
        if event.sender == "end_user":
            self.asked_us = self.asked_us if self.asked_us is not None else event.occurred_us
            self.answered = None
        elif event.sender == "agent":
            if self.asked_us is not None:
                line.waited_ms, self.asked_us = (event.occurred_us - self.asked_us) / 1000, None
            line.tokens, self.spent, self.answered = self.spent, None, line
        self._put(line)
        if before is not None and before.event is not None and self.lines[-2] is before:
            close = event.occurred_us - before.us < CLOSE_US
            line.follows = close and before.event.sender == event.sender and line.waited_ms is None

    def _usage(self, event: Event) -> None:
        """Tokens stand at the agent's message they were used for, whichever of the two was tracked first."""
        if self.answered is not None:
            self.answered.tokens = self.answered.tokens or Tokens()
            self.answered.tokens.add(event)
        else:
            self.spent = self.spent or Tokens()
            self.spent.add(event)


def lines(
    voice: Voice,
    events: Iterable[Event],
    files: Iterable[Attachment] = (),
    feedbacks: Iterable[Feedback] = (),
    buttons: Mapping[str, Sequence[tuple[str, str]]] | None = None,
) -> list[Line]:
    """The lines of a stretch of a timeline, with the feedback given in it; `buttons` as a Transcript has them."""
    events = list(events)
    by_event: dict[int, list[Attachment]] = {}
    for file in files:
        by_event.setdefault(file.event, []).append(file)
    slowest = max((event.duration_ms or 0 for event in events if event.kind == "action"), default=0)
    built = Lines(voice, by_event, slowest, buttons or {})
    items: list[tuple[int, int, Event | Feedback]] = [
        (event.occurred_us, place, event) for place, event in enumerate(events)
    ]
    items += [(feedback.created_us, len(events), feedback) for feedback in feedbacks]
    for _, _, item in sorted(items, key=lambda each: each[:2]):
        built.add(item)
    if built.spent is not None:
        built.lines.append(Line("tokens", events[-1].occurred_us, tokens=built.spent))
    return built.lines


def spent(events: Iterable[Event]) -> Tokens | None:
    """All tokens of a conversation; None when none were reported."""
    total, any_told = Tokens(), False
    for event in events:
        if event.kind == "token_usage":
            total.add(event)
            any_told = True
    return total if any_told else None


def payload(value: Any) -> str:
    """A tool's input or output, laid out; text that holds JSON is laid out too."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(value) if value[:1] in ("[", "{") else value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str)
    if len(text) > MAX_PAYLOAD_CHARS:
        text = f"{text[:MAX_PAYLOAD_CHARS]}\n… (+{len(text) - MAX_PAYLOAD_CHARS:,})"
    return visible(text)
