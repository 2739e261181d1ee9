"""An organization goes into an archive and comes out elsewhere: the same transcripts, the same numbers, no secret."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentsight.core import audit, moving, tenancy
from agentsight.core.archive import Reading, Unreadable
from agentsight.errors import Conflict
from agentsight.storage import open_blobs, open_storage
from agentsight.storage.migrate import known, latest, migrate
from agentsight.storage.sql.schema import metadata
from served import Api, Server, event, message
from spanned import llm, send, tool, turn

from .commands import agentsight, numbers, told

SIGNED = re.compile(r"/files/[^/]+/")


def test_every_table_either_goes_along_or_is_said_to_stay():
    assert {part.table for part in moving.PARTS} | moving.LEFT == set(metadata.tables)
    for part in moving.PARTS:
        columns = metadata.tables[part.table].c
        assert part.by in columns and set(part.refers) <= set(columns.keys())


def _fill(api: Api, customers: int = 12) -> None:
    for number in range(customers):
        key = f"talk-{number}"
        data = base64.b64encode(f"file {number % 3}".encode()).decode()
        api.batch(
            event(
                "conversation",
                key,
                customer_id=f"customer-{number % 5}",
                customer_ip_address="8.8.8.8" if number % 2 else "93.142.1.1",
                device="iPhone",
                source="web" if number % 3 else "whatsapp",
                language="de",
                environment="production" if number % 4 else "development",
                metadata={"tier": "gold", "n": number},
            ),
            message(key, f"Frage {number} – Straße 😀"),
            event("action", key, action_name="fallback_to_human" if number % 6 == 0 else "lookup", duration_ms=12.5),
            event("button", key, button_event="choose", label="yes", value="1"),
            event("token_usage", key, prompt_tokens=10, completion_tokens=5, model="gpt-4o-mini"),
            event("attachment", key, sender="end_user", filename="a.txt", mime_type="text/plain", data=data),
            message(key, f"Antwort {number}", sender="agent"),
            event("feedback", key, sentiment="positive" if number % 2 else "negative", comment="so so"),
        )
        if number % 3 == 0:
            _beside(api, key, number)
    api.post("/api/actions/", json={"name": "lookup_2", "display_name": "Look up", "description": "of parcels"})
    api.post(
        "/api/feedbacks/",
        json={"kind": "agent", "sentiment": "positive", "agent": api.get("/api/me/").json()["agent_id"]},
    )
    api.post("/api/tickets/", json={"title": "of no conversation"})
    for number, change in ((1, {"is_marked": True}), (2, {"name": "by hand", "metadata": {"x": "y"}})):
        head = api.conversation(f"talk-{number}")
        api.patch(f"/api/conversations/{head['id']}/", json=change)
    api.delete(f"/api/conversations/{api.conversation('talk-3')['id']}/")


def _beside(api: Api, key: str, number: int) -> None:
    """A turn as spans, a vote on a message, a ticket made of it."""
    one = turn(("end_user", f"span {number}"), ("agent", "yes"))
    send(api, key, one, tool(one, "span_tool"), llm(one, "gpt-4o-mini", input=number + 1))
    head = api.conversation(key)
    vote = {"kind": "message", "message": head["messages"][0]["id"], "sentiment": "neutral", "topic": "style"}
    given = api.post("/api/feedbacks/", json=vote).json()
    ticket = {"title": f"about {key}", "conversation_id": head["id"], "feedback_id": given["id"], "tags": ["a"]}
    made = api.post("/api/tickets/", json=ticket).json()
    api.post(f"/api/tickets/{made['id']}/comments/", json={"body": f"word on {key}"})


FILTERS: tuple[dict[str, str], ...] = (
    {},
    {"source": "web"},
    {"is_marked": "true"},
    {"environment": "development"},
    {"metadata": "tier:gold"},
)


def _told(api: Api) -> dict[str, Any]:
    """Everything the API says of an agent: every transcript, every list, every number."""
    answers: dict[str, Any] = {"numbers": [numbers(api, **where) for where in FILTERS]}
    for where in ({}, {"include_deleted": "true"}, {"search": "straße 😀"}, {"has_feedback": "true"}):
        answers[f"list {where}"] = api.get("/api/conversations/", params={"page_size": "100", **where}).json()
    for head in answers["list {'include_deleted': 'true'}"]["results"]:
        place = f"/api/conversations/{head['id']}/"
        answers[place] = api.get(place, params={"include_deleted": "true"}).json()
        answers[f"{place}files"] = api.get(f"{place}attachments/").json()
    for path in ("spans", "tickets", "feedbacks", "token-usage", "actions"):
        answers[path] = api.get(f"/api/{path}/", params={"page_size": "100"}).json()
        assert answers[path]["results"], path
    text = json.dumps(answers).replace(api.url, "SERVER")
    return json.loads(SIGNED.sub("/files/SIGNED/", text))


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory):
    """A server with an organization in it, its archive, and what the API said of it."""
    folder = tmp_path_factory.mktemp("moved")
    server = Server(folder / "data")
    with server.api("Support", "acme") as api, server.api("Other", "somebody else") as other:
        _fill(api)
        other.batch(message("a stranger's", "words of a stranger"))
        agentsight("users", "create", "owner@acme.example", "--organization", "acme", data=server.data)
        told("erase", "--customer", "customer-4", "--agent", "Support", "--organization", "acme", data=server.data)
        said = _told(api)
        archive = folder / "acme.zip"
        manifest = told("organization", "export", "acme", "-o", str(archive), data=server.data)
    server.stop()
    return archive, manifest, said


@pytest.mark.slow
def test_an_empty_installation_says_the_same_of_it_in_every_answer(moved, start: Callable[..., Server], tmp_path: Path):
    archive, manifest, said = moved
    outcome = told("organization", "import", str(archive), data=tmp_path / "data")
    assert outcome["counts"] == manifest["counts"]
    server = start(tmp_path / "data")
    with server.api("Support", "acme") as api:
        assert _told(api) == said
        link = api.get(f"/api/conversations/{api.conversation('talk-1')['id']}/attachments/").json()
        assert api.get(link["messages"][0]["attachments"][0]["file_url"]).content == b"file 1"
    assert "nothing differed" in agentsight("rebuild", data=server.data)
    again = told("organization", "import", str(archive), data=server.data)
    assert again["already"] is True
    with server.api("Support", "acme") as api:
        assert _told(api) == said
        api.batch(message("talk-new", "goes on"))
        assert api.ids(search="goes on") == ["talk-new"]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_beside_others_it_gets_ids_of_its_own(moved, tmp_path: Path, engine: str, request: pytest.FixtureRequest):
    archive, manifest, _ = moved
    url = request.getfixturevalue("postgresql").fresh() if engine == "postgresql" else f"sqlite:///{tmp_path / 'a.db'}"
    storage, blobs = open_storage(url), open_blobs(str(tmp_path / "files"))
    try:
        migrate(storage)
        first = _in(storage, blobs, archive, None)
        second = _in(storage, blobs, _other(archive, tmp_path), "acme two")
        assert first["counts"] == {**second["counts"], "user_account": 1}
        assert second["people_here_already"] == 1

        def ask(store: Any) -> list[Any]:
            both = [store.tenants.organization_named(name) for name in ("acme", "acme two")]
            told = []
            for owner in both:
                assert audit.broken(store, owner.id) == "", "the chain of the log holds under its new id"
                (agent,) = store.tenants.agents(owner.id)
                (rows,) = store.moving.rows("event", "agent_id", [agent.id], 10_000)
                told.append((owner.id, agent.id, sorted((row[3], row[8]) for row in rows)))
            return told

        (one, first_agent, ours), (two, second_agent, theirs) = storage.read(ask)
        assert one != two and first_agent != second_agent
        assert ours == theirs and len(ours) == manifest["counts"]["event"]
        assert storage.check() == []
    finally:
        storage.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[tuple[Any, Any]]:
    """An empty installation, in process."""
    storage = open_storage(f"sqlite:///{tmp_path / 'house.db'}")
    migrate(storage)
    yield storage, open_blobs(str(tmp_path / "files"))
    storage.close()


def _in(storage: Any, blobs: Any, archive: Path, name: str | None) -> dict[str, Any]:
    reading = Reading(archive, moving.FORM)
    try:
        return moving.import_(storage, blobs, reading, latest(), known, 1, name)
    finally:
        reading.close()


def _other(archive: Path, folder: Path, **changes: Any) -> Path:
    """The same archive with another manifest, as a second export would be."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(folder / "other.zip", "w") as new:
        for name in old.namelist():
            body = old.read(name)
            if name == "manifest.json":
                body = json.dumps({**json.loads(body), "id": "another", **changes}).encode()
            new.writestr(name, body)
    return folder / "other.zip"


@pytest.mark.slow
def test_nothing_that_lets_anybody_in_is_in_the_archive(moved):
    archive, _, _ = moved
    with zipfile.ZipFile(archive) as parts:
        bodies = {name: parts.read(name) for name in parts.namelist()}
    whole = b"".join(bodies.values())
    assert b"words of a stranger" not in whole and b"somebody else" not in whole
    assert b"customer-4" not in whole, "who was erased is not in it"
    keys = [json.loads(line) for line in bodies["api_key.jsonl"].splitlines()[1:]]
    columns = json.loads(bodies["api_key.jsonl"].splitlines()[0])
    assert keys and all(row[columns.index("digest")].startswith("left behind") for row in keys)


@pytest.mark.slow
def test_a_name_that_is_taken_is_refused_and_keys_come_revoked(moved, house: tuple[Any, Any]):
    archive, _, _ = moved
    storage, blobs = house
    storage.write(lambda store: tenancy.ensure_organization(store, "acme", 1)).result()
    with pytest.raises(Conflict, match="--as"):
        _in(storage, blobs, archive, None)
    assert _in(storage, blobs, archive, "acme ltd")["organization"] == "acme ltd"
    keys = storage.read(lambda store: store.tenants.keys())
    assert keys and all(key.revoked_us for key, _, _ in keys)


def _forged(table: str, column: str, value: Any) -> Callable[[Path, Path], Path]:
    """An archive whose manifest is right and whose rows are not."""

    def forge(archive: Path, folder: Path) -> Path:
        with zipfile.ZipFile(archive) as old:
            parts = {name: old.read(name) for name in old.namelist()}
        head, *rows = parts[f"{table}.jsonl"].splitlines()
        place = json.loads(head).index(column)
        changed = [json.loads(row) for row in rows]
        for row in changed:
            row[place] = value
        body = b"".join(json.dumps(row).encode() + b"\n" for row in (json.loads(head), *changed))
        manifest = json.loads(parts["manifest.json"])
        for part in manifest["parts"]:
            if part["name"] == f"{table}.jsonl":
                part |= {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        with zipfile.ZipFile(folder / "forged.zip", "w") as new:
            for name, old_body in {
                **parts,
                f"{table}.jsonl": body,
                "manifest.json": json.dumps(manifest).encode(),
            }.items():
                new.writestr(name, old_body)
        return folder / "forged.zip"

    return forge


@pytest.mark.slow
@pytest.mark.parametrize(
    "forge",
    [
        _forged("agent", "organization_id", -1),
        _forged("agent", "organization_id", 77),
        _forged("conversation", "agent_id", -5),
        _forged("conversation", "agent_id", "1"),
        _forged("event", "id", 7),
        _forged("event", "id", 2**62),
        _forged("user_account", "agent_ids", "no list"),
    ],
)
def test_forged_rows_reach_nobody_else_and_leave_nothing(moved, house: tuple[Any, Any], tmp_path: Path, forge: Any):
    archive, _, _ = moved
    storage, blobs = house
    storage.write(lambda store: tenancy.ensure_organization(store, "bystander", 1)).result()
    with pytest.raises(Unreadable):
        _in(storage, blobs, forge(archive, tmp_path), None)
    assert [one.name for one in storage.read(lambda store: store.tenants.organizations())] == ["bystander"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": "9999"}, "later version"),
        ({"format": "agentsight-organization/2"}, "later version"),
        ({"parts": []}, "it holds"),
        ({"files": {"count": 99}}, "files are missing"),
    ],
)
def test_an_archive_that_is_not_right_writes_nothing(moved, tmp_path: Path, changes: dict[str, Any], said: str):
    archive, _, _ = moved
    storage = open_storage("sqlite://")
    try:
        migrate(storage)
        with pytest.raises(Unreadable, match=said):
            _in(storage, open_blobs(str(tmp_path / "files")), _other(archive, tmp_path, **changes), None)
        assert storage.read(lambda store: store.tenants.organizations()) == []
        assert not (tmp_path / "files").exists()
    finally:
        storage.close()


@pytest.mark.slow
def test_an_archive_of_an_older_schema_has_its_numbers_computed_anew(moved, tmp_path: Path):
    archive, manifest, _ = moved
    storage, blobs = open_storage(f"sqlite:///{tmp_path / 'a.db'}"), open_blobs(str(tmp_path / "files"))
    try:
        migrate(storage)
        outcome = _in(storage, blobs, _other(archive, tmp_path, schema="0003"), None)
        assert "rollup" not in outcome["counts"]

        def count(store: Any) -> int:
            (agent,) = store.tenants.agents(store.tenants.organization_named("acme").id)
            return sum(
                len([row for row in rows if row[7]])
                for rows in store.moving.rows("rollup", "agent_id", [agent.id], 10_000)
            )

        assert 0 < storage.read(count) <= manifest["counts"]["rollup"]
    finally:
        storage.close()
