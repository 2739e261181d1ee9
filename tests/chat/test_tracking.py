"""Every finished run reaches AgentSight exactly once: after an outage, a lost answer, a restart, a kill -9."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from agentsight.chat.settings import Settings
from agentsight.chat.tokens import issue

from .conftest import SECRET, Person, httpx, running, wait_until
from .fake_agentsight import KEY, FakeAgentSight
from .model_server import served
from .scripted import Scripted


@pytest.fixture
def agentsight() -> Iterator[FakeAgentSight]:
    fake = FakeAgentSight()
    with served(fake.app) as address:
        fake.address = address
        yield fake


def tracked(tmp_path: Path, agentsight: Any, url: str | None = None, **options: Any) -> Any:
    options = {"responder": Scripted(), "tracking_key": KEY, "tracking_endpoint": agentsight.address} | options
    return running(tmp_path, url, **options)


def test_a_run_is_told_in_full_within_a_second(tmp_path: Path, agentsight: FakeAgentSight, url: str) -> None:
    with tracked(tmp_path, agentsight, url) as backend:
        run = backend.person().said("tool")
        told = wait_until(lambda: agentsight.of(run["run_id"]), within_s=1)
    assert list(told) == ["conversation", "user", "tool:0", "agent", "usage"]
    assert told["conversation"]["customer_id"] == "ann" and told["conversation"]["name"] == "tool"
    assert (told["user"]["sender"], told["user"]["content"]) == ("end_user", "tool")
    assert (told["agent"]["sender"], told["agent"]["content"]) == ("agent", "Looking.\n\nFound.")
    tool = told["tool:0"]
    assert (tool["action_name"], tool["tools_used"], tool["response"]) == ("look_up", {"what": "tool"}, {"found": True})
    assert tool["duration_ms"] >= 10 and "error_msg" not in tool
    usage = told["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["model"]) == (3, 2, "script-1")
    assert len({event["conversation_id"] for event in told.values()}) == 1
    times = [event["occurred_at"] for event in told.values()]
    assert times == sorted(times) and told["conversation"]["environment"] == "production"


def test_a_failed_run_is_told_with_what_was_written_and_why_it_failed(tmp_path: Path, agentsight: Any) -> None:
    with tracked(tmp_path, agentsight) as backend:
        run = backend.person().say("fail").json()
        told = wait_until(lambda: agentsight.of(run["run_id"]))
    assert list(told) == ["conversation", "user", "agent", "error"]
    assert told["agent"]["metadata"]["partial"] is True and told["error"]["action_name"] == "chat_error"
    assert told["error"]["metadata"]["code"] == "agent_error" and "secret-path" not in str(told)


def test_a_question_that_is_answered_twice_is_told_once(tmp_path: Path, agentsight: Any) -> None:
    with tracked(tmp_path, agentsight) as backend:
        ann = backend.person()
        conversation = ann.said("hello")["conversation_id"]
        ann.http.post(f"{ann.base}/conversations/{conversation}/regenerate")
        wait_until(lambda: sum(key.endswith(":agent") for key in agentsight.events) == 2)
    assert sum(key.endswith(":user") for key in agentsight.events) == 1
    assert len({event["conversation_id"] for event in agentsight.events.values()}) == 1


@pytest.mark.parametrize("status", [503, 429, 401, 500])
def test_an_outage_delays_and_loses_nothing(tmp_path: Path, agentsight: Any, status: int) -> None:
    agentsight.status = status
    with tracked(tmp_path, agentsight) as backend:
        runs = [backend.person().said(f"hello {number}")["run_id"] for number in range(5)]
        time.sleep(0.3)
        assert agentsight.events == {}
        agentsight.status = 200
        wait_until(lambda: all(agentsight.of(run) for run in runs), within_s=15)
    assert agentsight.repeats == 0


def test_a_lost_answer_makes_nothing_double(tmp_path: Path, agentsight: Any) -> None:
    agentsight.lose_answers = 2
    with tracked(tmp_path, agentsight) as backend:
        run = backend.person().said("hello")["run_id"]
        wait_until(lambda: backend.app.state.chat.store.untracked(1) == [])
    assert agentsight.repeats > 0 and len(agentsight.of(run)) == len(agentsight.events) == 4


def test_what_a_process_does_not_know_to_have_arrived_the_next_one_tells_again(tmp_path: Path, agentsight: Any) -> None:
    agentsight.lose_answers = 1_000
    with tracked(tmp_path, agentsight) as backend:
        run = backend.person().said("tool")["run_id"]
        wait_until(lambda: agentsight.of(run))
    agentsight.lose_answers = 0
    stored = dict(agentsight.events)
    with tracked(tmp_path, agentsight) as backend:
        wait_until(lambda: backend.app.state.chat.store.untracked(1) == [])
    assert agentsight.events == stored and list(agentsight.of(run)) == [
        "conversation",
        "user",
        "tool:0",
        "agent",
        "usage",
    ]


def test_what_one_process_could_not_send_the_next_one_does(tmp_path: Path, agentsight: Any, url: str) -> None:
    with tracked(tmp_path, agentsight, url, tracking_endpoint="http://127.0.0.1:9") as backend:
        run = backend.person().said("hello")["run_id"]
    assert agentsight.events == {}
    with tracked(tmp_path, agentsight, url):
        wait_until(lambda: agentsight.of(run))


def test_without_a_key_runs_wait_until_there_is_one(tmp_path: Path, agentsight: Any) -> None:
    with tracked(tmp_path, agentsight, tracking_key=None) as backend:
        run = backend.person().said("hello")["run_id"]
    with tracked(tmp_path, agentsight):
        wait_until(lambda: agentsight.of(run))


def test_one_run_that_is_refused_does_not_hold_up_the_others(tmp_path: Path, agentsight: Any) -> None:
    agentsight.poison = "poison"
    with tracked(tmp_path, agentsight, tracking_key=None) as backend:
        runs = [backend.person().said(text)["run_id"] for text in ("fine", "poison", "fine too")]
    with tracked(tmp_path, agentsight) as backend:
        wait_until(lambda: agentsight.of(runs[0]) and agentsight.of(runs[2]))
        wait_until(lambda: backend.app.state.chat.store.untracked(1) == [])


# -- kill -9 ---------------------------------------------------------------------------------------------------------
@contextmanager
def process(folder: Path, url: str, tracking: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", f"{__package__}.serve_scripted", url, str(port), tracking]
    child = subprocess.Popen(command, cwd=folder, env=environment)
    address = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert child.poll() is None, "the server did not start"
        with suppress(httpx.HTTPError):
            return bool(httpx.get(f"{address}/healthz", timeout=1).status_code == 200)
        return False

    try:
        wait_until(ready, within_s=30)
        yield child, address
    finally:
        child.kill()
        child.wait()


def kill_and_come_back(folder: Path, url: str, agentsight: Any, kills: int, each: int, seed: int) -> None:
    chance = random.Random(seed)
    settings = Settings(data_dir=folder, database_url=url, secrets=(SECRET,))
    begun: dict[str, str] = {}  # run -> what its reader had seen
    lock = threading.Lock()

    def read(address: str, name: str) -> None:
        person = Person(address, name, issue(name, settings))
        prompt = chance.choice(["slow 60", "slow 25", "tool", "hang in tool", "hello"])
        prompt = "slow 200" if name.endswith("x0") else prompt
        with suppress(httpx.HTTPError), person.stream(prompt) as lines:
            run_id = ""
            for event in lines:
                run_id = event.get("run_id", run_id)
                with lock:
                    begun[f"{name} {run_id}"] = begun.get(f"{name} {run_id}", "") + event.get("delta", "")

    for kill in range(kills):
        with process(folder, url, agentsight.address) as (child, address):
            readers = [threading.Thread(target=read, args=(address, f"u{kill}x{number}")) for number in range(each)]
            for reader in readers:
                reader.start()
                time.sleep(chance.random() * 0.05)
            if kill % 2:  # every other time only when there is something to lose
                wait_until(
                    lambda k=f"u{kill}x0 ": any(len(begun[n].split()) > 20 for n in list(begun) if n.startswith(k))
                )
            time.sleep(chance.random() * 0.6)
            child.send_signal(signal.SIGKILL)
            for reader in readers:
                reader.join()
    with process(folder, url, agentsight.address) as (_, address):
        runs = {}
        kept = []  # of runs that were killed after a while: whether their draft was
        for key, seen in begun.items():
            name, run_id = key.split()
            person = Person(address, name, issue(name, settings))
            run = wait_until(lambda p=person, r=run_id: (v := p.run(r))["status"] != "running" and v)
            check_survivor(person, run, seen)
            runs[run_id] = run
            if run["status"] == "interrupted" and len(seen.split()) > 15:
                kept.append(bool(run["response"]))
        wait_until(lambda: count(url, "chat_runs where tracked_us is null") == 0, within_s=30)
    check_database(url, agentsight)
    assert {run["status"] for run in runs.values()} >= {"interrupted"}
    assert kept and kept.count(False) <= len(kept) // 10, "a draft is kept, but for a slow moment"
    print(f"{kills} kills, {len(runs)} runs seen by a reader, {count(url, 'chat_runs')} in the database")


def check_database(url: str, agentsight: Any) -> None:
    """Also of the runs no reader ever heard of: all have ended, nothing is orphaned, each is told once and in full."""
    assert count(url, "chat_runs where status = 'running'") == 0
    assert count(url, "chat_tool_calls where status = 'running'") == 0
    runs = "select {} from chat_runs r where r.{} = m.id"
    asked, answered = (runs.format("count(*)", name) for name in ("user_message_id", "message_id"))
    assert count(url, f"chat_messages m where role = 'user' and ({asked}) <> 1") == 0
    assert count(url, f"chat_messages m where role = 'assistant' and ({answered}) <> 1") == 0
    said = "select 1 from chat_messages m where m.conversation_id = c.id"
    assert count(url, f"chat_conversations c where not exists ({said})") == 0
    answers = "select r.id, m.content from chat_runs r left join chat_messages m on m.id = r.message_id"
    stored = dict(map(tuple, rows(url, answers)))
    told = {key.split(":")[1] for key in agentsight.events}
    assert told == set(stored), "every run is told, and no other"
    for run_id, content in stored.items():
        assert agentsight.of(run_id).get("agent", {}).get("content") == content and "user" in agentsight.of(run_id)


def rows(url: str, query: str) -> list[Any]:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = connection.exec_driver_sql(query).all()
    engine.dispose()
    return list(found)


def count(url: str, what: str) -> int:
    return int(rows(url, f"select count(*) from {what}")[0][0])


def check_survivor(person: Person, run: dict[str, Any], seen: str) -> None:
    """Every run has ended, its tool calls too; the draft is kept; the conversation goes on."""
    assert run["status"] in ("completed", "interrupted")
    assert all(call["status"] in ("ok", "interrupted") for call in run["tool_calls"])
    written = run["response"].split()
    assert seen.startswith(run["response"]) or run["response"].startswith(seen)
    assert len(seen.split()) - len(written) <= 20, "a draft is a tenth of a second old here, plus a slow moment"
    messages = person.messages(run["conversation_id"])
    assert [message["role"] for message in messages] == ["user", "assistant"][: 1 + bool(run["response"])]
    assert person.said("hello", run["conversation_id"])["status"] == "completed"


def test_kill_9_in_the_middle_of_runs(tmp_path: Path, url: str, agentsight: Any) -> None:
    kill_and_come_back(tmp_path, url, agentsight, kills=2, each=8, seed=1)


@pytest.mark.exhaustive
def test_kill_9_at_fifty_random_points(tmp_path: Path, url: str, agentsight: Any) -> None:
    kill_and_come_back(tmp_path, url, agentsight, kills=50, each=4, seed=2)
