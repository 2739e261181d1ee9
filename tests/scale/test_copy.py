"""A database copied into another: all of it, proved, whatever interrupts it, and never over somebody's data."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from agentsight import demo
from agentsight.chat import schema
from agentsight.chat.database import Database
from agentsight.chat.settings import database_url
from agentsight.core import tenancy
from agentsight.core.ports import Store
from agentsight.errors import ServerFailed
from agentsight.storage import copying, open_storage
from agentsight.storage.migrate import migrate
from agentsight.storage.sql.schema import metadata
from served import Api, Server, environment, message

NOW_US = time.time_ns() // 1000
_SIGNED = re.compile(r"/files/[^/]+/")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data folder with months of conversations and files, and a key that reads them."""
    folder = tmp_path_factory.mktemp("filled")
    storage = open_storage(f"sqlite:///{folder / 'agentsight.db'}")
    migrate(storage)
    demo.fill(storage, str(folder / "files"), NOW_US)

    def issue(store: Store) -> str:
        owner = store.tenants.organization_named(demo.ORGANIZATION)
        assert owner is not None
        return tenancy.issue_key(store, store.tenants.agents(owner.id)[0], "write", NOW_US)[0]

    key = storage.write(issue).result()
    storage.close()
    return folder, key


def command(source: str, target: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "agentsight.cli", "copy", "--from", source, "--to", target, *options]


def copied(source: str, target: str, *options: str) -> dict[str, Any]:
    ran = subprocess.run(
        command(source, target, *options), capture_output=True, text=True, env=environment(), check=False
    )
    assert ran.returncode == 0, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def refused(source: str, target: str, *options: str) -> str:
    ran = subprocess.run(
        command(source, target, *options), capture_output=True, text=True, env=environment(), check=False
    )
    assert (ran.returncode, ran.stdout) == (1, ""), ran.stdout
    assert ran.stderr.count("\n") == 1, ran.stderr
    return ran.stderr


def held(url: str) -> dict[str, Any]:
    """What every table holds, as rows and a hash."""
    storage = open_storage(url)
    try:
        return {table.name: copying._sum(storage.engine, table) for table in metadata.sorted_tables}  # type: ignore[attr-defined]
    finally:
        storage.close()


def answers(server: Server, key: str) -> dict[str, Any]:
    """What every read endpoint says, without what changes from answer to answer."""
    found: dict[str, Any] = {}
    with Api(server.url, key) as api:

        def ask(path: str, **params: Any) -> Any:
            answer = api.get(path, params=params)
            assert answer.status_code == 200, answer.text
            found[f"{path} {sorted(params.items())}"] = _SIGNED.sub("/files/", answer.text.replace(server.url, ""))
            return answer.json()

        for page in range(1, 4):
            for row in ask("/api/conversations/", page=page, page_size=5)["results"]:
                ask(f"/api/conversations/{row['id']}/")
                ask(f"/api/conversations/{row['id']}/attachments/")
        for where in ({"message_contains": "refund"}, {"message_contains": "žao"}, {"has_feedback": "true"}):
            ask("/api/conversations/", page_size=100, **where)
        names = [metric["name"] for metric in ask("/api/metrics/")]
        days = {"from": "2026-08-01", "to": "2026-11-30", "tz": "Europe/Zagreb"}
        for by in ("day", "month", "weekday_hour", "country", "device", "source", "language", "tool", "model"):
            for name in names:
                answer = api.get("/api/analytics/", params={"metric": name, "by": by, **days})
                found[f"{name} by {by}"] = answer.status_code, answer.json() if answer.status_code == 200 else None
    return found


Target = Callable[[], str]


@pytest.fixture(params=[pytest.param("sqlite", marks=pytest.mark.exhaustive), "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    """Gives the URL of an empty database."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path / 'target.db'}"
    made: Target = request.getfixturevalue("postgresql").empty
    return made


@pytest.mark.slow
def test_there_and_back_again_every_read_endpoint_says_the_same(
    filled: tuple[Path, str], target: Target, tmp_path: Path, start: Callable[..., Server]
):
    folder, key = filled
    there, back = target(), tmp_path / "back"
    files = ("--from-files", str(folder / "files"), "--to-files", str(back / "files"))
    first = copied(f"sqlite:///{folder / 'agentsight.db'}", there, *files)
    again = copied(there, f"sqlite:///{back / 'agentsight.db'}")
    assert first["tables"] == again["tables"] and first["rows"] == again["rows"] > 10_000
    assert first["files"] == sum(1 for path in (folder / "files").glob("*/*")) > 0
    before = answers(start(folder), key)
    assert len(before) > 100
    assert answers(start(tmp_path / "there", database=there), key) == before
    returned = start(back)
    assert answers(returned, key) == before
    with Api(returned.url, key) as api:  # ids go on where they were
        assert api.batch(message("new", "after the copy"))["accepted"] == 1
        assert api.ids(message_contains="after the copy") == ["new"]
    for url in (there, f"sqlite:///{back / 'agentsight.db'}"):  # also where there is one row, the first
        storage = open_storage(url)
        assert storage.write(lambda store: tenancy.ensure_organization(store, "another", 1)).result().id > 1
        storage.close()


@pytest.mark.slow
def test_a_copy_killed_again_and_again_goes_on_and_ends_whole(filled: tuple[Path, str], target: Target):
    source, into = f"sqlite:///{filled[0] / 'agentsight.db'}", target()
    kills = 0
    for delay_s in (0.6, 0.9, 1.2, 1.5, 2.0, 2.5):
        process = subprocess.Popen(command(source, into), env=environment(), stdout=subprocess.DEVNULL)
        time.sleep(delay_s + random.random() / 2)
        kills += process.poll() is None
        process.kill()
        process.wait()
        if process.returncode == 0:
            break
    assert kills > 1
    if process.returncode:
        copied(source, into)
    storage = open_storage(into)
    assert storage.check() == []
    storage.close()
    assert held(source) == held(into)
    again = subprocess.run(command(source, into), capture_output=True, text=True, env=environment(), check=False)
    assert (again.returncode, json.loads(again.stdout)["already"]) == (0, True), again.stderr
    assert "nothing to do" in again.stderr and held(source) == held(into)
    storage = open_storage(into)
    with storage.engine.begin() as connection:  # type: ignore[attr-defined]
        connection.execute(text("UPDATE organization SET name = 'Renamed'"))
    storage.close()
    assert "holds data already" in refused(source, into), "as many rows, and not the same"


def test_a_target_that_holds_something_else_is_refused(filled: tuple[Path, str], tmp_path: Path):
    source, other = f"sqlite:///{filled[0] / 'agentsight.db'}", f"sqlite:///{tmp_path / 'other.db'}"
    storage = open_storage(other)
    migrate(storage)
    storage.write(lambda store: tenancy.ensure_organization(store, "somebody", NOW_US)).result()
    storage.close()
    assert "holds data already (in organization)" in refused(source, other)
    assert "the same database" in refused(source, source)
    for nothing in ("mongodb://x", "sql://x"):
        assert "no storage engine" in refused(source, nothing)
    assert "another version's schema" in refused(
        f"sqlite:///{tmp_path / 'nothing.db'}", f"sqlite:///{tmp_path / 'b.db'}"
    )


def test_a_source_that_changed_meanwhile_is_said_and_copied_anew(filled: tuple[Path, str], tmp_path: Path):
    """Whoever wrote to the source between the copy of a table and the last look at it is found out."""
    into, middle = f"sqlite:///{tmp_path / 'copy.db'}", f"sqlite:///{tmp_path / 'middle.db'}"
    shutil.copy(filled[0] / "agentsight.db", tmp_path / "middle.db")
    there, here = open_storage(into), open_storage(middle)

    def write(name: str, rows: int) -> None:
        if name == "organization":
            with here.engine.begin() as connection:  # type: ignore[attr-defined]
                connection.execute(text("UPDATE organization SET name = 'Renamed'"))

    with pytest.raises(ServerFailed, match=r"the source was written to meanwhile \(organization"):
        copying.open_copy(here, there).run(write)
    there.close()
    here.close()
    assert copied(middle, into)["rows"] > 0


@pytest.fixture
def chats(tmp_path: Path) -> str:
    """The URL of a chat database with two people in it."""
    url = f"sqlite:///{tmp_path / 'chats' / 'chat.db'}"
    database = Database(url)
    database.migrate()
    with database.write() as session:
        for number, user in enumerate(("ann", "ben")):
            talk = schema.Conversation(user_id=user, title=f"Straße {number}", created_us=1, updated_us=2)
            session.add(talk)
            session.flush()
            said = schema.Message(conversation_id=talk.id, role="user", content="hello 😀", created_us=3)
            session.add(said)
            session.flush()
            run = schema.Run(
                id=f"run-{number}", conversation_id=talk.id, user_id=user, user_message_id=said.id, status="completed",
                worker="w", provider="demo", model="m", native={"b": [1, None], "a": "ü"}, started_us=4, beat_us=5,
            )  # fmt: skip
            session.add(run)
            session.add(schema.Task(user_id=user, title="todo", created_us=6, updated_us=7, completed=bool(number)))
    database.close()
    return url


@pytest.mark.slow
def test_the_chats_go_along_where_they_are_told_to(chats: str, target: Target, tmp_path: Path):
    """Into the very database the rest goes to, or into one of its own."""
    source, into = f"sqlite:///{tmp_path / 'small.db'}", target()
    storage = open_storage(source)
    migrate(storage)
    storage.write(lambda store: tenancy.ensure_organization(store, "acme", NOW_US)).result()
    storage.close()
    options = ("--chat-from", chats, "--chat-to", into)
    first = copied(source, into, *options)
    assert first["tables"]["chat_messages"]["rows"] == 2 and first["already"] is False
    assert copied(source, into, *options) | {"seconds": 0} == first | {"seconds": 0, "already": True}
    database = Database(database_url({"DATABASE_URL": into}, Path()))
    with database.read() as session:
        (ann,) = session.scalars(select(schema.Conversation).where(schema.Conversation.user_id == "ann"))
        assert (ann.title, session.get(schema.Run, "run-0").native) == ("Straße 0", {"b": [1, None], "a": "ü"})
    with database.write() as session:  # ids go on where they were
        new = schema.Task(user_id="ann", title="another", created_us=8, updated_us=9)
        session.add(new)
        session.flush()
        assert new.id == 3
    database.close()
