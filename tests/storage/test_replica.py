"""A read replica answers lists and numbers; everything else, and everything while it is away, the primary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agentsight.core.model import Filter
from agentsight.core.ports import Storage
from agentsight.errors import ConfigError
from agentsight.storage import open_storage
from served import Postgresql, Server, message

from .conftest import accepting, new_agent, scope_of


def count(storage: Storage, agent: Any, **options: Any) -> int:
    return storage.read(lambda store: store.conversations.count(scope_of(agent), Filter()), **options)


def test_lists_come_from_the_replica_and_the_rest_from_the_primary(postgresql: Postgresql):
    url = postgresql.fresh()
    replica = postgresql.copy_of(url)  # one that never catches up
    primary = open_storage(url, replica)
    agent = new_agent(primary)
    primary.write(accepting(agent, message("c", "here"))).result()
    assert (count(primary, agent), count(primary, agent, may_lag=True)) == (1, 0)
    primary.close()


def test_while_the_replica_is_away_the_primary_answers_and_nobody_notices(postgresql: Postgresql):
    url = postgresql.fresh()
    primary = open_storage(url, postgresql.url("nobody_made_this"))
    agent = new_agent(primary)
    primary.write(accepting(agent, message("c", "here"))).result()
    for _ in range(3):
        assert count(primary, agent, may_lag=True) == 1
    primary.close()


def test_a_file_has_no_replica():
    with pytest.raises(ConfigError, match="replica"):
        open_storage("sqlite://", "postgresql://somewhere/else")


@pytest.mark.slow
def test_the_api_asks_the_replica_for_lists_and_numbers_only(start: Callable[..., Server], postgresql: Postgresql):
    url = postgresql.fresh()
    server = start(database=url)
    key = server.key("bot")
    server.stop()
    replica = postgresql.copy_of(url)
    server = start(database=url, AGENTSIGHT_READ_DATABASE_URL=replica)
    with server.api("bot") as api:
        api.batch(message("c", "here"))
        assert api.get("/api/conversations/", headers={"Authorization": f"Api-Key {key}"}).json()["count"] == 0
        found = api.get("/api/conversations/lookup/", params={"conversation_id": "c"}).json()
        assert api.get(f"/api/conversations/{found['id']}/").json()["messages"][0]["content"] == "here"
        asked = {"metric": "total_messages", "environment": "development", "from": "2026-03-01", "to": "2026-03-05"}
        assert api.get("/api/analytics/", params=asked).json()["metrics"][0]["total"] == 0
