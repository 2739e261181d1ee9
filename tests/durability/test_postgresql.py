"""PostgreSQL restarts, loses connections, is held by somebody: nothing acknowledged is lost or doubled, nobody gets a 500."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg
import pytest

from agentsight.storage import open_storage
from served import Api, Postgresql, Server, message

WRITERS, READERS = 4, 2
RECOVERED_S = 5


@dataclass
class Crowd:
    """Clients that go on whatever the server says, resend what was refused, and remember what was acknowledged."""

    server: Server
    key: str
    acknowledged: set[str] = field(default_factory=set)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    last_good: float = 0.0
    stopping: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Crowd:
        jobs = [(self.write, number) for number in range(WRITERS)] + [(self.read, number) for number in range(READERS)]
        self.threads = [threading.Thread(target=job, args=(number,)) for job, number in jobs]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def note(self, answer: httpx.Response) -> bool:
        self.statuses[answer.status_code] += 1
        if answer.status_code == 200:
            return True
        if answer.status_code != 503 or int(answer.headers.get("retry-after", 0)) < 1:
            self.wrong.append(f"{answer.request.method} {answer.status_code} {answer.text[:200]}")
        return False

    def write(self, number: int) -> None:
        made = 0
        with Api(self.server.url, self.key) as api:
            while not self.stopping.is_set():
                size = 1 if number % 2 else 20
                events = [message(f"w-{number}-{made // 200}", f"{number} {made + item}") for item in range(size)]
                made += size
                while not self.note(api.post("/api/batch/", json={"events": events})):
                    if self.stopping.is_set():
                        return
                    time.sleep(0.05)
                self.last_good = time.monotonic()
                self.acknowledged.update(one["id"] for one in events)

    def read(self, number: int) -> None:
        paths = ("/api/conversations/?page_size=5", "/api/analytics/?metric=total_messages&environment=development")
        with Api(self.server.url, self.key) as api:
            while not self.stopping.is_set():
                self.note(api.get(paths[number % 2]))
                time.sleep(0.02)

    def wait_for_good(self, since: float) -> float:
        """How long it took until something was stored again."""
        while self.last_good <= since:
            assert time.monotonic() - since < 30, f"never again: {self.statuses} {self.wrong[:3]}"
            time.sleep(0.01)
        return self.last_good - since

    def check(self, database: str) -> None:
        assert self.wrong == [] and len(self.acknowledged) > 100
        storage: Any = open_storage(database)
        with storage.engine.connect() as connection:
            stored = Counter(row[0] for row in connection.exec_driver_sql("SELECT event_id FROM event"))
            counted = connection.exec_driver_sql(
                "SELECT (SELECT sum(message_count) FROM conversation), (SELECT count(*) FROM event), "
                "(SELECT sum(value) FROM rollup WHERE measure = 8 AND plane = 0)"
            ).one()
        storage.close()
        assert self.acknowledged <= set(stored) and set(stored.values()) == {1}
        assert len({int(one) for one in counted}) == 1, f"heads, events and sums tell different stories: {counted}"


@pytest.fixture
def own() -> Any:
    """A PostgreSQL of this test's own, which it may hurt."""
    started = Postgresql(own=True)
    yield started
    started.close()


def disturbed(start: Callable[..., Server], own: Postgresql, times: int, disturb: Callable[[str], None]) -> list[float]:
    """A server under load, disturbed so many times; gives how long each took to be over."""
    database = own.fresh()
    server = start(database=database)
    key = server.key("bot")
    waits: list[float] = []
    with Crowd(server, key) as crowd:
        crowd.wait_for_good(time.monotonic())
        for _ in range(times):
            time.sleep(0.4)
            disturb(database)
            waits.append(crowd.wait_for_good(time.monotonic()))
    crowd.check(database)
    assert server.process.poll() is None, "the server needed no restart"
    assert max(waits) <= RECOVERED_S, waits
    return waits


def backends_killed(own: Postgresql) -> Callable[[str], None]:
    def disturb(database: str) -> None:
        name = database.partition("?")[0].rpartition("/")[2]
        own.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")

    return disturb


@pytest.mark.timed
@pytest.mark.slow
def test_a_database_that_restarts_as_after_a_crash_costs_nothing_but_patience(
    start: Callable[..., Server], own: Postgresql
):
    disturbed(start, own, 2, lambda database: own.restart("immediate"))


@pytest.mark.slow
def test_connections_that_end_cost_nothing(start: Callable[..., Server], own: Postgresql):
    disturbed(start, own, 4, backends_killed(own))


@pytest.mark.exhaustive
def test_twenty_restarts_and_fifty_kills_lose_and_double_nothing(start: Callable[..., Server], own: Postgresql):
    disturbed(start, own, 20, lambda database: own.restart("immediate"))
    disturbed(start, own, 50, backends_killed(own))


@pytest.mark.timed
@pytest.mark.slow
def test_while_the_database_is_away_writes_and_reads_are_503_and_then_they_are_not(
    start: Callable[..., Server], own: Postgresql
):
    server = start(database=own.fresh())
    with server.api("bot") as api:
        api.batch(message("c", "before"))
        own.stop()
        begun = time.monotonic()
        sent = message("c", "during")
        answers = [
            api.post("/api/batch/", json={"events": [sent]}),
            api.get("/api/conversations/"),
            api.get("/readyz"),
            api.post("/api/track/", json={"conversation_id": "c", "content": "x", "sender": "end_user"}),
        ]
        assert [answer.status_code for answer in answers] == [503] * 4
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
        assert "psycopg" not in "".join(answer.text for answer in answers)
        assert time.monotonic() - begun < 25 and api.get("/healthz").status_code == 200
        own.restart("fast")
        begun = time.monotonic()
        while api.get("/readyz").status_code != 200:
            assert time.monotonic() - begun < RECOVERED_S
        assert api.batch(sent)["rejected"] == 0
        assert [row["content"] for row in api.conversation("c")["messages"]] == ["before", "during"]


@pytest.mark.timed
@pytest.mark.slow
def test_a_lock_held_for_long_is_503_within_six_seconds_and_over_when_it_is_gone(
    start: Callable[..., Server], postgresql: Postgresql
):
    server = start(database=postgresql.fresh())
    with server.api("bot") as api:
        api.batch(message("c", "before"))
        with psycopg.connect(server.database) as other:
            other.execute("LOCK TABLE event, conversation IN ACCESS EXCLUSIVE MODE")
            begun = time.monotonic()
            answers = [
                api.post("/api/batch/", json={"events": [message("c", "during")]}),
                api.get("/api/conversations/"),
            ]
            assert [answer.status_code for answer in answers] == [503, 503]
            assert time.monotonic() - begun < 13 and all(answer.headers["retry-after"] for answer in answers)
        api.batch(message("c", "after"))
        assert [row["content"] for row in api.conversation("c")["messages"]] == ["before", "after"]


def test_two_servers_on_one_database_store_every_event_once(
    start: Callable[..., Server], postgresql: Postgresql, tmp_path: Any
):
    """The same events, the same conversations, at the same moment, by way of both."""
    database = postgresql.fresh()
    servers = [start(tmp_path / str(number), database=database) for number in range(2)]
    key = servers[0].key("bot")
    batches = [[message(f"c-{number % 7}", f"{place} {number}") for number in range(12)] for place in range(12)]
    wrong: list[str] = []

    def send(server: Server, order: list[list[dict[str, Any]]]) -> None:
        with Api(server.url, key) as api:
            for batch in order:
                answer = api.post("/api/batch/", json={"events": batch})
                if answer.status_code != 200:
                    wrong.append(answer.text)

    jobs = [(server, order) for server in servers for order in (batches, batches[::-1], batches[6:] + batches[:6])]
    threads = [threading.Thread(target=send, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    with Api(servers[1].url, key) as api:
        stored = [row["content"] for name in range(7) for row in api.conversation(f"c-{name}")["messages"]]
        told = api.get("/api/analytics/", params={"metric": "total_messages", "environment": "development", **WHEN})
    assert sorted(stored) == sorted(one["content"] for batch in batches for one in batch)
    assert told.json()["metrics"][0]["total"] == len(stored)


WHEN = {"from": "2026-03-01", "to": "2026-03-05"}
