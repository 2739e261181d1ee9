"""The product and the oracle side by side: whatever happens to one happens to the other."""

from __future__ import annotations

import itertools
from datetime import timedelta
from functools import lru_cache

import oracle
from agentsight import wire
from agentsight.core import analytics, conversations, counting, ingest
from agentsight.core.model import Filter, Scope
from agentsight.storage import open_storage
from agentsight.storage.migrate import migrate

NOW_US = oracle.us("2026-11-21T08:00:00+00:00")
_FILE = {"filename": "a.txt", "mime_type": "text/plain", "size_bytes": 1, "sha256": "0" * 64}
_numbers = itertools.count()


urls = {"sqlite": "sqlite://"}
_engine = "sqlite"


def use(engine):
    """Keep what follows in a database of this engine."""
    global _engine
    _engine = engine


def storage():
    """One database an engine for all tests; every test has an agent of its own."""
    return _opened(urls[_engine])


@lru_cache(maxsize=2)
def _opened(url):
    opened = open_storage(url)
    migrate(opened)
    return opened


def at(text, **more):
    """An instant of the tests' calendar as the wire has it."""
    return (oracle.datetime.fromisoformat(text) + timedelta(**more)).isoformat()


class Both:
    def __init__(self, store=None):
        self.storage = store or storage()
        self.world = oracle.World()
        self.agent = self.storage.write(self._agent).result()
        self.scope = Scope(self.agent.organization_id, (self.agent.id,))

    @staticmethod
    def _agent(store):
        name = f"agent {next(_numbers)}"
        organization = store.tenants.add_organization(name, name.replace(" ", "-"), 1)
        return store.tenants.add_agent(organization.id, name, name.replace(" ", "-"), 1)

    # -- what happens ------------------------------------------------------------------------------------------------
    def deliver(self, *events):
        drafts = [_draft(event) for event in events]
        self.storage.write(lambda store: ingest.accept(store, self.agent, drafts, NOW_US)).result()
        for event in events:
            self.world.deliver(event)

    def _row(self, store, name):
        return store.conversations.live(self.agent.id, [name]).get(name)

    def delete(self, name):
        def change(store):
            head = self._row(store, name)
            if head is not None:
                conversations.delete(store, self.scope, head.id, NOW_US)

        self.storage.write(change).result()
        self.world.delete(name)

    def change(self, name, /, **fields):
        def change(store):
            head = self._row(store, name)
            if head is not None:
                conversations.update(store, self.scope, head.id, fields)

        self.storage.write(change).result()
        self.world.change(name, **fields)

    def restore(self, place):
        """Bring the conversation that was created `place`-th back, unless another has taken its name."""
        mine = self.world.conversations[place]
        if not mine["deleted"] or self.world.live(mine["name"]):
            return

        def change(store):
            where = Filter(include_deleted=True)
            heads, _ = store.conversations.page(self.scope, where, limit=1_000)
            head = sorted(heads, key=lambda head: head.id)[place]
            conversations.restore(store, self.scope, head.id)

        self.storage.write(change).result()
        self.world.restore(mine)

    # -- what is told ------------------------------------------------------------------------------------------------
    def ask(self, metric, *, from_events=False, **params):
        def answer(store):
            given = {name: [value] for name, value in params.items()} | {"metric": list(metric)}
            where = conversations.parse_filter(given)
            given["from"] = given.pop("start", [])
            given["to"] = given.pop("end", [])
            asked = analytics.parse_question(given, where, "UTC", NOW_US)
            return analytics.answer(store, self.scope, asked, from_events=from_events)

        return self.storage.read(answer)

    def listed(self, params):
        """How many conversations the list has with these filters."""
        given = {name: [value] for name, value in params.items()}
        where = conversations.parse_filter(given)
        return self.storage.read(lambda store: store.conversations.count(self.scope, where))

    def rebuilt(self):
        """What a rebuild finds wrong."""
        return self.storage.write(lambda store: counting.rebuild(store, self.scope)).result()

    def stored(self):
        """The rollups as they are, zeros left out."""

        def rows(store):
            driver = store.rollups._driver
            mark = driver.dialect.mark()
            sums = driver.rows(
                "SELECT production, plane, measure, bucket, facet, key, value FROM rollup "
                f"WHERE agent_id = {mark} AND value <> 0 ORDER BY 1, 2, 3, 4, 5, 6",
                (self.agent.id,),
            )
            users = driver.rows(
                "SELECT production, slice, bucket, customer, facet, messages FROM presence "
                f"WHERE agent_id = {mark} AND messages <> 0 ORDER BY 1, 2, 3, 4, 5",
                (self.agent.id,),
            )
            return sums, users

        return self.storage.read(rows)


def _draft(event):
    if event["kind"] != "attachment":
        return wire.parse(event)
    when = oracle.us(event["occurred_at"])
    fields = {"sender": "end_user", "files": [_FILE]}
    return wire.Draft(event["id"], "attachment", event["conversation_id"], when, event.get("seq", 0), fields)
