"""Sessions: 256 random bits in a cookie, kept as their SHA-256; they end when nobody uses them, and in the end anyway."""

from __future__ import annotations

import secrets
from functools import lru_cache

from ua_parser import parse

from agentsight.errors import NotFound

from .model import Principal, Scope, Session, User
from .ports import Store
from .sight import of as sight_of
from .tenancy import digest, visible_agents

IDLE_US = 12 * 3600 * 1_000_000
LIFETIME_US = 14 * 24 * 3600 * 1_000_000
NOTED_US = 60_000_000  # how old "last seen" may be before it is written again


def start(store: Store, user: User, now_us: int, ip: str | None = None, device: str = "") -> str:
    """A new session's token, for the cookie."""
    token = secrets.token_urlsafe(32)
    store.people.add_session(
        Session(digest(token), user.id, now_us, now_us + LIFETIME_US, now_us, ip, named_device(device))
    )
    store.people.signed_in(user.id, now_us)
    return token


def find(store: Store, token: str, now_us: int) -> tuple[Session, User] | None:
    """The session of this token and whose it is; None when it ended or was idle for too long."""
    session = store.people.session(digest(token)) if token else None
    if session is None or not is_live(session, now_us):
        return None
    user = store.tenants.user(session.user_id)
    return (session, user) if user else None


def is_live(session: Session, now_us: int) -> bool:
    return session.expires_us > now_us and session.seen_us > now_us - IDLE_US


def user(store: Store, token: str, now_us: int) -> User | None:
    """Who this session belongs to; None when it ended."""
    found = find(store, token, now_us)
    return found[1] if found else None


def of(store: Store, user_id: int, now_us: int) -> list[Session]:
    """Somebody's live sessions, the latest seen first."""
    live = (one for one in store.people.sessions(user_id) if is_live(one, now_us))
    return sorted(live, key=lambda one: -one.seen_us)


def end(store: Store, token: str) -> None:
    store.people.end_session(digest(token))


def end_one(store: Store, user_id: int, handle: str) -> None:
    """End one of somebody's sessions. Raises NotFound."""
    found = next((one for one in store.people.sessions(user_id) if one.handle == handle), None)
    if found is None:
        raise NotFound("there is no such session")
    store.people.end_session(found.digest)


def end_all(store: Store, user_id: int, now_us: int) -> None:
    """Sign somebody out everywhere: cookies and tokens made until now open nothing any more."""
    store.people.end_sessions(user_id, now_us)


def principal(store: Store, user: User) -> Principal:
    """A signed-in person, with every agent they may see and how much of it."""
    organization = store.tenants.organization(user.organization_id)
    seen = tuple(agent.id for agent in visible_agents(store, user))
    sight = sight_of(user.role, organization.settings if organization else {})
    return Principal(Scope(user.organization_id, seen), user.role, user_id=user.id, name=user.email, sight=sight)


@lru_cache(maxsize=1_024)
def named_device(user_agent: str) -> str:
    """What somebody would call it: the browser and the system.

    >>> named_device("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36")
    'Chrome, Linux'
    """
    parsed = parse(user_agent[:1_000])
    names = [part.family for part in (parsed.user_agent, parsed.os) if part and part.family != "Other"]
    return ", ".join(names)[:100]
