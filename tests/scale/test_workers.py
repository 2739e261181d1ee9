"""Several processes on one database: whichever answers, the answer is the same; one that dies is replaced."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from agentsight.core import tenancy
from agentsight.core.ports import Store
from agentsight.storage import open_storage
from served import Api, Postgresql, Server, environment, message

WORKERS = 4
T = TypeVar("T")


def children(pid: int) -> list[int]:
    """The processes a process started that still run."""
    said = Path(f"/proc/{pid}/task/{pid}/children")
    if not said.exists():
        pytest.skip("this system does not tell whose child a process is")
    return [int(one) for one in said.read_text().split()]


def soon(what: Callable[[], T], within_s: float = 15) -> T:
    """What `what` gives as soon as that is something."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {within_s} s")


@pytest.fixture(scope="module")
def url(postgresql: Postgresql) -> str:
    return postgresql.fresh()


@pytest.fixture(scope="module")
def workers(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("workers")
    server = Server(folder, options=["--workers", str(WORKERS)], database=url)
    yield server
    log = server.log()
    assert server.stop() in (0, -15), "SIGTERM ends all of them cleanly"
    assert "crashed" not in log and "Traceback" not in log, log[-4000:]


def every_worker(server: Server, key: str) -> list[Api]:
    """A connection of its own to each worker, told apart by the request ids they give."""
    found: dict[str, Api] = {}
    for _ in range(200):
        api = Api(server.url, key)
        name = api.get("/healthz").headers["x-request-id"].rpartition("-")[0]
        if name in found:
            api.close()
        else:
            found[name] = api
        if len(found) == WORKERS:
            return list(found.values())
    raise AssertionError(f"only {len(found)} of {WORKERS} workers answered")


def test_every_worker_serves_and_sees_what_another_stored_and_counted(workers: Server):
    for number, api in enumerate(every_worker(workers, workers.key("seen"))):
        api.batch(message("c", f"by worker {number}"))
    said = {
        tuple(row["content"] for row in api.conversation("c")["messages"]) for api in every_worker(workers, api.key)
    }
    assert said == {tuple(f"by worker {number}" for number in range(WORKERS))}

    def counted(api: Api, name: str) -> float:
        return float(
            re.findall("^agentsight_" + re.escape(name) + r" (\S+)", api.get("/metrics").text, re.MULTILINE)[0]
        )

    def accepted(api: Api) -> float:
        return counted(api, 'events_total{verdict="accepted"}')

    assert {accepted(one) for one in every_worker(workers, api.key)} == {accepted(api)}
    assert accepted(api) >= WORKERS
    answers = counted(api, 'requests_total{status="2xx"}')
    assert counted(every_worker(workers, api.key)[0], "request_seconds_count") > answers > WORKERS


@pytest.mark.timed
def test_a_key_revoked_under_load_ends_on_every_worker_within_a_second_and_the_other_goes_on(workers: Server, url: str):
    ending, going = every_worker(workers, workers.key("two keys")), every_worker(workers, workers.key("two keys"))
    asked: list[tuple[float, int]] = []  # when, and what came of it
    others: list[int] = []
    enough = threading.Event()

    def use(number: int) -> None:
        while not enough.is_set():
            others.append(going[number].post("/api/batch/", json={"events": [message("c")]}).status_code)
            begun = time.monotonic()
            asked.append((begun, ending[number].post("/api/batch/", json={"events": [message("c")]}).status_code))
            others.append(going[number].get("/api/conversations/", params={"page_size": 1}).status_code)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(WORKERS)]
    for thread in threads:
        thread.start()
    storage = open_storage(url)
    soon(lambda: len(asked) >= 5 * WORKERS)
    before = time.monotonic()
    storage.write(lambda store: store.tenants.revoke_keys(ending[0].key[: tenancy.PREFIX_CHARS], 1)).result()
    revoked = time.monotonic()
    storage.close()
    time.sleep(1.7)
    enough.set()
    for thread in threads:
        thread.join()
    assert {status for when, status in asked if when < before - 0.1} == {200}
    late = [status for when, status in asked if when > revoked + 1]
    assert len(late) >= WORKERS and set(late) == {401}
    assert set(others) == {200} and len(others) > 10 * WORKERS


@pytest.mark.timed
def test_an_open_page_hears_at_once_of_what_another_worker_stored(workers: Server, url: str):
    """Looking by itself alone, a page would hear of it after two seconds."""
    storage = open_storage(url)

    def link(store: Store) -> str:
        owner = tenancy.ensure_organization(store, "acme", 1)
        person = tenancy.add_user(store, owner, "live@example.com", "owner", (), 1)
        return tenancy.issue_link(store, person, time.time_ns() // 1000)

    token = storage.write(link).result()
    storage.close()
    every = every_worker(workers, workers.key("live"))
    with httpx.Client(base_url=workers.url, follow_redirects=True, timeout=30) as browser:
        page = browser.post("/login", data={"token": token}, headers={"Origin": workers.url})
        if "data-live" not in page.text:
            page = browser.get("/o/acme/all/analytics")
        where = re.search(r'data-live="([^"?]*)', page.text)
        assert where, page.text[:2000]
        took = []
        with browser.stream("GET", where[1]) as stream:
            lines = stream.iter_lines()
            next(line for line in lines if line.startswith(": here"))
            for api in every:
                time.sleep(2.2)  # a page that has just shown itself anew waits so long
                api.batch(message("live"))
                stored = time.monotonic()
                next(line for line in lines if line.startswith("event: new"))
                took.append(time.monotonic() - stored)
    assert sorted(took)[len(took) // 2] < 1, took


def test_a_killed_worker_is_replaced_while_the_others_answer(workers: Server):
    before = children(workers.process.pid)
    assert len(before) == WORKERS
    os.kill(before[0], signal.SIGKILL)
    with workers.api("survivor") as api:
        for _ in range(20):
            try:
                assert api.get("/healthz").status_code == 200
            except httpx.TransportError:
                continue  # it was on the connection of the one that died
    soon(lambda: len(set(children(workers.process.pid)) - {before[0]}) == WORKERS)
    assert len(every_worker(workers, workers.key("survivor"))) == WORKERS


@pytest.mark.slow
def test_one_killed_again_and_again_before_it_serves_is_missed_for_moments_only(workers: Server):
    """A machine short of memory does that; who fails by itself is waited for longer and longer."""
    others = set(children(workers.process.pid)[1:])
    killed = children(workers.process.pid)[0]
    for _ in range(6):
        os.kill(killed, signal.SIGKILL)
        (killed,) = soon(lambda gone=killed: set(children(workers.process.pid)) - others - {gone}, 6)  # type: ignore[misc]
    assert len(every_worker(workers, workers.key("missed"))) == WORKERS


@pytest.mark.slow
def test_no_worker_outlives_the_process_that_started_it(url: str, tmp_path: Path):
    server = Server(tmp_path, options=["--workers", "2"], database=url)
    left = children(server.process.pid)
    assert len(left) == 2
    server.kill()
    soon(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))


@pytest.mark.slow
def test_a_socket_that_was_handed_over_is_served(url: str, tmp_path: Path):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        process = subprocess.Popen(
            [sys.executable, "-m", "agentsight.cli", "serve", "--data", str(tmp_path), "--fd", str(listening.fileno())],
            pass_fds=[listening.fileno()], env=environment(AGENTSIGHT_DATABASE_URL=url),
        )  # fmt: skip
        try:
            there = f"http://127.0.0.1:{listening.getsockname()[1]}"
            assert httpx.get(f"{there}/healthz", timeout=60).json() == {"status": "ok"}
        finally:
            process.terminate()
            process.wait(20)


def two_workers(data: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """What a server of two workers says that cannot start."""
    command = [sys.executable, "-m", "agentsight.cli", "serve", "--workers", "2", "--data", str(data), "--port", "0"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment(**settings))


def test_on_sqlite_several_workers_are_refused_in_one_line(tmp_path: Path):
    ran = two_workers(tmp_path)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "SQLite has one writer" in ran.stderr and ran.stderr.count("\n") == 1


def test_workers_that_cannot_start_end_in_one_refusal(tmp_path: Path):
    nowhere = "postgresql://nobody@127.0.0.1:9/nothing"
    ran = two_workers(tmp_path, AGENTSIGHT_DATABASE_URL=nowhere)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.count("\n") == 1, ran.stderr
