"""A backup taken while others write holds everything acknowledged before, and comes back whole or not at all."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sqlite3
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command

from agentsight.core import conversations, tenancy
from agentsight.core.archive import Unreadable
from agentsight.core.model import Filter, Scope
from agentsight.storage import open_blobs, open_storage
from agentsight.storage.backup import restore
from agentsight.storage.migrate import _config, migrate
from served import Postgresql, Server, database_of, event, message

from .commands import agentsight, programs_of_postgresql, told


def _stored(data: Path) -> tuple[set[str], set[bytes]]:
    """Every message and every file below a data folder, through the product's own eyes."""
    storage, blobs = open_storage(database_of(data)), open_blobs(str(data / "files"))
    try:
        assert storage.check() == []

        def ask(store):
            owner = store.tenants.organization_named("acme")
            (agent,) = store.tenants.agents(owner.id)
            heads, more = store.conversations.page(Scope(owner.id, (agent.id,)), Filter(), limit=10_000)
            assert not more
            return conversations.transcripts(store, heads)

        whole = storage.read(ask)
        said = {e.content for one in whole for e in one.events if e.kind == "message"}
        return said, {blobs.get(file.sha256) for one in whole for file in one.attachments}
    finally:
        storage.close()


@pytest.mark.slow
@pytest.mark.parametrize("times", [3, pytest.param(20, marks=[pytest.mark.exhaustive, pytest.mark.timed])])
def test_backups_taken_during_ingest_hold_all_that_was_acknowledged_before(
    start: Callable[..., Server], tmp_path: Path, times: int
):
    server = start()
    acknowledged: list[str] = []
    took: list[float] = []
    stop = threading.Event()

    def ingest() -> None:
        with server.api("A", "acme") as api:
            while not stop.is_set():
                text = f"message {len(acknowledged)}"
                data = base64.b64encode(text.encode()).decode()
                file = event("attachment", "c", sender="end_user", filename="a.txt", mime_type="text/plain", data=data)
                begun = time.monotonic()
                api.batch(message(f"c-{len(acknowledged) % 40}", text), file)
                took.append(time.monotonic() - begun)
                acknowledged.append(text)
                stop.wait(0.01)  # what is restored later shall not grow with the speed of the machine

    writer = threading.Thread(target=ingest)
    writer.start()
    try:
        taken = []
        time.sleep(3 if times > 3 else 0)
        quiet = len(took)
        for number in range(times):
            before = len(acknowledged)
            file = tmp_path / f"{number}.zip"
            manifest = told("backup", str(file), "--json", data=server.data)
            taken.append((file, acknowledged[:before], manifest))
    finally:
        stop.set()
        writer.join()
    assert len(taken[-1][1]) > len(taken[0][1]) + 5, "ingest went on while backups were taken"
    for file, before, manifest in taken:
        data = tmp_path / f"restored-{file.stem}"
        agentsight("restore", str(file), data=data)
        said, files = _stored(data)
        assert set(before) <= said
        assert {text.encode() for text in said} == files, "every file is there, whichever rows the moment caught"
        assert manifest["counts"]["events"] == 2 * len(said)
        assert os.stat(file).st_mode & 0o077 == 0
        if file is not taken[-1][0]:
            shutil.rmtree(data)
    if times > 3:
        alone, during = (sorted(some)[int(len(some) * 0.99)] for some in (took[:quiet], took[quiet:]))
        print(f"p99 {1000 * alone:.1f} ms alone, {1000 * during:.1f} ms while copies are taken")
        assert during <= max(2 * alone, 0.1)
    with start(data).api("A", "acme") as api:
        assert api.ids(search=before[-1]), "a server works on what came back, search too"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data folder with something in it, and its backup."""
    folder = tmp_path_factory.mktemp("kept")
    data, file = folder / "data", folder / "backup.zip"
    agentsight("keys", "create", "--agent", "A", data=data)
    lines = folder / "history.jsonl"
    lines.write_text(json.dumps({"conversation_id": "one", "messages": [{"role": "user", "content": "hello"}]}) + "\n")
    agentsight("import", str(lines), "--agent", "A", data=data)
    agentsight("backup", str(file), data=data)
    return data, file


def test_a_restore_gives_back_keys_and_secret_too(kept: tuple[Path, Path], tmp_path: Path):
    data, file = kept
    assert "1 conversations, 2 events" in agentsight("restore", str(file), data=tmp_path / "new")
    assert (tmp_path / "new" / "secret").read_text() == (data / "secret").read_text()
    keys = [json.loads(agentsight("keys", "list", "--json", data=where)) for where in (data, tmp_path / "new")]
    assert keys[0] == keys[1]


@pytest.mark.slow
def test_a_restore_replaces_nothing_unasked(kept: tuple[Path, Path], tmp_path: Path):
    _, file = kept
    agentsight("keys", "create", "--agent", "Other", data=tmp_path)
    assert "--force" in agentsight("restore", str(file), data=tmp_path, fails=True)
    assert "Other" in agentsight("keys", "list", "--json", data=tmp_path)
    agentsight("restore", str(file), "--force", data=tmp_path)
    assert "Other" not in agentsight("keys", "list", "--json", data=tmp_path)


@pytest.mark.slow
def test_a_restore_under_a_running_server_is_refused(kept: tuple[Path, Path], start: Callable[..., Server]):
    server = start()
    with server.api("A", "acme") as api:
        api.batch(message("here"))
        assert "stop it first" in agentsight("restore", str(kept[1]), "--force", data=server.data, fails=True)
        assert api.ids() == ["here"]


def _rewritten(file: Path, to: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The same archive with some of its parts changed."""
    with zipfile.ZipFile(file) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    change(parts)
    with zipfile.ZipFile(to, "w") as new:
        for name, body in parts.items():
            new.writestr(name, body)
    return to


def _restored(archive: Path, data: Path) -> None:
    restore(archive, data, database_of(data), str(data / "files"))


def _manifest(parts: dict[str, bytes], **changes: object) -> None:
    parts["manifest.json"] = json.dumps({**json.loads(parts["manifest.json"]), **changes}).encode()


@pytest.mark.sqlite  # its parts are named so
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda parts: parts.update({"agentsight.db": parts["agentsight.db"][:-1] + b"?"}),
            "agentsight.db is not what",
        ),
        (lambda parts: parts.pop("agentsight.db"), "agentsight.db is not what"),
        (lambda parts: parts.update({"../../evil": b"x"}), r"it holds \.\./\.\./evil"),
        (lambda parts: parts.update({"files/../../evil": b"x"}), r"it holds files/\.\./\.\./evil"),
        (lambda parts: parts.update({f"files/ab/ab{'0' * 62}": b"x"}), "the file ab"),
        (lambda parts: _manifest(parts, format="agentsight-backup/2"), "later version"),
        (lambda parts: _manifest(parts, schema="9999"), "later version"),
        (lambda parts: _manifest(parts, format="agentsight-organization/1"), "is no backup"),
        (lambda parts: _manifest(parts, engine="PostgreSQL"), "is of PostgreSQL"),
        (lambda parts: parts.pop("manifest.json"), "is no backup"),
        (lambda parts: parts.update({"manifest.json": b"[]"}), "is no backup"),
    ],
)
def test_an_archive_that_is_not_right_is_refused_before_anything_is_written(
    kept: tuple[Path, Path], tmp_path: Path, change: Callable[[dict[str, bytes]], None], said: str
):
    archive = _rewritten(kept[1], tmp_path / "changed.zip", change)
    with pytest.raises(Unreadable, match=said):
        _restored(archive, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_half_an_archive_is_refused(kept: tuple[Path, Path], tmp_path: Path, keep: float):
    body = kept[1].read_bytes()
    (tmp_path / "half.zip").write_bytes(body[: int(len(body) * keep)])
    with pytest.raises(Unreadable, match=r"half\.zip"):
        _restored(tmp_path / "half.zip", tmp_path / "new")


@pytest.mark.sqlite
def test_a_database_with_something_in_it_is_copied_before_its_form_changes(tmp_path: Path):
    for number in range(5):
        storage = open_storage(f"sqlite:///{tmp_path / 'agentsight.db'}")
        with storage.migrating() as connection:  # type: ignore[attr-defined]
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")
            connection.exec_driver_sql(
                "INSERT INTO organization (name, slug, created_us) VALUES (?, ?, 0)",
                (f"acme-{number}", f"acme-{number}"),
            )
            connection.commit()
        migrate(storage)
        storage.close()
        (copy, *_) = sorted((tmp_path / "backups").glob("before-*.db"), key=lambda path: path.stat().st_mtime)[::-1]
        with sqlite3.connect(copy) as old:
            assert old.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
            assert old.execute("SELECT name FROM organization").fetchall() == [(f"acme-{number}",)]
        old.close()
        (tmp_path / "agentsight.db").unlink()
        copy.rename(copy.with_name(f"before-{number}.db"))
    assert len(list((tmp_path / "backups").glob("before-*"))) <= 4


@pytest.mark.sqlite
def test_an_empty_database_is_not_copied(tmp_path: Path):
    agentsight("keys", "list", data=tmp_path)
    assert not (tmp_path / "backups").exists()


@pytest.mark.slow
def test_postgresql_is_backed_up_with_its_own_programs(postgresql: Postgresql, tmp_path: Path):
    path = f"{programs_of_postgresql()}:{os.environ['PATH']}"
    url, other = postgresql.fresh(), postgresql.empty()
    storage = open_storage(url)
    storage.write(lambda store: tenancy.ensure_organization(store, "acme", 0)).result()
    storage.close()
    file = tmp_path / "backup.zip"
    agentsight("backup", str(file), "--database", url, data=tmp_path / "a", PATH=path)
    agentsight("restore", str(file), "--database", other, data=tmp_path / "b", PATH=path)
    restored = open_storage(other)
    assert restored.read(lambda store: store.tenants.organization_named("acme"))
    restored.close()
    assert "--force" in agentsight(
        "restore", str(file), "--database", other, data=tmp_path / "b", PATH=path, fails=True
    )
    agentsight("restore", str(file), "--force", "--database", other, data=tmp_path / "b", PATH=path)
    said = agentsight("backup", str(file), "--database", url, data=tmp_path / "a", PATH="/nowhere", fails=True)
    assert "install PostgreSQL's client programs" in said
