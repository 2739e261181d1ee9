"""`agentsight import` of the sample data: every conversation, message and tool call, once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from served import Api, Server, environment

FILES = ("airline_conversations.jsonl", "assistant_dialogues.jsonl")


def beside(server: Server) -> tuple[str, ...]:
    """The options of a command that works on what this server works on."""
    return "--data", str(server.data), "--database", server.database


def loaded(server: Server, file: Path, agent: str, *options: str) -> dict[str, int]:
    command = [sys.executable, "-m", "agentsight.cli", "import", str(file), "--agent", agent, "--organization", "acme"]
    done = subprocess.run(
        [*command, *beside(server), *options],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    counts: dict[str, int] = json.loads(done.stdout)
    return counts


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def spoken(conversation: dict[str, Any]) -> list[tuple[str, str]]:
    """What the source says, in order: messages by their text, tool calls by their name."""
    rows = []
    for said in conversation["messages"]:
        if said["role"] == "user":
            rows.append(("end_user", said["content"]))
        elif said["role"] == "assistant":
            if said.get("content"):
                rows.append(("agent", said["content"]))
            rows += [("tool", call["function"]["name"]) for call in said.get("tool_calls") or ()]
    return rows


def results(conversation: dict[str, Any]) -> list[Any]:
    return [said["content"] for said in conversation["messages"] if said["role"] == "tool"]


def every(api: Api) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    page = api.get("/api/conversations/", params={"page_size": 100}).json()
    while True:
        found |= {row["conversation_id"]: row for row in page["results"]}
        if page["next"] is None:
            return found
        page = api.get(page["next"]).json()


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_imported_whole_and_a_second_import_changes_nothing(server: Server, shared: Path, name: str):
    file, agent = shared / "data" / name, name.partition("_")[0]
    source = {one["conversation_id"]: one for one in lines(file)}
    rows = [row for one in source.values() for row in spoken(one)]
    with server.api(agent) as api:
        counts = loaded(server, file, agent)
        assert counts["conversations"] == len(source)
        assert counts["messages"] == sum(kind != "tool" for kind, _ in rows)
        assert counts["actions"] == sum(kind == "tool" for kind, _ in rows)
        assert counts["rejected"] == counts["duplicates"] == 0
        stored = every(api)
        assert set(stored) == set(source)
        for id, one in source.items():
            transcript = [
                ("tool", row["action_name"]) if row["action_logs"] else (row["sender"], row["content"])
                for row in stored[id]["messages"]
            ]
            assert transcript == spoken(one), id
            answers = [row["action_logs"][0]["response"] for row in stored[id]["messages"] if row["action_logs"]]
            assert [str(answer) for answer in answers] == [str(result) for result in results(one)], id
            for field in ("customer_id", "device", "source", "language", "environment"):
                assert stored[id][field] == one[field], (id, field)
            assert one["metadata"].items() <= stored[id]["metadata"].items()
        again = loaded(server, file, agent)
        assert (again["conversations"], again["messages"], again["actions"]) == (0, 0, 0)
        assert again["duplicates"] >= len(rows)
        assert every(api) == stored


def test_a_dry_run_counts_and_stores_nothing(server: Server, shared: Path):
    with server.api("dry") as api:
        counts = loaded(server, shared / "data" / FILES[0], "dry", "--dry-run")
        assert counts["conversations"] == 60
        assert api.ids() == []


def test_lines_that_are_no_conversations_are_counted_and_named_and_cost_only_themselves(server: Server, tmp_path: Path):
    good = {
        "conversation_id": "good",
        "messages": [{"role": "user", "content": "hi", "timestamp": "2026-08-02T12:00:00Z"}],
    }
    texts = [json.dumps(good), "{bad", "[]", '{"messages": 5}', json.dumps({**good, "conversation_id": "x" * 300})]
    file = tmp_path / "mixed.jsonl"
    file.write_text("\n".join([*texts, "", json.dumps({**good, "conversation_id": "also good"})]))
    command = [sys.executable, "-m", "agentsight.cli", "import", str(file), "--agent", "mixed", "--format", "messages"]
    done = subprocess.run(
        [*command, "--organization", "acme", *beside(server)], capture_output=True, text=True, timeout=60
    )
    counts = json.loads(done.stdout)
    assert (counts["conversations"], counts["messages"]) == (2, 2)
    assert counts["rejected"] >= 4
    with server.api("mixed") as api:
        assert sorted(api.ids()) == ["also good", "good"]


@pytest.mark.slow
def test_an_import_that_is_killed_and_run_again_has_everything_once(
    start: Callable[..., Server], shared: Path, tmp_path: Path
):
    server, file = start(tmp_path / "data"), shared / "data" / FILES[1]
    command = [
        sys.executable,
        "-m",
        "agentsight.cli",
        "import",
        str(file),
        "--agent",
        "dialogues",
        "--organization",
        "acme",
    ]
    for wait in (0.9, 1.0, 1.1):
        process = subprocess.Popen([*command, *beside(server)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    loaded(server, file, "dialogues")
    with server.api("dialogues") as api:
        stored = every(api)
        for one in lines(file):
            rows = [row for row in stored[one["conversation_id"]]["messages"] if not row["action_logs"]]
            assert [(row["sender"], row["content"]) for row in rows] == [row for row in spoken(one) if row[0] != "tool"]
