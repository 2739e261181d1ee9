"""An older and this version on one database: servers are upgraded one after another, and nobody notices."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

import agentsight
from agentsight.core import older
from agentsight.server import upkeep
from agentsight.storage import open_storage
from served import Api, Postgresql, Server, environment, event, message

from .test_workers import soon

ROOT = Path(__file__).resolve().parents[2]
OLDEST = "5d4c014"  # the first schema that was released, on SQLite
OLDEST_POSTGRESQL = "8607e7d"  # the first that ran on PostgreSQL
TOGETHER_S = 3.0


def source_of(commit: str, folder: Path) -> Path:
    """The source folder of the package as it was at a commit."""
    archived = folder / "older.tar"
    made = subprocess.run(
        ["git", "-C", str(ROOT), "archive", "-o", str(archived), commit, "src"], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"commit {commit} is not in this clone's history")
    shutil.unpack_archive(archived, folder / "older")
    built = Path(agentsight.__file__).parent / "server" / "static"
    for file in built.glob("*.json"):  # made when a package is built, so not part of the history
        shutil.copy(file, folder / "older/src/agentsight/server/static")
    return folder / "older/src"


class Client(threading.Thread):
    """Writes and reads at one server until told to stop, and notes whatever is not as it should be."""

    def __init__(self, server: Server, key: str, name: str):
        super().__init__(daemon=True)
        self.server, self.key, self.called = server, key, name
        self.stored: list[str] = []
        self.rounds = 0
        self.statuses: Counter[int] = Counter()
        self.enough = threading.Event()
        self.start()

    def run(self) -> None:
        with Api(self.server.url, self.key) as api:
            while not self.enough.is_set():
                some = [message(f"c-{number % 3}", f"{self.called} {os.urandom(6).hex()}") for number in range(5)]
                answer = api.post("/api/batch/", json={"events": some})
                if answer.status_code == 200:
                    self.stored += [one["content"] for one in some]
                reads = [
                    api.get(path) for path in ("/api/conversations/", "/api/analytics/?metric=total_messages&by=day")
                ]
                body = {"conversation_id": "c-1", "is_used": True, "customer_id": self.called}
                told = api.post("/api/conversations/", json=body)
                self.statuses.update(one.status_code for one in (answer, told, *reads, *self.changes(api)))

    def changes(self, api: Api) -> Iterator[httpx.Response]:
        """What moves sums from one place to another, or takes them away."""
        short = f"short-{self.called}-{self.rounds}"
        self.rounds += 1
        said = [
            message(short, "a question", language="en"), message(short, "an answer", sender="agent"),
            event("action", short, action_name="lookup", duration_ms=5), event("feedback", short, sentiment="positive"),
        ]  # fmt: skip
        yield api.post("/api/batch/", json={"events": said})
        found = api.get("/api/conversations/", params={"conversation_id": short})
        yield found
        path = f"/api/conversations/{found.json()['results'][0]['id']}"
        yield api.patch(f"{path}/update/", json={"language": "hr", "device": "iPhone"})
        if self.rounds % 2:
            yield api.delete(f"{path}/delete/")

    def end(self) -> None:
        self.enough.set()
        self.join(30)


@pytest.fixture(params=["sqlite", "postgresql"])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A database's URL, and the oldest version that can use it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'data' / 'agentsight.db'}", source_of(OLDEST, tmp_path)
        return
    postgresql: Postgresql = request.getfixturevalue("postgresql")
    yield postgresql.empty(), source_of(OLDEST_POSTGRESQL, tmp_path)


@pytest.mark.slow
def test_an_older_version_works_on_beside_this_one(
    before: tuple[str, Path], tmp_path: Path, start: Callable[..., Server]
):
    url, source = before
    old = start(tmp_path / "data", database=url, PYTHONPATH=str(source))
    command = ["-m", "agentsight.cli", "keys", "create", "--agent", "bot", "--database", url]
    key = python(command, source)
    with Api(old.url, key) as api:
        assert str(source) in python(["-c", "import agentsight; print(agentsight.__file__)"], source)
        api.batch(message("c-0", "before the upgrade"))
    clients = [Client(old, key, "old")]
    time.sleep(0.5)
    new = start(tmp_path / "new", database=url)  # the schema goes forward under the older one's feet
    clients.append(Client(new, key, "new"))
    time.sleep(TOGETHER_S)
    for client in clients:
        client.end()
    assert all(set(client.statuses) <= {200, 201, 204} for client in clients), [client.statuses for client in clients]
    with Api(old.url, key) as api, Api(new.url, key) as other:
        said = {row["content"] for name in ("c-0", "c-1", "c-2") for row in api.conversation(name)["messages"]}
        assert said == {
            row["content"] for name in ("c-0", "c-1", "c-2") for row in other.conversation(name)["messages"]
        }
        assert said == {"before the upgrade", *clients[0].stored, *clients[1].stored}
        assert len(clients[0].stored) > 20 and len(clients[1].stored) > 20
    assert "Traceback" not in old.log() + new.log(), (old.log() + new.log())[-3000:]
    storage = open_storage(url)
    with Api(old.url, key) as api:
        api.batch(message("c-0", "the last word of the older one"))
        assert older.left_out(storage), "the older version stores what only the newer one can count"
    assert old.stop() in (0, -15)
    soon(lambda: not older.left_out(storage), upkeep.OLDER_S + 20)  # the newer one sees to its own sums by itself
    assert '"differed": []' in python(["-m", "agentsight.cli", "rebuild", "--json", "--database", url])
    storage.close()
    left = sum(2 * (client.rounds // 2) for client in clients)  # messages of the short ones that were not deleted
    with Api(new.url, key) as api:
        asked = {"metric": "total_messages", "environment": "development", "from": "2026-03-01", "to": "2026-03-03"}
        assert api.get("/api/analytics/", params=asked).json()["metrics"][0]["total"] == len(said) + 1 + left


def python(arguments: list[str], source: Path | None = None) -> str:
    """What a Python says that finds the package of that folder, or this one's."""
    env = environment(PYTHONPATH=str(source)) if source else environment()
    ran = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=env, check=True)
    return ran.stdout.strip()
