"""Shares: a link shows one thing to whoever holds it, until it ends. The token is kept as its SHA-256 only."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error

from agentsight.errors import Invalid, NotFound

from .model import Principal, Scope, Share
from .ports import Store
from .reports import named
from .tenancy import digest

KINDS = ("analytics", "report", "conversation")
LIFETIMES_DAYS = (1, 7, 30, 90, 365)
MAX_HOSTS = 20
_HOST = re.compile(r"https?://(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*(:\d{1,5})?")
_DAY_US = 86_400_000_000
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def create(
    store: Store,
    who: Principal,
    *,
    kind: str,
    name: str,
    address: str = "",
    target: int | None = None,
    days: int | None = 30,
    password: str = "",
    hosts: Sequence[str] = (),
    now_us: int,
) -> tuple[str, Share]:
    """A token, whole for this one time, and its share. `days` None: until somebody revokes it.

    Raises:
        Invalid: an unknown kind, a blank name, a host that is no origin, a password no share of this kind can have.
    """
    if kind not in KINDS:
        raise Invalid.of("kind", f"must be one of {', '.join(KINDS)}")
    if password and hosts:
        raise Invalid.of("password", "does not go with framing: a frame cannot ask for it")
    if days is not None and not 1 <= days <= 3650:
        raise Invalid.of("days", "must be between 1 and 3650")
    token = secrets.token_urlsafe(32)
    new = Share(
        0,
        who.scope.organization_id,
        who.scope.agent_ids,
        kind,
        target,
        named(name),
        who.name,
        address,
        tuple(_origin(host) for host in hosts[:MAX_HOSTS]),
        _hasher.hash(password) if password else None,
        now_us,
        now_us + days * _DAY_US if days else None,
    )
    return token, store.shares.add(new, digest(token))


def _origin(text: str) -> str:
    host = text.strip().lower().rstrip("/")
    if host == "*":
        return host
    if not _HOST.fullmatch(host):
        raise Invalid.of("hosts", f"{text[:80]} is not an origin such as https://www.example.com")
    return host


def find(store: Store, token: str, now_us: int) -> Share:
    """The share of this token. Raises NotFound when it never was, ended or was revoked; it does not say which."""
    found = store.shares.found(digest(token))
    if found is None or found.revoked_us is not None or (found.expires_us is not None and found.expires_us <= now_us):
        raise NotFound("this link does not work, or no longer")
    return found


def opens(share: Share, password: str) -> bool:
    """Whether this password opens the share; without one set, any does."""
    if share.password is None:
        return True
    try:
        return _hasher.verify(share.password, password)
    except Argon2Error:
        return False


def every(store: Store, scope: Scope) -> list[Share]:
    """The shares of agents this scope may see, newest first."""
    return [one for one in store.shares.all(scope.organization_id) if set(one.agent_ids) <= set(scope.agent_ids)]


def revoke(store: Store, scope: Scope, id: int, now_us: int) -> None:
    """Raises NotFound."""
    if id not in {one.id for one in every(store, scope)} or not store.shares.revoke(scope.organization_id, id, now_us):
        raise NotFound("no such share")
