"""An organization's brand: its name, colours, corners, font and files. What is kept is sound; pages only show it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agentsight.errors import Invalid, TooLarge

from . import pictures
from .model import Organization
from .ports import Blobs, Store
from .reading import named

RADII = ("square", "soft", "round", "pill")
FONTS = ("system", "inter", "serif", "rounded", "own")
FILES = {"logo": 512, "logo_dark": 512, "favicon": 128, "font_file": 512}
"""What may be uploaded, and how many kilobytes it may have."""
MOST_KB = max(FILES.values())
MOST_PIXELS = 4_096
FONT_TYPE = "font/woff2"
_COLOUR = re.compile(r"#[0-9a-f]{6}")


def save(store: Store, organization: Organization, told: Mapping[str, str]) -> Organization:
    """Keep the look; files stay as they are. Raises Invalid."""
    return _keep(store, organization, _kept(organization) | read(organization, told))


def read(organization: Organization, told: Mapping[str, str]) -> dict[str, Any]:
    """A look out of a form. Raises Invalid, naming the field."""
    brand: dict[str, Any] = {"name": named(told.get("name") or organization.name), "powered": bool(told.get("powered"))}
    for field in ("accent", "accent2"):
        colour = told.get(field, "").strip().lower()
        if not _COLOUR.fullmatch(colour):
            raise Invalid.of(field, "must be a colour such as #2f7df6")
        brand[field] = colour
    for field, allowed in (("radius", RADII), ("font", FONTS)):
        if told.get(field) not in allowed:
            raise Invalid.of(field, f"must be one of {', '.join(allowed)}")
        brand[field] = told[field]
    if brand["font"] == "own" and "font_file" not in _kept(organization):
        raise Invalid.of("font", "is to be your own, but none is uploaded")
    return brand


def keep_file(store: Store, blobs: Blobs, organization: Organization, which: str, data: bytes | None) -> Organization:
    """Keep a logo, icon or font, or take it away (None). Raises Invalid, TooLarge."""
    if which not in FILES:
        raise Invalid.of("which", f"must be one of {', '.join(FILES)}")
    brand = _kept(organization)
    if data is None:
        brand.pop(which, None)
        if which == "font_file" and brand.get("font") == "own":
            brand["font"] = "system"
        return _keep(store, organization, brand)
    if len(data) > FILES[which] * 1024:
        raise TooLarge(f"{which}: may have {FILES[which]} KB at most")
    mime_type = _font(data) if which == "font_file" else _picture(which, data)
    if which == "font_file":
        brand["font"] = "own"
    return _keep(store, organization, {**brand, which: {"sha256": blobs.put(data), "mime_type": mime_type}})


def _font(data: bytes) -> str:
    if not pictures.is_font(data):
        raise Invalid.of("font_file", "must be one whole WOFF2 file")
    return FONT_TYPE


def _picture(which: str, data: bytes) -> str:
    kind, size = pictures.kind(data), pictures.size(data)
    if kind is None or (kind == pictures.ICON and which != "favicon"):
        raise Invalid.of(which, "must be a PNG, JPEG, WebP or GIF picture")
    if size is None or not (0 < size[0] <= MOST_PIXELS and 0 < size[1] <= MOST_PIXELS):
        raise Invalid.of(which, f"must be a whole picture of at most {MOST_PIXELS} pixels a side")
    return kind


def _kept(organization: Organization) -> dict[str, Any]:
    kept = organization.settings.get("brand")
    return dict(kept) if isinstance(kept, Mapping) else {}


def _keep(store: Store, organization: Organization, brand: dict[str, Any]) -> Organization:
    changed = replace(organization, settings={**organization.settings, "brand": brand})
    store.settings.keep_organization(changed)
    return changed
