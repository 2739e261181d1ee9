"""Shares: a link shows one thing to whoever holds it, until it ends. The token is kept as its SHA-256 only."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence

from agentsight.errors import Invalid, NotFound, Unauthorized

from . import passwords, throttle
from .model import Principal, Scope, Share
from .ports import Storage, Store
from .reading import named
from .sight import EVERYTHING, Sight
from .tenancy import digest

KINDS = ("analytics", "report", "conversation")
PRESETS: Mapping[str, Sight] = {
    "full": EVERYTHING,
    "no_customer": Sight(customer=False),
    "no_costs": Sight(costs=False, tokens=False, metadata=False, customer=False),
    "numbers": Sight(costs=False, tokens=False, metadata=False, customer=False),
}
"""How much a share shows, each less than the one before. `numbers` leads to no conversation, so it is none's."""
THEMES = ("auto", "light", "dark")
LIFETIMES_DAYS = (1, 7, 30, 90, 365)
MAX_HOSTS = 20
_HOST = re.compile(r"https?://(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*(:\d{1,5})?")
_DAY_US = 86_400_000_000


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
    sight: str = "",
    theme: str = "auto",
    widgets: Sequence[str] = (),
    now_us: int,
) -> tuple[str, Share]:
    """A token, whole for this one time, and its share. `days` None: until somebody revokes it.

    Raises:
        Invalid: an unknown kind, sight or theme, a blank name, a host that is no origin, a password a frame cannot ask.
    """
    sight = sight or presets(kind)[-1]
    if sight not in presets(kind):
        raise Invalid.of("sight", f"must be one of {', '.join(presets(kind))}")
    if theme not in THEMES:
        raise Invalid.of("theme", f"must be one of {', '.join(THEMES)}")
    if password and hosts:
        raise Invalid.of("password", "does not go with framing: a frame cannot ask for it")
    if len(password) > passwords.LONGEST:
        raise Invalid.of("password", f"is longer than {passwords.LONGEST} characters")
    if len(hosts) > MAX_HOSTS:
        raise Invalid.of("hosts", f"are more than {MAX_HOSTS}")
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
        tuple(dict.fromkeys(_origin(host) for host in hosts)),
        passwords.hashed(password) if password else None,
        now_us,
        ending(days, now_us),
        sight=sight,
        theme=theme,
        widgets=tuple(widgets),
    )
    return token, store.shares.add(new, digest(token))


def presets(kind: str) -> tuple[str, ...]:
    """The sights a share of this kind can have, the narrowest last. Raises Invalid for an unknown kind."""
    if kind not in KINDS:
        raise Invalid.of("kind", f"must be one of {', '.join(KINDS)}")
    never = {"conversation": {"numbers"}, "report": {"no_customer", "numbers"}}.get(kind, set())
    return tuple(name for name in PRESETS if name not in never)


def ending(days: int | None, now_us: int) -> int | None:
    """When a share that works for so many days ends. Raises Invalid."""
    if days is not None and not 1 <= days <= 3_650:
        raise Invalid.of("days", "must be between 1 and 3650")
    return now_us + days * _DAY_US if days else None


def _origin(text: str) -> str:
    host = text.strip().lower().rstrip("/")
    if host == "*":
        return host
    if not _HOST.fullmatch(host) or len(host) > 255:
        raise Invalid.of("hosts", f"{text[:80]} is not an origin such as https://www.example.com")
    return host


def find(store: Store, token: str) -> Share:
    """The share of this token; it may have ended. Raises NotFound when there never was one, or it was revoked."""
    found = store.shares.found(digest(token))
    if found is None or found.revoked_us is not None:
        raise NotFound("this link does not work, or no longer")
    return found


def has_ended(share: Share, now_us: int) -> bool:
    return share.expires_us is not None and share.expires_us <= now_us


def unlock(storage: Storage, share: Share, password: str, ip: str | None, now_us: int) -> None:
    """Let this password open the share; without one set, any does.

    Raises:
        Unauthorized: it does not.
        RateLimited: there were too many guesses, at this share or from this address; carries `retry_after_s`.
    """
    if share.password is None:
        return
    account = f"share {share.id}"
    whose = throttle.names(account, ip)
    storage.read(lambda store: throttle.require(store, whose, now_us))
    is_right = passwords.proves(share.password, password)

    def settle(store: Store) -> None:
        throttle.require(store, whose, now_us)  # others may have guessed meanwhile
        if is_right:
            throttle.succeeded(store, account)
        else:
            throttle.failed(store, whose, now_us)

    storage.write(settle).result()
    if not is_right:
        raise Unauthorized("that is not the password of this link")


def every(store: Store, scope: Scope) -> list[Share]:
    """The shares of agents this scope may see, newest first."""
    return [one for one in store.shares.all(scope.organization_id) if set(one.agent_ids) <= set(scope.agent_ids)]


def get(store: Store, scope: Scope, id: int) -> Share:
    """One of them. Raises NotFound."""
    found = next((one for one in every(store, scope) if one.id == id), None)
    if found is None or found.revoked_us is not None:
        raise NotFound("no such share")
    return found


def extend(store: Store, scope: Scope, id: int, days: int | None, now_us: int) -> Share:
    """Let it end so many days from now; None: when somebody revokes it. Raises NotFound, Invalid."""
    found = get(store, scope, id)
    store.shares.expire(scope.organization_id, id, ending(days, now_us))
    return found


def revoke(store: Store, scope: Scope, id: int, now_us: int) -> Share:
    """End it for good. Raises NotFound."""
    found = get(store, scope, id)
    store.shares.revoke(scope.organization_id, id, now_us)
    return found
