"""The country an IP address belongs to, from data that came with a package. Nothing is asked of the network.

Source: `iptocc` (MIT or Apache-2.0) carries the delegation files of the five regional registries, which are public: the
country a block was assigned in, which is where it is used for about 95 % of IPv4. An MMDB file (GeoLite2, DB-IP,
IPinfo) named in the settings is asked first, and alone knows cities and time zones.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from pathlib import Path
from typing import Any

from iptocc import country_code

from agentsight.errors import ConfigError

_files: list[Any] = []  # the MMDB reader in use, if any


def use(mmdb: Path | None) -> None:
    """Look addresses up in this MMDB file first; None: only in what the package brings.

    Raises:
        ConfigError: the file cannot be read, or `maxminddb` is not installed.
    """
    if mmdb is not None:
        _files[:] = [_opened(mmdb)]
    else:
        _files.clear()
    country.cache_clear()


def _opened(mmdb: Path) -> Any:
    try:
        import maxminddb
    except ImportError:
        raise ConfigError("an MMDB file needs the package maxminddb: pip install maxminddb") from None
    try:
        return maxminddb.open_database(mmdb)
    except (OSError, ValueError, maxminddb.InvalidDatabaseError) as wrong:
        raise ConfigError(f"{mmdb} is not an MMDB file that can be read: {wrong}") from None


@lru_cache(maxsize=16_384)
def country(ip_text: str | None) -> str | None:
    """ISO 3166-1 alpha-2 of an address; None for private, reserved, malformed and unassigned ones.

    >>> country("8.8.8.8"), country("192.168.1.7"), country("testclient")
    ('US', None, None)
    """
    address = _public(ip_text)
    if address is None:
        return None
    code = _in_file(address).get("country") or country_code(str(address))
    return code.upper() if code and len(code) == 2 and code.isascii() and code.isalpha() else None


def location(ip_text: str | None) -> dict[str, str | None] | None:
    """What is known of an address: ip_address, city, country, timezone_name; None where the country is not known."""
    code = country(ip_text)
    if code is None or ip_text is None:
        return None
    found = _in_file(_public(ip_text))
    return {"ip_address": ip_text, "city": found.get("city"), "country": code, "timezone_name": found.get("zone")}


def _public(ip_text: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address((ip_text or "").strip())
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address.sixtofour or address
    return address if address.is_global and not address.is_multicast else None


def _in_file(address: Any) -> dict[str, str]:
    """`country`, `city` and `zone` by the MMDB file; MaxMind's layout and the flat one of IPinfo and others."""
    if not _files or address is None:
        return {}
    try:
        entry = _files[0].get(address)
    except ValueError:  # an IPv6 address in an IPv4 file
        return {}
    if not isinstance(entry, dict):
        return {}
    found = {
        "country": _text(entry.get("country"), "iso_code") or _text(entry.get("country_code")),
        "city": _text(entry.get("city"), "names", "en"),
        "zone": _text(entry.get("location"), "time_zone") or _text(entry.get("timezone")),
    }
    return {name: text for name, text in found.items() if text}


def _text(node: Any, *path: str) -> str | None:
    for key in path:
        if isinstance(node, dict):
            node = node.get(key)
    return node if isinstance(node, str) else None
