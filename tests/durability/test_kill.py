"""What was acknowledged is stored, once, whatever ends the server; what was not may be either."""

from __future__ import annotations

import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentsight.storage import open_storage
from served import ENGINE, Api, Server, database_of, event, message

WRITERS = 6


@dataclass
class Writer:
    """One client that sends and, now and then, sends again; it remembers what was acknowledged."""

    url: str
    key: str
    name: str
    batched: bool
    acknowledged: dict[str, int | None] = field(default_factory=dict)  # content -> our row id, where the route says it
    changed_ids: list[str] = field(default_factory=list)
    in_flight: bool = False
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        number = 0
        with Api(self.url, self.key) as api:
            while not self.stopping.is_set():
                number += 1
                self.in_flight = True
                try:
                    self.send(api, number)
                except httpx.HTTPError:
                    return
                self.in_flight = False

    def send(self, api: Api, number: int) -> None:
        if self.batched:
            events = [message(self.name, f"{self.name} {self.url[-5:]} {number} {item}") for item in range(20)]
            answer = api.post("/api/batch/", json={"events": events})
            if answer.status_code == 200:
                assert {result["verdict"] for result in answer.json()["results"]} <= {"accepted", "duplicate"}
                self.acknowledged |= {one["content"]: None for one in events}
            return
        body = {
            **message(self.name, f"{self.name} {self.url[-5:]} {number}"),
            "timestamp": f"2026-03-02T09:15:00.{number:06}Z",
        }
        for _ in range(2 if random.random() < 0.05 else 1):
            answer = api.post("/api/track/", json=body)
            if answer.status_code in (200, 201):
                row = answer.json()["id"]
                if self.acknowledged.get(body["content"], row) != row:
                    self.changed_ids.append(body["content"])
                self.acknowledged[body["content"]] = row


def working(server: Server, key: str, batched: bool) -> tuple[list[Writer], list[threading.Thread]]:
    writers = [Writer(server.url, key, f"w-{number}", batched) for number in range(WRITERS)]
    threads = [threading.Thread(target=writer.run) for writer in writers]
    for thread in threads:
        thread.start()
    return writers, threads


def begun(writers: list[Writer]) -> None:
    """Once each has something acknowledged, however busy the machine."""
    until = time.monotonic() + 30
    while not all(writer.acknowledged for writer in writers) and time.monotonic() < until:
        time.sleep(0.01)


INDEXED = {  # how many messages of conversation `c` the search knows
    "sqlite": "SELECT count(*) FROM message_text t JOIN event e ON e.id = t.rowid WHERE e.conversation = c.id",
    "postgresql": "SELECT count(*) FROM event WHERE conversation = c.id AND kind = 'message'",
}


def stored(data: Path) -> dict[str, list[tuple[int, str]]]:
    """What the database holds, read past the server: content -> (row id, conversation id) of each copy."""
    storage: Any = open_storage(database_of(data))
    try:
        assert storage.check() == []
        found: dict[str, list[tuple[int, str]]] = {}
        with storage.looking() as connection:
            if ENGINE == "sqlite":
                assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
            rows = connection.exec_driver_sql(
                "SELECT event.content, event.id, conversation.conversation_id FROM event "
                "JOIN conversation ON conversation.id = event.conversation WHERE event.kind = 'message'"
            )
            for content, row, conversation_id in rows:
                found.setdefault(content, []).append((row, conversation_id))
            counts = connection.exec_driver_sql(
                "SELECT message_count, (SELECT count(*) FROM event WHERE conversation = c.id AND kind = 'message'), "
                f"({INDEXED[ENGINE]}) FROM conversation c"
            ).fetchall()
        assert all(head == rows == indexed for head, rows, indexed in counts), counts
        return found
    finally:
        storage.close()


def check(data: Path, writers: list[Writer]) -> None:
    found = stored(data)
    for writer in writers:
        assert writer.changed_ids == []
        for content, row in writer.acknowledged.items():
            copies = found.get(content, [])
            assert len(copies) == 1, f"{content!r} was acknowledged and is stored {len(copies)} times"
            assert copies[0][1] == writer.name
            assert row is None or copies[0][0] == row
    assert all(len(copies) == 1 for copies in found.values())


def killed(start: Callable[..., Server], data: Path, rounds: int, batched: bool) -> tuple[int, int]:
    """So many rounds of work, each ended by kill -9; gives how much was acknowledged and how many kills hit work."""
    every: list[Writer] = []
    hits = 0
    key = None
    for _ in range(rounds):
        server = start(data)
        key = key or server.key("writer")
        writers, threads = working(server, key, batched)
        begun(writers)
        time.sleep(0.15 + random.random() * 0.35)
        hits += any(writer.in_flight for writer in writers)
        server.process.kill()
        for thread in threads:
            thread.join()
        server.kill()
        every += writers
    check(data, every)
    return sum(len(writer.acknowledged) for writer in every), hits


@pytest.mark.parametrize("batched", [False, True])
def test_what_was_acknowledged_before_a_kill_is_stored_once(
    start: Callable[..., Server], tmp_path: Path, batched: bool
):
    acknowledged, hits = killed(start, tmp_path / "data", 3, batched)
    assert acknowledged > 0 and hits > 0


@pytest.mark.exhaustive
@pytest.mark.parametrize(("batched", "rounds"), [(False, 60), (True, 60)])
def test_sixty_kills_lose_and_double_nothing(start: Callable[..., Server], tmp_path: Path, batched: bool, rounds: int):
    acknowledged, hits = killed(start, tmp_path / "data", rounds, batched)
    assert acknowledged > rounds * 10 and hits >= rounds * 0.8


@pytest.mark.timed
@pytest.mark.parametrize("batched", [False, True])
def test_a_stop_under_load_takes_under_ten_seconds_and_loses_nothing(
    start: Callable[..., Server], tmp_path: Path, batched: bool
):
    server = start(tmp_path / "data")
    writers, threads = working(server, server.key("writer"), batched)
    begun(writers)
    begun_s = time.monotonic()
    assert server.signal(signal.SIGTERM) in (0, -15)
    assert time.monotonic() - begun_s < 10
    for thread in threads:
        thread.join()
    assert sum(len(writer.acknowledged) for writer in writers) > 0
    check(tmp_path / "data", writers)
    assert "Traceback" not in server.log(), server.log()[-3000:]
    wal = tmp_path / "data" / "agentsight.db-wal"
    assert not wal.exists() or wal.stat().st_size == 0


def test_a_retry_after_a_kill_gives_the_first_rows_and_files(start: Callable[..., Server], tmp_path: Path):
    """Between the commit and the answer, and between a file and its row: the client sends the same again."""
    events = [message("c", "one"), event("attachment", "c", filename="a.txt", data="aGVsbG8="), message("c", "two")]
    server = start()
    with server.api("bot") as api:
        key = api.key
        api.batch(*events)
        before = api.conversation("c")
    server.kill()
    server = start()
    with Api(server.url, key) as api:
        assert api.batch(*events)["duplicate"] == 3
        assert _plain(api.conversation("c")) == _plain(before)


def _plain(conversation: dict[str, Any]) -> list[Any]:
    return [(row["id"], row["content"], [f["id"] for f in row["attachments"]]) for row in conversation["messages"]]


def test_a_second_server_on_the_same_folder_serves_the_same_conversations(start: Callable[..., Server]):
    first, second = start(), start()
    with first.api("bot") as one, Api(second.url, one.key) as other:
        one.batch(message("c", "via one"))
        other.batch(message("c", "via other"))
        assert [row["content"] for row in one.conversation("c")["messages"]] == ["via one", "via other"]
        assert one.conversation("c")["messages"] == other.conversation("c")["messages"]


@pytest.mark.sqlite
def test_the_database_stands_in_wal_and_full(start: Callable[..., Server], tmp_path: Path):
    server = start()
    with server.api() as api:
        api.batch(message("c"))
    with sqlite3.connect(tmp_path / "data" / "agentsight.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    folder = tmp_path / "data"
    assert (folder / "secret").stat().st_mode & 0o077 == 0
