"""Every engine there is, empty and up to date, and agents to fill it for."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agentsight import wire
from agentsight.core import ingest, tenancy
from agentsight.core.model import Agent, Scope
from agentsight.core.ports import Storage, Store
from agentsight.storage import open_storage
from agentsight.storage.migrate import migrate

NOW_US = time.time_ns() // 1000


@pytest.fixture(scope="module", params=["sqlite on disk", "sqlite in memory", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    folder: Path = tmp_path_factory.mktemp("storage")
    urls: dict[str, Callable[[], str]] = {
        "sqlite on disk": lambda: f"sqlite:///{folder / 'a.db'}",
        "sqlite in memory": lambda: "sqlite://",
        "postgresql": lambda: request.getfixturevalue("postgresql").fresh(),
    }
    opened = open_storage(urls[request.param]())
    migrate(opened)
    yield opened
    opened.close()


def new_agent(storage: Storage) -> Agent:
    def make(store: Store) -> Agent:
        owner = tenancy.ensure_organization(store, "acme", NOW_US)
        return tenancy.ensure_agent(store, owner, uuid.uuid4().hex, NOW_US)

    return storage.write(make).result()


def scope_of(agent: Agent) -> Scope:
    return Scope(agent.organization_id, (agent.id,))


def accepting(agent: Agent, *events: dict[str, Any]) -> ingest.Intake:
    """A change that stores these events of our own contract."""
    return ingest.Intake(agent, [wire.parse(event) for event in events], NOW_US)


@pytest.fixture
def agent(storage: Storage) -> Agent:
    return new_agent(storage)
