"""Host names: an organization's own addresses for its dashboard. Each belongs to one organization."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

import idna

from agentsight.errors import Invalid, NotFound

from .model import HostName, Organization
from .ports import Store

MOST = 20


def normal(text: str) -> str:
    """A host name as browsers send it: lower case, ASCII, no last dot.

    >>> normal("https://Statistik.Müller.example/")
    'statistik.xn--mller-kva.example'

    Raises:
        Invalid: it is an address, this machine, or no host name at all.
    """
    host = text.strip().rstrip("/").lower()
    host = host.removeprefix("https://").removeprefix("http://").rstrip(".")
    try:
        plain = idna.encode(host, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        raise Invalid.of("host", f"{text[:80]} is not a host name such as analytics.example.com") from None
    if plain == "localhost" or plain.rpartition(".")[2].isdigit() or _is_address(plain):
        raise Invalid.of("host", f"{text[:80]} is this machine or an address, not a name of yours")
    if "." not in plain:
        raise Invalid.of("host", f"{text[:80]} lacks a domain, as in analytics.example.com")
    return plain


def readable(host: str) -> str:
    """The name in its own script.

    >>> readable("xn--mller-kva.example")
    'müller.example'
    """
    try:
        return idna.decode(host)
    except (idna.IDNAError, UnicodeError):
        return host


def add(store: Store, organization: Organization, text: str, ours: Collection[str], now_us: int) -> HostName:
    """Give the organization a host name; `ours` are the installation's own. Raises Invalid."""
    host = normal(text)
    known = store.hosts.found(host)
    if known is not None and known.organization_id == organization.id:
        return known
    if known is not None or host in ours:
        raise Invalid.of("host", f"{readable(host)[:80]} is taken")
    if len(store.hosts.of(organization.id)) >= MOST:
        raise Invalid.of("host", f"is one too many; an organization may have {MOST}")
    return store.hosts.add(HostName(host, organization.id, now_us))


def remove(store: Store, organization: Organization, host: str) -> None:
    """Raises NotFound."""
    if not store.hosts.remove(organization.id, host):
        raise NotFound("no such host name")


def primary(store: Store, organization_id: int) -> str | None:
    """The name to build links with: the first that people have reached us by; None when there is none yet."""
    return next((one.host for one in store.hosts.of(organization_id) if one.seen_us is not None), None)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
