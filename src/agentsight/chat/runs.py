"""A run: what it is asked, what it begins with, how it ends. Each step is one inside a transaction of the store."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import and_, exists, select, update
from sqlalchemy.orm import Session, aliased

from agentsight.chat.database import now_us
from agentsight.chat.errors import Refusal
from agentsight.chat.responder import Past, Usage
from agentsight.chat.schema import Conversation, Message, Run, ToolRun

HISTORY_TURNS, HISTORY_CHARS = 50, 200_000

Ending = Literal["completed", "failed", "stopped", "interrupted"]


@dataclass(frozen=True, slots=True)
class Ask:
    """What somebody wants: a message answered, or the last answer again (`message` None)."""

    message: str | None
    conversation_id: int | None = None
    external_id: str | None = None  # a thread by the name its client chose; made when it is new
    key: str | None = None

    @property
    def hash(self) -> str:
        """The same for the same request: an Idempotency-Key may not be used for another one."""
        return hashlib.sha256(json.dumps([self.message, self.conversation_id, self.external_id]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that exists. `fresh` False: an earlier request with the same key made it; there is nothing to do."""

    run_id: str
    conversation_id: int
    user_message_id: int
    prompt: str = ""
    history: list[Past] = field(default_factory=list)
    fresh: bool = True


@dataclass(slots=True)
class End:
    """How a run ended, as far as it is known while it goes on."""

    status: Ending = "completed"
    text: str = ""
    error_code: str | None = None
    usage: Usage = field(default_factory=lambda: Usage(None, None))
    native: Any = None
    native_format: str | None = None
    last_seq: int = 0


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life of a run, with what is written so far (None: nothing new)."""

    run_id: str
    draft: str | None


STANDS = Conversation.deleted_us.is_(None)


def called(user_id: str, external_id: str) -> Any:
    """Whether a conversation is the one its client calls so."""
    return and_(Conversation.user_id == user_id, Conversation.external_id == external_id, STANDS)


def replay(s: Session, user_id: str, ask: Ask) -> Begun | None:
    """The run an earlier request with the same key made. Raises Refusal(idempotency_key_reused)."""
    if ask.key is None:
        return None
    run = s.scalar(select(Run).where(Run.user_id == user_id, Run.idempotency_key == ask.key))
    if run is None:
        return None
    if run.request_hash != ask.hash:
        raise Refusal("idempotency_key_reused", "This Idempotency-Key was used for another request.")
    return Begun(run.id, run.conversation_id, run.user_message_id, fresh=False)


def owned(s: Session, user_id: str, conversation_id: int) -> Conversation:
    """One of the user's conversations. Raises Refusal(conversation_not_found), also for a stranger's."""
    mine = (Conversation.id == conversation_id, Conversation.user_id == user_id, STANDS)
    found = s.scalar(select(Conversation).where(*mine))
    if found is None:
        raise Refusal("conversation_not_found", "There is no such conversation.")
    return found


def opened(s: Session, user_id: str, ask: Ask) -> tuple[Conversation, bool]:
    """The conversation that is meant, and whether it is new."""
    if ask.conversation_id is not None:
        return owned(s, user_id, ask.conversation_id), False
    if ask.external_id and (found := s.scalar(select(Conversation).where(called(user_id, ask.external_id)))):
        return found, False
    stamp = now_us()
    new = Conversation(
        user_id=user_id, external_id=ask.external_id, title=title_of(ask.message or ""), created_us=stamp,
        updated_us=stamp,
    )  # fmt: skip
    s.add(new)
    s.flush()
    return new, True


def title_of(message: str) -> str:
    """The first line of a first message, at most 80 characters.

    >>> title_of("  Plan my week \\nMonday: ...")
    'Plan my week'
    """
    lines = message.strip().splitlines() or ["New conversation"]
    first = " ".join(lines[0].split())
    return first if len(first) <= 80 else first[:79].rstrip() + "…"


def say(s: Session, conversation_id: int, role: str, content: str, **marks: bool) -> Message:
    """A new message, with its id."""
    said = Message(conversation_id=conversation_id, role=role, content=content, created_us=now_us(), **marks)
    s.add(said)
    s.flush()
    return said


def last_question(s: Session, conversation_id: int) -> Message:
    """The user's latest message. Raises Refusal(conversation_not_found) where there is none."""
    asked = (Message.conversation_id == conversation_id, Message.role == "user")
    found = s.scalar(select(Message).where(*asked).order_by(Message.id.desc()).limit(1))
    if found is None:
        raise Refusal("conversation_not_found", "There is nothing to answer in this conversation.")
    return found


def history(s: Session, conversation_id: int, before: int) -> list[Past]:
    """The earlier turns, oldest first: the latest 50, as far as they fit. Of several answers the standing one."""
    asked, answer = aliased(Message), aliased(Message)
    query = (
        select(asked.id, asked.content, answer.content, Run.native, Run.native_format)
        .select_from(Run)
        .join(asked, Run.user_message_id == asked.id)
        .outerjoin(answer, and_(Run.message_id == answer.id, ~answer.superseded))
        .where(asked.conversation_id == conversation_id, asked.id < before, Run.status != "running")
        .order_by(asked.id.desc(), answer.id.desc().nulls_last())
        .limit(HISTORY_TURNS * 2)
    )
    turns: dict[int, Past] = {}
    room = HISTORY_CHARS
    for question_id, question, text, native, native_format in s.execute(query):
        if question_id in turns:
            continue
        room -= len(question) + len(text or "")
        if room < 0 or len(turns) == HISTORY_TURNS:
            break
        turns[question_id] = Past(question, text, native if text is not None else None, native_format)
    return list(turns.values())[::-1]


def close(s: Session, run: Run, end: End) -> None:
    """End a run: its answer takes the place of older ones, calls still open are interrupted."""
    if end.text:
        standing = exists().where(
            Message.id == Run.message_id, Run.user_message_id == run.user_message_id, ~Message.superseded
        )
        whole = end.status == "completed"
        spare = not whole and run.regenerates and bool(s.scalar(select(standing)))
        answer = say(s, run.conversation_id, "assistant", end.text, partial=not whole, superseded=spare)
        if whole and run.regenerates:
            older = select(Run.message_id).where(Run.user_message_id == run.user_message_id, Run.id != run.id)
            s.execute(update(Message).where(Message.id.in_(older.scalar_subquery())).values(superseded=True))
        run.message_id = answer.id
    open_calls = (ToolRun.run_id == run.id, ToolRun.status == "running")
    s.execute(update(ToolRun).where(*open_calls).values(status="interrupted"))
    stamp = now_us()
    run.status, run.error_code, run.draft, run.last_seq = end.status, end.error_code, "", end.last_seq
    run.input_tokens, run.output_tokens = end.usage.input_tokens, end.usage.output_tokens
    if end.status == "completed":
        run.native, run.native_format = end.native, end.native_format
    run.finished_us = stamp
    s.execute(update(Conversation).where(Conversation.id == run.conversation_id).values(updated_us=stamp))


def interrupt(s: Session, run: Run) -> None:
    """End a run nobody writes any more; its draft becomes the partial answer."""
    close(s, run, End(status="interrupted", text=run.draft, error_code="interrupted"))
    s.flush()
