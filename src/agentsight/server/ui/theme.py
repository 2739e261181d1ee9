"""White-label colours: a brand's two colours in, a style sheet that is readable in both themes out."""

from __future__ import annotations

import colorsys
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
SURFACES = {"light": "#ffffff", "dark": "#14171d"}
FONTS = {
    "system": '-apple-system,"Segoe UI",Roboto,"Noto Sans","Liberation Sans",Arial,sans-serif',
    "inter": 'Inter,-apple-system,"Segoe UI",Roboto,"Noto Sans","Liberation Sans",Arial,sans-serif',
    "serif": 'Charter,"Bitstream Charter","Noto Serif",Georgia,serif',
    "rounded": 'ui-rounded,"SF Pro Rounded",Nunito,"Varela Round",Inter,"Segoe UI",sans-serif',
}
RADII = {"square": 3, "soft": 8, "round": 12, "pill": 18}


@dataclass(frozen=True, slots=True)
class Brand:
    """How an organization's dashboard looks."""

    name: str
    accent: str = "#2f7df6"
    accent2: str = "#14b88a"
    radius: str = "round"
    font: str = "inter"
    logo: str = ""  # address of an uploaded logo, none: the letter mark
    logo_dark: str = ""

    @classmethod
    def of(cls, name: str, settings: Mapping[str, Any]) -> Brand:
        """The brand in an organization's settings; whatever is missing or unsound there is ours."""
        plain = cls(name)

        def colour(key: str, other: str) -> str:
            value = settings.get(key)
            return value.lower() if isinstance(value, str) and _COLOUR.fullmatch(value) else other

        shown = settings.get("name")
        return cls(
            name=shown if isinstance(shown, str) and shown.strip() else name,
            accent=colour("accent", plain.accent),
            accent2=colour("accent2", plain.accent2),
            radius=settings["radius"] if settings.get("radius") in RADII else plain.radius,
            font=settings["font"] if settings.get("font") in FONTS else plain.font,
            logo=str(settings.get("logo") or ""),
            logo_dark=str(settings.get("logo_dark") or ""),
        )

    @property
    def version(self) -> str:
        return hashlib.sha256(style(self).encode()).hexdigest()[:10]


def style(brand: Brand) -> str:
    """The brand's style sheet: custom properties only."""
    accent, button = brand.accent, brand.accent
    on_button = "#ffffff" if contrast(accent, "#ffffff") >= 3 else "#0b0d12"
    if contrast(button, on_button) < 4.5:
        button = readable(accent, on_button, 4.5)
    text = {theme: readable(accent, mixed(accent, surface, 0.15), 4.7) for theme, surface in SURFACES.items()}
    return (
        f":root{{--accent:{accent};--accent2:{brand.accent2};--accent-btn:{button};--accent-fg:{on_button};"
        f"--accent-text:light-dark({text['light']},{text['dark']});"
        f"--radius:{RADII[brand.radius]}px;--font:{FONTS[brand.font]}}}"
    )


def contrast(one: str, two: str) -> float:
    """WCAG contrast of two colours, 1 to 21.

    >>> round(contrast("#000000", "#ffffff"))
    21
    """
    low, high = sorted((_luminance(one), _luminance(two)))
    return (high + 0.05) / (low + 0.05)


def readable(colour: str, background: str, wanted: float) -> str:
    """`colour`, made lighter or darker until it stands out from `background` by `wanted`."""
    hue, light, saturation = colorsys.rgb_to_hls(*(channel / 255 for channel in _channels(colour)))
    step = 0.01 if _luminance(background) < 0.2 else -0.01
    while 0 <= light <= 1:
        shade = _hex([round(255 * channel) for channel in colorsys.hls_to_rgb(hue, light, saturation)])
        if contrast(shade, background) >= wanted:
            return shade
        light += step
    return "#ffffff" if step > 0 else "#000000"


def mixed(colour: str, background: str, part: float) -> str:
    """`part` of `colour` over `background`."""
    pairs = zip(_channels(colour), _channels(background), strict=True)
    return _hex([round(above * part + below * (1 - part)) for above, below in pairs])


def _channels(colour: str) -> list[int]:
    return [int(colour[start : start + 2], 16) for start in (1, 3, 5)]


def _hex(channels: list[int]) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in channels)


def _luminance(colour: str) -> float:
    def linear(channel: float) -> float:
        return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(channel / 255) for channel in _channels(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
