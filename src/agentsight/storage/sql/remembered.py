"""Answers about days that are over, kept in this process.

What was asked of the past stays true until somebody changes the past: late events, an import, a deletion. Every such
change counts up in its agent's row of `past` in the same transaction, and answers are kept under these counts, so that any
process on the database sees at once that they are no longer true.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from typing import Any, TypeVar

from agentsight.core.measures import DAY_BUCKETS

T = TypeVar("T", bound=Collection[Any])

MOST = 250_000  # rows kept at all
MOST_OF_ONE = 100_000  # rows of one answer
_DAY_S = 86_400


def over() -> int:
    """The bucket before which all is over for readers. It leaves a day between them and writers, whose clocks differ."""
    return (int(time.time()) // _DAY_S - 2) * DAY_BUCKETS


def settled() -> int:
    """The bucket before which a change is one of the past."""
    return (int(time.time()) // _DAY_S - 1) * DAY_BUCKETS


class Remembered:
    """Answers by question; those not asked for longest go first."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, Collection[Any]] = OrderedDict()
        self._rows = 0
        self._lock = threading.Lock()

    def get(self, question: Hashable, ask: Callable[[], T]) -> T:
        with self._lock:
            known = self._known.get(question)
            if known is not None:
                self._known.move_to_end(question)
                return known  # type: ignore[return-value]
        answer = ask()
        if len(answer) <= MOST_OF_ONE:
            with self._lock:
                if question not in self._known:
                    self._known[question] = answer
                    self._rows += len(answer) + 1
                while self._rows > MOST:
                    self._rows -= len(self._known.popitem(last=False)[1]) + 1
        return answer
