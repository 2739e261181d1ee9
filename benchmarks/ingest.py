"""Ingest, end to end over HTTP, against the ceilings of the same machine in the same run.

    python benchmarks/ingest.py            about two minutes
    python benchmarks/ingest.py --quick    half a minute, for a first look

Measured, alternating, each the median of several rounds:

* ceiling   a bare SQLite writer of the same facts, nothing checked or answered: 1,000 events a transaction, WAL,
            synchronous=FULL, the same indexes, sums, an FTS5 unicode61 index
* batch     POST /api/batch/ with 100 events a request, counted when the answer is there, which is after the commit
* single    POST /api/batch/ with one event a request, 32 connections
* group     32 clients with one event each: our writer that commits together, against a commit a request on the same schema

T4: batch >= 0.4 x ceiling. T5: group >= 2.5 x a commit a request, p99 <= 0.5 x. The other targets of ingest (T1, T2, T3)
compare with peers' servers; this prints the figures they are compared with.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import table
from table import Row

WORDS = re.findall(
    r"\w+",
    """order parcel refund password invoice table booking delivery where when please thank you the a my is it not
    yesterday tomorrow broken address change cancel subscription help kitchen lamp number status carrier""",
)


# -- events ----------------------------------------------------------------------------------------------------------
def events(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """A plausible mix: conversations of a few messages with actions, every id new, times running on."""
    dice = Random(seed)
    now_us = 1_795_000_000_000_000
    run = uuid.uuid4().hex[:8]
    open_now: list[str] = []
    for number in range(count):
        now_us += dice.randrange(40_000)
        if len(open_now) < 20 or dice.random() < 0.12:
            key = f"{run}-{seed}-{number}"
            open_now = [*open_now[-19:], key]
            kind: dict[str, Any] = {
                "kind": "conversation",
                "customer_id": f"c-{dice.randrange(5_000)}",
                "device": dice.choice(("desktop", "mobile", "tablet")),
                "source": dice.choice(("web", "whatsapp")),
                "language": dice.choice(("en", "de", "hr")),
                "environment": "production",
            }
        else:
            key = dice.choice(open_now)
            kind = _said(dice)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_us // 10**6)) + f".{now_us % 10**6:06}Z"
        event_id = f"0190{number:08x}-{run}-{seed:04x}-{dice.getrandbits(48):012x}"
        yield {"id": event_id, "conversation_id": key, "occurred_at": moment, "seq": number, "metadata": {}, **kind}


def _said(dice: Random) -> dict[str, Any]:
    if dice.random() < 0.15:
        name = dice.choice(("get_order", "search", "create_ticket_note"))
        return {"kind": "action", "action_name": name, "duration_ms": dice.randrange(900), "response": "ok"}
    text = " ".join(dice.choices(WORDS, k=dice.randrange(8, 36)))
    return {"kind": "message", "sender": dice.choice(("end_user", "agent")), "content": text}


def bodies(count: int, size: int, seed: int, senders: int = 32) -> list[list[bytes]]:
    """Request bodies of `size` events, about `count` in all; each sender has conversations of its own, as processes do."""
    return [list(_bodies_of(max(1, count // senders), size, seed * 100 + sender)) for sender in range(senders)]


def _bodies_of(count: int, size: int, seed: int) -> Iterator[bytes]:
    made = events(count * size, seed)
    for _ in range(count):
        yield json.dumps({"events": [next(made) for _ in range(size)]}).encode()


# -- the ceiling: SQLite and nothing else ----------------------------------------------------------------------------
def _sqlite() -> Any:
    with contextlib.suppress(ImportError):
        from pysqlite3 import dbapi2

        return dbapi2
    return sqlite3


def _bare(path: Path) -> Any:
    connection = _sqlite().connect(str(path), isolation_level=None, check_same_thread=False, timeout=30)
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "cache_size = -65536", "temp_store = MEMORY"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    connection.executescript(
        "CREATE TABLE head (id INTEGER PRIMARY KEY, agent INTEGER, key TEXT, customer TEXT, started TEXT, last TEXT,"
        " device TEXT, source TEXT, language TEXT, count INTEGER);"
        "CREATE UNIQUE INDEX head_key ON head (agent, key);"
        "CREATE INDEX head_newest ON head (agent, started, id);"
        "CREATE INDEX head_customer ON head (agent, customer);"
        "CREATE TABLE row (id INTEGER PRIMARY KEY, agent INTEGER, event_id TEXT, head INTEGER, occurred TEXT, seq INTEGER,"
        " kind TEXT, sender TEXT, content TEXT, name TEXT, duration_ms REAL, metadata TEXT);"
        "CREATE UNIQUE INDEX row_once ON row (agent, event_id);"
        "CREATE INDEX row_timeline ON row (head, occurred, seq);"
        "CREATE INDEX row_action ON row (agent, name, head) WHERE kind = 'action';"
        "CREATE TABLE sums (agent INTEGER, hour TEXT, dimension TEXT, key TEXT, count INTEGER,"
        " PRIMARY KEY (agent, hour, dimension, key)) WITHOUT ROWID;"
        "CREATE VIRTUAL TABLE said USING fts5(content, content='row', content_rowid='id', tokenize='unicode61');"
    )
    return connection


def ceiling(count: int, together: int, seed: int) -> float:
    """Events a second of a bare writer of the same facts: heads, rows, their indexes, sums and full text; nothing checked."""
    made = list(events(count, seed))
    with tempfile.TemporaryDirectory() as folder:
        connection = _bare(Path(folder) / "bare.db")
        started = time.perf_counter()
        for start in range(0, count, together):
            _bare_write(connection, made[start : start + together])
        spent = time.perf_counter() - started
        connection.close()
    return count / spent


_HEAD = (
    "INSERT INTO head (agent, key, customer, started, last, device, source, language, count) VALUES (1, ?, ?, ?, ?, ?, ?, ?, 1) "
    "ON CONFLICT (agent, key) DO UPDATE SET count = count + 1, last = excluded.last RETURNING id"
)
_ROW = "INSERT INTO row VALUES (NULL, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_SUM = "INSERT INTO sums VALUES (1, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count"


def _bare_write(connection: Any, made: list[dict[str, Any]]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    first = connection.execute("SELECT coalesce(max(id), 0) FROM row").fetchone()[0]
    heads: dict[str, int] = {}
    sums: dict[tuple[str, str, str], int] = {}
    rows = []
    for event in made:
        key, at = event["conversation_id"], event["occurred_at"]
        facets = [event.get(name) for name in ("device", "source", "language")]
        if key not in heads:
            heads[key] = connection.execute(_HEAD, (key, event.get("customer_id"), at, at, *facets)).fetchone()[0]
        for slot in ((at[:13], "kind", event["kind"]), *((at[:13], "facet", facet) for facet in facets if facet)):
            sums[slot] = sums.get(slot, 0) + 1
        rest = (event.get("sender"), event.get("content"), event.get("action_name"), event.get("duration_ms"))
        rows.append((event["id"], heads[key], at, event["seq"], event["kind"], *rest, json.dumps(event["metadata"])))
    connection.executemany(_ROW, rows)
    connection.execute("INSERT INTO said (rowid, content) SELECT id, content FROM row WHERE id > ?", (first,))
    connection.executemany(_SUM, [(*slot, number) for slot, number in sums.items()])
    connection.execute("COMMIT")


# -- the server ------------------------------------------------------------------------------------------------------
class Server:
    """`agentsight serve` as a user starts it, on an empty folder or on a given one."""

    def __init__(
        self,
        folder: str | None = None,
        *,
        agent: str = "bench",
        organization: str = "default",
        database: str | None = None,
        workers: int = 1,
    ):
        self._own = None if folder else tempfile.TemporaryDirectory()
        self._data = ["--data", folder or (self._own.name if self._own else "")]
        self._data += ["--database", database] if database else []
        self._for, self._workers = ["--agent", agent, "--organization", organization], workers

    def __enter__(self) -> Server:
        tool = [sys.executable, "-m", "agentsight.cli"]
        self.key = subprocess.check_output([*tool, "keys", "create", *self._for, *self._data], text=True).strip()
        began = time.perf_counter()
        serve = [*tool, "serve", "--port", "0", "--workers", str(self._workers), *self._data]
        self._process = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
        line = self._process.stdout.readline() if self._process.stdout else ""
        self.start_up_s = time.perf_counter() - began
        self.port = int(line.rsplit(":", 1)[1])
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)
        if self._own:
            self._own.cleanup()

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_s(self) -> float:
        return sum(map(_cpu_s, self._family()))

    def memory_mib(self) -> float:
        pages = (int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self._family())
        return sum(pages) * 4096 / 2**20

    def _family(self) -> list[int]:
        pid = self._process.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _send(port: int, key: str, mine: list[bytes], latencies: list[float], accepted: list[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /api/batch/ HTTP/1.1\r\nHost: bench\r\nAuthorization: Api-Key {key}\r\nContent-Type: application/json\r\n"
    for body in mine:
        started = time.perf_counter()
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer.decode())
        length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        said = await reader.readexactly(length)
        latencies.append(time.perf_counter() - started)
        accepted.append(int(said[said.index(b'"accepted":') + 11 :].split(b",")[0]))
    writer.close()


def load(port: int, key: str, every: list[list[bytes]]) -> tuple[float, float, int]:
    """Seconds, p99 seconds and events acknowledged of sending all bodies, each sender over its keep-alive connection."""
    latencies: list[float] = []
    accepted: list[int] = []

    async def run() -> float:
        started = time.perf_counter()
        await asyncio.gather(*(_send(port, key, part, latencies, accepted) for part in every))
        return time.perf_counter() - started

    spent = asyncio.run(run())
    return spent, statistics.quantiles(latencies, n=100)[98], sum(accepted)


# -- group commit ----------------------------------------------------------------------------------------------------
def writers(commit_each: bool, per_client: int, clients: int = 32) -> tuple[float, float]:
    """Events a second and p99 seconds of clients that store one event each and wait for its commit, on our schema."""
    from agentsight.core import ingest, tenancy
    from agentsight.core.model import Agent
    from agentsight.core.ports import Store
    from agentsight.storage import open_storage
    from agentsight.storage.migrate import migrate
    from agentsight.storage.sql import writer
    from agentsight.wire import parse

    with tempfile.TemporaryDirectory() as folder:
        together, writer.TOGETHER = writer.TOGETHER, 1 if commit_each else writer.TOGETHER
        storage = open_storage(f"sqlite:///{folder}/group.db")
        migrate(storage)

        def make(store: Store) -> Agent:
            return tenancy.ensure_agent(store, tenancy.ensure_organization(store, "bench", 1), "bench", 1)

        agent = storage.write(make).result()
        latencies: list[float] = []
        lock = threading.Lock()

        def client(number: int) -> None:
            for event in events(per_client, 100 + number):
                draft = parse(event)
                started = time.perf_counter()
                storage.write(ingest.Intake(agent, [draft], 0)).result()
                with lock:
                    latencies.append(time.perf_counter() - started)

        started = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(client, range(clients)))
        spent = time.perf_counter() - started
        storage.close()
        writer.TOGETHER = together
    return clients * per_client / spent, statistics.quantiles(latencies, n=100)[98]


# -- the table -------------------------------------------------------------------------------------------------------
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="smaller and fewer rounds")
    quick = parser.parse_args().quick
    rounds, batches, singles, each = (2, 150, 1_500, 60) if quick else (5, 500, 6_000, 200)
    ceilings, batch, single, cpu = [], [], [], []
    with Server() as server:
        idle = server.memory_mib()
        load(server.port, server.key, bodies(32, 100, 1))
        for number in range(rounds):
            ceilings.append(ceiling(batches * 100, 1_000, 10 + number))
            sent = bodies(batches, 100, 20 + number)
            before = server.cpu_s()
            spent, _, stored = load(server.port, server.key, sent)
            cpu.append((server.cpu_s() - before) / stored * 1e6)
            batch.append(stored / spent)
            spent, p99, stored = load(server.port, server.key, bodies(singles, 1, 40 + number))
            single.append((stored / spent, p99))
        loaded = server.memory_mib()
    alone = [writers(True, each) for _ in range(rounds)]
    grouped = [writers(False, each) for _ in range(rounds)]
    report(ceilings, batch, single, cpu, alone, grouped, (idle, loaded))


def report(
    ceilings: list[float],
    batch: list[float],
    single: list[tuple[float, float]],
    cpu: list[float],
    alone: list[tuple[float, float]],
    grouped: list[tuple[float, float]],
    memory: tuple[float, float],
) -> None:
    middle: Callable[[list[float]], float] = statistics.median
    rates, waits = middle([rate for rate, _ in single]), middle([p99 for _, p99 in single])
    alone_rate, alone_p99 = middle([rate for rate, _ in alone]), middle([p99 for _, p99 in alone])
    rate, p99 = middle([rate for rate, _ in grouped]), middle([p99 for _, p99 in grouped])
    share = middle([mine / top for mine, top in zip(batch, ceilings, strict=True)])
    print(f"SQLite {_sqlite().sqlite_version}, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    table.give(
        [
            Row("T4", "events/s over HTTP, batches of 100, to a bare SQLite writer", f"{middle(batch):,.0f}",
                f"{middle(ceilings):,.0f}", share, ">= 0.4"),
            Row("T5", "events/s, 32 clients, commits together to one each", f"{rate:,.0f}", f"{alone_rate:,.0f}",
                rate / alone_rate, ">= 2.5"),
            Row("T5", "its p99", f"{p99 * 1e3:.1f} ms", f"{alone_p99 * 1e3:.1f} ms", p99 / alone_p99, "<= 0.5"),
            Row("", "server CPU an event, batches of 100", f"{middle(cpu):.1f} us"),
            Row("", "events/s, one a request, 32 connections", f"{rates:,.0f}, p99 {waits * 1e3:.1f} ms"),
            Row("", "server memory, idle and after", f"{memory[0]:.0f} and {memory[1]:.0f} MiB"),
        ]
    )  # fmt: skip


if __name__ == "__main__":
    main()
