"""What is over is read before somebody asks: the first look at a long time costs what the second does.

Storage remembers answers about days that are over, in this process and while they are true. Whoever may sign in is going to
look at the analytics of everything they may see, or of one agent.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from functools import partial
from itertools import islice

from agentsight.core import analytics, tenancy
from agentsight.core.analytics import Question
from agentsight.core.model import Scope
from agentsight.core.ports import Storage, Store
from agentsight.errors import AgentSightError

from .pages import board
from .pages.period import usual

LONG = ("90d", "12m")
MOST = 40  # whose numbers; more would push each other out of memory
FIRST_S, EVERY_S = 3, 600  # again, for the day changes somewhere, or somebody changed the past
REST_S = 0.1  # between two questions, for everybody else
_log = logging.getLogger("agentsight.upkeep")


def go_on(storage: Storage, stopped: threading.Event) -> None:
    """Look ahead now and then until stopped."""
    wait_s: float = FIRST_S
    while not stopped.wait(wait_s):
        wait_s = EVERY_S
        try:
            look_ahead(storage, stopped)
        except AgentSightError as trouble:  # the database rests; whoever asks reads it then
            _log.info("looking ahead was put off: %s", trouble)
        except Exception:
            _log.exception("looking ahead failed")


def look_ahead(storage: Storage, stopped: threading.Event) -> None:
    """Ask what people will; what is known already costs next to nothing."""
    for scope, question in storage.read(_questions):
        if stopped.wait(REST_S):
            return
        storage.read(partial(analytics.answer, scope=scope, asked=question), may_lag=True)


def _questions(store: Store) -> list[tuple[Scope, Question]]:
    return [
        (scope, question)
        for scope, tz in islice(_seen(store), MOST)
        for preset in LONG
        for question in board.questions(usual(preset, tz)).values()
    ]


def _seen(store: Store) -> Iterator[tuple[Scope, str]]:
    """What people see of their organizations, everything first, and its time zone."""
    for organization in store.tenants.organizations():
        scopes: dict[Scope, None] = {}
        for user in store.settings.users(organization.id):
            agents = tuple(agent.id for agent in tenancy.visible_agents(store, user))
            scopes |= {Scope(organization.id, agents): None} if agents else {}
        for scope in list(scopes):
            scopes |= {Scope(organization.id, (agent_id,)): None for agent_id in scope.agent_ids}
        yield from ((scope, organization.timezone) for scope in scopes)
