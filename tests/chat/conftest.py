"""A chat backend on a real port, on SQLite and on PostgreSQL, and people who talk to it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

httpx = pytest.importorskip("httpx")
pytest.importorskip("mcp", reason="the chat extra is not installed: mcp is missing")
pytest.importorskip("jwt", reason="the chat extra is not installed: PyJWT is missing")

from agentsight.chat.app import create_app  # noqa: E402
from agentsight.chat.settings import Settings  # noqa: E402
from agentsight.chat.tokens import issue  # noqa: E402
from served import shared_postgresql  # noqa: E402

from .model_server import served  # noqa: E402
from .scripted import Scripted  # noqa: E402

SECRET = "a-secret-for-tests-long-enough-for-every-hmac-there-is-also-sha512"


class Person:
    """Somebody with a token and a browser's patience."""

    def __init__(self, address: str, name: str, token: str):
        self.name, self.address, self.token = name, address, token
        self.http = httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=30)
        self.base = f"/api/{name}/chat"

    def say(self, message: str, conversation: int | None = None, key: str | None = None) -> Any:
        body = {"message": message} | ({"conversation_id": conversation} if conversation else {})
        return self.http.post(self.base, json=body, headers={"Idempotency-Key": key} if key else {})

    def said(self, message: str, conversation: int | None = None) -> dict[str, Any]:
        answer = self.say(message, conversation)
        assert answer.status_code == 200, answer.text
        return answer.json()

    @contextmanager
    def stream(self, message: str, conversation: int | None = None, path: str = "/stream") -> Iterator[Iterator[Any]]:
        body = {"message": message} | ({"conversation_id": conversation} if conversation else {})
        with self.http.stream("POST", self.base + path, json=body) as answer:
            assert answer.status_code == 200, answer.read()
            yield (json.loads(line) for line in answer.iter_lines())

    def events(self, run_id: str, after: int = 0) -> list[dict[str, Any]]:
        answer = self.http.get(f"{self.base}/runs/{run_id}/events", params={"after": after})
        return [json.loads(line) for line in answer.text.splitlines()]

    def run(self, run_id: str) -> dict[str, Any]:
        return self.http.get(f"{self.base}/runs/{run_id}").json()

    def messages(self, conversation: int) -> list[dict[str, Any]]:
        page = self.http.get(f"{self.base}/conversations/{conversation}/messages").json()
        return page["items"][::-1]


class Backend:
    """A running chat backend."""

    def __init__(self, address: str, settings: Settings, app: Any):
        self.address, self.settings, self.app = address, settings, app

    def person(self, name: str = "ann") -> Person:
        return Person(self.address, name, issue(name, self.settings))


Start = Callable[..., AbstractContextManager[Backend]]


@contextmanager
def running(folder: Path, url: str | None = None, responder: Any = None, **changes: Any) -> Iterator[Backend]:
    """A backend on `folder`, with the settings of a test: nobody is slowed down, beats are quick."""
    options = {"secrets": (SECRET,), "runs_per_minute": 10_000, "live_runs": 1000, "beat_s": 0.2} | changes
    settings = Settings(data_dir=folder, database_url=url or f"sqlite:///{folder / 'chat.db'}", **options)
    app = create_app(settings, responder=responder)
    with served(app) as address:
        yield Backend(address, settings, app)


@pytest.fixture(scope="session")
def postgresql() -> Callable[[], str]:
    """Makes empty databases on a real PostgreSQL server."""
    return lambda: shared_postgresql().empty().replace("postgresql://", "postgresql+psycopg://", 1)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database: once on each engine."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql")()
    return f"sqlite:///{tmp_path / 'chat.db'}"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts backends with the scripted model, on one folder."""
    with ExitStack():
        yield lambda **options: running(tmp_path, **({"responder": Scripted()} | options))


def wait_until(holds: Callable[[], Any], within_s: float = 10) -> Any:
    """What `holds` gives as soon as it is true."""
    ends = time.monotonic() + within_s
    while not (value := holds()):
        assert time.monotonic() < ends, "it did not come true in time"
        time.sleep(0.02)
    return value
