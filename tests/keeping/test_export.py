"""What is exported says what is stored, in every format; spreadsheets run none of it, and memory stays where it was."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentsight import wire
from agentsight.core import flat, ingest, tenancy
from agentsight.server.ui.tables import csv_lines
from agentsight.storage import open_storage
from agentsight.storage.migrate import migrate
from served import database_of, event, message

from .commands import agentsight, beside, told

FORMULAS = (
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "a,=1+1", "a;=1+1", "＝1+1", "＋1", "－1", "＠SUM(A1)", '"=1', " =1",
    "|cmd", "=cmd|' /C calc'!A0", '=HYPERLINK("http://evil.example","x")',
)  # fmt: skip
LIVE = re.compile(r"""[\s\ufeff\u200b]*[=+\-@|＝＋－＠\t\r\n]|.*[,;"'\t\n][=+\-@]""", re.DOTALL)
"""What a spreadsheet might compute: a cell that begins so, or that one that splits cells anew would begin so."""


def _fill(data: Path, *batches: list[dict[str, Any]]) -> None:
    """Store events straight, without a server."""
    storage = open_storage(database_of(data))
    migrate(storage)

    def make(store: Any) -> Any:
        owner = tenancy.ensure_organization(store, "acme", 0)
        return tenancy.ensure_agent(store, owner, "A", 0)

    agent = storage.write(make).result()
    for batch in batches:
        drafts = [wire.parse(one) for one in batch]
        storage.write(lambda store, drafts=drafts: ingest.accept(store, agent, drafts, 1)).result()
    storage.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    talk = [
        event(
            "conversation", "one", customer_id="bob", language="de", environment="production", metadata={"tier": "gold"}
        ),
        *(message("one", text) for text in FORMULAS),
        event(
            "action", "one", action_name="lookup", tools_used={"q": 1}, response=[1, 2], duration_ms=7.5, error_msg="no"
        ),
        event("button", "one", button_event="choose", label="=cmd()", value="1"),
        event("token_usage", "one", prompt_tokens=3, completion_tokens=4, model="gpt-4o"),
        event("feedback", "one", sentiment="negative", comment="@bad"),
    ]
    _fill(folder, talk, [message("two", "Grüße 😀\nzweite Zeile", sender="agent", occurred_at="2026-03-05T10:00:00Z")])
    return folder


def _export(data: Path, *words: str) -> str:
    return agentsight("export", "--agent", "A", "--organization", "acme", *words, data=data)


def test_csv_has_a_row_for_everything_and_nothing_a_spreadsheet_would_run(data: Path):
    rows = list(csv.DictReader(io.StringIO(_export(data, "--format", "csv"))))
    assert list(rows[0]) == list(flat.COLUMNS)
    assert [row["kind"] for row in rows].count("message") == len(FORMULAS) + 1
    first = next(row for row in rows if row["conversation_id"] == "two")
    assert (first["content"], first["sender"]) == ("Grüße 😀\nzweite Zeile", "agent")
    assert first["occurred_at"].startswith("2026-03-05T10:00:00")
    action = next(row for row in rows if row["kind"] == "action")
    assert (action["tools_used"], action["response"], action["duration_ms"]) == ('{"q":1}', "[1,2]", "7.5")
    for row in rows:
        for name, cell in row.items():
            assert not cell.lstrip(" ").startswith(("=", "+", "@", "\t", "|", "＝")), (name, cell)
            assert not cell.startswith("-"), (name, cell)


ODD = st.lists(st.sampled_from(["=", "+", "\t", '"', ",", ";", " ", "a", "＝"])).map("".join)


@given(text=st.text(st.characters(exclude_categories=["Cs"])) | ODD)
def test_no_text_is_a_formula_and_every_other_text_stays_as_it_is(text: str):
    (row,) = csv.DictReader(io.StringIO("".join(csv_lines(["text"], [{"text": text}])), newline=""))
    assert row["text"] in (text, f"'{text}")
    assert not LIVE.match(row["text"]) or row["text"].startswith("'")
    assert row["text"] == text or LIVE.match(text), "only what could run is marked"


def test_parquet_holds_the_same_rows_with_their_types(data: Path, tmp_path: Path):
    arro3 = pytest.importorskip("arro3.io")
    manifest = json.loads(_export(data, "--format", "parquet", "-o", str(tmp_path / "a.parquet")))
    table = arro3.read_parquet(tmp_path / "a.parquet").read_all()
    rows = list(csv.DictReader(io.StringIO(_export(data, "--format", "csv"))))
    assert table.num_rows == len(rows) == manifest["rows"]
    assert manifest["conversations"] == 2
    content = [value.as_py() for value in table["content"].combine_chunks()]
    assert set(FORMULAS) < set(content), "text is as it was: nothing runs a Parquet file"
    assert "Timestamp" in str(table.schema) and "Int64" in str(table.schema)
    piped = agentsight_bytes(data, "--format", "parquet")
    assert piped == (tmp_path / "a.parquet").read_bytes()


def agentsight_bytes(data: Path, *words: str) -> bytes:
    command = [sys.executable, "-m", "agentsight.cli", "export", "--agent", "A", "--organization", "acme", *words]
    return subprocess.run([*command, "--data", str(data)], capture_output=True, env=beside(data), check=True).stdout


def test_a_file_is_whole_and_its_manifest_says_what_is_in_it(data: Path, tmp_path: Path):
    for form in ("jsonl", "csv"):
        file = tmp_path / f"a.{form}"
        manifest = json.loads(_export(data, "--format", form, "-o", str(file)))
        body = file.read_bytes()
        assert (manifest["bytes"], manifest["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
        assert body == agentsight_bytes(data, "--format", form)
    only = json.loads(_export(data, "--from", "2026-03-05", "--to", "2026-03-05", "-o", str(tmp_path / "b.jsonl")))
    assert (only["conversations"], only["filter"]["from"]) == (1, "2026-03-05")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_cannot_be_is_refused_in_one_line(data: Path, tmp_path: Path):
    words = ("export", "--agent", "A", "--organization", "acme")
    assert "--from" in agentsight(*words, "--from", "yesterday", data=data, fails=True)
    assert "cannot be written" in agentsight(*words, "-o", str(tmp_path / "no" / "a"), data=data, fails=True)
    (tmp_path / "arro3").mkdir()
    (tmp_path / "arro3" / "__init__.py").write_text("raise ModuleNotFoundError('No module', name='arro3')")
    said = agentsight(*words, "--format", "parquet", data=data, fails=True, PYTHONPATH=str(tmp_path))
    assert "pip install 'agentsight[parquet]'" in said


def test_a_reader_that_has_seen_enough_ends_it_quietly(data: Path):
    command = f"{sys.executable} -m agentsight.cli export --agent A --organization acme --data {data} --format csv | head -c 10"
    done = subprocess.run(["bash", "-c", command], capture_output=True, env=beside(data))
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.timed
@pytest.mark.exhaustive
@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_two_hundred_thousand_messages_take_no_more_memory_than_few(
    large: tuple[Path, Path], form: str, tmp_path: Path, record: Callable[[str, object], None]
):
    few, many = large
    _, start_s, _ = _measured(few, form)
    grown, first_s, size = _measured(many, form)
    record(
        f"export {form}",
        {"MB more than at its first byte": round(grown, 1), "first byte s": round(first_s, 2), "MB": size},
    )
    assert grown <= 64
    assert first_s <= start_s + 1, "beside what a process takes to start"


@pytest.fixture
def record(record_property: Callable[[str, object], None]) -> Callable[[str, object], None]:
    def say(name: str, value: object) -> None:
        record_property(name, value)
        print(name, value)

    return say


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two data folders: a hundred messages, and two hundred thousand."""
    folders = []
    for conversations in (10, 20_000):
        folder = tmp_path_factory.mktemp("large")
        talks = (
            [message(f"c-{n}", f"some words of message {m} " * 8) for m in range(10)] for n in range(conversations)
        )
        batches: list[list[dict[str, Any]]] = [[]]
        for talk in talks:
            batches[-1] += talk
            if len(batches[-1]) >= 1_000:
                batches.append([])
        _fill(folder, *[batch for batch in batches if batch])
        folders.append(folder)
    return folders[0], folders[1]


def _measured(data: Path, form: str) -> tuple[float, float, float]:
    """Memory in MB that came after the first byte, seconds to that, MB written."""
    command = [sys.executable, "-m", "agentsight.cli", "export", "--agent", "A", "--organization", "acme"]
    began = time.monotonic()
    process = subprocess.Popen(
        [*command, "--format", form, "--data", str(data)], stdout=subprocess.PIPE, env=beside(data)
    )
    assert process.stdout is not None
    first, highest = process.stdout.read(1), [_highest_kb(process.pid)]
    first_s, size = time.monotonic() - began, len(first)
    while some := process.stdout.read(1 << 16):
        size += len(some)
        highest.append(_highest_kb(process.pid))
    process.stdout.close()
    assert process.wait() == 0
    return (max(highest) - highest[0]) / 1024, first_s, size / 1e6


def _highest_kb(pid: int) -> int:
    """The most memory a process has had; what the system says at its end counts the process it was forked from."""
    return int(next(iter(re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())), 0))


def test_any_text_comes_back_the_same(tmp_path: Path):
    """What people and models write, whatever it is: exported, imported, exported again."""
    texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1).filter(str.strip)
    events: list[dict[str, Any]] = []

    @settings(max_examples=300, database=None)
    @given(texts, texts, st.dictionaries(texts, texts, max_size=2))
    def gather(said: str, other: str, metadata: dict[str, str]) -> None:
        name = f"c-{len(events) % 7}"
        events.append(message(name, said, metadata=metadata))
        events.append(event("action", name, action_name=other[:50], response=said, tools_used={other: said}))

    gather()
    _fill(tmp_path / "a", events)
    (tmp_path / "a.jsonl").write_text(_export(tmp_path / "a"))
    words = ("import", str(tmp_path / "a.jsonl"), "--agent", "A", "--organization", "acme")
    counts = told(*words, data=tmp_path / "b")
    assert (counts["messages"], counts["actions"], counts["rejected"]) == (len(events) // 2, len(events) // 2, 0)
    assert _export(tmp_path / "b") == (tmp_path / "a.jsonl").read_text()


def test_what_was_exported_comes_back_the_same(data: Path, tmp_path: Path):
    (tmp_path / "a.jsonl").write_text(_export(data))
    counts = told("import", str(tmp_path / "a.jsonl"), "--agent", "A", "--organization", "acme", data=tmp_path / "new")
    assert (counts["conversations"], counts["rejected"]) == (2, 0)
    assert _export(tmp_path / "new") == (tmp_path / "a.jsonl").read_text()
