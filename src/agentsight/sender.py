"""Delivery: one thread takes what was handed over, in order, a batch a request, until the server has said it is stored.

What fails stays here and is tried again with the same ids, so nothing is lost and nothing doubled. While the server
cannot be reached, and when the process ends, the spool keeps what memory alone would lose.
"""

from __future__ import annotations

import base64
import gzip
import json
import logging
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from . import wire
from .buffer import Buffer, Item, event_id, in_event_loop, now_us, small
from .config import Config, Settings, version
from .errors import ConfigError, InvalidEvent
from .exceptions import ConversationNetworkException, refusal
from .spool import Segment, Spool, SpoolFull, folder
from .transport import RETRIED, Answer, Transport, multipart

BATCH_EVENTS = 500
BATCH_BYTES = 1_000_000
INLINE_FILE_BYTES = 1_000_000  # larger files travel by themselves
GZIP_FROM_BYTES = 2_048
ATTEMPTS = 3  # before a waiting caller is told it will be delivered later
OPEN_AFTER = 5  # failures in a row; from then on one attempt a second at most, whoever asks
MAX_PAUSE_S = 30.0
PROBE_S = 60.0  # how often a refused key is tried again
WAIT_S = 14.5  # how long send_tracked_data() waits at most
EXIT_S = 4.5  # how long the end of the process may take
ADOPT_S = 60.0
STRANDED_S = 900.0  # a conversation untouched for so long is sent, whoever forgot it

logger = logging.getLogger("agentsight")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Parcel:
    """One encoded event on its way: in memory, perhaps in a segment too."""

    __slots__ = ("body", "id", "item", "segment", "upload")

    def __init__(self, item: Item, parcel_id: str, body: bytes, upload: bool = False, segment: Segment | None = None):
        self.item, self.id, self.body, self.upload, self.segment = item, parcel_id, body, upload, segment


class Ticket:
    """Items handed over together; somebody may be waiting for what became of them."""

    def __init__(self, items: list[Item]):
        self.items = items
        self.left = len(items)
        self.attempts = 0
        self.deadline = time.monotonic() + WAIT_S
        self._done = threading.Event()
        self._calls: list[Callable[[], None]] = []

    def finish(self) -> None:
        """Whoever waits need not wait any longer."""
        self._done.set()
        calls, self._calls = self._calls, []
        for call in calls:
            call()

    @property
    def finished(self) -> bool:
        """Whether everything is settled, or left to later."""
        return self._done.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Block until finished."""
        return self._done.wait(timeout_s)

    def when_finished(self, call: Callable[[], None]) -> None:
        """Run `call` once, on the thread that finishes it."""
        self._calls.append(call)
        if self._done.is_set() and call in self._calls:
            self._calls.remove(call)
            call()


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
        self._wake = threading.Condition(self._buffer.lock)  # one lock, so no two can be taken the wrong way round
        self._turn = threading.RLock()  # held by whoever talks to the server
        self._disk = threading.RLock()
        self._outbox: deque[Item] = deque()
        self._waiting: list[Ticket] = []
        self._introduced: dict[str, None] = {}
        self._thread: threading.Thread | None = None
        self._transport: Transport | None = None
        self._spool: Spool | None = None
        self._spool_off = False
        self._failures = 0
        self._not_before = self._asked_until = self._tried_at = 0.0
        self._adopt_at = 0.0
        self._halved = BATCH_EVENTS
        self._closed = False
        self._told: Counter[str] = Counter()

    def after_fork(self) -> None:
        """In the child: what the parent was sending stays the parent's."""
        if self._spool is not None:
            self._spool.abandon()
        if self._transport is not None:
            self._transport.close()
        self.reset()

    def reconfigured(self) -> None:
        """The key or endpoint changed: nothing said about the old one holds."""
        with self._wake:
            self._failures, self._not_before, self._asked_until, self._adopt_at = 0, 0.0, 0.0, 0.0
            self._wake.notify_all()
        with self._turn, self._disk:
            if self._transport is not None:
                self._transport.close()
            self._transport = None
            if self._spool is not None:
                self._let_go(self._spool)

    # -- handing over ------------------------------------------------------------------------------------------------
    def submit(self, items: list[Item], again: bool = False) -> Ticket:
        """Take `items` over for delivery; `again` when they are here already."""
        ticket = Ticket(items)
        with self._wake:
            for item in items:
                item.ticket = ticket
            if not again:
                self._outbox.extend(items)
            self._waiting.append(ticket)
            self._kick()
            if self._not_before > ticket.deadline:  # the server asked for more patience than the caller has
                for item in items:
                    item.trouble = self.last_error
                self._finish(ticket)
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

    def queued(self, conversation_id: str | None) -> list[Item]:
        """What of this conversation (None: of any) somebody was told would be delivered later, and is not yet."""
        with self._wake:
            return [
                item
                for item in self._outbox
                if item.conversation_id == (conversation_id or item.conversation_id)
                and (ticket := getattr(item, "ticket", None)) is not None
                and ticket.finished
            ]

    @property
    def backlog(self) -> int:
        """How many items wait for delivery."""
        return len(self._outbox)

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
        """Take conversations over that nobody sends."""
        idle_s = self._settings().auto_send_s or STRANDED_S
        which = 0 if idle_s < STRANDED_S else -1
        before_us = now_us() - idle_s * 1e6
        due = [
            name
            for name, items in self._buffer.pending.items()
            if self._overfull() or items[which].occurred_us < before_us
        ]
        for name in due:
            self._outbox.extend(self._buffer.pending[name])
            del self._buffer.pending[name]

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
            answer = self._upload(head[0], timeout_s) if head[0].upload else self._post(head, told, timeout_s)
        except ConversationNetworkException as trouble:
            self._failed(str(trouble), None)
            return
        self._judge(head, answer, told)

    def _batch(self) -> list[Parcel]:
        """The next parcels in order, as many as fit one request."""
        batch: list[Parcel] = []
        room = BATCH_BYTES
        for item in list(self._outbox):
            for parcel in self._parcels(item):
                room -= len(parcel.body) + 1
                if batch and (room < 0 or parcel.upload or batch[0].upload or len(batch) >= self._halved):
                    return batch
                batch.append(parcel)
            item.fields = None
            if not item.parcels:
                with self._wake:
                    self._settle(item)
        return batch

    def _parcels(self, item: Item) -> list[Parcel]:
        if item.parcels is None:
            parcels = self._encoded(item)
            if self._config().environment and item.kind != "conversation":
                parcels = [*self._introduction(item), *parcels]
            self._introduced[item.conversation_id] = None
            item.parcels = parcels
        return item.parcels

    def _encoded(self, item: Item) -> list[Parcel]:
        parcels = []
        for kind, seq, fields in events_of(item):
            try:
                parcels.append(_parcel(item, kind, seq, fields))
            except InvalidEvent as wrong:
                item.error = str(wrong)
                self._lost("too_large" if kind == "attachment" else "invalid", 1, str(wrong))
        return parcels

    def _introduction(self, item: Item) -> list[Parcel]:
        """The conversation's environment, once, when nobody has created the conversation here."""
        if item.conversation_id in self._introduced or not item.label:
            return []
        while len(self._introduced) > 10_000:
            self._introduced.pop(next(iter(self._introduced)))
        fields = {"environment": wire.read_environment(self._config().environment), "is_used": True}
        seq = self._buffer.next_seq()
        return [_parcel(item, "conversation", seq, fields)]

    def _post(self, batch: list[Parcel], told: Counter[str], timeout_s: float) -> Answer:
        head = {"sdk": {"name": "python", "version": version()}, "sent_at": wire.instant(now_us())}
        if told:
            head["dropped"] = dict(told)
        body = b'%b,"events":[%b]}' % (_encode(head).encode()[:-1], b",".join(parcel.body for parcel in batch))
        headers = {"Content-Type": "application/json"}
        if len(body) >= GZIP_FROM_BYTES:
            squeezed = gzip.compress(body, 1, mtime=0)
            if len(squeezed) < len(body):
                body, headers["Content-Encoding"] = squeezed, "gzip"
        return self._exchange("/api/batch/", body, headers, timeout_s)

    def _upload(self, parcel: Parcel, timeout_s: float) -> Answer:
        event = json.loads(parcel.body)
        fields = [
            ("timestamp", event["occurred_at"]),
            ("conversation_id", event["conversation_id"]),
            ("event_id", event["id"]),
            ("sender", event.get("sender", "end_user")),
            ("mode", "form_data"),
            ("metadata", _encode(event.get("metadata", {}))),
        ]
        if event.get("message_event_id"):
            fields.append(("message_event_id", event["message_event_id"]))
        file = ("attachment_0", event["filename"], event["mime_type"], base64.b64decode(event["data"]))
        body, headers = multipart(fields, [file])
        return self._exchange("/api/attachments/", body, headers, timeout_s)

    def _exchange(self, path: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answer:
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
                self._lost("rejected_4xx", 1, f"the server rejected an event ({reason})")
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
        self._lost(counted, len(batch), reason)
        self.stats["rejected"] += len(batch)
        self._worked()
        self._gone(batch)

    def _worked(self) -> None:
        with self._wake:
            self._failures, self._not_before, self._asked_until = 0, 0.0, 0.0
            self._halved = min(BATCH_EVENTS, self._halved * 2)

    def _gone(self, parcels: list[Parcel]) -> None:
        """These need not be sent again."""
        spool = self._spool
        kept = [(parcel.segment, parcel.id) for parcel in parcels if parcel.segment is not None]
        if kept and spool is not None:
            with self._disk:
                self._guarded(lambda: spool.done(kept))
        with self._wake:
            for parcel in parcels:
                left = parcel.item.parcels or []
                left.remove(parcel)
                if not left:
                    self._settle(parcel.item)

    def _settle(self, item: Item) -> None:
        if self._outbox and self._outbox[0] is item:
            self._outbox.popleft()
        elif item in self._outbox:
            self._outbox.remove(item)
        item.queued = False
        self._buffer.release(item)
        ticket = getattr(item, "ticket", None)
        if ticket is not None:
            ticket.left -= 1
            if ticket.left <= 0:
                self._finish(ticket)

    def _finish(self, ticket: Ticket) -> None:
        if ticket in self._waiting:
            self._waiting.remove(ticket)
        ticket.finish()

    def _failed(self, reason: str, wait_s: float | None, final_for_now: bool = False) -> None:
        """Nothing is lost: note when to try again, make it safe on disk, tell those who have waited long enough."""
        now = time.monotonic()
        self.last_error = reason
        self.stats["failed_requests"] += 1
        self._journal()
        with self._wake:
            self._failures += 1
            backoff_s = random.uniform(0, min(MAX_PAUSE_S, 0.5 * 2 ** min(self._failures, 10)))
            self._not_before = now + max(backoff_s, wait_s or 0.0)
            self._asked_until = now + wait_s if wait_s and not final_for_now else 0.0
            for item in self._outbox:
                item.trouble = reason
            for ticket in list(self._waiting):
                ticket.attempts += 1
                late = self._not_before > ticket.deadline
                if final_for_now or late or ticket.attempts >= ATTEMPTS or self._failures >= OPEN_AFTER:
                    self._finish(ticket)
        self._warn(f"AgentSight could not deliver ({reason}); {self.backlog} tracked items are kept and tried again")

    def _lost(self, reason: str, how_many: int, text: str) -> None:
        self._buffer.drop(reason, how_many)
        self._warn(f"AgentSight lost {how_many} tracked event(s): {text}")

    def _warn(self, text: str) -> None:
        """Say it, but no more than once a minute."""
        if time.monotonic() - self._warned_at >= 60:
            self._warned_at = time.monotonic()
            logger.warning("%s", text)

    # -- the disk ----------------------------------------------------------------------------------------------------
    def _spooling(self) -> Spool | None:
        if self._spool is None and not self._spool_off and self._settings().spool != "off":
            config = self._config()
            try:
                self._spool = Spool(folder(self._settings().spool_dir, config.base_url, config.key))
            except ConfigError:
                return None
        return None if self._spool_off else self._spool

    def _guarded(self, write: Callable[[], Any]) -> bool:
        """Whether `write` worked. A folder that cannot be written turns the spool off; a full one does not."""
        try:
            write()
        except SpoolFull:
            self._warn("AgentSight's spool is full; what does not fit in memory is lost")
            return False
        except OSError as wrong:
            self._spool_off = True
            logger.warning("AgentSight cannot keep events on disk (%s); they are kept in memory only", wrong.strerror)
            return False
        return True

    def _journal(self) -> None:
        """Put what is handed over on disk too, so that a killed process loses none of it."""
        spool = self._spooling()
        if spool is None:
            return
        with self._disk:
            for item in list(self._outbox):
                if not self._keep(spool, self._parcels(item)):
                    return

    def _keep(self, spool: Spool, parcels: Iterable[Parcel]) -> bool:
        for parcel in parcels:
            if parcel.segment is None:

                def write(parcel: Parcel = parcel) -> None:
                    (parcel.segment,) = spool.keep([parcel.body])

                if not self._guarded(write):
                    return False
        return True

    def write_through(self, item: Item) -> None:
        """Have `item` on disk before the caller goes on (AGENTSIGHT_SPOOL=always)."""
        spool = self._spooling()
        if spool is not None:
            with self._disk:
                self._keep(spool, self._parcels(item))

    def spill(self, item: Item) -> bool:
        """Put an item on disk that memory has no room for; False: there was none on disk either."""
        spool = self._spooling()
        if spool is None:
            return False
        parcels = self._parcels(item)
        with self._disk:
            for parcel in parcels:
                if not self._guarded(lambda parcel=parcel: spool.spill(parcel.body)):  # type: ignore[misc]
                    return False
        self.stats["spilled"] += len(parcels)
        return True

    def _adopt(self) -> None:
        """Take over what other processes, now gone, or a full memory have left on disk."""
        if time.monotonic() < self._adopt_at or len(self._outbox) > BATCH_EVENTS or not self._buffer.is_half_empty():
            return
        self._adopt_at = time.monotonic() + ADOPT_S
        spool = self._spooling()
        if spool is None:
            return
        with self._disk:
            self._guarded(lambda: self._load(spool))
            if spool.expired:
                self._lost("expired", spool.expired, "they had waited a week for the server")
                spool.expired = 0

    def _load(self, spool: Spool) -> None:
        for segment, events in spool.adopt():
            for parcel_id, body in events:
                item = Item("", "", "", 0, 0, None, len(body))
                item.parcels = [Parcel(item, parcel_id, body, len(body) > INLINE_FILE_BYTES * 4 // 3, segment)]
                self._buffer.occupy(len(body))
                with self._wake:
                    self._outbox.append(item)
            self.stats["adopted"] += len(events)
            if len(self._outbox) > BATCH_EVENTS or not self._buffer.is_half_empty():
                self._adopt_at = 0.0  # there may be more: look again when this is delivered
                return

    # -- the end -----------------------------------------------------------------------------------------------------
    def close(self, budget_s: float = EXIT_S) -> None:
        """Deliver what there is within `budget_s`; what is left goes to disk."""
        deadline = time.monotonic() + budget_s
        with self._wake:
            for name in list(self._buffer.pending):
                self._outbox.extend(self._buffer.pending[name])
                del self._buffer.pending[name]
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
        if self._spool is not None and self._disk.acquire(timeout=0.3):
            self._let_go(self._spool)
            self._disk.release()
        self._closed = False

    def _let_go(self, spool: Spool) -> None:
        for item in self._outbox:
            for parcel in item.parcels or ():
                parcel.segment = None
        spool.close()
        self._spool = None

    def _leave(self) -> None:
        self._journal()
        unsafe = sum(any(parcel.segment is None for parcel in self._parcels(item)) for item in self._outbox)
        if unsafe:
            self._lost("process_ended", unsafe, "the process ends and they could neither be sent nor kept on disk")

    def __len__(self) -> int:
        return len(self._outbox)


# -- events ----------------------------------------------------------------------------------------------------------
def events_of(item: Item) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """The events one tracked item becomes, in order: kind, number, fields."""
    fields, seq = item.fields, item.seq
    alone = item.kind == "attachment"
    if not alone:
        yield item.kind, seq, fields
        seq += 1
    for file in fields.get("attachments") or ():
        data = file["data"]
        body = {
            "sender": fields.get("sender"),
            "message_event_id": None if alone else item.event_id,
            "filename": file["filename"],
            "mime_type": file["mime_type"],
            "metadata": fields.get("metadata") if alone else None,
            "data": data if isinstance(data, str) else base64.b64encode(data).decode("ascii"),
        }
        yield "attachment", seq, body
        seq += 1


def _parcel(item: Item, kind: str, seq: int, fields: dict[str, Any]) -> Parcel:
    parcel_id = event_id(item.occurred_us, seq)
    event = {
        "id": parcel_id,
        "kind": kind,
        "conversation_id": item.conversation_id,
        "occurred_at": wire.instant(item.occurred_us),
        "seq": seq,
        **sound(kind, fields),
    }
    upload = kind == "attachment" and len(fields["data"]) > INLINE_FILE_BYTES * 4 // 3
    return Parcel(item, parcel_id, _encode(event).encode("utf-8", "replace"), upload)


def sound(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    """`fields` as the contract wants them; an optional one that breaks it is cut or left out, never the event.

    Raises:
        InvalidEvent: a required field breaks it.
    """
    for again in range(len(fields) + 1):
        try:
            checked = wire.check(kind, fields)
        except InvalidEvent as wrong:
            if wrong.field not in fields or wire.EVENTS[kind][wrong.field].required:
                raise
            fields = fields if again else dict(fields)
            value = fields.pop(wrong.field)
            if wrong.field in ("metadata", "tools_used", "response"):
                fields[wrong.field] = small(value)
            elif isinstance(value, str) and "longer" in wrong.reason:
                fields[wrong.field] = value[:254] + "…"
            logger.warning("AgentSight cut or left out %s of a tracked %s: %s", wrong.field, kind, wrong.reason)
        else:
            if kind == "action":
                for moment in checked.keys() & {"started_at", "ended_at"}:
                    checked[moment] = wire.instant(checked[moment])
            return checked
    raise InvalidEvent(kind, "cannot be made sound")
