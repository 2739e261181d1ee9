"""What an organization sets for itself: its name, zone and looks; its agents, people and keys."""

from __future__ import annotations

from dataclasses import replace
from zoneinfo import available_timezones

from agentsight.errors import Invalid, NotFound

from . import metrics
from .model import Agent, Organization, Principal, User
from .ports import Store
from .reports import named

MAX_ACTIONS = 50


def set_general(
    store: Store, organization: Organization, name: str, timezone: str, clients_see_tokens: bool
) -> Organization:
    """Raises Invalid for a blank name or an unknown zone."""
    if timezone not in available_timezones():
        raise Invalid.of("timezone", "must be an IANA time zone such as UTC or Europe/Zagreb")
    settings = {**organization.settings, "clients_see_tokens": clients_see_tokens}
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
    metrics.escalate_again(store, agent, changed)
    return changed


def people(store: Store, organization: Organization) -> list[User]:
    return store.settings.users(organization.id)


def remove_person(store: Store, who: Principal, id: int) -> None:
    """End somebody's access. Raises Invalid for oneself, NotFound for strangers."""
    if id == who.user_id:
        raise Invalid.of("id", "is your own; somebody else has to remove you")
    if not store.settings.remove_user(who.scope.organization_id, id):
        raise NotFound("no such person")


def revoke_key(store: Store, who: Principal, id: int, now_us: int) -> None:
    """Raises NotFound."""
    if not store.settings.revoke_key(who.scope.organization_id, id, now_us):
        raise NotFound("no such key")
