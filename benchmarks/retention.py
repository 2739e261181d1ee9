"""What retention costs on PostgreSQL: `python benchmarks/retention.py [--events 2000000]`.

Half of a year's events have had their time and go, step by step, while somebody reads. Without partitions this is rows
deleted, so it says how fast they go, how much log they write, what the table is afterwards and how long reads take.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import ingest
import psycopg
import table
from table import Row

from agentsight.core import conversations, retention, tenancy
from agentsight.core import ingest as core
from agentsight.core.model import Filter, Principal, Scope
from agentsight.storage import open_storage
from agentsight.storage.blobs import FileBlobs
from agentsight.storage.migrate import migrate
from agentsight.wire import parse

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from served import Postgresql

TOGETHER = 1_000
NOW = datetime.now(UTC).replace(microsecond=0)
TABLES = ("event", "conversation", "tally", "rollup", "presence")


def fill(storage: Any, agent: Any, count: int) -> None:
    """A year of events, evenly."""
    step = timedelta(days=364) / count
    first = NOW - timedelta(days=364)
    waiting, drafts = [], []
    for place, one in enumerate(ingest.events(count, 31)):
        drafts.append(parse({**one, "occurred_at": (first + place * step).isoformat()}))
        if len(drafts) == TOGETHER or place == count - 1:
            taking: Any = partial(core.accept, agent=agent, drafts=drafts, now_us=0)
            waiting.append(storage.write(taking, alongside=True))
            drafts = []
        if len(waiting) > 20:
            waiting.pop(0).result()
    for done in waiting:
        done.result()


def sizes(url: str) -> dict[str, int]:
    with psycopg.connect(url, autocommit=True) as connection:
        asked = "SELECT relname, pg_total_relation_size(oid) FROM pg_class WHERE relname = ANY(%s)"
        return dict(connection.execute(asked, (list(TABLES),)).fetchall())


def log_bytes(server: Postgresql) -> int:
    return int(server.run("SELECT pg_current_wal_lsn() - '0/0'")[0][0])


class Reading(threading.Thread):
    """Somebody who opens the list and a conversation, again and again."""

    def __init__(self, storage: Any, scope: Scope):
        super().__init__()
        self.storage, self.scope, self.spent, self.ends = storage, scope, [], threading.Event()
        self.spent: list[float] = []

    def run(self) -> None:
        while not self.ends.wait(0.05):
            began = time.perf_counter()
            heads, _ = self.storage.read(lambda store: conversations.page(store, self.scope, Filter(), limit=20))
            self.storage.read(lambda store, id=heads[0].id: conversations.transcript(store, self.scope, id))
            self.spent.append(time.perf_counter() - began)

    def stop(self) -> tuple[float, float]:
        """Median and 95th of a hundred, in milliseconds."""
        self.ends.set()
        self.join()
        told = sorted(self.spent)
        return statistics.median(told) * 1e3, told[int(len(told) * 0.95)] * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=2_000_000, help="of one year; those of the older half go")
    count = parser.parse_args().events
    server = Postgresql(own=True, durable=True)
    folder = tempfile.TemporaryDirectory()
    try:
        url = server.empty()
        storage: Any = open_storage(url)
        migrate(storage)
        now_us = int(NOW.timestamp()) * 1_000_000
        owner = storage.write(lambda store: tenancy.ensure_organization(store, "bench", now_us)).result()
        agent = storage.write(lambda store: tenancy.ensure_agent(store, owner, "bench", now_us)).result()
        scope = Scope(owner.id, (agent.id,))
        began = time.perf_counter()
        fill(storage, agent, count)
        print(f"filled in {time.perf_counter() - began:.0f} s, load {os.getloadavg()[0]:.1f}", flush=True)
        server_url = server.url(server._name(url))
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")
        before = sizes(url)
        reading = Reading(storage, scope)
        reading.start()
        time.sleep(10)
        calm = reading.stop()
        rules = retention.Rules(numbers_months=6)
        who = Principal(scope, "owner", name="bench")
        owner = storage.write(lambda store: retention.set_rules(store, who, rules, now_us)).result()
        reading, log = Reading(storage, scope), log_bytes(server)
        reading.start()
        began = time.perf_counter()
        outcome = retention.Run(storage, FileBlobs(Path(folder.name)), owner, now_us)()
        spent = time.perf_counter() - began
        busy, log = reading.stop(), log_bytes(server) - log
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")  # what autovacuum does by itself
        after = sizes(url)
        began = time.perf_counter()
        fill(storage, agent, outcome.events // 10)
        again = sizes(url)
        rows = [
            Row("", "retention: events gone, a second", f"{outcome.events:,}", f"{outcome.events / spent:,.0f}/s"),
            Row(
                "",
                "retention: conversations gone, a second",
                f"{outcome.expired:,}",
                f"{outcome.expired / spent:,.0f}/s",
            ),
            Row("", "retention: log written, an event", f"{log / 2**20:,.0f} MiB", f"{log / outcome.events:,.0f} B"),
            Row(
                "",
                "retention: list and transcript meanwhile, to before",
                f"{busy[0]:.1f} ms",
                f"{calm[0]:.1f} ms",
                busy[0] / calm[0],
            ),
            Row("", "retention: 95th of them, to before", f"{busy[1]:.1f} ms", f"{calm[1]:.1f} ms", busy[1] / calm[1]),
            *(
                Row(
                    "",
                    f"retention: {name} after vacuum, to before",
                    _mib(after[name]),
                    _mib(before[name]),
                    after[name] / before[name],
                )
                for name in TABLES
            ),
            Row(
                "",
                "retention: event once a tenth came again",
                _mib(again["event"]),
                _mib(after["event"]),
                again["event"] / after["event"],
            ),
        ]
        print(
            f"PostgreSQL {server.run('SHOW server_version')[0][0]}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
        )
        table.give(rows)
        storage.close()
    finally:
        server.close()
        folder.cleanup()


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


if __name__ == "__main__":
    main()
