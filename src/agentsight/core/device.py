"""The kind of device a conversation is held on: what the caller said, else what the browser's user agent tells."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ua_parser import parse

from .measures import normal

_HEADERS = ("user_agent", "user-agent", "userAgent", "User-Agent")
_MOBILE = frozenset(
    {"Android", "BlackBerry OS", "Firefox OS", "HarmonyOS", "KaiOS", "Windows Phone", "iOS", "Symbian OS", "Tizen"}
)
_DESKTOP = frozenset({"Chrome OS", "FreeBSD", "Mac OS X", "OpenBSD", "Solaris", "Windows"})
_LINUX = frozenset({"Arch Linux", "Debian", "Fedora", "Gentoo", "Linux", "Mint", "Red Hat", "SUSE", "Ubuntu"})


def kind(device: str | None, metadata: Mapping[str, Any]) -> str | None:
    """`device` in lower case where it was given, else `desktop`, `mobile` or `tablet` by the metadata's `user_agent`.

    None when neither tells; crawlers and scripts are no device.

    >>> kind("Mobile", {}), kind(None, {"user_agent": "Mozilla/5.0 (iPad; CPU OS 16_0 like Mac OS X)"}), kind(None, {})
    ('mobile', 'tablet', None)
    """
    if device and device.strip():
        return normal(device)
    for header in _HEADERS:
        user_agent = metadata.get(header)
        if isinstance(user_agent, str):
            return _by_user_agent(user_agent[:1_000])
    return None


@lru_cache(maxsize=4_096)
def _by_user_agent(user_agent: str) -> str | None:
    """Android says `Mobile` on phones only. Source: developer.chrome.com, User-Agent strings."""
    parsed = parse(user_agent)
    system = parsed.os.family if parsed.os else ""
    model = parsed.device.family if parsed.device else ""
    if model == "Spider":
        return None
    if "iPad" in user_agent or "Tablet" in user_agent or "Kindle" in model:
        return "tablet"
    if system == "Android" and "Mobile" not in user_agent:
        return "tablet"
    if system in _MOBILE or "Mobile" in user_agent:
        return "mobile"
    return "desktop" if system in _DESKTOP or system in _LINUX else None
