"""Conversations, messages and runs. Every method is exactly one transaction, and sees one user's rows only."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, exists, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from agentsight.chat import runs, views
from agentsight.chat.database import Database, now_us
from agentsight.chat.errors import Refusal
from agentsight.chat.responder import ToolCall
from agentsight.chat.runs import Ask, Beat, Begun, End
from agentsight.chat.schema import Conversation, Message, Run, ToolRun
from agentsight.chat.settings import Settings
from agentsight.chat.storable import as_json
from agentsight.wire import storable

MINUTE_US = 60_000_000


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
                    return runs.replay(s, user_id, ask) or self._begin(s, user_id, ask, provider, model)
            except IntegrityError:
                continue  # another process was first with the same key or conversation: look again
        raise Refusal("conversation_busy", "A reply is still being written in this conversation.")

    def _begin(self, s: Session, user_id: str, ask: Ask, provider: str, model: str) -> Begun:
        self._check_rate(s, user_id)
        conversation, is_new = runs.opened(s, user_id, ask)
        if not is_new:
            self._check_free(s, conversation.id)
        question = runs.last_question(s, conversation.id) if ask.message is None else None
        question = question or runs.say(s, conversation.id, "user", ask.message or "")
        stamp = now_us()
        run = Run(
            id=str(uuid.uuid4()), conversation_id=conversation.id, user_id=user_id, user_message_id=question.id,
            regenerates=ask.message is None, worker=self.db.worker.name, provider=provider, model=model,
            idempotency_key=ask.key, request_hash=ask.hash, started_us=stamp, beat_us=stamp,
        )  # fmt: skip
        s.add(run)
        conversation.updated_us = stamp
        history = [] if is_new else runs.history(s, conversation.id, question.id)
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
        runs.interrupt(s, run)

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
                runs.close(s, run, end)
            return views.run_of(s, run)

    def reconcile(self) -> int:
        """End the runs whose process died; gives their number."""
        with self.db.write() as s:
            orphans = [run for run in s.scalars(select(Run).where(Run.status == "running")) if self._is_orphan(run)]
            for run in orphans:
                runs.interrupt(s, run)
            return len(orphans)

    def request_stop(self, user_id: str, run_id: str) -> None:
        """Ask whichever process writes this run to stop; it sees it at its next beat."""
        with self.db.write() as s:
            s.execute(update(Run).where(Run.id == run_id, Run.user_id == user_id).values(stop_requested=True))

    def view(self, user_id: str, run_id: str) -> dict[str, Any]:
        """The run as its owner sees it. Raises Refusal(run_not_found), also for a stranger's."""
        with self.db.read() as s:
            run = s.scalar(select(Run).join(Conversation).where(Run.id == run_id, Run.user_id == user_id, runs.STANDS))
            if run is None:
                raise Refusal("run_not_found", "There is no such run.")
            return views.run_of(s, run)

    # -- conversations -----------------------------------------------------------------------------------------------
    def conversations(self, user_id: str, before: int | None, limit: int) -> dict[str, Any]:
        """A page of the user's conversations, newest first."""
        query = select(Conversation).where(Conversation.user_id == user_id, runs.STANDS)
        with self.db.read() as s:
            return views.page(s, query, Conversation.id, before, limit, views.conversation)

    def conversation(self, user_id: str, conversation_id: int) -> dict[str, Any]:
        """One conversation. Raises Refusal(conversation_not_found)."""
        with self.db.read() as s:
            found = runs.owned(s, user_id, conversation_id)
            live = s.scalar(select(Run.id).where(Run.conversation_id == found.id, Run.status == "running"))
            return views.conversation(found) | {"live_run_id": live}

    def named(self, user_id: str, external_id: str) -> int | None:
        """The number of the conversation its client called `external_id`."""
        with self.db.read() as s:
            return s.scalar(select(Conversation.id).where(runs.called(user_id, external_id)))

    def rename(self, user_id: str, conversation_id: int, title: str) -> dict[str, Any]:
        """The conversation under its new title. Raises Refusal(conversation_not_found)."""
        with self.db.write() as s:
            found = runs.owned(s, user_id, conversation_id)
            found.title = title
            return views.conversation(found)

    def delete(self, user_id: str, conversation_id: int) -> list[str]:
        """Hide the conversation at once and for good; gives the runs to stop. `purge` then removes the rows.

        Raises:
            Refusal: conversation_not_found.
        """
        with self.db.write() as s:
            found = runs.owned(s, user_id, conversation_id)
            found.deleted_us, found.external_id = now_us(), None
            live = (Run.conversation_id == found.id, Run.status == "running")
            s.execute(update(Run).where(*live).values(stop_requested=True))
            return list(s.scalars(select(Run.id).where(*live)))

    def purge(self, *, tracked_only: bool) -> int:
        """Remove the rows of conversations deleted over a minute ago (until then they count for the rate limit)."""
        any_run = exists().where(Run.conversation_id == Conversation.id)
        unfinished = any_run.where(Run.status == "running")
        gone = delete(Conversation).where(Conversation.deleted_us < now_us() - MINUTE_US, ~unfinished)
        if tracked_only:
            gone = gone.where(~any_run.where(Run.tracked_us.is_(None)))
        with self.db.write() as s:
            return int(getattr(s.execute(gone), "rowcount", 0))

    def messages(self, user_id: str, conversation_id: int, before: int | None, limit: int) -> dict[str, Any]:
        """A page of messages, newest first, each question with its run."""
        query = select(Message).where(Message.conversation_id == conversation_id, ~Message.superseded)
        with self.db.read() as s:
            runs.owned(s, user_id, conversation_id)
            page = views.page(s, query, Message.id, before, limit, views.message)
            told = views.telling(s, [item["id"] for item in page["items"] if item["role"] == "user"])
            for item in page["items"]:
                if item["role"] == "user":
                    item["run"] = told.get(item["id"])
            return page

    # -- the outbox --------------------------------------------------------------------------------------------------
    def untracked(self, limit: int) -> list[dict[str, Any]]:
        """Finished runs AgentSight has not confirmed yet, oldest first, with all that is told about them."""
        query = select(Run).where(Run.tracked_us.is_(None), Run.status != "running").order_by(Run.finished_us)
        with self.db.read() as s:
            return [views.story(s, run) for run in s.scalars(query.limit(limit))]

    def tracked(self, run_ids: Iterable[str]) -> None:
        """T3: AgentSight has these runs."""
        with self.db.write() as s:
            s.execute(update(Run).where(Run.id.in_(list(run_ids))).values(tracked_us=now_us()))


def _too_many(detail: str, wait_s: int) -> Refusal:
    return Refusal("rate_limited", detail, headers={"Retry-After": str(wait_s)})
