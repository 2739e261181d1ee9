"""Actions by name: what ran, and what people say of it. One is known from its first run on, or once it is described."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from agentsight import wire
from agentsight.errors import Invalid, NotFound

from .model import Action, Event, Principal, Scope
from .ports import Store
from .reading import Reader, asked, ordering, required, text

FILTERS: Mapping[str, Reader] = {"name": text, "name__icontains": text, "display_name": text, "search": text}
ORDERS = ("name", "display_name", "id")
MOST_RUNS = 1_000
DESCRIPTION_CHARS = 5_000


def unknown(store: Store, scope: Scope) -> list[Action]:
    """Those that ran and have no row yet."""
    known = store.actions.named(scope.agent_ids)
    return [Action(0, agent_id, name, name) for agent_id, name in sorted(store.actions.ran(scope.agent_ids))
            if (agent_id, name) not in known and name != "token_usage"]  # fmt: skip


def met(store: Store, agent_id: int, names: Collection[str]) -> None:
    """These ran: give a row to each that has none."""
    if names:
        known = store.actions.named([agent_id])
        store.actions.add([Action(0, agent_id, name, name) for name in sorted(names) if (agent_id, name) not in known])


def adopt(store: Store, scope: Scope) -> None:
    """Give every action that ran a row."""
    store.actions.add(unknown(store, scope))


def page(
    store: Store, scope: Scope, params: Mapping[str, Sequence[str]], limit: int, offset: int
) -> tuple[int, list[Action]]:
    """How many match, and some of them, by name unless ordered otherwise."""
    where, order = asked(params, FILTERS), ordering(params, ORDERS, "name")
    return store.actions.count(scope, where), store.actions.page(scope, where, order, limit, offset)


def get(store: Store, scope: Scope, id: int) -> Action:
    """One by our id. Raises NotFound."""
    found = store.actions.find(scope, id)
    if found is None:
        raise NotFound("no such action")
    return found


def runs(store: Store, scope: Scope, id: int) -> tuple[Action, list[Event]]:
    """An action and its latest runs. Raises NotFound."""
    of = get(store, scope, id)
    return of, store.actions.runs(of, MOST_RUNS)


def create(store: Store, who: Principal, told: Mapping[str, Any]) -> Action:
    """Describe an action before it runs. Raises Invalid: somebody did, or it ran already; NotFound: no such agent."""
    name = required(told.get("name"), "name", wire.MAX_NAME_CHARS)
    of = _agent(who, told.get("agent"))
    adopt(store, Scope(who.scope.organization_id, (of,)))
    if (of, name) in store.actions.named([of]):
        raise _taken()
    label = told.get("display_name")
    shown = name if label is None else required(label, "display_name", wire.MAX_NAME_CHARS)
    store.actions.add([Action(0, of, name, shown, _description(told.get("description")))])
    return store.actions.named([of])[of, name]


def change(store: Store, scope: Scope, id: int, told: Mapping[str, Any]) -> Action:
    """Set name, display_name or description. Raises NotFound, Invalid."""
    before = get(store, scope, id)
    sound: dict[str, Any] = {}
    for name in ("name", "display_name"):
        if name in told:
            sound[name] = required(told[name], name, wire.MAX_NAME_CHARS)
    if "description" in told:
        sound["description"] = _description(told["description"])
    if not sound:
        raise Invalid.of("body", "must set at least one of name, display_name, description")
    after = replace(before, **sound)
    known = store.actions.named([before.agent_id]).get((before.agent_id, after.name))
    if known is not None and known.id != before.id:
        raise _taken()
    store.actions.change(after)
    return after


def _taken() -> Invalid:
    return Invalid.of("name", "is taken: there is an action of this name")


def _agent(who: Principal, told: Any) -> int:
    if who.agent is not None:
        return who.agent.id
    if told is None and len(who.scope.agent_ids) == 1:
        return who.scope.agent_ids[0]
    if not isinstance(told, int) or isinstance(told, bool):
        raise Invalid.of("agent", "is required: which of your agents it is of")
    if told not in who.scope.agent_ids:
        raise NotFound("no such agent")
    return told


def _description(told: Any) -> str | None:
    return None if told is None or told == "" else required(told, "description", DESCRIPTION_CHARS)
