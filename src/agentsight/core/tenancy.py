"""Organizations, agents, keys, people: who may ask. Secrets are shown once and kept as SHA-256 of their random bits."""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata

from agentsight.errors import Invalid, Unauthorized
from agentsight.wire import API_KEY_PATTERN

from .model import Agent, ApiKey, Organization, Principal, Scope, User
from .ports import Store

DEFAULT_ORGANIZATION = "default"
LINK_LIFETIME_US = 24 * 3600 * 1_000_000
SESSION_LIFETIME_US = 14 * 24 * 3600 * 1_000_000
PREFIX_CHARS = 12  # `ags_` and eight digits
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_ROLES = ("owner", "member", "client")


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
def issue_key(store: Store, agent: Agent, role: str, now_us: int) -> tuple[str, ApiKey]:
    """A new API key, whole for this one time, and its row. Its tail is a checksum, so that a typo shows offline."""
    if role not in ("write", "read"):
        raise Invalid.of("role", "must be write or read")
    body = f"ags_{secrets.token_hex(16)}"
    key = f"{body}_{hashlib.sha256(body.encode()).hexdigest()[:6]}"
    return key, store.tenants.add_key(agent.id, key[:PREFIX_CHARS], digest(key), role, now_us)


def verify_key(store: Store, key: str, now_us: int) -> Principal:
    """Who asks with this key. Raises Unauthorized when it is none of ours, revoked or expired."""
    plain = key.strip().lower()
    found = store.tenants.key(digest(plain)) if API_KEY_PATTERN.fullmatch(plain) else None
    if found is None:
        raise Unauthorized("unknown API key")
    if found.revoked_us is not None or (found.expires_us is not None and found.expires_us <= now_us):
        raise Unauthorized("this API key was revoked or has expired")
    agent = store.tenants.agent(found.agent_id)
    if agent is None:
        raise Unauthorized("unknown API key")
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
    address = email.strip().lower()
    if not _EMAIL.fullmatch(address) or len(address) > 255:
        raise Invalid.of("email", "is not an e-mail address")
    if role not in _ROLES:
        raise Invalid.of("role", f"must be one of {', '.join(_ROLES)}")
    known = store.tenants.user_by_email(address)
    if known is not None:
        if known.organization_id != organization.id or known.role != role:
            raise Invalid.of("email", f"is taken already, as {known.role}")
        return known
    return store.tenants.add_user(organization.id, address, role, [agent.id for agent in agents], now_us)


def issue_link(store: Store, user: User, now_us: int) -> str:
    """The token of a link that signs `user` in once, within a day."""
    token = secrets.token_urlsafe(32)
    store.tenants.add_link(digest(token), user.id, now_us + LINK_LIFETIME_US)
    return token


def use_link(store: Store, token: str, now_us: int) -> User | None:
    """The user a link signs in; None when it is unknown, used or too old."""
    return store.tenants.use_link(digest(token), now_us)


def start_session(store: Store, user: User, now_us: int) -> str:
    """A session's token, for the cookie."""
    token = secrets.token_urlsafe(32)
    store.tenants.add_session(digest(token), user.id, now_us, now_us + SESSION_LIFETIME_US)
    return token


def session_user(store: Store, token: str, now_us: int) -> User | None:
    """Who this session belongs to; None when it ended."""
    return store.tenants.session(digest(token), now_us)


def end_session(store: Store, token: str) -> None:
    store.tenants.end_session(digest(token))


def principal_of(store: Store, user: User) -> Principal:
    """A signed-in person, with every agent they may see."""
    every = tuple(agent.id for agent in store.tenants.agents(user.organization_id))
    seen = tuple(agent_id for agent_id in every if not user.agent_ids or agent_id in user.agent_ids)
    return Principal(Scope(user.organization_id, seen), user.role, user_id=user.id, name=user.email)
