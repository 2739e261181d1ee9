"""How SQLite goes about the questions people ask: what belongs to a conversation is found along it, whatever the filter."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event as listening

from agentsight import wire
from agentsight.core.model import Filter, Scope
from agentsight.storage.migrate import migrate
from agentsight.storage.sqlite import open as open_sqlite

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


def wire_names(where: Filter) -> list[Any]:
    """What a filter asks, as the name of its test."""
    return [value for value in (getattr(where, name) for name in Filter.__slots__) if value not in (None, (), False)]
