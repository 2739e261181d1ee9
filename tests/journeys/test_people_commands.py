"""keys, users and doctor at the command line, on one folder."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from agentsight.storage import open_storage
from served import Server, database_of, environment


def run(data: Path, *words: str, stdin: str = "", status: int = 0) -> str:
    command = [sys.executable, "-m", "agentsight.cli", *words, "--data", str(data)]
    env = environment(AGENTSIGHT_DATABASE_URL=database_of(data))
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == status, done.stderr + done.stdout
    return (done.stdout or done.stderr).strip()


def asked(server: Server, key: str) -> int:
    return httpx.get(f"{server.url}/api/me/", headers={"Authorization": f"Api-Key {key}"}).status_code


def test_a_list_is_whole_in_a_pipe_and_leaves_out_what_nobody_said(tmp_path: Path):
    name = "An agent whose name is longer than a narrow terminal would like to show in a column of eighty"
    key = run(tmp_path, "keys", "create", "--agent", name)
    headings, row = run(tmp_path, "keys", "list").splitlines()
    assert row.startswith(key[:12] + " ") and name in row
    assert "STATE" in headings and "NOTE" not in headings


def test_what_cannot_be_opened_is_said_in_one_line_with_what_to_do(tmp_path: Path):
    (tmp_path / "file").write_text("no database, and no folder")
    for words in (("--data", str(tmp_path / "file" / "below")), ("--database", f"sqlite:///{tmp_path / 'file'}")):
        command = [sys.executable, "-m", "agentsight.cli", "keys", "list", *words]
        env = environment(AGENTSIGHT_DATA=str(tmp_path))
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
        assert done.returncode == 1 and done.stderr.startswith("agentsight: "), done.stderr
        assert len(done.stderr.splitlines()) == 1 and ("--data" in done.stderr or "not a database" in done.stderr)


def test_an_import_of_which_nothing_could_be_read_is_refused(tmp_path: Path):
    (tmp_path / "notes.md").write_text("# Notes\n\nno conversation\n")
    said = run(tmp_path, "import", str(tmp_path / "notes.md"), "--agent", "a", status=1)
    assert json.loads(said)["rejected"] == 2


@pytest.mark.slow
def test_keys_end_and_change_over_beside_a_running_server(tmp_path: Path):
    server = Server(tmp_path)
    try:
        old = run(tmp_path, "keys", "create", "--agent", "a", "--expires", "90d", "--name", "production")
        new = run(tmp_path, "keys", "rotate", old[:12], "--overlap", "1h")
        none = run(tmp_path, "keys", "rotate", new[:12], "--overlap", "0m")
        time.sleep(1)
        assert (asked(server, old), asked(server, new), asked(server, none)) == (200, 401, 200)
        listed = {row["prefix"]: row for row in json.loads(run(tmp_path, "keys", "list", "--json"))}
        assert listed[old[:12]]["expires_at"] < listed[none[:12]]["expires_at"], "the old one ends with the overlap"
        assert listed[none[:12]]["name"] == "production" and old not in json.dumps(listed)
        assert "no live key" in run(tmp_path, "keys", "rotate", new[:12], status=1)
        assert "90d" in run(tmp_path, "keys", "create", "--agent", "a", "--expires", "soon", status=1)
    finally:
        server.stop()


@pytest.mark.slow
def test_people_are_made_with_a_password_changed_and_let_go(tmp_path: Path):
    made = ("users", "create", "mia@example.com", "--organization", "Acme", "--password-stdin")
    assert run(tmp_path, *made, stdin="a quiet little word\n") == ""
    assert "guessed first" in run(tmp_path, *made, stdin="password123\n", status=1)
    run(tmp_path, "keys", "create", "--agent", "Shown", "--organization", "Acme")
    link = run(
        tmp_path, "users", "create", "ed@example.com", "--organization", "Acme", "--role", "client", "--agent", "Shown"
    )
    assert "/login?token=" in link and "/login?token=" in run(tmp_path, "users", "link", "ed@example.com")
    assert "only owner" in run(tmp_path, "users", "change", "mia@example.com", "--role", "member", status=1)
    run(tmp_path, "users", "change", "ed@example.com", "--role", "owner", "--all-agents")
    rows = {row["email"]: row for row in json.loads(run(tmp_path, "users", "list", "--json"))}
    assert rows["mia@example.com"]["has_password"] and rows["ed@example.com"]["agents"] == []
    assert rows["ed@example.com"]["role"] == "owner"
    run(tmp_path, "users", "remove", "mia@example.com")
    assert "nobody has the address" in run(tmp_path, "users", "sign-out", "mia@example.com", status=1)
    found = run(tmp_path, "doctor")
    assert "audit log: Acme: 7 lines" in found

    storage = open_storage(database_of(tmp_path))
    storage.write(lambda store: store._driver.run("DELETE FROM audit WHERE number = 3")).result()  # type: ignore[attr-defined]
    storage.close()
    assert "line 3 is missing" in run(tmp_path, "doctor", status=1)
