"""Threads that write: each takes what waits, together, and whoever waits hears how it went."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

from agentsight.core.ports import Store
from agentsight.errors import ServerFailed

from .rows import Driver
from .store import SqlStore

T = TypeVar("T")

WAITING = 2_000  # changes that may wait; beyond that the caller is asked to come back
TOGETHER = 64  # changes in one commit at most, so that the first of them need not wait for the last for long
GATHER_S = 0.002  # where several came together the last time, as many are on their way; so long they are waited for


@dataclass(slots=True, eq=False)
class Change:
    """Something to do in a transaction, and what came of it."""

    work: Callable[[Store], Any]
    done: Future[Any]
    result: Any = None
    refusal: BaseException | None = None
    tries: int = 0

    def tell(self) -> None:
        """To whoever waits: it is committed, or it was refused."""
        if self.refusal is not None:
            self.done.set_exception(self.refusal)
        else:
            self.done.set_result(self.result)


class Writer:
    """A queue of changes and the threads that take them, at least one change and at most TOGETHER at a time.

    `commit` tells every change it is given how it went. `rest` is called when nothing came for `idle_s` (True) and after
    every commit (False), and says whether there is more for it to do; `leave` when a thread ends.
    """

    def __init__(
        self,
        name: str,
        commit: Callable[[list[Change]], None],
        *,
        threads: int = 1,
        rest: Callable[[bool], bool] | None = None,
        idle_s: float = 0.05,
        leave: Callable[[], None] | None = None,
    ):
        self._name, self._commit, self._rest, self._idle_s, self._leave = name, commit, rest, idle_s, leave
        self._count = threads
        self._waiting: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._starting = threading.Lock()
        self._enough = threading.Event()
        self._expected = 1  # who waits for the next commit, if it is as many as for the last
        self._closed = False

    def put(self, work: Callable[[Store], T]) -> Future[T]:
        """What `work` gives, after the commit. Raises ServerFailed: too much waits, or this is over."""
        self._ensure_threads()
        if self._waiting.qsize() >= WAITING:
            raise ServerFailed("too much is waiting to be stored; try again", retry_after_s=1)
        done: Future[T] = Future()
        self._waiting.put(Change(work, done))
        if self._waiting.qsize() >= self._expected:
            self._enough.set()
        return done

    def close(self) -> None:
        """Finish what waits; nothing is taken any more."""
        with self._starting:
            self._closed = True
        running = [thread for thread in self._threads if thread.is_alive()]
        for _ in running:
            self._waiting.put(None)
        for thread in running:
            thread.join(timeout=30)

    def _ensure_threads(self) -> None:
        if len(self._threads) == self._count and all(thread.is_alive() for thread in self._threads):
            return
        with self._starting:
            if self._closed:
                raise ServerFailed("the server is stopping; try again", retry_after_s=2)
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            while len(self._threads) < self._count:
                self._threads.append(threading.Thread(target=self._write_on, name=self._name, daemon=True))
                self._threads[-1].start()

    def _write_on(self) -> None:
        behind = last = False
        while not last:
            taken = self._next(self._idle_s if behind else None)
            last = bool(taken) and taken[-1] is None
            changes = [change for change in taken if change is not None and change.done.set_running_or_notify_cancel()]
            try:
                if changes:
                    self._commit(changes)
                behind = self._rest(not taken or last) if self._rest else False
            except BaseException as failure:  # the edge of a thread: whoever waits must hear of it
                behind = False
                refuse(changes, failure)
        if self._leave:
            self._leave()

    def _next(self, patience_s: float | None) -> list[Change | None]:
        """What waits, at least one thing; nothing, when nothing comes for so long. None among it: the end."""
        try:
            first = self._waiting.get(timeout=patience_s)
        except queue.Empty:
            return []
        if first is None:
            return [first]
        if self._expected > 1:
            self._gather()
        taken = [first, *self._also_waiting()]
        self._expected = len(taken)
        return taken

    def _gather(self) -> None:
        self._expected -= 1  # the first is taken already
        self._enough.clear()
        if self._waiting.qsize() < self._expected:
            self._enough.wait(GATHER_S)

    def _also_waiting(self) -> Iterator[Change | None]:
        for _ in range(TOGETHER - 1):
            try:
                change = self._waiting.get_nowait()
            except queue.Empty:
                return
            yield change
            if change is None:
                return


def refuse(changes: Iterable[Change], failure: BaseException) -> None:
    """Tell those who still wait that it could not be done."""
    for change in changes:
        if not change.done.done():
            change.done.set_exception(failure)


def run(
    driver: Driver,
    changes: Sequence[Change],
    ends_all: Callable[[BaseException], bool],
    comes_again: Callable[[BaseException, Change], bool] = lambda failure, change: False,
) -> list[Change]:
    """Run all changes in the open transaction, each in a savepoint, so that one that fails costs only itself.

    Neighbours that can be joined run as one; where that fails, each runs by itself. Nobody is told before the commit.
    What ends all is raised; gives those that have to come again.
    """
    whole = SqlStore(driver)
    late: list[Change] = []

    def failure_of(work: Callable[[SqlStore], None], last: Change) -> Exception | None:
        """What doing it failed with, its traces undone; None: it is done."""
        claimed, failed = driver.claimed, None
        driver.run("SAVEPOINT change")
        try:
            work(store := SqlStore(driver))
            store.hand_over(whole)
        except Exception as failure:
            if ends_all(failure) and not comes_again(failure, last):
                raise
            driver.run("ROLLBACK TO change")
            driver.claimed, failed = claimed, failure
        driver.run("RELEASE change")
        return failed

    for _, neighbours in groupby(changes, _joins):
        joined = list(neighbours)
        driver.may_wait = joined[0] is changes[0]
        if len(joined) > 1 and failure_of(partial(_together, joined), joined[-1]) is None:
            continue
        for change in joined:
            change.tries += 1
            driver.may_wait = change is changes[0]
            change.refusal = failure_of(partial(_alone, change), change)
            if change.refusal is not None and comes_again(change.refusal, change):
                late.append(change)
    whole.settle()
    return late


def _joins(change: Change) -> Any:
    """What its neighbours have to have too to be stored with it; by default nobody else has it."""
    return getattr(change.work, "joins", change)


def _alone(change: Change, store: SqlStore) -> None:
    change.result = change.work(store)


def _together(changes: Sequence[Change], store: SqlStore) -> None:
    first, *others = [change.work for change in changes]
    for change, result in zip(changes, first.together(store, others), strict=True):  # type: ignore[attr-defined]
        change.result, change.refusal = result, None
