"""How the engines go about the questions people ask: what belongs to a conversation is found along it, whatever the filter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event as listening

from agentsight import wire
from agentsight.core.model import Filter, Scope
from agentsight.storage import open_storage
from agentsight.storage.migrate import migrate
from agentsight.storage.sql.schema import metadata
from agentsight.storage.sqlite import open as open_sqlite
from served import Postgresql, event, message

from .conftest import accepting, new_agent, scope_of

HOUR_US = 3_600_000_000
ALL_OF_AN_AGENT = re.compile(r"SEARCH (?!conversation\b)\w+ (?:EXISTS )?USING (?:COVERING )?INDEX \w+ \(agent_id=\?\)")
ASKED = [
    Filter(message_contains="re"),
    Filter(search="re"),
    Filter(action_name="refund"),
    Filter(action_name="token_usage"),
    Filter(feedback_sentiment="negative"),
    Filter(feedback_source="customer"),
    *(Filter(counted_by=name, counted_from=0, counted_to=HOUR_US) for name in wire.COUNTED),
    *(Filter(counted_by=name, counted_from=1, counted_to=HOUR_US) for name in wire.COUNTED),
]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Any:
    opened = open_sqlite(f"sqlite:///{tmp_path_factory.mktemp('plans') / 'a.db'}")
    migrate(opened)
    yield opened
    opened.close()


@pytest.mark.parametrize("where", ASKED, ids=lambda where: ",".join(map(str, wire_names(where))))
def test_nothing_is_looked_for_among_all_that_an_agent_has(storage: Any, where: Filter):
    asked: list[tuple[str, Any]] = []

    def heard(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        asked.append((statement, parameters))

    listening.listen(storage._readers, "before_cursor_execute", heard)
    try:
        for chosen in (where, replace(where, include_deleted=True)):
            storage.read(lambda store, chosen=chosen: store.conversations.page(Scope(1, (1,)), chosen, limit=50))
            storage.read(lambda store, chosen=chosen: store.conversations.count(Scope(1, (1,)), chosen))
    finally:
        listening.remove(storage._readers, "before_cursor_execute", heard)
    with storage.looking() as connection:
        plans = {
            sql: [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)]
            for sql, parameters in asked
            if sql.startswith("SELECT")
        }
    assert len(plans) >= 2
    assert [step for plan in plans.values() for step in plan if ALL_OF_AN_AGENT.match(step)] == []


@pytest.fixture(scope="module")
def busy(postgresql: Postgresql) -> Iterator[tuple[Any, Scope]]:
    """A PostgreSQL with statistics of one agent, and the scope of another that came after they were made."""
    opened: Any = open_storage(postgresql.fresh())
    first, newcomer = new_agent(opened), new_agent(opened)
    for agent in (first, newcomer):
        for name in range(TALKS):
            told = (
                event("conversation", f"c-{name}", customer_id=f"who-{name % 7}", environment="production"),
                *(message(f"c-{name}", "are you there", "agent" if place % 2 else "end_user") for place in range(4)),
                event("action", f"c-{name}", action_name="refund", duration_ms=5),
                event("feedback", f"c-{name}", sentiment="positive"),
            )
            last = opened.write(accepting(agent, *told), alongside=True)
        last.result()
        if agent is first:
            with opened.looking() as connection:
                for table in metadata.tables:
                    connection.exec_driver_sql(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
                connection.exec_driver_sql("ANALYZE")
                connection.commit()
    yield opened, scope_of(newcomer)
    opened.close()


TALKS = 400


def looked_at(plan: dict[str, Any]) -> int:
    """How many rows a plan took up or passed over, and how often it began to look."""
    removed = sum(int(value) for name, value in plan.items() if name.startswith("Rows Removed"))
    own = (plan["Actual Rows"] + removed + 1) * plan["Actual Loops"]
    return int(own) + sum(map(looked_at, plan.get("Plans", ())))


@pytest.mark.parametrize(
    "where",
    [where for where in ASKED if where.action_name != "refund"],  # begins at the action's rows, which mostly are few
    ids=lambda where: ",".join(map(str, wire_names(where))),
)
def test_postgresql_finds_its_way_with_an_agent_it_has_no_statistics_of(busy: tuple[Any, Scope], where: Filter):
    """It takes such an agent to have one row; looking through all there are for each would be TALKS times as much."""
    storage, scope = busy
    asked: list[tuple[str, Any]] = []

    def heard(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        asked.append((statement, parameters))

    bounds = {"counted_from": 0, "counted_to": 4_000_000_000_000_000} if where.counted_by else {}
    chosen = replace(where, **bounds)
    listening.listen(storage._readers, "before_cursor_execute", heard)
    try:
        storage.read(lambda store: store.conversations.page(scope, chosen, limit=50))
        storage.read(lambda store: store.conversations.count(scope, chosen))
    finally:
        listening.remove(storage._readers, "before_cursor_execute", heard)
    assert len(asked) >= 2
    with storage.looking() as connection:
        for sql, parameters in asked:
            ((((whole,)),),) = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", parameters)
            assert looked_at(whole["Plan"]) < 120 * TALKS, whole


def wire_names(where: Filter) -> list[Any]:
    """What a filter asks, as the name of its test."""
    return [value for value in (getattr(where, name) for name in Filter.__slots__) if value not in (None, (), False)]
