"""Delivery: one thread takes what was handed over, in order, a batch a request, until the server has said it is stored.

What fails stays here and is tried again with the same ids, so nothing is lost and nothing doubled. While the server
cannot be reached, and when the process ends, the spool keeps what memory alone would lose.
"""

from __future__ import annotations

import gzip
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from . import wire
from .buffer import Buffer, Item, event_id, now_us
from .config import Config, Settings, version
from .errors import ConfigError, InvalidEvent
from .exceptions import ConversationNetworkException, refusal
from .keeping import Keeper
from .outbox import WAIT_S, Outbox, Ticket
from .parcels import Parcel, batch_body, events_of, parcel_of, upload_body
from .scope import in_event_loop
from .transport import RETRIED, Answer, Transport

BATCH_EVENTS = 500
BATCH_BYTES = 1_000_000
GZIP_FROM_BYTES = 2_048
OPEN_AFTER = 5  # failures in a row; from then on one attempt a second at most, whoever asks
MAX_PAUSE_S = 30.0
PROBE_S = 60.0  # how often a refused key is tried again
EXIT_S = 4.5  # how long the end of the process may take
ADOPT_S = 60.0
STRANDED_S = 900.0  # a conversation untouched for so long is sent, whoever forgot it

logger = logging.getLogger("agentsight")


class Sender:
    """Delivers what it is given to wherever `config` points."""

    def __init__(self, buffer: Buffer, config: Callable[[], Config], settings: Callable[[], Settings]):
        self._buffer, self._config, self._settings = buffer, config, settings
        self.stats: Counter[str] = Counter()
        self.last_error: str | None = None
        self._warned_at = -60.0
        self.reset()

    def reset(self) -> None:
        """Start from nothing; also what a forked child does."""
        self._wake = threading.Condition(self._buffer.lock)
        self._turn = threading.RLock()  # held by whoever talks to the server
        self._outbox = Outbox(self._buffer)
        self._keeper = Keeper(self._config, self._settings, self._warn)
        self._introduced: dict[str, None] = {}
        self._thread: threading.Thread | None = None
        self._transport: Transport | None = None
        self._failures = 0
        self._not_before = self._asked_until = self._tried_at = 0.0
        self._adopt_at = 0.0
        self._halved = BATCH_EVENTS
        self._closed = False
        self._told: Counter[str] = Counter()

    def after_fork(self) -> None:
        """In the child: what the parent was sending stays the parent's."""
        self._keeper.abandon()
        if self._transport is not None:
            self._transport.close()
        self.reset()

    def reconfigured(self) -> None:
        """The key or endpoint changed: nothing said about the old one holds."""
        with self._wake:
            self._failures, self._not_before, self._asked_until, self._adopt_at = 0, 0.0, 0.0, 0.0
            self._wake.notify_all()
        with self._turn:
            if self._transport is not None:
                self._transport.close()
            self._transport = None
            self._keeper.let_go(self._outbox.first())

    # -- handing over ------------------------------------------------------------------------------------------------
    def submit(self, items: list[Item], again: bool = False, wait_s: float = WAIT_S) -> Ticket:
        """Take `items` over for delivery; `again` when they are here already."""
        with self._wake:
            ticket = self._outbox.submit(items, again, wait_s)
            self._kick()
            if self._not_before > ticket.deadline:  # the server asked for more patience than the caller has
                for item in items:
                    item.trouble = self.last_error
                self._outbox.finish(ticket)
        if self._settings().threaded or in_event_loop():
            self._ensure_thread()
        else:
            self._pump(ticket)
        return ticket

    def hurry(self) -> None:
        """Look at what is pending soon: the buffer is full, or it is time."""
        with self._wake:
            self._kick()
        if self._settings().threaded:
            self._ensure_thread()

    def forget(self) -> int:
        """Drop whatever waits, in memory and on disk; gives the number of items."""
        with self._turn, self._wake:
            self._outbox.collect(lambda items: True)
            items = self._outbox.first()
            self._keeper.forget([parcel for item in items for parcel in item.parcels or ()])
            for item in items:
                self._outbox.settle(item)
            self._failures, self._not_before, self._asked_until = 0, 0.0, 0.0
            return len(items)

    def queued(self, conversation_id: str | None) -> list[Item]:
        """What of this conversation (None: of any) somebody was told would be delivered later, and is not yet."""
        return self._outbox.queued(conversation_id)

    def write_through(self, item: Item) -> None:
        """Have `item` on disk before the caller goes on (AGENTSIGHT_SPOOL=always)."""
        self._keeper.keep([item], self._parcels)

    def spill(self, item: Item) -> bool:
        """Put an item on disk that memory has no room for; False: there was none on disk either."""
        parcels = self._parcels(item)
        if not self._keeper.spill(parcels):
            return False
        self.stats["spilled"] += len(parcels)
        return True

    @property
    def backlog(self) -> int:
        """How many items wait for delivery."""
        return len(self._outbox)

    def lost(self, reason: str, how_many: int, text: str) -> None:
        """Count what will never arrive, and say so."""
        self._buffer.drop(reason, how_many)
        self._warn(f"AgentSight lost {how_many} tracked event(s): {text}")

    def _kick(self) -> None:
        soon = time.monotonic() if self._failures < OPEN_AFTER else self._tried_at + 1.0
        self._not_before = max(min(self._not_before, soon), self._asked_until)
        self._wake.notify_all()

    def _ensure_thread(self) -> None:
        with self._wake:
            if self._closed or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self._run, name="agentsight-sender", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter is shutting down: the exit flush delivers
            self._thread = None

    # -- the thread --------------------------------------------------------------------------------------------------
    def _run(self) -> None:
        me = threading.current_thread()
        while self._thread is me and not self._closed:
            with self._wake:
                pause_s = self._pause_s()
                if pause_s > 0:
                    self._wake.wait(pause_s)
                    pause_s = self._pause_s()
            if pause_s <= 0 and not self._closed:
                with self._turn:
                    self._step_safely(time.monotonic() + WAIT_S)

    def _pause_s(self) -> float:
        now = time.monotonic()
        if self._outbox:
            return self._not_before - now
        if now >= self._adopt_at:
            return 0.0
        pauses = [self._adopt_at - now]
        if self._buffer.pending:
            if self._overfull():
                return 0.0
            pauses.append(min(self._settings().auto_send_s or STRANDED_S, 60.0))
            self._collect_due()
            if self._outbox:
                return self._not_before - now
        return max(0.05, min(pauses))

    def _overfull(self) -> bool:
        return not self._buffer.has_room(0) or self._buffer.count >= 9_999

    def _collect_due(self) -> None:
        """Take conversations over that nobody sends: untouched for long, or at the interval asked for."""
        interval_s = self._settings().auto_send_s
        idle_s, which = (interval_s, 0) if 0 < interval_s < STRANDED_S else (STRANDED_S, -1)
        before_us = now_us() - idle_s * 1e6
        overfull = self._overfull()
        self._outbox.collect(lambda items: overfull or items[which].occurred_us < before_us)

    def _pump(self, ticket: Ticket) -> None:
        """Deliver on this thread, for hosts that freeze threads between requests."""
        while not ticket.finished and time.monotonic() < ticket.deadline:
            pause_s = self._not_before - time.monotonic()
            if pause_s > 0:
                time.sleep(min(pause_s, ticket.deadline - time.monotonic()))
            with self._turn:
                self._step_safely(ticket.deadline)

    def _step_safely(self, deadline: float) -> None:
        try:
            self._step(deadline)
        except ConfigError as wrong:  # no key: what is tracked waits for one
            self._failed(str(wrong), PROBE_S, final_for_now=True)
        except Exception as bug:  # the edge: nothing of ours may end the host's delivery
            logger.exception("AgentSight could not send; what was tracked is kept")
            self._failed(f"{type(bug).__name__}: {bug}", None)

    # -- one step ----------------------------------------------------------------------------------------------------
    def _step(self, deadline: float) -> None:
        if self._overfull():
            with self._wake:
                self._collect_due()
        self._adopt()
        head = self._batch()
        if not head:
            return
        self._tried_at = time.monotonic()
        timeout_s = max(0.2, min(10.0, deadline - self._tried_at))
        told = self._losses()
        try:
            answer = self._send(head, told, timeout_s)
        except ConversationNetworkException as trouble:
            self._failed(str(trouble), None)
            return
        self._judge(head, answer, told)

    def _batch(self) -> list[Parcel]:
        """The next parcels in order, as many as fit one request."""
        batch: list[Parcel] = []
        room = BATCH_BYTES
        for item in self._outbox.first(self._halved + 1):
            for parcel in self._parcels(item):
                room -= len(parcel.body) + 1
                if batch and (room < 0 or parcel.upload or batch[0].upload or len(batch) >= self._halved):
                    return batch
                batch.append(parcel)
            item.fields = None
            if not item.parcels:
                self._outbox.settle(item)
        return batch

    def _parcels(self, item: Item) -> list[Parcel]:
        if item.parcels is None:
            with self._wake:  # its tracker may be writing it to disk while another thread sends it
                if item.parcels is None:
                    item.parcels = [*self._introduction(item), *self._encoded(item)]
                    self._introduced[item.conversation_id] = None
        return item.parcels

    def _encoded(self, item: Item) -> list[Parcel]:
        parcels = []
        for kind, seq, fields in events_of(item):
            try:
                parcels.append(parcel_of(item, kind, seq, fields, item.id_of(seq)))
            except InvalidEvent as wrong:
                item.error = str(wrong)
                self.lost("too_large" if kind == "attachment" else "invalid", 1, str(wrong))
        return parcels

    def _introduction(self, item: Item) -> list[Parcel]:
        """The conversation's environment, once, when nobody has created the conversation here."""
        if item.conversation_id in self._introduced or item.kind == "conversation":
            return []
        environment = self._config().environment
        if not environment:
            return []
        while len(self._introduced) > 10_000:
            self._introduced.pop(next(iter(self._introduced)))
        fields = {"environment": wire.read_environment(environment), "is_used": True}
        seq = self._buffer.next_seq()
        return [parcel_of(item, "conversation", seq, fields, event_id(item.occurred_us, seq))]

    def _send(self, parcels: list[Parcel], told: Counter[str], timeout_s: float) -> Answer:
        path = "/api/batch/"
        headers: Mapping[str, str] = {"Content-Type": "application/json"}
        if parcels[0].upload:
            path = "/api/attachments/"
            body, headers = upload_body(parcels[0])
        else:
            head = {"sdk": {"name": "python", "version": version()}, "sent_at": wire.instant(now_us())}
            body = batch_body({**head, "dropped": dict(told)} if told else head, parcels)
            if len(body) >= GZIP_FROM_BYTES:
                squeezed = gzip.compress(body, 1, mtime=0)
                if len(squeezed) < len(body):
                    body, headers = squeezed, {**headers, "Content-Encoding": "gzip"}
        if self._transport is None:
            self._transport = Transport(self._config())
        return self._transport.exchange("POST", path, body, headers, timeout_s)

    def _losses(self) -> Counter[str]:
        with self._buffer.lock:
            return Counter(self._buffer.dropped) - self._told

    # -- what the server said ----------------------------------------------------------------------------------------
    def _judge(self, batch: list[Parcel], answer: Answer, told: Counter[str]) -> None:
        status = answer.status
        if status < 300 and answer.is_json and isinstance(answer.body, dict):
            self._told += told
            self._accepted(batch, answer.body)
        elif status < 400:
            self._failed("The server's answer cannot be understood", None)
        elif status == 413 and len(batch) > 1:
            self._halved = max(1, len(batch) // 2)
            with self._wake:
                self._not_before = 0.0
        elif status in (401, 403):
            self._failed(str(refusal(status, answer.body)), PROBE_S, final_for_now=True)
        elif status in RETRIED or status >= 500:
            self._failed(str(refusal(status, answer.body)), answer.retry_after_s)
        else:
            self._refused(batch, str(refusal(status, answer.body)), "too_large" if status == 413 else "rejected_4xx")

    def _accepted(self, batch: list[Parcel], body: dict[str, Any]) -> None:
        results = body.get("results")
        verdicts = {row.get("id"): row for row in results} if isinstance(results, list) and results else None
        delivered: list[Parcel] = []
        for parcel in batch:
            verdict = body if verdicts is None else verdicts.get(parcel.id)
            if verdict is None:
                continue  # not mentioned: sent again
            if verdict.get("verdict") == "rejected":
                reason = ": ".join(str(verdict[name]) for name in ("field", "reason") if verdict.get(name))
                parcel.item.error = reason or "rejected"
                self.lost("rejected_4xx", 1, f"the server rejected an event ({reason})")
                self.stats["rejected"] += 1
            else:
                self.stats["duplicates" if verdict.get("verdict") == "duplicate" else "delivered"] += 1
                if getattr(parcel.item, "response", None) is None:
                    parcel.item.response = verdict
            delivered.append(parcel)
        self._worked()
        self._gone(delivered)

    def _refused(self, batch: list[Parcel], reason: str, counted: str) -> None:
        for parcel in batch:
            parcel.item.error = reason
        self.last_error = reason
        self.lost(counted, len(batch), reason)
        self.stats["rejected"] += len(batch)
        self._worked()
        self._gone(batch)

    def _worked(self) -> None:
        with self._wake:
            self._failures, self._not_before, self._asked_until = 0, 0.0, 0.0
            self._halved = min(BATCH_EVENTS, self._halved * 2)

    def _gone(self, parcels: list[Parcel]) -> None:
        """These need not be sent again."""
        self._keeper.forget(parcels)
        self._outbox.delivered(parcels)

    def _failed(self, reason: str, wait_s: float | None, final_for_now: bool = False) -> None:
        """Nothing is lost: note when to try again, make it safe on disk, tell those who have waited long enough."""
        now = time.monotonic()
        self.last_error = reason
        self.stats["failed_requests"] += 1
        self._keeper.keep(self._outbox.first(), self._parcels)
        with self._wake:
            self._failures += 1
            backoff_s = random.uniform(0, min(MAX_PAUSE_S, 0.5 * 2 ** min(self._failures, 10)))
            self._not_before = now + max(backoff_s, wait_s or 0.0)
            self._asked_until = now + wait_s if wait_s and not final_for_now else 0.0
            self._outbox.failed(reason, self._not_before, final_for_now or self._failures >= OPEN_AFTER)
        self._warn(f"AgentSight could not deliver ({reason}); {self.backlog} tracked items are kept and tried again")

    def _warn(self, text: str) -> None:
        """Say it, but no more than once a minute."""
        if time.monotonic() - self._warned_at >= 60:
            self._warned_at = time.monotonic()
            logger.warning("%s", text)

    # -- what others left --------------------------------------------------------------------------------------------
    def _adopt(self) -> None:
        """Take over what other processes, now gone, or a full memory have left on disk, as much as there is room for."""
        while time.monotonic() >= self._adopt_at and not self._busy():
            found, expired = self._keeper.adopt()
            if not found:
                self._adopt_at = time.monotonic() + ADOPT_S
            for item in found:
                self._buffer.occupy(item.size)
            self._outbox.add(found)
            self.stats["adopted"] += len(found)
            if expired:
                self.lost("expired", expired, "they had waited a week for the server")

    def _busy(self) -> bool:
        return len(self._outbox) > BATCH_EVENTS or not self._buffer.is_half_empty()

    # -- the end -----------------------------------------------------------------------------------------------------
    def close(self, budget_s: float = EXIT_S) -> None:
        """Deliver what there is within `budget_s`; what is left goes to disk."""
        deadline = time.monotonic() + budget_s
        with self._wake:
            self._outbox.collect(lambda items: True)
            self._closed = True
            self._wake.notify_all()
        if self._outbox and self._asked_until < deadline and self._turn.acquire(timeout=max(0.0, budget_s - 0.5)):
            try:
                failures = self._failures
                while self._outbox and self._failures <= failures and time.monotonic() < deadline - 0.2:
                    self._step_safely(deadline)
            finally:
                self._turn.release()
        if self._outbox:
            self._leave()
        self._keeper.let_go(self._outbox.first(), patience_s=0.3)
        self._closed = False
        if self._outbox.is_awaited():  # somebody handed over meanwhile
            self._ensure_thread()

    def _leave(self) -> None:
        left = self._outbox.first()
        self._keeper.keep(left, self._parcels)
        unsafe = sum(any(parcel.segment is None for parcel in self._parcels(item)) for item in left)
        if unsafe:
            self.lost("process_ended", unsafe, "the process ends and they could neither be sent nor kept on disk")
