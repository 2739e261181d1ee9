"""Guessing gets slower: failures are counted by account and by address, in the database, so that every process knows.

Nobody is locked out: live sessions and one-time links go on, and the longest an account waits is a minute.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agentsight.errors import RateLimited

from .ports import Store

FORGOTTEN_US = 15 * 60_000_000  # so long without a failure, and it counts as none


@dataclass(frozen=True, slots=True)
class Limit:
    """How many failures are free, and how long one waits at most after more."""

    free: int
    longest_s: int


ACCOUNT = Limit(5, 60)
ADDRESS = Limit(10, 900)


def names(account: str, ip: str | None = None) -> dict[str, Limit]:
    """Whose failures these would be, as they are kept: nobody's e-mail or address stands in the table."""
    known = {}
    if account:
        known[_digest(f"account:{account.strip().lower()}")] = ACCOUNT
    if ip:
        known[_digest(f"address:{_network(ip)}")] = ADDRESS
    return known


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _network(ip: str) -> str:
    """An address; of version 6 the network, for one household has many."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def require(store: Store, whose: Iterable[str], now_us: int) -> None:
    """Raises RateLimited while one of them has to wait."""
    waits = [attempt.until_us - now_us for attempt in store.people.attempts(list(whose)).values()]
    if waits and max(waits) > 0:
        seconds = -(-max(waits) // 1_000_000)
        raise RateLimited(f"too many attempts; try again in {seconds} seconds", retry_after_s=seconds)


def failed(store: Store, whose: Mapping[str, Limit], now_us: int) -> None:
    """Count a failure; the next attempt has to wait the longer the more there were."""
    known = store.people.attempts(list(whose))
    for name, limit in sorted(whose.items()):
        before = known.get(name)
        failures = before.failures if before and before.last_us > now_us - FORGOTTEN_US else 0
        failures += 1
        wait_s = min(2 ** min(failures - limit.free, 16), limit.longest_s) if failures >= limit.free else 0
        store.people.keep_attempt(name, failures, now_us, now_us + wait_s * 1_000_000)
    store.people.forget_attempts_before(now_us - 24 * 3600 * 1_000_000)


def succeeded(store: Store, account: str) -> None:
    """The account's failures are forgotten; the address's are not, or a guesser with an account could go on for ever."""
    store.people.forget_attempts(list(names(account)))
