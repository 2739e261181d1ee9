"""Four workers under everything at once, one of them killed every few seconds: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from agentsight.chat.settings import Settings as ChatSettings
from agentsight.chat.tokens import issue
from agentsight.core import tenancy
from agentsight.core.ports import Store
from agentsight.storage import open_storage
from served import Api, Postgresql, Server, environment, event, message

from .test_workers import children, soon

SECRET = "a-secret-for-tests-of-32-bytes-and-more"
DEAF_S = 12  # a page that was told waits two seconds, and a machine may be busy
FINE = (200, 201, 503)  # 503: its worker lost the database or is ending; the client sends again


class Crowd:
    """People and programs that use one server until it is enough, each in a thread of its own."""

    def __init__(self, server: Server, key: str, cookie: dict[str, str], live: str, tokens: dict[str, str]):
        self.server, self.key, self.cookie, self.live, self.tokens = server, key, cookie, live, tokens
        self.enough = threading.Event()
        self.acknowledged: set[str] = set()  # contents, each sent as one event only
        self.prompts: list[str] = []  # those that were answered
        self.heard: list[float] = []  # when an open page was told that there is something new
        self.ended: Counter[str] = Counter()  # how answers ended that were read as they were written
        self.taken_up = 0  # of those, how often a cut stream went on
        self.wrong: list[str] = []
        self.cut = 0
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        jobs: list[Callable[[int], None]] = [self.batches] * 3 + [self.singles] * 3 + [self.reads] * 2
        for number, job in enumerate([*jobs, self.watches, self.chats, self.streams]):
            self._threads.append(threading.Thread(target=self._go, args=(job, number), name=job.__name__, daemon=True))
            self._threads[-1].start()

    def end(self) -> None:
        self.enough.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), thread.name

    def _go(self, job: Callable[[int], None], number: int) -> None:
        while not self.enough.is_set():
            try:
                job(number)
            except httpx.TransportError:  # a killed worker cuts its connections
                self.cut += 1
            except Exception as unexpected:
                self.wrong.append(repr(unexpected))

    def _sent(self, ask: Callable[[], httpx.Response]) -> httpx.Response:
        """What came of it, sent again until it was answered, as the SDK does."""
        while True:
            try:
                answer = ask()
            except httpx.TransportError:
                self.cut += 1
                continue
            if answer.status_code not in FINE:
                self.wrong.append(f"{answer.status_code} {answer.text[:200]}")
            if answer.status_code != 503 or self.enough.is_set():
                return answer
            time.sleep(0.05)

    def batches(self, number: int) -> None:
        with Api(self.server.url, self.key) as api:
            while not self.enough.is_set():
                some = [message(f"batch-{number}-{random.randrange(4)}", os.urandom(8).hex()) for _ in range(20)]
                answer = self._sent(lambda some=some: api.post("/api/batch/", json={"events": some}))  # type: ignore[misc]
                if answer.status_code == 200:
                    verdicts = Counter(result["verdict"] for result in answer.json()["results"])
                    if set(verdicts) - {"accepted", "duplicate"}:
                        self.wrong.append(f"{verdicts}")
                    self.acknowledged |= {one["content"] for one in some}

    def singles(self, number: int) -> None:
        with Api(self.server.url, self.key) as api:
            while not self.enough.is_set():
                one = event("message", "shared", sender="agent", content=os.urandom(8).hex())
                body = {**one, "timestamp": one["occurred_at"]}
                answer = self._sent(lambda body=body: api.post("/api/track/", json=body))  # type: ignore[misc]
                if answer.status_code in (200, 201):
                    self.acknowledged.add(one["content"])

    def reads(self, number: int) -> None:
        with Api(self.server.url, self.key) as api:
            while not self.enough.is_set():
                for path in ("/api/conversations/?page_size=20", "/api/analytics/?metric=total_messages&by=day"):
                    answer = api.get(path)
                    if answer.status_code not in FINE:
                        self.wrong.append(f"{path} {answer.status_code} {answer.text[:200]}")
                time.sleep(0.05)

    def watches(self, number: int) -> None:
        with (
            httpx.Client(base_url=self.server.url, cookies=self.cookie, timeout=30) as browser,
            browser.stream("GET", self.live) as stream,
        ):
            if stream.status_code != 200:
                self.wrong.append(f"live {stream.status_code}")
            for line in stream.iter_lines():
                if line.startswith("event: new"):
                    self.heard.append(time.monotonic())
                if self.enough.is_set():
                    return

    def chats(self, number: int) -> None:
        with self.chatting("ann") as chat:
            while not self.enough.is_set():
                prompt = f"add task {os.urandom(4).hex()}"
                answer = chat.post("/api/ann/chat", json={"message": prompt})
                if answer.status_code == 200:
                    self.prompts.append(prompt)
                elif answer.status_code != 429:
                    self.wrong.append(f"chat {answer.status_code} {answer.text[:200]}")
                time.sleep(0.5)

    def streams(self, number: int) -> None:
        """A reader who takes up an answer where its stream was cut, whichever worker answers now."""
        with self.chatting("ben") as chat:
            while not self.enough.is_set():
                run, seq, status = "", 0, ""
                while not status and not self.enough.is_set():
                    asked: dict[str, Any] = {
                        "method": "GET",
                        "url": f"/api/ben/chat/runs/{run}/events",
                        "params": {"after": seq},
                    }
                    if not run:
                        said = {"message": f"add task {os.urandom(4).hex()}"}
                        asked = {"method": "POST", "url": "/api/ben/chat/stream", "json": said}
                    try:
                        with chat.stream(**asked) as answer:
                            if answer.status_code not in (*FINE, 429):
                                self.wrong.append(f"stream {answer.status_code} {answer.read()[:200]!r}")
                            for told in map(json.loads, answer.iter_lines() if answer.status_code == 200 else ()):
                                if self.enough.is_set():
                                    return
                                if told["type"] == "ping":
                                    continue
                                if told["seq"] <= seq:
                                    self.wrong.append(f"line {told['seq']} of run {run} after line {seq}")
                                seq, run = told["seq"], run or told["run_id"]
                                status = told["status"] if told["type"] in ("done", "error") else status
                    except httpx.TransportError:
                        self.cut += 1
                        self.taken_up += bool(run)
                    time.sleep(0.05)
                if status:
                    self.ended[status] += 1
                time.sleep(0.3)

    def chatting(self, who: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.tokens[who]}"}
        return httpx.Client(base_url=self.server.url, headers=headers, timeout=30)


def signed_in(server: Server) -> dict[str, str]:
    """A session's cookie."""
    storage = open_storage(server.database)

    def link(store: Store) -> str:
        owner = tenancy.ensure_organization(store, "acme", 1)
        person = tenancy.add_user(store, owner, "chaos@example.com", "owner", (), 1)
        return tenancy.issue_link(store, person, time.time_ns() // 1000)

    token = storage.write(link).result()
    storage.close()
    with httpx.Client(base_url=server.url) as browser:
        browser.post("/login", data={"token": token}, headers={"Origin": server.url})
        return dict(browser.cookies)


def stored(url: str) -> Counter[str]:
    """How often the database holds each content; what heads count is what is there."""
    with psycopg.connect(url) as connection:
        said = "SELECT e.content FROM event e JOIN conversation c ON c.id = e.conversation WHERE e.kind = 'message' "
        found = Counter(row[0] for row in connection.execute(said + "AND c.conversation_id ~ '^(shared|batch-)'"))
        heads = connection.execute(
            "SELECT c.message_count, (SELECT count(*) FROM event e WHERE e.conversation = c.id AND e.kind = 'message' "
            "AND e.sender <> 'system') FROM conversation c"
        ).fetchall()
        twice = connection.execute(
            "SELECT agent_id, conversation_id FROM conversation WHERE deleted_us IS NULL GROUP BY 1, 2 HAVING count(*) > 1"
        ).fetchall()
    assert all(head == rows for head, rows in heads), [pair for pair in heads if pair[0] != pair[1]]
    assert twice == []
    return found


def chaos(postgresql: Postgresql, folder: Path, seconds: float, every_s: float) -> Crowd:
    url, chat_url = postgresql.fresh(), postgresql.empty()
    env = {"AGENTSIGHT_CHAT_SECRET": SECRET, "AGENTSIGHT_CHAT_DATABASE_URL": chat_url}
    server = Server(folder, database=url, options=["--workers", "4", "--chat"], **env)
    try:
        key = server.key("chaos")
        tokens = {who: issue(who, ChatSettings.from_env(folder, env)) for who in ("ann", "ben")}
        crowd = Crowd(server, key, signed_in(server), "/o/acme/a/chaos/live", tokens)
        crowd.start()
        until, kills = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            time.sleep(every_s)
            running = soon(
                lambda: children(server.process.pid), 30
            )  # a busy machine takes its time to start the next ones
            with suppress(ProcessLookupError):
                os.kill(random.choice(running), signal.SIGKILL)
                kills += 1
        soon(lambda: len(children(server.process.pid)) == 4, 60)
        heard = len(crowd.heard)
        soon(lambda: len(crowd.heard) > heard, 30)  # open pages still hear
        crowd.end()
        gaps = [later - before for before, later in pairwise(crowd.heard)]
        print(
            f"{kills} kills, {len(crowd.acknowledged)} acknowledged, {crowd.cut} cut, heard {len(crowd.heard)}, longest gap "
            f"{max(gaps, default=0):.1f} s, answers {dict(crowd.ended)}, taken up {crowd.taken_up}"
        )
        assert crowd.wrong == [] and kills >= seconds / every_s * 0.6
        assert gaps and max(gaps) < DEAF_S, "an open page that lost its worker hears by the next one"
        assert crowd.ended["completed"] > 2 and set(crowd.ended) <= {"completed", "interrupted"}, crowd.ended
        check_events(crowd, url)
        check_chat(crowd)
        log = server.log()
        assert server.stop() in (0, -15)
        assert "crashed" not in log, log[-4000:]
        return crowd
    finally:
        if server.process.poll() is None:
            server.kill()


def check_events(crowd: Crowd, url: str) -> None:
    found = stored(url)
    lost = crowd.acknowledged - set(found)
    assert not lost, f"{len(lost)} of {len(crowd.acknowledged)} acknowledged are not there"
    assert set(found.values()) == {1}, "something is there twice"
    storage = open_storage(url)
    try:  # the numbers are those of the events
        ran = subprocess.run(
            [sys.executable, "-m", "agentsight.cli", "rebuild", "--json", "--database", url],
            capture_output=True, text=True, env=environment(), check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        assert '"differed": []' in ran.stdout, ran.stdout[-2000:]
    finally:
        storage.close()


def check_chat(crowd: Crowd) -> None:
    """What was answered is kept, a new turn works, and every finished turn reaches AgentSight once."""
    with crowd.chatting("ann") as chat:
        assert crowd.prompts
        soon(lambda: chat.post("/api/ann/chat", json={"message": "list tasks"}).status_code == 200, 60)
        tasks = chat.post("/api/ann/chat", json={"message": "list tasks"}).text
        assert all(prompt.removeprefix("add ") in tasks for prompt in crowd.prompts[-3:]), tasks[:1000]
        items = chat.get("/api/ann/chat/conversations", params={"limit": 200}).json()["items"]
        assert len(items) >= len(crowd.prompts)
    with crowd.server.api("Chat", organization="default") as api:

        def tracked() -> Counter[str]:
            rows: list[Any] = []
            for page in range(1, 20):
                answer = api.get("/api/conversations/", params={"page": page, "page_size": 100})
                rows += answer.json()["results"] if answer.status_code == 200 else []
            return Counter(row["content"] for one in rows for row in one["messages"] if row.get("sender") == "end_user")

        soon(lambda: all(tracked()[prompt] == 1 for prompt in crowd.prompts), 60)
        assert not [prompt for prompt, times in tracked().items() if times > 1 and re.match("add task", prompt)]


@pytest.mark.timed
@pytest.mark.slow
def test_workers_that_are_killed_lose_and_double_nothing(postgresql: Postgresql, tmp_path: Path):
    crowd = chaos(postgresql, tmp_path, seconds=9, every_s=2)
    assert len(crowd.acknowledged) > 100 and len(crowd.heard) > 1


@pytest.mark.timed
@pytest.mark.exhaustive
def test_two_minutes_of_killed_workers_lose_and_double_nothing(postgresql: Postgresql, tmp_path: Path):
    crowd = chaos(postgresql, tmp_path, seconds=120, every_s=2.5)
    assert len(crowd.acknowledged) > 5_000 and crowd.cut > 20
