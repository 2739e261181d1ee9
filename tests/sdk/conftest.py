"""What the SDK's tests share: a recording server, clients as a new process has them, scripts in a process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from recording import KEY, Handler, Recorder, Server, fresh

from agentsight import lifetime
from agentsight.api import AgentSightAPI
from agentsight.manager import ConversationManager
from agentsight.tracker import ConversationTracker


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    handler = type("Bound", (Handler,), {"recorder": recorder})
    server = Server(("127.0.0.1", 0), handler)
    recorder.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield recorder
    server.shutdown()
    server.server_close()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No AgentSight settings but a spool of this test's own."""
    for name in [name for name in os.environ if name.startswith("AGENTSIGHT_")]:
        monkeypatch.delenv(name)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AGENTSIGHT_SPOOL_DIR", str(tmp_path / "spool"))
    return monkeypatch


@pytest.fixture
def tracker(environment: pytest.MonkeyPatch, recorder: Recorder) -> Iterator[ConversationTracker]:
    environment.setenv("AGENTSIGHT_API_KEY", KEY)
    environment.setenv("AGENTSIGHT_API_ENDPOINT", recorder.url)
    before = ConversationTracker._instance
    lifetime._signal_watched = True  # the test runner's own signals stay its own
    client = fresh(ConversationTracker)
    from agentsight.scope import _own, _scope

    _scope.set(None)
    _own.set(False)
    yield client
    _scope.set(None)
    _own.set(False)
    client._delivery._outbox._items.clear()
    client._buffer.pending.clear()
    client._delivery.close(0.6)
    client._delivery._closed = True
    client._delivery._thread = None
    with client._delivery._wake:
        client._delivery._wake.notify_all()
    ConversationTracker._instance = before


@pytest.fixture
def manager(environment: pytest.MonkeyPatch, recorder: Recorder) -> Iterator[ConversationManager]:
    yield from _client(ConversationManager, environment, recorder)


@pytest.fixture
def api(environment: pytest.MonkeyPatch, recorder: Recorder) -> Iterator[AgentSightAPI]:
    yield from _client(AgentSightAPI, environment, recorder)


def _client(kind: type, environment: pytest.MonkeyPatch, recorder: Recorder) -> Iterator[Any]:
    environment.setenv("AGENTSIGHT_API_KEY", KEY)
    environment.setenv("AGENTSIGHT_API_ENDPOINT", recorder.url)
    before = kind._instance  # type: ignore[attr-defined]
    yield fresh(kind)
    kind._instance = before  # type: ignore[attr-defined]


@pytest.fixture
def script(environment: pytest.MonkeyPatch, recorder: Recorder, tmp_path: Path) -> Callable[..., Any]:
    """Run Python text in a process of its own; `wait=False` gives the running process."""

    def run(text: str, wait: bool = True, **settings: str) -> Any:
        path = tmp_path / f"script{time.monotonic_ns()}.py"
        path.write_text(text)
        env = {
            **os.environ,
            "AGENTSIGHT_API_KEY": KEY,
            "AGENTSIGHT_API_ENDPOINT": recorder.url,
            "PYTHONUNBUFFERED": "1",
            **settings,
        }
        process = subprocess.Popen(
            [sys.executable, str(path)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        if not wait:
            return process
        out, err = process.communicate(timeout=30)
        process.out, process.err = out, err  # type: ignore[attr-defined]
        return process

    return run
