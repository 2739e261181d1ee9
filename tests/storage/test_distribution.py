"""The tables and statements keep to what a distributed database asks, so that Citus is a change of server, not of code.

None of this needs Citus: what the tables are is read from the schema, what is asked of them from the statements a
PostgreSQL server wrote down while events came in and were read. Where the server has the extension, the suite runs spread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from agentsight.errors import ConfigError
from agentsight.storage import open_storage
from agentsight.storage.sql.distribution import BY_AGENT, LIES_BY, distribute, everywhere, keys
from agentsight.storage.sql.schema import metadata
from served import Postgresql, Server

from .test_filters import crowd

SMALL = {
    "organization", "agent", "api_key", "user_account", "invitation", "sign_in_link", "session", "sign_in_attempt",
    "host_name", "marker", "report", "share",
}  # fmt: skip
"""Copied to every node, on purpose. A table that grows with events, conversations or acts does not belong here."""


def test_every_table_is_either_distributed_or_small_on_purpose():
    assert set(everywhere()) == SMALL, (
        "say in storage/sql/distribution.py where a new table lies, or here that it is small"
    )
    assert set(LIES_BY) | SMALL == set(metadata.tables)


@pytest.mark.parametrize("name", sorted(LIES_BY))
def test_every_unique_key_has_the_column_that_decides_the_node(name: str):
    table, column, changed = metadata.tables[name], LIES_BY[name], dict(keys())
    assert column in table.c and not table.c[column].nullable
    assert column in changed.get(name, tuple(key.name for key in table.primary_key))
    for index in table.indexes:
        assert not index.unique or column in [own.name for own in index.columns], index.name
    assert not any(own.unique for own in table.columns)


@pytest.mark.parametrize("name", sorted(LIES_BY))
def test_what_is_distributed_refers_only_to_what_is_everywhere(name: str):
    assert {key.column.table.name for key in metadata.tables[name].foreign_keys} <= SMALL


# -- statements ------------------------------------------------------------------------------------------------------
NAMES = "|".join(sorted(LIES_BY, key=len, reverse=True))
_NO_ALIAS = "WHERE|SET|JOIN|ON|CROSS|ORDER|GROUP|LIMIT"
TABLE = re.compile(rf"\b(?:FROM|JOIN|UPDATE|INTO)\s+({NAMES})\b(?:\s+(?:AS\s+)?(?!{_NO_ALIAS})(\w+))?", re.I)
LISTED = re.compile(rf"\bFROM \w+(?: (?:AS )?\w+)?, ({NAMES})\b")  # a join nobody can read the condition of
ON_PURPOSE = (
    r"SELECT .*max\(\w*\.?id\)",  # the newest of everything, for pages that wait for news
    r"SELECT count\(\*\)|SELECT count\(\w",  # of everything there is
    r"FROM attachment\s+WHERE attachment\.id = ",  # a signed link proves who may see it and names nothing else
)


def blocks(sql: str) -> Iterator[str]:
    """A statement and its subqueries, each without those inside it."""
    inner = re.search(r"\((?=\s*SELECT\b)", sql, re.I)
    if inner is None:
        yield sql
        return
    depth, end = 0, inner.start()
    for end in range(inner.start(), len(sql)):
        depth += {"(": 1, ")": -1}.get(sql[end], 0)
        if depth == 0:
            break
    yield from blocks(sql[inner.start() + 1 : end])
    yield from blocks(f"{sql[: inner.start()]}(...){sql[end + 1 :]}")


def unfiltered(sql: str) -> list[str]:
    """The distributed tables a statement asks without saying of whom."""
    plain = re.sub(r"\s+", " ", sql)
    if any(re.match(pattern, plain, re.I) or re.search(pattern, plain) for pattern in ON_PURPOSE):
        return []
    wrong = []
    for block in blocks(plain):
        if re.match(r"\s*INSERT INTO", block, re.I):  # a row says of whom it is
            first = TABLE.search(block)
            if first and LIES_BY[first[1].lower()] not in block:
                wrong.append(first[1])
            continue
        wrong += LISTED.findall(block)
        named = TABLE.findall(block)
        for table, alias in named:
            column = LIES_BY[table.lower()]
            owner = rf"(?:{alias or table}|{table})\."
            said = owner if len(named) > 1 else r"(?:\w+\.)?"
            compared = rf"{said}{column} (?:=|IN\b|in\b)|= {owner}{column}"
            if not re.search(compared, block):
                wrong.append(table)
    return wrong


OWN = "SELECT * FROM conversation c WHERE c.agent_id IN (1)"


@pytest.mark.parametrize(
    ("sql", "wrong"),
    [
        ("SELECT * FROM event WHERE id = 1", ["event"]),
        ("SELECT * FROM event WHERE agent_id = 1 AND id = 1", []),
        (f"{OWN} AND EXISTS (SELECT * FROM event e WHERE e.conversation = c.id)", ["event"]),
        (f"{OWN} AND EXISTS (SELECT * FROM event e WHERE e.agent_id = c.agent_id)", []),
        ("SELECT 1 FROM span CROSS JOIN rollup r JOIN facet f ON f.agent_id = r.agent_id WHERE r.agent_id IN (1)", []),
        ("SELECT 1 FROM span CROSS JOIN rollup r JOIN facet f ON f.id = r.facet WHERE r.agent_id IN (1)", ["facet"]),
        ("SELECT 1 FROM feedback AS f, event WHERE f.agent_id = 1", ["event"]),
        ("UPDATE conversation t SET a = u.a FROM unnest($1) u (a) WHERE t.id = u.id", ["conversation"]),
        ("INSERT INTO event (id, kind) SELECT * FROM unnest($1)", ["event"]),
        ("DELETE FROM tally WHERE tally.agent_id = 1", []),
        ("SELECT name FROM organization WHERE id = 1", []),
    ],
)  # fmt: skip
def test_the_judge_of_statements_knows_good_from_bad(sql: str, wrong: list[str]):
    assert unfiltered(sql) == wrong


def test_every_statement_on_a_distributed_table_says_of_which_agent(postgresql: Postgresql, tmp_path: Any):
    """Events of every kind in, by every route, and every list, filter, number and page out."""
    url = postgresql.fresh()
    written = postgresql.statements(url)
    server = Server(tmp_path / "data", database=url)
    with server.api("bot") as api:
        for events in crowd():
            api.batch(*events)
        exercise(api)
    server.stop()
    statements = [sql for sql in written() if TABLE.search(sql) and not re.match(r"\s*(ALTER|CREATE|COMMENT)", sql)]
    assert len(statements) > 60, "the server wrote down what it was asked"
    assert {sql: wrong for sql in statements if (wrong := unfiltered(sql))} == {}


def exercise(api: Any) -> None:
    for name in api.get("/openapi.json").json()["paths"]["/api/conversations/"]["get"]["parameters"]:
        for value in (
            "true",
            "x",
            "2026-03-02T10:00:00Z",
            "a:b",
            "positive",
            "customer",
            "production",
            "messages",
            "2",
        ):
            api.get("/api/conversations/", params={name["name"]: value})
    for kind in ("answered", "feedback", "tool_runs", "tokens", "users", "files", "clicks", "timed"):
        api.get("/api/conversations/", params={"counted_by": kind, "counted_key": "x"})
    metrics = [metric["name"] for metric in api.get("/api/metrics/").json()]
    for by in ("hour", "day", "month", "country", "language", "tool", "model"):
        for more in (
            {},
            {"device": "mobile"},
            {"search": "paket"},
            {"environment": "development", "has_error": "true"},
        ):
            days = {"from": "2026-03-01", "to": "2026-03-09"}
            api.get("/api/analytics/", params={"metric": metrics, "by": by, **days, **more})
    one = api.conversation("conv-3")
    for path in (f"{one['id']}/", f"{one['id']}/attachments/"):
        api.get(f"/api/conversations/{path}")
    api.post("/api/track/", json={"conversation": one["id"], "content": "hi", "sender": "agent"})
    api.post("/api/conversation-feedbacks/", json={"conversation": one["id"], "sentiment": "positive"})
    api.patch(f"/api/conversations/{one['id']}/update/", json={"name": "New", "language": "de"})
    api.delete(f"/api/conversations/{one['id']}/delete/")


# -- on a server that has it -----------------------------------------------------------------------------------------
def test_a_server_without_the_extension_says_so(postgresql: Postgresql):
    if postgresql.has_citus:
        pytest.skip("this server has Citus")
    opened = open_storage(postgresql.fresh())
    with pytest.raises(ConfigError, match="Citus"):
        opened.distribute()
    opened.close()
    with pytest.raises(ConfigError, match="Citus"):
        open_storage("sqlite://").distribute()


def test_a_database_with_events_in_it_is_spread_and_answers_as_before(postgresql: Postgresql):
    if not postgresql.has_citus:
        pytest.skip("needs a PostgreSQL with the Citus extension: set AGENTSIGHT_TEST_POSTGRESQL_URL")
    opened: Any = open_storage(postgresql.fresh())
    with opened.engine.connect() as connection:
        spread = {row[0] for row in connection.exec_driver_sql("SELECT logicalrelid::text FROM pg_dist_partition")}
        assert spread >= set(BY_AGENT) and distribute(connection) == []
    opened.close()
