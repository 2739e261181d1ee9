"""Organizations, agents, keys, people: who may ask. Secrets are shown once and kept as SHA-256 of their random bits."""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata

from agentsight.errors import Invalid, NotFound, Unauthorized
from agentsight.wire import API_KEY_PATTERN

from .model import Agent, ApiKey, Organization, Principal, Scope, User
from .permissions import KEYS, PEOPLE, KeyRole, PersonRole
from .ports import Store

DEFAULT_ORGANIZATION = "default"
LINK_LIFETIME_US = 24 * 3600 * 1_000_000
PREFIX_CHARS = 12  # `ags_` and eight digits
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
MOST_OVERLAP_US = 90 * 24 * 3600 * 1_000_000


def slug(name: str) -> str:
    """`name` as it stands in a URL: lower case letters, digits, hyphens.

    >>> slug("Čevapi & Co.")
    'cevapi-co'
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def _free_slug(name: str, taken: set[str]) -> str:
    base = slug(name) or "x"
    candidates = (base, *(f"{base}-{number}" for number in range(2, 10_000)))
    return next(candidate for candidate in candidates if candidate not in taken and candidate != "all")


# -- organizations and agents ----------------------------------------------------------------------------------------
def ensure_organization(store: Store, name: str, now_us: int) -> Organization:
    """The organization of this name, made when missing. Raises Invalid for a blank name."""
    named = _name(name, "organization")
    found = store.tenants.organization_named(named)
    taken = {organization.slug for organization in store.tenants.organizations()}
    return found or store.tenants.add_organization(named, _free_slug(named, taken), now_us)


def ensure_agent(store: Store, organization: Organization, name: str, now_us: int) -> Agent:
    """The agent of this name in the organization, made when missing. Raises Invalid for a blank name."""
    named = _name(name, "agent")
    found = store.tenants.agent_named(organization.id, named)
    taken = {agent.slug for agent in store.tenants.agents(organization.id)}
    return found or store.tenants.add_agent(organization.id, named, _free_slug(named, taken), now_us)


def _name(name: str, field: str) -> str:
    if not name.strip():
        raise Invalid.of(field, "must not be blank")
    if len(name) > 255:
        raise Invalid.of(field, "is longer than 255 characters")
    return name.strip()


# -- keys ------------------------------------------------------------------------------------------------------------
def issue_key(
    store: Store,
    agent: Agent,
    role: str,
    now_us: int,
    *,
    expires_us: int | None = None,
    name: str = "",
    author: str = "",
) -> tuple[str, ApiKey]:
    """A new API key, whole for this one time, and its row. Its tail is a checksum, so that a typo shows offline."""
    if role not in KEYS:
        raise Invalid.of("role", "must be write or read")
    if expires_us is not None and expires_us <= now_us:
        raise Invalid.of("expires", "is over already")
    if len(name) > 100:
        raise Invalid.of("name", "is longer than 100 characters")
    body = f"ags_{secrets.token_hex(16)}"
    key = f"{body}_{hashlib.sha256(body.encode()).hexdigest()[:6]}"
    as_role: KeyRole = "read" if role == "read" else "write"
    row = ApiKey(0, agent.id, key[:PREFIX_CHARS], as_role, now_us, None, expires_us, None, name.strip(), author)
    return key, store.tenants.add_key(row, digest(key))


def rotate_key(
    store: Store, organization_id: int, old: ApiKey, overlap_us: int, now_us: int, author: str = ""
) -> tuple[str, ApiKey]:
    """A new key for an old one, which goes on for so long that everybody can change over. Raises Invalid."""
    if not old.is_live(now_us):
        raise Invalid.of("key", "was revoked or has expired; create a new one")
    if not 0 <= overlap_us <= MOST_OVERLAP_US:
        raise Invalid.of("overlap", "must be between 0 and 90 days")
    agent = store.tenants.agent(old.agent_id)
    if agent is None or agent.organization_id != organization_id:
        raise NotFound("no such key")
    lasts_us = old.expires_us - old.created_us if old.expires_us else None
    new = issue_key(
        store,
        agent,
        old.role,
        now_us,
        expires_us=now_us + lasts_us if lasts_us else None,
        name=old.name,
        author=author,
    )
    if overlap_us:
        ends_us = now_us + overlap_us
        store.settings.end_key(organization_id, old.id, min(ends_us, old.expires_us or ends_us))
    else:
        store.settings.revoke_key(organization_id, old.id, now_us)
    return new


def verify_key(store: Store, key: str, now_us: int) -> Principal:
    """Who asks with this key. Raises Unauthorized when it is none of ours, revoked or expired."""
    plain = key.strip().lower()
    found = store.tenants.key(digest(plain)) if API_KEY_PATTERN.fullmatch(plain) else None
    if found is None:
        raise Unauthorized("unknown API key")
    if not found.is_live(now_us):
        raise Unauthorized("this API key was revoked or has expired")
    agent = store.tenants.agent(found.agent_id)
    if agent is None or agent.archived_us is not None:
        raise Unauthorized("the agent of this API key is gone or archived")
    scope = Scope(agent.organization_id, (agent.id,))
    return Principal(scope, found.role, agent=agent, key_id=found.id, name=agent.name)


def digest(secret: str) -> str:
    """How a random secret is stored and found again."""
    return hashlib.sha256(secret.encode()).hexdigest()


# -- people ----------------------------------------------------------------------------------------------------------
def add_user(
    store: Store, organization: Organization, email: str, role: str, agents: tuple[Agent, ...], now_us: int
) -> User:
    """A person who may sign in; one who is there already is given back as they are. Raises Invalid."""
    to, as_role = address(email), person_role(role)
    known = store.tenants.user_by_email(to)
    if known is not None:
        if known.organization_id != organization.id or known.role != role:
            raise Invalid.of("email", f"is taken already, as {known.role}")
        return known
    return store.tenants.add_user(organization.id, to, as_role, [agent.id for agent in agents], now_us)


def address(email: str) -> str:
    """An e-mail address as we keep it. Raises Invalid."""
    plain = email.strip().lower()
    if not _EMAIL.fullmatch(plain) or len(plain) > 255 or not plain.isprintable():
        raise Invalid.of("email", "is not an e-mail address")
    return plain


def person_role(role: str) -> PersonRole:
    """A role people have. Raises Invalid."""
    for known in PEOPLE:
        if role == known:
            return known
    raise Invalid.of("role", f"must be one of {', '.join(PEOPLE)}")


def issue_link(store: Store, user: User, now_us: int) -> str:
    """The token of a link that signs `user` in once, within a day."""
    token = secrets.token_urlsafe(32)
    store.tenants.add_link(digest(token), user.id, now_us + LINK_LIFETIME_US)
    return token


def use_link(store: Store, token: str, now_us: int) -> User | None:
    """The user a link signs in; None when it is unknown, used or too old."""
    return store.tenants.use_link(digest(token), now_us)


def visible_agents(store: Store, user: User) -> tuple[Agent, ...]:
    """The agents a person may see; archived ones are put away for everybody."""
    live = (agent for agent in store.tenants.agents(user.organization_id) if agent.archived_us is None)
    return tuple(agent for agent in live if not user.agent_ids or agent.id in user.agent_ids)
