"""What was handed over and is not settled yet, in order, and the tickets of those who wait for it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice

from .buffer import Buffer, Item
from .parcels import Parcel

WAIT_S = 14.5  # how long send_tracked_data() waits at most
ATTEMPTS = 3  # before a waiting caller is told it will be delivered later


class Ticket:
    """Items handed over together; somebody may be waiting for what became of them."""

    def __init__(self, items: list[Item], wait_s: float):
        self.items = items
        self.left = len(items)
        self.attempts = 0
        self.deadline = time.monotonic() + wait_s
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

    @property
    def left_s(self) -> float:
        """How much longer somebody may wait."""
        return max(0.0, self.deadline - time.monotonic())

    def wait(self) -> None:
        """Block until finished, or until the time for it is up."""
        self._done.wait(self.left_s)

    def when_finished(self, call: Callable[[], None]) -> None:
        """Run `call` once, on the thread that finishes it."""
        self._calls.append(call)
        if self._done.is_set() and call in self._calls:
            self._calls.remove(call)
            call()


class Outbox:
    """Items on their way. Its lock is the buffer's: there is one, so no two can be taken the wrong way round."""

    def __init__(self, buffer: Buffer):
        self._buffer, self._lock = buffer, buffer.lock
        self._items: deque[Item] = deque()
        self._waiting: list[Ticket] = []

    def __len__(self) -> int:
        return len(self._items)

    def is_awaited(self) -> bool:
        """Whether somebody waits for what is here."""
        return bool(self._items and self._waiting)

    def first(self, how_many: int | None = None) -> list[Item]:
        """The oldest items, all of them when no number is given."""
        with self._lock:
            return list(islice(self._items, how_many))

    def add(self, items: Iterable[Item]) -> None:
        """Take items over that nobody waits for."""
        with self._lock:
            self._items.extend(items)

    def submit(self, items: list[Item], again: bool = False, wait_s: float = WAIT_S) -> Ticket:
        """Take items over that somebody waits for; `again` when they are here already."""
        ticket = Ticket(items, wait_s)
        with self._lock:
            for item in items:
                item.ticket = ticket
            if not again:
                self._items.extend(items)
            self._waiting.append(ticket)
        return ticket

    def collect(self, due: Callable[[list[Item]], bool]) -> None:
        """Take those conversations out of the buffer that are `due`."""
        with self._lock:
            pending = self._buffer.pending
            for name in [name for name, items in pending.items() if due(items)]:
                self._items.extend(pending.pop(name))

    def queued(self, conversation_id: str | None) -> list[Item]:
        """What of this conversation (None: of any) somebody was told would be delivered later, and is not yet."""
        with self._lock:
            return [
                item
                for item in self._items
                if item.conversation_id == (conversation_id or item.conversation_id)
                and (ticket := getattr(item, "ticket", None)) is not None
                and ticket.finished
            ]

    def delivered(self, parcels: list[Parcel]) -> None:
        """These need not be sent again."""
        with self._lock:
            for parcel in parcels:
                left = parcel.item.parcels or []
                left.remove(parcel)
                if not left:
                    self.settle(parcel.item)

    def settle(self, item: Item) -> None:
        """All that can become of this item has."""
        with self._lock:
            if self._items and self._items[0] is item:
                self._items.popleft()
            elif item in self._items:
                self._items.remove(item)
            item.queued = False
            self._buffer.release(item)
            ticket = getattr(item, "ticket", None)
            if ticket is not None:
                ticket.left -= 1
                if ticket.left <= 0:
                    self.finish(ticket)

    def failed(self, reason: str, again_at: float, give_up: bool) -> None:
        """Note why nothing was delivered; those who have waited long enough, or would, need not wait any longer."""
        with self._lock:
            for item in self._items:
                item.trouble = reason
            for ticket in list(self._waiting):
                ticket.attempts += 1
                if give_up or ticket.attempts >= ATTEMPTS or again_at > ticket.deadline:
                    self.finish(ticket)

    def finish(self, ticket: Ticket) -> None:
        """Whoever waits for `ticket` is told."""
        if ticket in self._waiting:
            self._waiting.remove(ticket)
        ticket.finish()
