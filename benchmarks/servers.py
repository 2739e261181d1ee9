"""Servers a user would pick instead, started beside ours: `python benchmarks/servers.py [--quick]`.

Arize Phoenix and MLflow are installed once, each in an environment of its own under the user's cache folder, and get OTLP
requests as agents send them; ours gets batches as the SDK sends them. What counts is what can be read again: Phoenix
answers before it stores, so its spans are counted in its database until all are there. Each is warmed up, rounds
alternate, and while one is measured the others stand still. The kinds of events differ (a span, an event), the size of
their texts does not.

T1 visible events a second in batches of 100, T2 one by one, T3 CPU an event, memory, start-up, T10 and T11 reads over HTTP
with 100,000 stored (`--reads 1000000` for more). Phoenix is filled to that size with copies of its own rows, by SQL.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import analytics
import ingest
import table
from table import Row

HERE = Path(__file__).parent
CACHE = analytics.CACHE


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def installed(name: str) -> Path:
    """The Python of a peer's own environment, made when it is not there. Raises RuntimeError when it cannot be had."""
    folder = CACHE / f"peer-{name}"
    wanted = (HERE / "peers" / f"{name}.txt").read_text()
    ready = folder / "ready"
    python = folder / "bin" / "python"
    if not ready.exists() or ready.read_text() != wanted:
        print(f"installing {wanted.strip()} (once) ...", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        ran = subprocess.run(
            [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", HERE / "peers" / f"{name}.txt"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if ran.returncode:
            said = [line for line in ran.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
            raise RuntimeError(f"{wanted.strip()} cannot be installed here: {said[-1][:150]}")
        ready.write_text(wanted)
    return python


# -- processes -------------------------------------------------------------------------------------------------------
def family(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += [one for child in task.read_text().split() for one in family(int(child))]
    return found


@contextmanager
def paused(pids: list[int]) -> Iterator[None]:
    """These processes and theirs stand still meanwhile: a server that idles takes its part of the cores too."""
    everybody = [one for pid in pids for one in family(pid)]
    _signal(everybody, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(everybody, signal.SIGCONT)


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def cpu_s(pid: int) -> float:
    total = 0.0
    for one in family(pid):
        with suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def memory_mib(pid: int) -> float:
    total = 0.0
    for one in family(pid):
        with suppress(OSError):
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * 4096 / 2**20
    return total


class Peer:
    """One other server: how it is started, where what it stores can be counted, what it wants to be sent."""

    name: str
    headers: ClassVar[dict[str, str]] = {"content-type": "application/x-protobuf"}
    health: str
    counted: str

    def __init__(self, folder: Path):
        self.python = installed(self.name)
        self.folder, self.port = folder, free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    def command(self) -> tuple[list[str], dict[str, str]]:
        raise NotImplementedError

    @property
    def database(self) -> Path:
        raise NotImplementedError

    def start(self) -> None:
        command, env = self.command()
        began = time.perf_counter()
        self._log = open(self.folder / "log", "ab")  # noqa: SIM115
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **env},
            stdout=self._log,
            stderr=self._log,
            cwd=self.folder,
            start_new_session=True,
        )
        while not self._answers():
            if self.process.poll() is not None or time.perf_counter() - began > 180:
                self.stop()
                raise RuntimeError(f"{self.name} does not start here")
            time.sleep(0.05)
        self.start_up_s = time.perf_counter() - began

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{self.health}", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self) -> None:
        """The whole family: some leave children behind."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(8)
        self._log.close()

    def count(self) -> int:
        with suppress(sqlite3.Error), sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=5) as found:
            return int(found.execute(self.counted).fetchone()[0])
        return 0

    def requests(self, number: int, spans: int, seed: int) -> list[bytes]:
        path = self.folder / "requests"
        made = [self.python, HERE / "peers" / "otlp.py", path, str(number), str(spans), str(seed)]
        subprocess.run(made, check=True)
        data, at, found = path.read_bytes(), 0, []
        while at < len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            found.append(data[at + 4 : at + 4 + size])
            at += 4 + size
        return found

    def ingest(self, number: int, spans: int, clients: int, seed: int, patience_s: float = 150) -> tuple[float, float]:
        """Visible spans a second, and CPU seconds a span."""
        waiting = iter(self.requests(number, spans, seed))
        lock, base, cpu = threading.Lock(), self.count(), cpu_s(self.process.pid)

        def client() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
            while True:
                with lock:
                    body = next(waiting, None)
                if body is None:
                    return
                connection.request("POST", "/v1/traces", body, self.headers)
                connection.getresponse().read()

        began = time.perf_counter()
        threads = [threading.Thread(target=client) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        while (seen := self.count() - base) < number * spans and time.perf_counter() - began < patience_s:
            time.sleep(0.05)
        seen = max(1, min(seen, number * spans))
        return seen / (time.perf_counter() - began), (cpu_s(self.process.pid) - cpu) / seen


# what is copied of Phoenix: table -> its own names, and the tables its columns refer to
COPIED: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "project_sessions": (("session_id",), {}),
    "traces": (("trace_id",), {"project_session_rowid": "project_sessions"}),
    "spans": (("span_id", "parent_id"), {"trace_rowid": "traces"}),
}


class Phoenix(Peer):
    name, health, counted = "phoenix", "/healthz", "SELECT count(*) FROM spans"

    def command(self) -> tuple[list[str], dict[str, str]]:
        env = {
            "PHOENIX_WORKING_DIR": str(self.folder),
            "PHOENIX_PORT": str(self.port),
            "PHOENIX_GRPC_PORT": str(free_port()),
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_TELEMETRY_ENABLED": "false",
        }
        return [str(self.python.with_name("phoenix")), "serve"], env

    @property
    def database(self) -> Path:
        return self.folder / "phoenix.db"

    def fill(self, spans: int) -> None:
        """Copies of what is there, at earlier times, until there are so many."""
        self.stop()
        with sqlite3.connect(self.database) as found:
            at = {name: found.execute(f"SELECT max(id) FROM {name}").fetchone()[0] for name in COPIED}
            times = max(0, spans // self.count() - 1)
            numbers = "WITH RECURSIVE n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n WHERE k < ?) SELECT k FROM n"
            found.execute(f"CREATE TEMP TABLE k AS {numbers}", (times,))
            for name, (named, refers) in COPIED.items():
                changed = {column: f"{column} || '-' || k" for column in named}
                changed |= {column: f"{column} + k * {at[table]}" for column, table in {"id": name, **refers}.items()}
                for moment in ("start_time", "end_time"):
                    changed[moment] = f"strftime('%Y-%m-%d %H:%M:%f', {moment}, '-' || (k * 13) || ' minutes') || '000'"
                columns = [row[1] for row in found.execute(f"PRAGMA table_info({name})")]
                told = ", ".join(changed.get(column, column) for column in columns)
                copies = f"SELECT {told} FROM {name}, k WHERE id <= {at[name]}"
                found.execute(f"INSERT INTO {name} ({', '.join(columns)}) {copies}")
            found.execute("DROP TABLE k")
        self.start()

    def ask(self, query: str, **variables: str) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request("POST", "/graphql", body, {"content-type": "application/json"})
        told = json.loads(connection.getresponse().read())
        if told.get("errors"):
            raise RuntimeError(str(told["errors"])[:200])
        return told["data"]

    def reads(self) -> dict[str, float]:
        """Milliseconds of what a person looks at first."""
        project = self.ask("{projects{edges{node{id}}}}")["projects"]["edges"][0]["node"]["id"]
        of = "query($id:ID!){node(id:$id){... on Project{%s}}}"
        shown = "id sessionId numTraces startTime endTime firstInput{value} lastOutput{value} tokenUsage{total}"
        listed = "sessions(first:50,sort:{col:startTime,dir:desc}){edges{node{" + shown + "}}}"
        said = "spans(first:50,filterCondition:\"'refund' in input.value\"){edges{node{id name startTime}}}"
        between = 'timeRange:{start:"2026-08-01T00:00:00Z",end:"2027-01-30T00:00:00Z"}'
        by_day = "timeBinConfig:{scale:DAY,utcOffsetMinutes:0}"
        days = "traceCountTimeSeries(" + between + "," + by_day + "){data{timestamp value}}"
        return {
            name: median_ms(lambda part=part: self.ask(of % part, id=project), 5)  # type: ignore[misc]
            for name, part in (("list", listed), ("search", said), ("days", days))
        }


class Mlflow(Peer):
    name, health, counted = "mlflow", "/health", "SELECT count(*) FROM spans"
    headers: ClassVar[dict[str, str]] = {**Peer.headers, "x-mlflow-experiment-id": "0"}

    def command(self) -> tuple[list[str], dict[str, str]]:
        store = [
            "--backend-store-uri",
            f"sqlite:///{self.database}",
            "--artifacts-destination",
            str(self.folder / "files"),
        ]
        return [
            str(self.python.with_name("mlflow")),
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            *store,
        ], {}

    @property
    def database(self) -> Path:
        return self.folder / "mlflow.db"


def median_ms(ask: Callable[[], Any], times: int) -> float:
    ask()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


@contextmanager
def running(kind: type[Peer], folder: Path, notes: list[Row]) -> Iterator[Any]:
    """A started peer; None, and a line that says why, where it cannot be had."""
    try:
        peer = kind(folder / kind.name)
    except (RuntimeError, OSError, subprocess.SubprocessError) as wrong:
        notes.append(Row("", f"{kind.name}", note=str(wrong)))
        yield None
        return
    try:
        yield peer
    finally:
        peer.stop()


# -- ours ------------------------------------------------------------------------------------------------------------
def our_start_up_s() -> float:
    """From the command to the first answer, on a folder it has served before, as the peers' second start is."""
    with ingest.Server() as server:
        return server.start_up_s


def our_reads(messages: int) -> dict[str, float]:
    """The same questions over HTTP, with so many messages stored."""
    storage, _ = analytics.made(CACHE, messages)
    storage.close()
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "agentsight.db"
        shutil.copy(analytics.place(CACHE, messages), kept)
        with ingest.Server(folder, agent="ours", organization="Benchmark") as server:

            def ask(path: str) -> Any:
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
                connection.request("GET", path, headers={"Authorization": f"Api-Key {server.key}"})
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200:
                    raise RuntimeError(body.decode()[:200])
                return body

            listed = "/api/conversations/?page_size=50"
            days = "from=2026-08-24&to=2026-11-20&tz=UTC&by=day"
            return {
                "list": median_ms(lambda: ask(f"{listed}&full=false"), 11),
                "whole": median_ms(lambda: ask(listed), 11),
                "search": median_ms(lambda: ask(f"{listed}&full=false&message_contains=refund"), 11),
                "days": median_ms(lambda: ask(f"/api/analytics/?metric=total_conversations&{days}"), 11),
            }


# -- the run ---------------------------------------------------------------------------------------------------------
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller and fewer rounds")
    parser.add_argument("--reads", type=int, default=100_000, help="messages and spans stored when reads are measured")
    given = parser.parse_args()
    rounds, batches, singles = (2, 8, 60) if given.quick else (3, 20, 200)
    notes: list[Row] = []
    rates: dict[str, list[float]] = {}
    starts = {"ours": [our_start_up_s() for _ in range(3)]}
    with (
        tempfile.TemporaryDirectory() as made,
        running(Phoenix, Path(made), notes) as phoenix,
        running(Mlflow, Path(made), notes) as mlflow,
        ingest.Server() as server,
    ):
        peers = {peer.name: peer for peer in (phoenix, mlflow) if peer is not None}
        starts |= {name: [peer.start_up_s] for name, peer in peers.items()}
        ingest.load(
            server.port, server.key, ingest.bodies(32, 100, 299)
        )  # what a first round costs more is nobody's figure
        for peer in peers.values():
            peer.ingest(2, 100, 2, 99)
        for number in range(rounds):
            pids = {"ours": server.pid, **{name: peer.process.pid for name, peer in peers.items()}}
            for name, pid in pids.items():
                with paused([other for other in pids.values() if other != pid]):
                    if name == "ours":
                        one = measure_ours(server, number, batches * 8, singles * 20)
                    else:
                        one = measure_peer(peers[name], number, batches, singles)
                for what, figure in one.items():
                    rates.setdefault(what, []).append(figure)
        memory = {name: memory_mib(peer.process.pid) for name, peer in peers.items()} | {"ours": server.memory_mib()}
        reads = {}
        if phoenix is not None:
            phoenix.fill(given.reads)
            starts["phoenix"].append(phoenix.start_up_s)
            with paused([server.pid, *([mlflow.process.pid] if mlflow else [])]):
                reads = phoenix.reads()
    middle = {what: statistics.median(figures) for what, figures in rates.items()}
    start = {name: statistics.median(taken) for name, taken in starts.items()}
    table.give([*ingest_rows(middle, memory, start), *read_rows(our_reads(given.reads), reads, given.reads), *notes])


def measure_ours(server: ingest.Server, number: int, batches: int, singles: int) -> dict[str, float]:
    cpu = server.cpu_s()
    spent, _, stored = ingest.load(server.port, server.key, ingest.bodies(batches, 100, 300 + number))
    found = {"ours batch": stored / spent, "ours cpu": (server.cpu_s() - cpu) / stored}
    spent, _, stored = ingest.load(server.port, server.key, ingest.bodies(singles, 1, 500 + number, senders=16))
    return found | {"ours single": stored / spent}


def _row(target: str, what: str, ours: float, theirs: float, bound: str, form: str) -> Row:
    """A comparison; where the other could not be measured only ours is told."""
    told = form.format(theirs) if theirs else ""
    return Row(target, what, form.format(ours), told, ours / theirs if theirs else None, bound)


def measure_peer(peer: Peer, number: int, batches: int, singles: int) -> dict[str, float]:
    rate, cpu = peer.ingest(batches, 100, 4 if peer.name == "phoenix" else 2, number + 1)
    alone, _ = peer.ingest(singles // 2, 1, 1, number + 100)
    single, _ = peer.ingest(singles, 1, 8, number + 200)
    found = {"batch": rate, "cpu": cpu, "alone": alone, "single": single}
    return {f"{peer.name} {what}": figure for what, figure in found.items()}


def ingest_rows(middle: dict[str, float], memory: dict[str, float], start: dict[str, float]) -> Iterator[Row]:
    for target, what, mine, theirs, bound in (
        ("T1", "batches of 100, to phoenix", "batch", "phoenix batch", ">= 200"),
        ("T1", "batches of 100, to mlflow", "batch", "mlflow batch", ">= 60"),
        ("T2", "one a request by 16 clients, to one client of phoenix", "single", "phoenix alone", ">= 40"),
        ("", "one a request by 16 clients, to 8 clients of phoenix", "single", "phoenix single", ""),
        ("", "one a request by 16 clients, to 8 clients of mlflow", "single", "mlflow single", ""),
    ):
        yield _row(target, f"visible events/s, {what}", middle[f"ours {mine}"], middle.get(theirs, 0), bound, "{:,.0f}")
    for peer in ("phoenix", "mlflow"):
        is_target = peer == "phoenix"
        for what, unit, ours, theirs, bound in (
            ("CPU an event", "us", middle["ours cpu"] * 1e6, middle.get(f"{peer} cpu", 0) * 1e6, "<= 0.01"),
            ("memory after load", "MiB", memory["ours"], memory.get(peer, 0), "<= 0.35"),
            ("start-up", "s", start["ours"], start.get(peer, 0), "<= 0.15"),
        ):
            target, limit = ("T3", bound) if is_target else ("", "")
            yield _row(target, f"{what}, to {peer}", ours, theirs, limit, "{:,.4g} " + unit)


def read_rows(ours: dict[str, float], theirs: dict[str, float], stored: int) -> Iterator[Row]:
    for target, name, what, bound in (
        ("T10", "list", "newest 50 conversations, to Phoenix sessions", "<= 0.2"),
        ("T11", "search", "newest 50 of a common word, to Phoenix text filter", "<= 0.05"),
        ("", "days", "conversations by day, to Phoenix traces by day", ""),
    ):
        yield _row(target, f"{what}, {stored:,}", ours[name], theirs.get(name, 0), bound, "{:.2f} ms")
    yield _row("", f"newest 50 conversations with their transcripts, {stored:,}", ours["whole"], 0, "", "{:.2f} ms")


if __name__ == "__main__":
    main()
