"""People: invited, given a password, a role and agents, and let go. What they may do stands in `permissions`."""

from __future__ import annotations

import secrets
from dataclasses import replace

from agentsight.errors import Invalid, NotFound

from . import passwords
from .model import Agent, Invitation, Organization, Principal, User
from .ports import Store
from .reading import named
from .tenancy import add_user, address, digest, issue_link, person_role

DAYS = (1, 7, 30)
_DAY_US = 86_400_000_000


# -- invitations -----------------------------------------------------------------------------------------------------
def invite(
    store: Store,
    who: Principal,
    organization: Organization,
    email: str,
    role: str,
    agents: tuple[Agent, ...],
    days: int,
    now_us: int,
) -> tuple[str, Invitation]:
    """The token of an invitation, whole for this one time, and its row. Raises Invalid."""
    if days not in DAYS:
        raise Invalid.of("days", f"must be one of {', '.join(map(str, DAYS))}")
    to, as_role = address(email), person_role(role)
    if store.tenants.user_by_email(to) is not None:
        raise Invalid.of("email", "belongs to somebody who signs in here already")
    token = secrets.token_urlsafe(32)
    ids = tuple(agent.id for agent in agents)
    new = Invitation(0, organization.id, to, as_role, ids, who.name, now_us, now_us + days * _DAY_US)
    return token, store.people.add_invitation(new, digest(token))


def invitation(store: Store, token: str, now_us: int) -> Invitation:
    """An invitation somebody may accept. Raises NotFound when it never was, was used, revoked or is too old."""
    found = store.people.invitation(digest(token))
    if found is None or not found.is_open(now_us):
        raise NotFound("this invitation does not work, or no longer")
    return found


def accept(store: Store, token: str, name: str, password_hash: str, now_us: int) -> User:
    """The person an invitation makes, with their name and password; it works once. Raises NotFound, Invalid."""
    found = invitation(store, token, now_us)
    organization = store.tenants.organization(found.organization_id)
    if organization is None or not store.people.use_invitation(found.id, now_us):
        raise NotFound("this invitation does not work, or no longer")
    if store.tenants.user_by_email(found.email) is not None:
        raise Invalid.of("email", "belongs to somebody who signs in here already")
    every = store.tenants.agents(organization.id)
    agents = tuple(agent for agent in every if agent.id in found.agent_ids)
    new = replace(add_user(store, organization, found.email, found.role, agents, now_us), name=named(name))
    store.people.change_user(new)
    store.people.set_password(new.id, password_hash)
    return new


# -- what they are ---------------------------------------------------------------------------------------------------
def member(store: Store, organization_id: int, id: int) -> User:
    """Somebody of this organization. Raises NotFound."""
    found = store.tenants.user(id)
    if found is None or found.organization_id != organization_id:
        raise NotFound("no such person")
    return found


def change(store: Store, person: User, role: str, agent_ids: tuple[int, ...], now_us: int) -> User:
    """Another role or other agents; a changed role ends their sessions. Raises Invalid for the last owner."""
    changed = replace(person, role=person_role(role), agent_ids=agent_ids)
    if person.role == "owner" and changed.role != "owner":
        _require_another_owner(store, person)
    store.people.change_user(changed)
    if changed.role != person.role:
        store.people.end_sessions(person.id, now_us)
    return changed


def remove(store: Store, person: User) -> None:
    """End somebody's access. Raises Invalid for the last owner."""
    if person.role == "owner":
        _require_another_owner(store, person)
    store.settings.remove_user(person.organization_id, person.id)


def _require_another_owner(store: Store, person: User) -> None:
    others = [one for one in store.settings.users(person.organization_id) if one.id != person.id]
    if not any(one.role == "owner" for one in others):
        raise Invalid.of("role", "of the only owner cannot change; make somebody else an owner first")


def rename(store: Store, person: User, name: str) -> User:
    changed = replace(person, name=named(name))
    store.people.change_user(changed)
    return changed


# -- passwords -------------------------------------------------------------------------------------------------------
def new_password(password: str, email: str, organization: str = "") -> str:
    """The hash of a password good enough for this person. Slow on purpose: outside of any transaction. Raises Invalid."""
    return passwords.hashed(passwords.check(password, email, organization))


def set_password(store: Store, person: User, password_hash: str, now_us: int) -> None:
    """The new password; every session of the old one ends."""
    store.people.set_password(person.id, password_hash)
    store.people.end_sessions(person.id, now_us)


def link_to(store: Store, email: str, now_us: int) -> tuple[User, str] | None:
    """A one-time token for whoever has this e-mail address; None when nobody does."""
    found = store.tenants.user_by_email(email.strip().lower())
    return (found, issue_link(store, found, now_us)) if found else None
