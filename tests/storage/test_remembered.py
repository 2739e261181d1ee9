"""Days that are over are remembered until somebody changes them, in whichever process."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agentsight import wire
from agentsight.core import analytics, conversations, ingest, tenancy
from agentsight.core.analytics import Question
from agentsight.core.model import Agent, Filter, Scope
from agentsight.storage.migrate import migrate
from agentsight.storage.sql.rows import Driver
from agentsight.storage.sqlite import open as open_sqlite

TODAY = datetime.now(UTC).date()


def said(storage: Any, agent: Agent, name: str, days: int, customer: str = "somebody") -> None:
    """One message, so many days ago."""
    at = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    opening = {"kind": "conversation", "customer_id": customer, "environment": "production"}
    message = {"kind": "message", "sender": "end_user", "content": "hello"}
    drafts = [
        wire.parse({"id": f"{name}-{n}", "conversation_id": name, "occurred_at": at, **event})
        for n, event in enumerate((opening, message))
    ]
    storage.write(lambda store: ingest.accept(store, agent, drafts, time.time_ns() // 1000)).result()


def told(storage: Any, agent: Agent) -> tuple[Any, Any, int]:
    """Messages and users of 60 days, and how many statements that took."""
    start = (TODAY - timedelta(days=59)).isoformat()
    asked = Question(("total_messages", "individual_users"), start, TODAY.isoformat(), by="day")
    count, rows = 0, Driver.rows

    def counted(self: Driver, *given: Any) -> Any:
        nonlocal count
        count += 1
        return rows(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Driver, "rows", counted)
        scope = Scope(agent.organization_id, (agent.id,))
        found = storage.read(lambda store: analytics.answer(store, scope, asked))
    messages, users = found.series
    return messages.total, users.total, count


@pytest.fixture
def two(tmp_path: Path) -> Any:
    """The same database, opened twice as two processes would."""
    url = f"sqlite:///{tmp_path / 'a.db'}"
    ours, theirs = open_sqlite(url), open_sqlite(url)
    migrate(ours)

    def make(store: Any) -> Agent:
        return tenancy.ensure_agent(store, tenancy.ensure_organization(store, "acme", 1), "bot", 1)

    yield ours, theirs, ours.write(make).result()
    ours.close()
    theirs.close()


def test_what_is_over_is_read_once_and_what_is_new_is_seen(two: Any):
    ours, _, agent = two
    said(ours, agent, "old", 20, "one")
    first = told(ours, agent)
    again = told(ours, agent)
    assert first[:2] == again[:2] == (1, 1) and again[2] < first[2]
    said(ours, agent, "new", 0, "two")
    assert told(ours, agent)[:2] == (2, 2)
    said(ours, agent, "one comes back", 0, "one")
    assert told(ours, agent)[:2] == (3, 2), "a customer of both is one"


def test_a_change_of_the_past_is_seen_at_once_whoever_made_it(two: Any):
    ours, theirs, agent = two
    said(ours, agent, "old", 20)
    assert told(ours, agent)[:2] == (1, 1)
    said(theirs, agent, "late", 30, "another")
    assert told(ours, agent)[:2] == (2, 2)
    scope = Scope(agent.organization_id, (agent.id,))

    def delete(store: Any) -> None:
        head = next(h for h in store.conversations.page(scope, Filter(), limit=9)[0] if h.conversation_id == "late")
        conversations.delete(store, scope, head.id, time.time_ns() // 1000)

    theirs.write(delete).result()
    assert told(ours, agent)[:2] == (1, 1)
