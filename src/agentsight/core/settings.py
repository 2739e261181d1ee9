"""What an organization sets for itself: its name and zone, what its clients see, its agents; its looks are in `brands`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any
from zoneinfo import available_timezones

from agentsight.errors import Invalid

from . import counting
from .model import Agent, Organization
from .ports import Store
from .reading import named
from .sight import Sight
from .tenancy import ensure_agent

MAX_ACTIONS = 50
MOST_AGREED = 10**12


def agreed(settings: Mapping[str, Any]) -> int | None:
    """How many conversations a month the organization agreed on; None: nothing was."""
    told = settings.get("conversations_agreed")
    return told if isinstance(told, int) and told > 0 else None


def set_general(
    store: Store, organization: Organization, name: str, timezone: str, clients: Sight, plan: str = ""
) -> Organization:
    """Raises Invalid for a blank name, an unknown zone or a plan that is no number of conversations."""
    if timezone not in available_timezones():
        raise Invalid.of("timezone", "must be an IANA time zone such as UTC or Europe/Zagreb")
    plan = plan.strip()
    if plan and not (plan.isdecimal() and len(plan) < 14 and 0 < int(plan) <= MOST_AGREED):
        raise Invalid.of("agreed", f"must be a whole number from 1 to {MOST_AGREED}, or empty")
    settings = {**organization.settings, "clients_see": asdict(clients), "conversations_agreed": int(plan or 0)}
    return _kept(store, replace(organization, name=named(name), timezone=timezone, settings=settings))


def _kept(store: Store, organization: Organization) -> Organization:
    store.settings.keep_organization(organization)
    return organization


def set_agent(store: Store, agent: Agent, name: str, escalation_actions: str) -> Agent:
    """An agent's name and which of its actions mean that a human takes over. Raises Invalid."""
    actions = sorted({part.strip() for part in escalation_actions.replace("\n", ",").split(",") if part.strip()})
    if len(actions) > MAX_ACTIONS:
        raise Invalid.of("escalation_actions", f"are more than {MAX_ACTIONS}")
    changed = replace(agent, name=named(name), settings={**agent.settings, "escalation_actions": actions})
    store.settings.keep_agent(changed)
    counting.escalate_again(store, agent, changed)
    return changed


def new_agent(store: Store, organization: Organization, name: str, now_us: int) -> Agent:
    """An agent of a name nobody has yet. Raises Invalid."""
    if store.tenants.agent_named(organization.id, named(name)) is not None:
        raise Invalid.of("name", "is that of another agent")
    return ensure_agent(store, organization, name, now_us)
