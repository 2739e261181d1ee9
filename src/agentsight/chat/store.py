"""Conversations, messages and runs. Every method is exactly one transaction, and sees one user's rows only."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Select, and_, delete, exists, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from agentsight.chat.database import Database, now_us
from agentsight.chat.errors import FAILURES, Refusal
from agentsight.chat.responder import Past, ToolCall, Usage
from agentsight.chat.schema import Conversation, Message, Run, ToolRun
from agentsight.chat.settings import Settings
from agentsight.wire import storable

MINUTE_US = 60_000_000
HISTORY_TURNS, HISTORY_CHARS = 50, 200_000
MAX_JSON_CHARS = 65_536
MAX_NATIVE_CHARS = 1_000_000

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


class Store:
    """The chat tables of one database."""

    def __init__(self, db: Database, settings: Settings):
        self.db, self.settings = db, settings

    # -- runs ------------------------------------------------------------------------------------------------------
    def start(self, user_id: str, ask: Ask, provider: str, model: str) -> Begun:
        """T1: the conversation, the user's message and a running run; all of them or nothing.

        Raises:
            Refusal: rate_limited, conversation_not_found, conversation_busy, idempotency_key_reused, invalid.
        """
        for _ in range(3):
            try:
                with self.db.write() as s:
                    return _replay(s, user_id, ask) or self._begin(s, user_id, ask, provider, model)
            except IntegrityError:
                continue  # another process was first with the same key or conversation: look again
        raise Refusal("conversation_busy", "A reply is still being written in this conversation.")

    def _begin(self, s: Session, user_id: str, ask: Ask, provider: str, model: str) -> Begun:
        self._check_rate(s, user_id)
        conversation, is_new = _open(s, user_id, ask)
        if not is_new:
            self._check_free(s, conversation.id)
        question = _last_question(s, conversation.id) if ask.message is None else None
        question = question or _say(s, conversation.id, "user", ask.message or "")
        stamp = now_us()
        run = Run(
            id=str(uuid.uuid4()), conversation_id=conversation.id, user_id=user_id, user_message_id=question.id,
            regenerates=ask.message is None, worker=self.db.worker.name, provider=provider, model=model,
            idempotency_key=ask.key, request_hash=ask.hash, started_us=stamp, beat_us=stamp,
        )  # fmt: skip
        s.add(run)
        conversation.updated_us = stamp
        history = [] if is_new else _history(s, conversation.id, question.id)
        s.flush()
        return Begun(run.id, conversation.id, question.id, question.content, history)

    def _check_rate(self, s: Session, user_id: str) -> None:
        """Count the runs of the last minute, and those still being written: none of them is older than its deadline."""
        most, since = self.settings.runs_per_minute, now_us() - MINUTE_US
        oldest = min(since, now_us() - int(self.settings.deadline_s * 1_000_000) - MINUTE_US)
        recent = select(Run.started_us, Run.status).where(Run.user_id == user_id, Run.started_us > oldest)
        rows = s.execute(recent.order_by(Run.started_us.desc()).limit(4 * most + self.settings.live_runs)).all()
        starts = [started_us for started_us, _ in rows if started_us > since]
        if len(starts) >= most:
            wait_s = max(1, -(-(starts[most - 1] + MINUTE_US - now_us()) // 1_000_000))
            raise _too_many(f"At most {most} messages a minute.", wait_s)
        if sum(status == "running" for _, status in rows) >= self.settings.live_runs:
            raise _too_many(f"At most {self.settings.live_runs} replies at a time.", 1)

    def _check_free(self, s: Session, conversation_id: int) -> None:
        query = select(Run).where(Run.conversation_id == conversation_id, Run.status == "running")
        run = s.scalar(query.with_for_update())
        if run is None:
            return
        if not self._is_orphan(run):
            detail = "A reply is still being written in this conversation."
            raise Refusal("conversation_busy", detail, run_id=run.id)
        _interrupt(s, run)

    def _is_orphan(self, run: Run) -> bool:
        """Whether nobody writes this run any more. One of our own is silent only when its end could not be saved."""
        silent = run.beat_us < now_us() - self.settings.stale_s * 1_000_000
        return silent or self.db.worker.is_gone(run.worker)

    def tool_started(self, run_id: str, call: ToolCall) -> int:
        """The row of a tool call that begins."""
        with self.db.write() as s:
            row = ToolRun(
                run_id=run_id, call_id=storable(call.call_id)[:255], tool_name=storable(call.tool_name)[:255],
                parameters=as_json(call.parameters), started_us=now_us(),
            )  # fmt: skip
            s.add(row)
            s.flush()
            return row.id

    def tool_ended(self, row_id: int, result: Any, is_error: bool, duration_ms: int) -> None:
        """A tool call came back."""
        ended = {"result": result, "status": "error" if is_error else "ok", "duration_ms": duration_ms}
        with self.db.write() as s:
            s.execute(update(ToolRun).where(ToolRun.id == row_id).values(**ended))

    def beat(self, beats: Sequence[Beat]) -> set[str]:
        """Say that these runs live, keep their drafts, and learn which of them somebody asked to stop."""
        with self.db.write() as s:
            stamp = now_us()
            for beat in beats:
                values = {"beat_us": stamp} | ({} if beat.draft is None else {"draft": beat.draft})
                s.execute(update(Run).where(Run.id == beat.run_id, Run.status == "running").values(**values))
            ids = [beat.run_id for beat in beats]
            return set(s.scalars(select(Run.id).where(Run.id.in_(ids), Run.stop_requested)))

    def finish(self, run_id: str, end: End) -> dict[str, Any]:
        """T2: the answer, the open tool calls and the end of the run, together. Gives the run's view."""
        with self.db.write() as s:
            run = s.scalar(select(Run).where(Run.id == run_id).with_for_update())
            if run is None:
                raise Refusal("run_not_found", "There is no such run.")
            if run.status == "running":
                _close(s, run, end)
            return _view(s, run)

    def reconcile(self) -> int:
        """End the runs whose process died; gives their number. A draft becomes the partial answer."""
        with self.db.write() as s:
            orphans = [run for run in s.scalars(select(Run).where(Run.status == "running")) if self._is_orphan(run)]
            for run in orphans:
                _interrupt(s, run)
            return len(orphans)

    def request_stop(self, user_id: str, run_id: str) -> None:
        """Ask whichever process writes this run to stop; it sees it at its next beat."""
        with self.db.write() as s:
            s.execute(update(Run).where(Run.id == run_id, Run.user_id == user_id).values(stop_requested=True))

    def view(self, user_id: str, run_id: str) -> dict[str, Any]:
        """The run as its owner sees it. Raises Refusal(run_not_found), also for a stranger's."""
        with self.db.read() as s:
            run = s.scalar(select(Run).join(Conversation).where(Run.id == run_id, Run.user_id == user_id, _STANDS))
            if run is None:
                raise Refusal("run_not_found", "There is no such run.")
            return _view(s, run)

    # -- conversations -----------------------------------------------------------------------------------------------
    def conversations(self, user_id: str, before: int | None, limit: int) -> dict[str, Any]:
        """A page of the user's conversations, newest first."""
        query = select(Conversation).where(Conversation.user_id == user_id, _STANDS)
        with self.db.read() as s:
            return _page(s, query, Conversation.id, before, limit, _conversation)

    def conversation(self, user_id: str, conversation_id: int) -> dict[str, Any]:
        """One conversation. Raises Refusal(conversation_not_found)."""
        with self.db.read() as s:
            found = _owned(s, user_id, conversation_id)
            live = s.scalar(select(Run.id).where(Run.conversation_id == found.id, Run.status == "running"))
            return _conversation(found) | {"live_run_id": live}

    def named(self, user_id: str, external_id: str) -> int | None:
        """The number of the conversation its client called `external_id`."""
        with self.db.read() as s:
            return s.scalar(select(Conversation.id).where(_called(user_id, external_id)))

    def rename(self, user_id: str, conversation_id: int, title: str) -> dict[str, Any]:
        """The conversation under its new title. Raises Refusal(conversation_not_found)."""
        with self.db.write() as s:
            found = _owned(s, user_id, conversation_id)
            found.title = title
            return _conversation(found)

    def delete(self, user_id: str, conversation_id: int) -> list[str]:
        """Hide the conversation at once and for good; gives the runs to stop. `purge` then removes the rows.

        Raises:
            Refusal: conversation_not_found.
        """
        with self.db.write() as s:
            found = _owned(s, user_id, conversation_id)
            found.deleted_us, found.external_id = now_us(), None
            live = (Run.conversation_id == found.id, Run.status == "running")
            s.execute(update(Run).where(*live).values(stop_requested=True))
            return list(s.scalars(select(Run.id).where(*live)))

    def purge(self, *, tracked_only: bool) -> int:
        """Remove the rows of conversations deleted over a minute ago (until then they count for the rate limit)."""
        runs = exists().where(Run.conversation_id == Conversation.id)
        unfinished = runs.where(Run.status == "running")
        gone = delete(Conversation).where(Conversation.deleted_us < now_us() - MINUTE_US, ~unfinished)
        if tracked_only:
            gone = gone.where(~runs.where(Run.tracked_us.is_(None)))
        with self.db.write() as s:
            return int(getattr(s.execute(gone), "rowcount", 0))

    def messages(self, user_id: str, conversation_id: int, before: int | None, limit: int) -> dict[str, Any]:
        """A page of messages, newest first, each question with its run."""
        query = select(Message).where(Message.conversation_id == conversation_id, ~Message.superseded)
        with self.db.read() as s:
            _owned(s, user_id, conversation_id)
            page = _page(s, query, Message.id, before, limit, _message)
            runs = _telling_runs(s, [item["id"] for item in page["items"] if item["role"] == "user"])
            for item in page["items"]:
                if item["role"] == "user":
                    item["run"] = runs.get(item["id"])
            return page

    # -- the outbox --------------------------------------------------------------------------------------------------
    def untracked(self, limit: int) -> list[dict[str, Any]]:
        """Finished runs AgentSight has not confirmed yet, oldest first, with all that is told about them."""
        query = select(Run).where(Run.tracked_us.is_(None), Run.status != "running").order_by(Run.finished_us)
        with self.db.read() as s:
            return [_story(s, run) for run in s.scalars(query.limit(limit))]

    def tracked(self, run_ids: Iterable[str]) -> None:
        """T3: AgentSight has these runs."""
        with self.db.write() as s:
            s.execute(update(Run).where(Run.id.in_(list(run_ids))).values(tracked_us=now_us()))


# -- rows ------------------------------------------------------------------------------------------------------------
_STANDS = Conversation.deleted_us.is_(None)


def _called(user_id: str, external_id: str) -> Any:
    return and_(Conversation.user_id == user_id, Conversation.external_id == external_id, _STANDS)


def _too_many(detail: str, wait_s: int) -> Refusal:
    return Refusal("rate_limited", detail, headers={"Retry-After": str(wait_s)})


def _replay(s: Session, user_id: str, ask: Ask) -> Begun | None:
    if ask.key is None:
        return None
    run = s.scalar(select(Run).where(Run.user_id == user_id, Run.idempotency_key == ask.key))
    if run is None:
        return None
    if run.request_hash != ask.hash:
        raise Refusal("idempotency_key_reused", "This Idempotency-Key was used for another request.")
    return Begun(run.id, run.conversation_id, run.user_message_id, fresh=False)


def _owned(s: Session, user_id: str, conversation_id: int) -> Conversation:
    mine = (Conversation.id == conversation_id, Conversation.user_id == user_id, _STANDS)
    found = s.scalar(select(Conversation).where(*mine))
    if found is None:
        raise Refusal("conversation_not_found", "There is no such conversation.")
    return found


def _open(s: Session, user_id: str, ask: Ask) -> tuple[Conversation, bool]:
    """The conversation that is meant, and whether it is new."""
    if ask.conversation_id is not None:
        return _owned(s, user_id, ask.conversation_id), False
    if ask.external_id and (found := s.scalar(select(Conversation).where(_called(user_id, ask.external_id)))):
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


def _say(s: Session, conversation_id: int, role: str, content: str, **marks: bool) -> Message:
    said = Message(conversation_id=conversation_id, role=role, content=content, created_us=now_us(), **marks)
    s.add(said)
    s.flush()
    return said


def _last_question(s: Session, conversation_id: int) -> Message:
    asked = (Message.conversation_id == conversation_id, Message.role == "user")
    found = s.scalar(select(Message).where(*asked).order_by(Message.id.desc()).limit(1))
    if found is None:
        raise Refusal("conversation_not_found", "There is nothing to answer in this conversation.")
    return found


def _history(s: Session, conversation_id: int, before: int) -> list[Past]:
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


def _close(s: Session, run: Run, end: End) -> None:
    if end.text:
        standing = exists().where(
            Message.id == Run.message_id, Run.user_message_id == run.user_message_id, ~Message.superseded
        )
        whole = end.status == "completed"
        spare = not whole and run.regenerates and bool(s.scalar(select(standing)))
        answer = _say(s, run.conversation_id, "assistant", end.text, partial=not whole, superseded=spare)
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


def _interrupt(s: Session, run: Run) -> None:
    _close(s, run, End(status="interrupted", text=run.draft, error_code="interrupted"))
    s.flush()


# -- views -----------------------------------------------------------------------------------------------------------
def as_json(value: Any) -> Any:
    """`value` as JSON that every database can hold; over 64 KB only its beginning, marked.

    >>> as_json({"when": datetime(2026, 1, 2), "odd": "a\\x00b", "much": float("inf")})
    {'when': '2026-01-02 00:00:00', 'odd': 'a␀b', 'much': 'Infinity'}
    """
    text = _json_text(value)
    if len(text) <= MAX_JSON_CHARS:
        return json.loads(text, parse_constant=str)
    return {"truncated": True, "beginning": text[:MAX_JSON_CHARS]}


def native_json(messages: Any) -> Any:
    """A vendor's record as JSON, or None when it is too large to keep: the text is kept anyway."""
    text = _json_text(messages)
    return json.loads(text, parse_constant=str) if len(text) <= MAX_NATIVE_CHARS else None


def _json_text(value: Any) -> str:
    text = storable(json.dumps(value, default=str, ensure_ascii=False, skipkeys=True))
    return _ESCAPED_NUL.sub(r"\1␀", text)


_ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def instant(us: int | None) -> str | None:
    """Microseconds since 1970 as ISO 8601, UTC."""
    return None if us is None else datetime.fromtimestamp(us / 1_000_000, UTC).isoformat().replace("+00:00", "Z")


def _conversation(row: Conversation) -> dict[str, Any]:
    return {
        "id": row.id, "title": row.title, "external_id": row.external_id,
        "created_at": instant(row.created_us), "updated_at": instant(row.updated_us),
    }  # fmt: skip


def _message(row: Message) -> dict[str, Any]:
    return {
        "id": row.id, "role": row.role, "content": row.content, "partial": row.partial,
        "created_at": instant(row.created_us),
    }  # fmt: skip


def _page(s: Session, query: Select[Any], key: Any, before: int | None, limit: int, show: Any) -> dict[str, Any]:
    if before is not None:
        query = query.where(key < before)
    rows = s.scalars(query.order_by(key.desc()).limit(limit + 1)).all()
    items = [show(row) for row in rows[:limit]]
    return {"items": items, "next_before": items[-1]["id"] if len(rows) > limit else None}


def _calls(s: Session, run_ids: Sequence[str]) -> dict[str, list[ToolRun]]:
    calls: dict[str, list[ToolRun]] = {run_id: [] for run_id in run_ids}
    for call in s.scalars(select(ToolRun).where(ToolRun.run_id.in_(run_ids)).order_by(ToolRun.id)):
        calls[call.run_id].append(call)
    return calls


def _tool_view(call: ToolRun) -> dict[str, Any]:
    return {
        "tool_name": call.tool_name, "parameters": call.parameters, "result": call.result, "status": call.status,
        "duration_ms": call.duration_ms, "call_id": call.call_id,
    }  # fmt: skip


def _run_view(run: Run, text: str, calls: Sequence[ToolRun]) -> dict[str, Any]:
    failure = FAILURES.get(run.error_code or "")
    error = {"code": run.error_code, "retryable": failure.retryable, "detail": failure.detail} if failure else None
    return {
        "conversation_id": run.conversation_id, "response": text, "tool_calls": [_tool_view(call) for call in calls],
        "run_id": run.id, "message_id": run.message_id, "user_message_id": run.user_message_id, "status": run.status,
        "usage": {"input_tokens": run.input_tokens, "output_tokens": run.output_tokens},
        "error": error, "model": run.model, "last_seq": run.last_seq,
    }  # fmt: skip


def _view(s: Session, run: Run) -> dict[str, Any]:
    text = s.scalar(select(Message.content).where(Message.id == run.message_id)) if run.message_id else run.draft
    return _run_view(run, text or "", _calls(s, [run.id])[run.id])


def _telling_runs(s: Session, question_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """The run of each question: the one whose answer stands, else the latest."""
    answer = aliased(Message)
    query = (
        select(Run)
        .outerjoin(answer, and_(Run.message_id == answer.id, ~answer.superseded))
        .where(Run.user_message_id.in_(question_ids))
        .order_by(answer.id.nulls_first(), Run.started_us)
    )
    runs = {run.user_message_id: run for run in s.scalars(query)}
    calls = _calls(s, [run.id for run in runs.values()])
    keep = ("run_id", "status", "error", "usage", "tool_calls", "message_id")
    return {asked: {k: v for k, v in _run_view(run, "", calls[run.id]).items() if k in keep}
            for asked, run in runs.items()}  # fmt: skip


def _story(s: Session, run: Run) -> dict[str, Any]:
    conversation = s.scalar(select(Conversation).where(Conversation.id == run.conversation_id))
    question = s.scalar(select(Message).where(Message.id == run.user_message_id))
    assert conversation is not None and question is not None  # foreign keys
    view = _view(s, run)
    for shown, call in zip(view["tool_calls"], _calls(s, [run.id])[run.id], strict=True):
        shown["started_us"] = call.started_us
    return view | {
        "user_id": run.user_id, "uid": conversation.uid, "title": conversation.title,
        "external_id": conversation.external_id, "message": question.content, "provider": run.provider,
        "regenerates": run.regenerates, "started_us": run.started_us, "finished_us": run.finished_us,
    }  # fmt: skip
