"""Days that are over are remembered until somebody changes them, in whichever process."""

from __future__ import annotations

import random
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agentsight import wire
from agentsight.core import analytics, conversations, ingest, tenancy
from agentsight.core.analytics import Question
from agentsight.core.model import Agent, Filter, Scope
from agentsight.server import foresight
from agentsight.server.pages import board
from agentsight.server.pages.period import usual
from agentsight.storage.migrate import migrate
from agentsight.storage.sql.rows import Driver
from agentsight.storage.sqlite import open as open_sqlite
from served import message

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


def test_a_customer_of_the_same_hour_of_two_weeks_is_one(two: Any):
    ours, _, agent = two
    for name, days, customer in (("a", 0, "one"), ("b", 7, "one"), ("c", 14, "one"), ("d", 14, "another")):
        said(ours, agent, name, days, customer)
    start, scope = (TODAY - timedelta(days=59)).isoformat(), Scope(agent.organization_id, (agent.id,))
    asked = Question(("individual_users",), start, TODAY.isoformat(), by="weekday_hour")
    kept, counted = (
        ours.read(lambda store, anew=anew: analytics.answer(store, scope, asked, from_events=anew))
        for anew in (False, True)
    )
    assert kept == counted
    assert sorted(row.value for row in kept.series[0].rows)[-2:] == [0, 2]


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


def test_what_people_will_look_at_is_read_before_they_do(two: Any, monkeypatch: pytest.MonkeyPatch):
    ours, theirs, agent = two
    for days in (5, 70, 300):
        said(ours, agent, f"c-{days}", days, f"somebody-{days}")

    def person(store: Any) -> None:
        tenancy.add_user(store, store.tenants.organizations()[0], "a@b.example", "owner", (), 1)

    ours.write(person).result()
    monkeypatch.setattr(foresight, "REST_S", 0)
    foresight.look_ahead(ours, threading.Event())
    scope, rows, asked = Scope(agent.organization_id, (agent.id,)), Driver.rows, 0

    def counted(self: Driver, *given: Any) -> Any:
        nonlocal asked
        asked += threading.current_thread() is threading.main_thread()  # the writer feeds the index meanwhile
        return rows(self, *given)

    monkeypatch.setattr(Driver, "rows", counted)

    def looked(storage: Any, preset: str) -> tuple[int, Any]:
        before = asked
        found = storage.read(lambda store: board.overview(store, scope, usual(preset, "UTC")))
        return asked - before, found

    for preset in ("90d", "12m"):
        (foreseen, first), (again, second), (unforeseen, other) = (looked(one, preset) for one in (ours, ours, theirs))
        assert foreseen == again < unforeseen, "only what is new is read"
        assert first == second == other


WORDS = ("ab", "cd", "Šć", "zz")  # too short for the index: they are found by what is remembered, or by reading


@pytest.mark.parametrize("seed", range(4))
def test_words_many_say_are_found_as_things_are_now_whatever_became_of_who_said_them(two: Any, seed: int):
    """Told to two processes by chance, each time judged by all that was said, in plain Python."""
    agent, chance = two[2], random.Random(seed)
    scope, far_us = Scope(agent.organization_id, (agent.id,)), 2**60
    said_of: dict[int, list[str]] = {}  # ours -> what its messages say
    deleted: set[int] = set()

    def speak(store: Any) -> None:
        name, words = f"c-{chance.randrange(40)}", " ".join(chance.sample(WORDS, chance.randrange(1, 3)))
        ingest.accept(store, agent, [wire.parse(message(name, words))], time.time_ns() // 1000)
        said_of.setdefault(store.conversations.live(agent.id, [name])[name].id, []).append(words)

    def delete(store: Any) -> None:
        id = chance.choice(sorted(set(said_of) - deleted))
        conversations.delete(store, scope, id, time.time_ns() // 1000)
        deleted.add(id)

    def remove(store: Any) -> None:
        id = chance.choice(sorted(said_of))
        store.keeping.remove(agent.id, [id], traceless=True)
        said_of.pop(id)
        deleted.discard(id)

    def strip(store: Any) -> None:
        id = chance.choice(sorted(said_of))
        store.retention.strip_events(agent.id, id, None, far_us, 1_000)
        said_of[id] = []

    two[0].write(speak).result()
    for _ in range(150):
        change = chance.choice([speak] * 8 + [delete, remove, strip] * (len(set(said_of) - deleted) > 3))
        chance.choice(two[:2]).write(change).result()
        word, storage, everything = chance.choice(WORDS), chance.choice(two[:2]), chance.random() < 0.2
        wanted = {id for id, texts in said_of.items() if any(word.lower() in text.lower() for text in texts)}
        wanted -= set() if everything else deleted
        where = Filter(message_contains=word, include_deleted=everything)
        heads, _ = storage.read(lambda store, where=where: store.conversations.page(scope, where, limit=100))
        assert {head.id for head in heads} == wanted
        assert storage.read(lambda store, where=where: store.conversations.count(scope, where)) == len(wanted)


def test_a_change_that_counts_and_then_fails_teaches_nothing(two: Any):
    ours, _, agent = two
    scope, where = Scope(agent.organization_id, (agent.id,)), Filter(message_contains="ab")

    def fail(store: Any) -> None:
        ingest.accept(store, agent, [wire.parse(message("c", "ab"))], time.time_ns() // 1000)
        assert store.conversations.count(scope, where) == 1
        raise ValueError

    with pytest.raises(ValueError):
        ours.write(fail).result()
    ours.write(lambda store: ingest.accept(store, agent, [wire.parse(message("d", "no"))], 1)).result()
    assert ours.read(lambda store: store.conversations.count(scope, where)) == 0
