"""What an organization sets for itself: its name, zone and looks; its agents, people and keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from zoneinfo import available_timezones

from agentsight.errors import Invalid, NotFound, TooLarge

from . import attachments, metrics
from .model import Agent, Organization, Principal, User
from .ports import Blobs, Store
from .reports import named

RADII = ("square", "soft", "round", "pill")
FONTS = ("system", "inter", "serif", "rounded")
LOGOS = ("image/png", "image/jpeg", "image/webp", "image/gif")
MAX_LOGO_BYTES = 512 * 1024
MAX_ACTIONS = 50
_COLOUR = re.compile(r"#[0-9a-f]{6}")


def set_general(
    store: Store, organization: Organization, name: str, timezone: str, clients_see_tokens: bool
) -> Organization:
    """Raises Invalid for a blank name or an unknown zone."""
    if timezone not in available_timezones():
        raise Invalid.of("timezone", "must be an IANA time zone such as UTC or Europe/Zagreb")
    settings = {**organization.settings, "clients_see_tokens": clients_see_tokens}
    return _kept(store, replace(organization, name=named(name), timezone=timezone, settings=settings))


def set_brand(store: Store, organization: Organization, told: Mapping[str, str]) -> Organization:
    """Colours, corners, font and the name shown. Raises Invalid."""
    brand = dict(organization.settings.get("brand") or {})
    for field in ("accent", "accent2"):
        colour = told.get(field, "").strip().lower()
        if not _COLOUR.fullmatch(colour):
            raise Invalid.of(field, "must be a colour such as #2f7df6")
        brand[field] = colour
    for field, allowed in (("radius", RADII), ("font", FONTS)):
        if told.get(field) not in allowed:
            raise Invalid.of(field, f"must be one of {', '.join(allowed)}")
        brand[field] = told[field]
    brand["name"] = named(told.get("name") or organization.name)
    return _branded(store, organization, brand)


def set_logo(store: Store, blobs: Blobs, organization: Organization, which: str, data: bytes | None) -> Organization:
    """Keep a picture as `logo` or `logo_dark`, or take it away (None). Raises Invalid, TooLarge."""
    if which not in ("logo", "logo_dark"):
        raise Invalid.of("which", "must be logo or logo_dark")
    brand = dict(organization.settings.get("brand") or {})
    if data is None:
        brand.pop(which, None)
        return _branded(store, organization, brand)
    if len(data) > MAX_LOGO_BYTES:
        raise TooLarge(f"a logo may have {MAX_LOGO_BYTES // 1024} KB at most")
    kind = attachments.sniffed(data)
    if kind not in LOGOS:
        raise Invalid.of("logo", "must be a PNG, JPEG, WebP or GIF picture")
    brand[which] = {"sha256": blobs.put(data), "mime_type": kind}
    return _branded(store, organization, brand)


def _branded(store: Store, organization: Organization, brand: dict[str, Any]) -> Organization:
    return _kept(store, replace(organization, settings={**organization.settings, "brand": brand}))


def _kept(store: Store, organization: Organization) -> Organization:
    store.settings.keep_organization(organization)
    return organization


def set_agent(store: Store, agent: Agent, name: str, escalation_actions: str) -> Agent:
    """An agent's name and which of its actions mean that a human takes over. Raises Invalid."""
    actions = sorted({part.strip() for part in escalation_actions.replace("\n", ",").split(",") if part.strip()})
    if len(actions) > MAX_ACTIONS:
        raise Invalid.of("escalation_actions", f"are more than {MAX_ACTIONS}")
    changed = replace(agent, name=named(name), settings={**agent.settings, "escalation_actions": actions})
    store.settings.keep_agent(changed)
    metrics.escalate_again(store, agent, changed)
    return changed


def people(store: Store, organization: Organization) -> list[User]:
    return store.settings.users(organization.id)


def remove_person(store: Store, who: Principal, id: int) -> None:
    """End somebody's access. Raises Invalid for oneself, NotFound for strangers."""
    if id == who.user_id:
        raise Invalid.of("id", "is your own; somebody else has to remove you")
    if not store.settings.remove_user(who.scope.organization_id, id):
        raise NotFound("no such person")


def revoke_key(store: Store, who: Principal, id: int, now_us: int) -> None:
    """Raises NotFound."""
    if not store.settings.revoke_key(who.scope.organization_id, id, now_us):
        raise NotFound("no such key")
