"""White-label looks: a brand's two colours in, a style sheet that is readable in both themes out."""

from __future__ import annotations

import colorsys
import hashlib
import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .text import initials

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
SURFACES = {"light": "#ffffff", "dark": "#14171d"}
GROUNDS = {"light": ("#ffffff", "#f5f6f8", "#f0f2f5"), "dark": ("#14171d", "#0c0e12", "#1d2129")}
"""What coloured text stands on in each theme: the card, the page, the quiet field; beside them the colour's own tint."""
TINT = 0.15
TEXT, SHAPE = 4.5, 3.0  # WCAG 2.2: text, and shapes one has to see
FONTS = {
    "system": '-apple-system,"Segoe UI",Roboto,"Noto Sans","Liberation Sans",Arial,sans-serif',
    "inter": 'Inter,-apple-system,"Segoe UI",Roboto,"Noto Sans","Liberation Sans",Arial,sans-serif',
    "serif": 'Charter,"Bitstream Charter","Noto Serif",Georgia,serif',
    "rounded": 'ui-rounded,"SF Pro Rounded",Nunito,"Varela Round",Inter,"Segoe UI",sans-serif',
}
RADII = {"square": 3, "soft": 8, "round": 12, "pill": 18}
FILES = ("logo", "logo_dark", "favicon", "font_file")
MAKER = "AgentSight"  # named where nobody's brand is, and where a brand wants it


@dataclass(frozen=True, slots=True)
class Brand:
    """How an organization's dashboard looks."""

    name: str
    accent: str = "#2f7df6"
    accent2: str = "#14b88a"
    radius: str = "round"
    font: str = "inter"
    logo: str = ""  # addresses of uploaded files, none: the letter mark, our fonts
    logo_dark: str = ""
    favicon: str = ""
    font_file: str = ""
    powered: bool = False  # says what it is made with
    ours: bool = False  # nobody's: the installation itself

    @classmethod
    def of(cls, name: str, settings: Mapping[str, Any], files: str = "") -> Brand:
        """The brand in an organization's settings, its files below `files`; whatever is unsound there is ours."""
        plain = cls(name)

        def colour(key: str, other: str) -> str:
            value = settings.get(key)
            return value.lower() if isinstance(value, str) and _COLOUR.fullmatch(value) else other

        def address(which: str) -> str:
            kept = settings.get(which)
            return f"{files}{which}/{kept['sha256']}" if files and isinstance(kept, dict) else ""

        shown, own = settings.get("name"), address("font_file")
        fonts = (*FONTS, "own") if own else tuple(FONTS)
        return cls(
            name=shown if isinstance(shown, str) and shown.strip() else name,
            accent=colour("accent", plain.accent),
            accent2=colour("accent2", plain.accent2),
            radius=settings["radius"] if settings.get("radius") in RADII else plain.radius,
            font=settings["font"] if settings.get("font") in fonts else plain.font,
            logo=address("logo"),
            logo_dark=address("logo_dark"),
            favicon=address("favicon"),
            font_file=own,
            powered=bool(settings.get("powered")),
        )

    @property
    def version(self) -> str:
        """Changes with everything the style sheet and the drawn icon show."""
        return hashlib.sha256((style(self) + icon(self)).encode()).hexdigest()[:10]

    @property
    def letters(self) -> str:
        """One or two letters that stand for the name."""
        found = initials(self.name)
        return found if found != "?" else next((mark for mark in self.name if mark.isalnum()), "•")


def style(brand: Brand, where: str = ":root") -> str:
    """The brand's style sheet: custom properties only, for `where` they should hold."""
    button, on_button = buttons(brand.accent)
    told = {
        "brand": brand.accent,
        "accent": _both(lines(brand.accent)),
        "accent2": _both(lines(brand.accent2)),
        "accent-btn": button,
        "accent-fg": on_button,
        "accent-edge": _both({theme: readable(button, (ground,), 1.35) for theme, ground in SURFACES.items()}),
        "accent-text": _both(texts(brand.accent)),
        "radius": f"{RADII[brand.radius]}px",
        "font": f"Own,{FONTS['system']}" if brand.font == "own" else FONTS[brand.font],
    }
    face = f'@font-face{{font-family:Own;src:url("{brand.font_file}") format("woff2");font-display:swap}}'
    properties = ";".join(f"--{name}:{value}" for name, value in told.items())
    return (face if brand.font == "own" else "") + f"{where}{{{properties}}}"


def lines(accent: str) -> dict[str, str]:
    """The colour of lines, bars and maps in each theme: seen against the card, whatever the brand's colour is."""
    return {theme: readable(accent, (surface,), SHAPE) for theme, surface in SURFACES.items()}


def texts(accent: str) -> dict[str, str]:
    """The colour of words in each theme: readable on every ground and on the colour's own tint."""
    shown = lines(accent)
    return {
        theme: readable(accent, (*grounds, mixed(shown[theme], SURFACES[theme], TINT)), TEXT + 0.2)
        for theme, grounds in GROUNDS.items()
    }


def buttons(accent: str) -> tuple[str, str]:
    """A button's colour and the colour of its words."""
    words = "#ffffff" if contrast(accent, "#ffffff") >= SHAPE else "#0b0d12"
    return readable(accent, (words,), TEXT), words


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a brand's colour is used in one theme: the shade, how it stands out, and whether it is the one chosen."""

    use: str  # text, button or line
    theme: str
    shade: str
    ratio: float
    chosen: bool


def verdicts(accent: str) -> list[Verdict]:
    """What becomes of a colour, for its owner to see."""
    words, shapes, (button, on_button) = texts(accent), lines(accent), buttons(accent)
    found = []
    for theme, surface in SURFACES.items():
        found.append(Verdict("text", theme, words[theme], contrast(words[theme], surface), words[theme] == accent))
        found.append(Verdict("button", theme, button, contrast(button, on_button), button == accent))
        found.append(Verdict("line", theme, shapes[theme], contrast(shapes[theme], surface), shapes[theme] == accent))
    return found


def icon(brand: Brand) -> str:
    """A drawn picture for the browser's tab, where a brand has uploaded none."""
    button, words = buttons(brand.accent)
    if brand.ours:
        path = "M7 21.5l5.4-9.5 4.2 6.4 3-4.9L25 21.5"
        shape = f'<path d="{path}" fill="none" stroke="{words}" stroke-width="2.6" stroke-linecap="round"/>'
    else:
        size = 15 if len(brand.letters) > 1 else 19
        shape = (
            f'<text x="16" y="{16 + size * 0.36:.1f}" font-family="sans-serif" font-weight="700" font-size="{size}" '
            f'text-anchor="middle" fill="{words}">{html.escape(brand.letters)}</text>'
        )
    corner = min(RADII[brand.radius], 10)
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" width="32" height="32">'
    return f'{head}<rect width="32" height="32" rx="{corner}" fill="{button}"/>{shape}</svg>'


# -- colours ---------------------------------------------------------------------------------------------------------
def contrast(one: str, two: str) -> float:
    """WCAG contrast of two colours, 1 to 21.

    >>> round(contrast("#000000", "#ffffff"))
    21
    """
    low, high = sorted((_luminance(one), _luminance(two)))
    return (high + 0.05) / (low + 0.05)


def readable(colour: str, grounds: Iterable[str], wanted: float) -> str:
    """`colour`, made lighter or darker until it stands out from every one of `grounds` by `wanted`."""
    all_of_them = tuple(grounds)
    hue, light, saturation = colorsys.rgb_to_hls(*(channel / 255 for channel in _channels(colour)))
    step = 0.01 if _luminance(all_of_them[0]) < 0.2 else -0.01
    while 0 <= light <= 1:
        shade = _hex([round(255 * channel) for channel in colorsys.hls_to_rgb(hue, light, saturation)])
        if all(contrast(shade, ground) >= wanted for ground in all_of_them):
            return shade
        light += step
    return "#ffffff" if step > 0 else "#000000"


def mixed(colour: str, background: str, part: float) -> str:
    """`part` of `colour` over `background`."""
    pairs = zip(_channels(colour), _channels(background), strict=True)
    return _hex([round(above * part + below * (1 - part)) for above, below in pairs])


def _both(shades: Mapping[str, str]) -> str:
    return f"light-dark({shades['light']},{shades['dark']})"


def _channels(colour: str) -> list[int]:
    return [int(colour[start : start + 2], 16) for start in (1, 3, 5)]


def _hex(channels: list[int]) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in channels)


def _luminance(colour: str) -> float:
    def linear(channel: float) -> float:
        return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(channel / 255) for channel in _channels(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
