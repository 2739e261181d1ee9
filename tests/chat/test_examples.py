"""The three seeds' applications, started as their readers start them, without a key; and with one, where a vendor is."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from . import model_server
from .conftest import httpx, wait_until
from .fake_agentsight import KEY, FakeAgentSight
from .model_server import served

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def agentsight() -> Iterator[FakeAgentSight]:
    fake = FakeAgentSight()
    with served(fake.app) as fake.address:
        yield fake


@contextmanager
def example(name: str, folder: Path, agentsight: FakeAgentSight, **extra: str) -> Iterator[tuple[str, Path]]:
    """The example as a process; its address, and what it printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    printed = folder / "printed"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "AGENTSIGHT_"))}
    environment |= {
        "PORT": str(port), "AGENTSIGHT_DATA": str(folder / "data"), "AGENTSIGHT_API_KEY": KEY,
        "AGENTSIGHT_API_ENDPOINT": agentsight.address, "AGENTSIGHT_SPOOL": "off",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **extra,
    }  # fmt: skip
    with printed.open("w") as out:
        command = [sys.executable, str(EXAMPLES / f"{name}.py")]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert process.poll() is None, printed.read_text()
        with suppress(httpx.HTTPError):
            return bool(httpx.get(f"{address}/openapi.json", timeout=2).status_code == 200)
        return False

    try:
        wait_until(ready, within_s=120)  # some vendors take long to import on a busy machine
        yield address, printed
    finally:
        process.terminate()
        process.wait(15)


def contents(agentsight: FakeAgentSight) -> list[str]:
    return [str(event.get("content")) for event in agentsight.events.values() if event["kind"] == "message"]


def test_seed_000_answers_and_tracks_in_the_background(tmp_path: Path, agentsight: FakeAgentSight) -> None:
    with example("seed_000_background_tasks", tmp_path, agentsight) as (address, _):
        body = {"message": "What is 2 + 3 * 4?", "conversation_id": "seed-000", "customer_id": "c-7"}
        assert httpx.post(f"{address}/chat", json=body).json() == {"response": "2 + 3 * 4 = 14"}
        assert "Error" in httpx.post(f"{address}/chat", json={"message": "9 ** 9 ** 9"}).json()["response"]
        wait_until(lambda: "2 + 3 * 4 = 14" in contents(agentsight))
        mine = [event for event in agentsight.events.values() if event["conversation_id"] == "seed-000"]
    kinds = sorted((event["kind"], event.get("sender") or event.get("action_name") or "") for event in mine)
    assert kinds == [("action", "calculate"), ("conversation", ""), ("message", "agent"), ("message", "end_user")]
    assert next(event for event in mine if event["kind"] == "conversation")["customer_id"] == "c-7"


def test_seed_003_as_its_reader_tries_it(tmp_path: Path, agentsight: FakeAgentSight) -> None:
    with example("seed_003_todo_backend", tmp_path, agentsight) as (address, printed):
        token = re.search(r"Bearer (\S+)'", printed.read_text())[1]
        url, headers = f"{address}/api/user123/chat", {"Authorization": f"Bearer {token}"}
        first = httpx.post(url, json={"message": "Add a task to buy groceries"}, headers=headers).json()
        assert first["tool_calls"][0]["result"]["title"] == "buy groceries"
        second = {"message": "Show me my tasks", "conversation_id": first["conversation_id"]}
        again = httpx.post(url, json=second, headers=headers).json()
        assert again["conversation_id"] == first["conversation_id"] and "buy groceries" in again["response"]
        wait_until(lambda: "Show me my tasks" in contents(agentsight))


def test_seed_004_speaks_the_seeds_protocol(tmp_path: Path, agentsight: FakeAgentSight) -> None:
    with example("seed_004_chat_app", tmp_path, agentsight) as (address, printed):
        token = re.search(r"#token=(\S+)", printed.read_text())[1]
        headers = {"Authorization": f"Bearer {token}"}
        assert "text/html" in httpx.get(address, headers={"Accept": "text/html"}).headers["content-type"]
        answer = httpx.post(f"{address}/chat/", data={"prompt": "hello"}, headers=headers)
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert (lines[0]["role"], lines[-1]["role"]) == ("user", "model") and "not an AI" in lines[-1]["content"]
        assert len(httpx.get(f"{address}/chat/", headers=headers).text.splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "package"),
    [("seed_003_todo_backend", "agents"), ("seed_004_chat_app", "pydantic_ai"),
     ("seed_000_background_tasks", "llama_index.llms.openai")],
)  # fmt: skip
def test_with_a_key_the_vendors_answer(name: str, package: str, tmp_path: Path, agentsight: Any) -> None:
    try:
        missing = find_spec(package) is None
    except ModuleNotFoundError:
        missing = True
    if missing:
        pytest.skip(f"{name} with a key is NOT tested here: package {package} is not installed")
    with served(model_server.app) as model:
        keys = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": f"{model}/v1", "OPENAI_API_BASE": f"{model}/v1"}
        with example(name, tmp_path, agentsight, **keys) as (address, printed):
            if name == "seed_000_background_tasks":
                said = httpx.post(f"{address}/chat", json={"message": "hello"}, timeout=30).text
            else:
                token = re.search(r"#token=(\S+)", printed.read_text())[1]
                headers = {"Authorization": f"Bearer {token}"}
                said = httpx.post(f"{address}/chat/", data={"prompt": "hello"}, headers=headers, timeout=30).text
    assert "in turn 1" in said
