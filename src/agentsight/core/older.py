"""An older version stored events on the same database: the sums it does not know are made to tell of them too.

While servers are replaced one by one both versions work side by side; nobody has to do anything when the last is done.
"""

from __future__ import annotations

from collections.abc import Callable

from . import counting
from .model import Conversation, Filter, Scope
from .ports import Storage, Store

AT_ONCE = 200  # conversations of one transaction


def left_out(storage: Storage) -> list[Scope]:
    """The agents whose sums lack something; nothing is changed."""

    def ask(store: Store) -> list[Scope]:
        every = [agent for owner in store.tenants.organizations() for agent in store.tenants.agents(owner.id)]
        return [Scope(agent.organization_id, (agent.id,)) for agent in every if store.older.worked(agent.id)]

    return storage.read(ask)


def put_in(
    storage: Storage,
    scope: Scope,
    rest: Callable[[], object] = lambda: None,
    stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Let one agent's sums tell of everything it has; gives how many conversations were counted again.

    In many transactions, with a `rest` after each. What is not done when it is `stopped` or killed is done the next time.
    """
    (agent_id,) = scope.agent_ids
    since_us = storage.write(lambda store: store.older.take_up(agent_id)).result()
    before: tuple[int, int] | None = None
    more, counted = True, 0
    while more:
        if stopped():
            return counted

        def step(store: Store, before: tuple[int, int] | None = before) -> tuple[list[Conversation], bool, int]:
            heads, more = store.conversations.page(scope, Filter(), limit=AT_ONCE, before=before)
            touched = [head for head in heads if _may_have_changed(head, since_us)]
            store.older.tally(agent_id, [head.id for head in touched], counting.together(store, agent_id, touched))
            return heads, more, len(touched)

        heads, more, touched = storage.write(step).result()
        counted += touched
        before = (heads[-1].started_us, heads[-1].id) if heads else None
        rest()
    storage.write(lambda store: store.older.done(agent_id)).result()
    return counted


def _may_have_changed(head: Conversation, since_us: int) -> bool:
    """Whether it can have added anything to a time after that: it went on, or was judged."""
    return max(head.started_us, head.ended_us or 0) >= since_us or head.feedback_count > 0
