"""Signing in with a password: slow to guess, and as slow for somebody we do not know."""

from __future__ import annotations

from agentsight.errors import Unauthorized

from . import audit, passwords, throttle
from .model import Principal, Scope, User
from .ports import Storage, Store


def authenticate(storage: Storage, email: str, password: str, ip: str | None, now_us: int) -> User:
    """Whose e-mail address and password these are.

    Raises:
        Unauthorized: nobody's; it does not say which of the two is wrong.
        RateLimited: there were too many failures; carries `retry_after_s`.
        ServerFailed: too many passwords are being checked at once.
    """
    plain = email.strip().lower()[:255]
    whose = throttle.names(plain, ip)

    def ask(store: Store) -> tuple[User | None, str | None]:
        throttle.require(store, whose, now_us)
        known = store.tenants.user_by_email(plain)
        return known, store.people.password(known.id if known else 0)

    user, kept = storage.read(ask)
    is_right = passwords.proves(kept, password)

    def settle(store: Store) -> None:
        throttle.require(store, whose, now_us)  # others may have failed meanwhile
        if is_right:
            throttle.succeeded(store, plain)
            return
        throttle.failed(store, whose, now_us)
        if user is not None:
            who = Principal(Scope(user.organization_id, ()), user.role, user_id=user.id, name=user.email)
            audit.note(store, who, "sign_in_failed", ip=ip, now_us=now_us, result="refused")

    storage.write(settle).result()
    if user is None or not is_right:
        raise Unauthorized("that is not the e-mail address and password of anybody here")
    return user
