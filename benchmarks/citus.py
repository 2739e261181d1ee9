"""T13, one PostgreSQL beside the same spread by Citus: `python benchmarks/citus.py [--quick]`.

Needs AGENTSIGHT_TEST_POSTGRESQL_URL to name the coordinator of a Citus cluster; what its database lies on, ours will. Both
sides take the same events in and are asked the same: every answer has to be equal, numbers of all agents may cost at most
twice what they cost undistributed, one conversation at most eight times. With `--kill COMMAND --start COMMAND`, which end
a worker hard and start it again, nothing that was acknowledged may be missing afterwards.

`--stand-in` runs both sides on a PostgreSQL of our own, where partitions stand for nodes: it proves the program, not Citus.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import ingest
import table
from table import Row

from agentsight.core import analytics, conversations, tenancy
from agentsight.core import ingest as core
from agentsight.core.metrics import METRICS
from agentsight.core.model import Agent, Filter, Scope
from agentsight.core.ports import Store
from agentsight.core.questions import Question
from agentsight.errors import ServerFailed
from agentsight.storage import open_storage
from agentsight.storage.migrate import migrate
from agentsight.wire import parse

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from served import Postgresql

AGENTS, DAYS = 8, 30
FIRST = datetime(2026, 10, 1, tzinfo=UTC)
TOGETHER = 500
LEFT_OUT = "no server with Citus here: set AGENTSIGHT_TEST_POSTGRESQL_URL to a coordinator"
PATIENCE_S = 120  # for a worker to be back


def made(count: int, seed: int) -> list[dict[str, Any]]:
    """Events of one agent, evenly over the days."""
    step = timedelta(days=DAYS) / count
    told = ingest.events(count, seed)
    return [{**one, "occurred_at": (FIRST + place * step).isoformat()} for place, one in enumerate(told)]


@dataclass
class Side:
    """A database with all events in it, and what is asked of it."""

    storage: Any
    agents: list[Agent]

    @property
    def scope(self) -> Scope:
        return Scope(self.agents[0].organization_id, tuple(agent.id for agent in self.agents))

    def fill(self, events: list[list[dict[str, Any]]]) -> None:
        for agent, own in zip(self.agents, events, strict=True):
            drafts = [parse(one) for one in own]
            for start in range(0, len(drafts), TOGETHER):
                taking: Any = partial(core.accept, agent=agent, drafts=drafts[start : start + TOGETHER], now_us=0)
                self.storage.write(taking, alongside=True).result()

    def number(self, question: Question) -> Any:
        def ask(store: Any) -> Any:
            store.rollups.remembers = False  # each time anew
            told = analytics.answer(store, self.scope, question)
            return [(one.name, one.total, [(row.key, row.value) for row in one.rows]) for one in told.series]

        return self.storage.read(ask)

    def listed(self, where: Filter) -> Any:
        def ask(store: Store) -> Any:
            heads, more = conversations.page(store, self.scope, where, limit=100)
            return [(head.conversation_id, head.started_us, head.message_count) for head in heads], more

        return self.storage.read(ask)

    def ids(self, limit: int) -> list[int]:
        return [
            head.id
            for head in self.storage.read(lambda store: conversations.page(store, self.scope, Filter(), limit=limit))[0]
        ]

    def conversation(self, id: int) -> Any:
        told = self.storage.read(lambda store: conversations.transcript(store, self.scope, id))
        return [(event.event_id, event.occurred_us, event.content) for event in told.events]


def opened(url: str) -> Side:
    storage: Any = open_storage(url)
    migrate(storage)

    def make(store: Store) -> list[Agent]:
        owner = tenancy.ensure_organization(store, "bench", 1)
        return [tenancy.ensure_agent(store, owner, f"agent {number}", 1) for number in range(AGENTS)]

    return Side(storage, storage.write(make).result())


def questions() -> Iterator[Question]:
    first, last = FIRST.date().isoformat(), (FIRST + timedelta(days=DAYS - 1)).date().isoformat()
    names = tuple(METRICS)
    for by in ("hour", "day", "country", "language", "source", "tool"):
        yield Question(names, first, last, by=by)
    for where in (Filter(device="mobile"), Filter(source="web", language="de"), Filter(has_error=True)):
        yield Question(names, first, last, by="day", where=where)


def filters() -> list[Filter]:
    return [Filter(), Filter(search="parcel"), Filter(has_messages=True, source="web"), Filter(action_name="search")]


def timed(ask: Callable[[], Any], rounds: int) -> float:
    spent = []
    for _ in range(rounds):
        began = time.perf_counter()
        ask()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def rows(plain: Side, spread: Side, quick: bool) -> Iterator[Row]:
    rounds = 3 if quick else 7
    asked, where = list(questions()), filters()
    ids, same = plain.ids(50), 0
    checks: list[Callable[[Side], Any]] = [
        *(partial(Side.number, question=question) for question in asked),
        *(partial(Side.listed, where=one) for one in where),
        *(partial(Side.conversation, id=id) for id in ids),
    ]
    for check in checks:
        one, other = check(plain), check(spread)
        same += one == other
        if one != other:
            print(f"differs: {check.keywords}", file=sys.stderr)  # type: ignore[attr-defined]
    told = f"{same} of {len(checks)}"
    yield Row("T13", "Citus: answers equal to one PostgreSQL's", told, "", same / len(checks), ">= 1")
    ours, theirs = (sum(timed(partial(side.number, one), rounds) for one in asked) for side in (spread, plain))
    yield Row("T13", "Citus: numbers of all agents, to one PostgreSQL", _ms(ours), _ms(theirs), ours / theirs, "<= 2")
    ours, theirs = (
        statistics.median(timed(partial(side.conversation, id), rounds) for id in ids) for side in (spread, plain)
    )
    yield Row("T13", "Citus: one conversation, to one PostgreSQL", _ms(ours), _ms(theirs), ours / theirs, "<= 8")
    ours, theirs = (sum(timed(partial(side.listed, one), rounds) for one in where) for side in (spread, plain))
    yield Row("", "Citus: lists of all agents, to one PostgreSQL", _ms(ours), _ms(theirs), ours / theirs)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def lost(spread: Side, kill: Callable[[], None], start: Callable[[], None], count: int) -> Row:
    """Events keep coming, one writer an agent; a worker goes and comes back; what was acknowledged has to be there."""
    acknowledged: list[tuple[Agent, str]] = []
    refused, ends = 0, time.monotonic() + PATIENCE_S
    lock, began, through = threading.Lock(), threading.Event(), []

    def write_on(number: int) -> None:
        nonlocal refused
        agent, events = spread.agents[number], made(count, 9_000 + number)
        for start_at in range(0, count, 20):
            some = events[start_at : start_at + 20]
            drafts = [parse(one) for one in some]
            while time.monotonic() < ends:
                try:
                    taking: Any = partial(core.accept, agent=agent, drafts=drafts, now_us=0)
                    spread.storage.write(taking, alongside=True).result()
                except ServerFailed:
                    with lock:
                        refused += 1
                    time.sleep(0.2)
                    continue
                with lock:
                    acknowledged.extend((agent, one["id"]) for one in some)
                began.set()
                break
        through.append(number)

    threads = [threading.Thread(target=write_on, args=(number,)) for number in range(AGENTS)]
    for thread in threads:
        thread.start()
    began.wait(PATIENCE_S)
    time.sleep(0.5)
    kill()
    time.sleep(3)
    start()
    for thread in threads:
        thread.join()
    until = time.monotonic() + PATIENCE_S  # what was half way through is finished by the cluster itself, once a minute
    while (missing := len(absent(spread, acknowledged))) and time.monotonic() < until:
        time.sleep(2)
    said = f"{missing} of {len(acknowledged)}"
    ended = "" if refused else "the kill was not felt: nothing was refused"
    return Row("T13", "Citus: acknowledged events lost by a worker's kill", said, "", float(missing), "<= 0", ended)


def absent(side: Side, acknowledged: list[tuple[Agent, str]]) -> list[str]:
    """Those that are not stored."""
    found: list[str] = []
    for agent in side.agents:
        own = [id for owner, id in acknowledged if owner.id == agent.id]
        for place in range(0, len(own), 500):
            some = own[place : place + 500]
            known = side.storage.read(lambda store, agent=agent, some=some: store.timeline.known(agent.id, some))
            found += [id for id in some if id not in known]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer events and rounds")
    parser.add_argument("--stand-in", action="store_true", help="both sides on a PostgreSQL of our own, without Citus")
    parser.add_argument("--kill", metavar="COMMAND", help="ends a worker hard, as pg_ctl stop -m immediate does")
    parser.add_argument("--start", metavar="COMMAND", help="starts it again")
    given = parser.parse_args()
    if not given.stand_in and not os.environ.get("AGENTSIGHT_TEST_POSTGRESQL_URL"):
        table.give([Row("T13", "Citus", note=LEFT_OUT)])
        return
    server = Postgresql(durable=True, stand_in=given.stand_in)
    try:
        if not server.has_citus:
            table.give([Row("T13", "Citus", note=LEFT_OUT)])
            return
        nodes = len(server._nodes) or 1
        print(f"PostgreSQL {server.run('SHOW server_version')[0][0]}, {nodes} nodes, {os.cpu_count()} cores here")
        plain, spread = opened(server.empty()), opened(server.fresh())
        count = 2_000 if given.quick else 20_000
        events = [made(count, 600 + number) for number in range(AGENTS)]
        for side in (plain, spread):
            side.fill(events)
        found = list(rows(plain, spread, given.quick))
        if given.stand_in:
            found.append(lost(spread, partial(server.restart, "immediate"), lambda: None, count // 4))
        elif given.kill and given.start:
            kill, start = (partial(subprocess.run, told, shell=True, check=True) for told in (given.kill, given.start))
            found.append(lost(spread, lambda: kill() and None, lambda: start() and None, count // 4))
        else:
            found.append(
                Row("T13", "Citus: acknowledged events lost by a worker's kill", note="give --kill and --start")
            )
        if given.stand_in:
            found = [
                Row("", f"stand-in, not {row.what}", row.ours, row.theirs, row.ratio, "", row.note) for row in found
            ]
        table.give(found)
        for side in (plain, spread):
            side.storage.close()
    finally:
        server.close()


if __name__ == "__main__":
    main()
