"""Agent history: the versions conversations were held with, and what changed in the numbers between them."""

from __future__ import annotations

import time

from starlette.responses import Response

from agentsight.core import history as core
from agentsight.core.model import Version
from agentsight.core.ports import Store
from agentsight.errors import Forbidden

from .shell import page
from .visit import Visit

REMEMBERED_S = 60
_remembered: dict[tuple[int, tuple[int, ...], str], tuple[float, list[Version]]] = {}


@page("history", "conversations.read")
def history(visit: Visit) -> Response:
    if not visit.sight.metadata:
        raise Forbidden("what metadata says is hidden from your role")
    found = visit.read(lambda store: versions(store, visit))
    return visit.render(
        "history.html",
        page="history",
        title=visit.voice.say("Agent history"),
        versions=found,
        keys=core.KEYS,
        most=max((version.conversations for version in found), default=1),
    )


def versions(store: Store, visit: Visit) -> list[Version]:
    """The versions of these agents; remembered for a minute, because every chart marks them."""
    if not visit.sight.metadata:
        return []
    key = (id(visit.storage), visit.scope.agent_ids, visit.environment)
    known = _remembered.get(key)
    if known is not None and known[0] > time.monotonic():
        return known[1]
    found = core.versions(store, visit.scope, visit.environment)
    if len(_remembered) > 1_000:
        _remembered.clear()
    _remembered[key] = (time.monotonic() + REMEMBERED_S, found)
    return found


def changes(store: Store, visit: Visit) -> list[tuple[int, str]]:
    """When something changed, and what, for the marks on a chart."""
    return [(version.first_us, core.label(version, visit.agents)) for version in core.changes(versions(store, visit))]
