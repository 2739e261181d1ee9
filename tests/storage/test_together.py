"""Several processes on one PostgreSQL, each with its own writers: they meet at conversations and sums, and nobody loses."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import Any

import pytest

from agentsight.core import counting, tenancy
from agentsight.core.model import Filter
from agentsight.core.ports import Storage, Store
from agentsight.storage import open_storage
from served import Postgresql, event, message

from .conftest import NOW_US, accepting, new_agent, scope_of


@pytest.fixture
def pair(postgresql: Postgresql) -> Any:
    """Two openings of one database, as two processes have them."""
    url = postgresql.fresh()
    opened = [open_storage(url), open_storage(url)]
    yield opened
    for storage in opened:
        storage.close()


def test_events_of_the_same_new_conversations_by_two_ways_are_stored_once(pair: list[Storage]):
    """One event a change, every conversation made by both at once, some events sent by both."""
    agent = new_agent(pair[0])
    events = [message(f"c-{number % 90}", f"{number}") for number in range(360)]
    events += [
        event("button", f"c-{number % 90}", button_event="b", label=f"{number % 7}", value="v") for number in range(90)
    ]
    pick = random.Random(3)
    futures = []
    for storage in pair:
        for one in pick.sample(events, len(events)) + pick.sample(events, 60):
            futures.append(storage.write(accepting(agent, one), alongside=True))
    verdicts = Counter(verdict.verdict for future in futures for verdict in future.result(60))
    assert verdicts == {"accepted": len(events), "duplicate": len(events) + 2 * 60}

    def ask(store: Store) -> tuple[int, int]:
        heads, _ = store.conversations.page(scope_of(agent), Filter(), limit=1_000)
        timelines = store.timeline.of(agent.id, [head.id for head in heads])
        return sum(head.message_count for head in heads), sum(len(each) for each in timelines.values())

    assert pair[0].read(ask) == (360, len(events))
    assert pair[1].write(lambda store: counting.rebuild(store, scope_of(agent))).result() == []


def test_changes_that_are_no_events_run_one_after_another_whoever_makes_them(pair: list[Storage]):
    """Each reads what the one before left: what is counted up by reading and writing loses no step."""
    agent = new_agent(pair[0])

    def count_up(store: Store) -> None:
        organization = store.tenants.organization(agent.organization_id)
        assert organization is not None
        steps = int(organization.settings.get("steps", 0)) + 1
        store.settings.keep_organization(type(organization)(**{**fields(organization), "settings": {"steps": steps}}))

    futures = [storage.write(count_up) for _ in range(40) for storage in pair]
    for future in futures:
        future.result(30)
    found = pair[0].read(lambda store: store.tenants.organization(agent.organization_id))
    assert found is not None and found.settings["steps"] == 80


def fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}


def test_the_same_organization_made_by_many_at_once_is_one(pair: list[Storage]):
    made: list[int] = []

    def make(storage: Storage) -> None:
        made.append(storage.write(lambda store: tenancy.ensure_organization(store, "shared", NOW_US)).result(30).id)

    threads = [threading.Thread(target=make, args=(storage,)) for storage in pair * 8]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 16 and len(set(made)) == 1
