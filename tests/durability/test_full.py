"""A disk that is full, a database somebody else holds, files that vanish: 503 and no loss, and back without a restart."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from agentsight.storage.sqlite import driver
from served import Api, Server, message

pytestmark = pytest.mark.sqlite  # PostgreSQL's own troubles: test_postgresql.py


def filled(api: Api) -> list[str]:
    """Write ever smaller batches until the server refuses even the smallest, five times; gives what was acknowledged.

    A refused batch rolls back, and what it had reserved may hold a smaller one.
    """
    acknowledged: list[str] = []
    size, refusals = 100, 0
    while refusals < 5:
        events = [message("full", f"{len(acknowledged)}/{item} " + "x" * 2_000) for item in range(size)]
        answer = api.post("/api/batch/", json={"events": events})
        if answer.status_code == 200:
            acknowledged += [one["content"] for one in events]
            assert len(acknowledged) < 20_000, "the limit never bites"
            continue
        refused(answer)
        refusals += size == 1
        size = max(1, size // 4)
    return acknowledged


def refused(answer: httpx.Response) -> None:
    """503 as every client can read it."""
    assert answer.status_code == 503, answer.text
    body = answer.json()
    assert body["detail"] and body["code"] and int(answer.headers["retry-after"]) >= 1
    assert "sqlite" not in answer.text.lower() and "Traceback" not in answer.text


def limit_files() -> None:
    """No file of this process may grow beyond 8 MB: a full disk, without needing one."""
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000_000, resource.RLIM_INFINITY))


def test_a_full_disk_refuses_writes_serves_reads_and_recovers_without_a_restart(
    start: Callable[..., Server], tmp_path: Path
):
    server = start(before_exec=limit_files)
    with server.api("bot") as api:
        acknowledged = filled(api)
        assert len(acknowledged) > 100
        for path in ("/api/conversations/?full=false", "/healthz"):
            assert api.get(path).status_code == 200
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        until = time.monotonic() + 5
        while api.post("/api/batch/", json={"events": [message("after", "room again")]}).status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.1)
        kept = {row["content"] for row in api.conversation("full")["messages"]}
    assert set(acknowledged) <= kept
    assert server.stop() in (0, -15)
    connection = driver().connect(str(tmp_path / "data" / "agentsight.db"))
    assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    connection.close()


def test_a_full_disk_refuses_files_too_and_leaves_no_part_behind(start: Callable[..., Server], tmp_path: Path):
    server = start(before_exec=limit_files)
    with server.api() as api:
        sent = api.post("/api/attachments/", data={"conversation_id": "c"}, files={"a": ("a", b"x" * 9_000_000)})
        refused(sent)
        small = api.post("/api/attachments/", data={"conversation_id": "c"}, files={"a": ("a", b"x")})
        assert small.status_code == 201
    assert not list((tmp_path / "data" / "files").rglob("*.part"))


class Held:
    """A lock on the database, as a long import or a careless shell holds it."""

    def __init__(self, data: Path, seconds: float):
        self._connection = driver().connect(str(data / "agentsight.db"), check_same_thread=False, isolation_level=None)
        self._connection.execute("BEGIN IMMEDIATE")
        self._timer = threading.Timer(seconds, self.release)
        self._timer.start()

    def release(self) -> None:
        self._connection.rollback()
        self._connection.close()


@pytest.mark.timed
def test_a_lock_of_three_seconds_is_waited_for(start: Callable[..., Server], tmp_path: Path):
    server = start()
    with server.api("bot") as api:
        api.batch(message("c", "before"))
        Held(tmp_path / "data", 3)
        assert api.get("/api/conversations/").json()["count"] == 1
        begun = time.monotonic()
        api.batch(message("c", "during"))
        assert 1 < time.monotonic() - begun < 6
        assert [row["content"] for row in api.conversation("c")["messages"]] == ["before", "during"]


@pytest.mark.timed
@pytest.mark.slow
def test_a_lock_of_twelve_seconds_is_503_within_six_and_over_when_it_is_gone(
    start: Callable[..., Server], tmp_path: Path
):
    server = start()
    with server.api("bot") as api:
        api.batch(message("c", "before"))
        Held(tmp_path / "data", 12)
        begun = time.monotonic()
        refused(api.post("/api/batch/", json={"events": [message("c", "during")]}))
        assert time.monotonic() - begun < 6.5
        assert api.get("/api/conversations/").json()["count"] == 1
        time.sleep(max(0.0, 12.5 - (time.monotonic() - begun)))
        api.batch(message("c", "after"))
        assert [row["content"] for row in api.conversation("c")["messages"]] == ["before", "after"]


def test_a_file_that_vanished_is_not_found_and_the_conversation_still_shows(
    start: Callable[..., Server], tmp_path: Path
):
    server = start()
    with server.api() as api:
        api.post("/api/attachments/", data={"conversation_id": "c"}, files={"a": ("a.txt", b"hello")})
        for path in (tmp_path / "data" / "files").rglob("*"):
            if path.is_file():
                path.unlink()
        (file,) = api.conversation("c")["messages"][0]["attachments"]
        assert api.get(file["file_url"]).status_code == 404


def test_a_database_deleted_under_the_server_takes_no_more_writes_and_no_empty_one_takes_its_place(
    start: Callable[..., Server], tmp_path: Path
):
    server = start()
    with server.api("bot") as api:
        api.batch(message("c", "kept"))
        moved = tmp_path / "moved"
        moved.mkdir()
        for path in (tmp_path / "data").glob("agentsight.db*"):
            path.rename(moved / path.name)
        for _ in range(3):
            refused(api.post("/api/batch/", json={"events": [message("c", "to nowhere")]}))
            refused(api.get("/readyz"))
            assert api.get("/api/conversations/").status_code in (200, 503)
        assert api.get("/healthz").status_code == 200
        assert not list((tmp_path / "data").glob("agentsight.db*"))


def test_overload_is_503_with_a_time_to_come_back_and_reads_go_on(start: Callable[..., Server], tmp_path: Path):
    """More changes wait than the writer may keep: the rest is refused at once, nothing accepted is lost."""
    server = start()
    with server.api("bot") as api:
        api.batch(message("c", "before"))
        held = Held(tmp_path / "data", 3)
        statuses: list[int] = []

        def post(number: int) -> None:
            with Api(server.url, api.key) as own:
                answer = own.post("/api/batch/", json={"events": [message("c", str(number))]})
                statuses.append(answer.status_code)

        threads = [threading.Thread(target=post, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        assert api.get("/api/conversations/", params={"full": "false"}).status_code == 200
        for thread in threads:
            thread.join()
        held._timer.join()
        assert set(statuses) <= {200, 503}
        stored = {row["content"] for row in api.conversation("c")["messages"]} - {"before"}
        assert len(stored) == statuses.count(200)
