"""What became of what was sent: counted in memory a request at a time, written down every few seconds.

It costs the writer one short transaction now and then, whatever arrives. A process that is killed loses the counts of
its last seconds, never an event.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache

from starlette.requests import Request

from agentsight.core.model import Delivery, Principal, Verdict
from agentsight.core.ports import Storage
from agentsight.errors import AgentSightError

from . import telemetry
from .http import after, header

EVERY_S = 2
KEPT_DAYS = 400
MOST = 1_000  # different lines between two writings; what is more is counted as "other"
DAY_S = 86_400
_UNSAFE = re.compile(r"[^\w.+/ -]")
_OURS = re.compile(r"^agentsight[-_]?(python)?/?", re.IGNORECASE)
_log = logging.getLogger("agentsight.ledger")
_Line = tuple[int, int, int, str, str, str]


def today() -> int:
    """The day in UTC, counted from 1970."""
    return int(time.time()) // DAY_S


class Ledger:
    """Of one process. Only requests with an agent's key are counted: they alone tell whose they are."""

    def __init__(self, storage: Storage):
        self._storage = storage
        self._counts: Counter[_Line] = Counter()

    def note(self, request: Request, verdicts: Sequence[Verdict], dropped: object = None) -> Counter[str]:
        """Count what became of the events of a request, and what its sender says it had `dropped`; gives how often what was."""
        outcomes: Counter[str] = Counter([verdict.verdict for verdict in verdicts])
        telemetry.count(outcomes)
        telemetry.count_dropped(dropped)
        whose = _whose(request)
        if whose is None:
            return outcomes
        client = _client(request)
        for outcome, number in outcomes.items():
            if outcome != "rejected":
                self._add(whose, client, outcome, "", number)
        if outcomes["rejected"]:
            for verdict in verdicts:
                if verdict.verdict == "rejected":
                    self._add(whose, client, "rejected", f"{verdict.field}: {verdict.reason}", 1)
        for reason, number in telemetry.said_to_be_dropped(dropped):
            self._add(whose, client, "lost", reason, number)
        return outcomes

    def refuse(self, request: Request, status: int, why: str) -> None:
        """Count a request that was turned away whole: too much at once, too large, not to be read."""
        whose = _whose(request)
        if whose is not None and request.method == "POST" and status not in (401, 403, 404, 405):
            self._add(whose, _client(request), "refused", f"{status} {why}", 1)

    def _add(self, whose: tuple[int, int], client: str, outcome: str, reason: str, number: int) -> None:
        line = (whose[0], today(), whose[1], client, outcome, reason[:200])
        if line not in self._counts and len(self._counts) >= MOST:
            line = (*line[:3], "other", outcome, "other" if reason else "")
        self._counts[line] += number

    async def write_down(self) -> None:
        """Write what was counted since the last time, and keep it where that is not possible now."""
        counts, self._counts = self._counts, Counter()
        lines = [Delivery(*line, number) for line, number in counts.items()]
        if not lines:
            return
        try:
            await after(self._storage.write(lambda store: store.deliveries.add(lines)))
        except AgentSightError as trouble:  # the database rests; the next time is soon enough
            self._counts.update(counts)
            _log.warning("the ledger was put off: %s", trouble)
        except Exception:
            _log.exception("the ledger failed")


@asynccontextmanager
async def running(ledger: Ledger) -> AsyncIterator[None]:
    """The ledger is written down every few seconds inside the block, and when it ends."""
    task = asyncio.create_task(_go_on(ledger))
    try:
        yield
    finally:
        task.cancel()
        await ledger.write_down()


async def _go_on(ledger: Ledger) -> None:
    while True:
        await asyncio.sleep(EVERY_S)
        await ledger.write_down()


def _whose(request: Request) -> tuple[int, int] | None:
    asking: Principal | None = getattr(request.state, "asking", None)
    if asking is None or asking.key_id is None or asking.agent is None:
        return None
    return asking.agent.id, asking.key_id


def _client(request: Request) -> str:
    """What sent it: the first word of its user agent, which says name and version; ours without a maker's name."""
    return _spelled(header(request, b"user-agent"))


@lru_cache(1_000)
def _spelled(user_agent: str) -> str:
    return _OURS.sub("python/", _UNSAFE.sub("", user_agent.partition(" ")[0]))[:60] or "unknown"
