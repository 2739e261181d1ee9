"""The languages people are spoken to in, and their catalogues: for the dashboard and for the chat page."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

from babel import Locale, UnknownLocaleError
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

LOCALES = Path(__file__).parent / "server" / "locales"
LANGUAGES = {"en": "English", "de": "Deutsch"}
DEFAULT = "en_GB"


@cache
def translations(language: str) -> NullTranslations:
    """The catalogue of a language; English is the text in the source."""
    path = LOCALES / f"{language}.po"
    if not path.is_file():
        return NullTranslations()
    compiled = io.BytesIO()
    with path.open("rb") as source:
        write_mo(compiled, read_po(source, locale=language))
    compiled.seek(0)
    return Translations(compiled)


@cache
def locale_of(tag: str) -> Locale:
    """The locale a browser's tag names, as far as we speak it; English otherwise."""
    try:
        locale = Locale.parse(tag, sep="-")
    except (ValueError, UnknownLocaleError):
        return Locale.parse(DEFAULT)
    return locale if locale.language in LANGUAGES else Locale.parse(DEFAULT)


def negotiate(chosen: str | None, accepted: str) -> Locale:
    """The locale for somebody who chose a language, else for what the browser accepts, best first.

    >>> str(negotiate(None, "hr, de-AT;q=0.8, en;q=0.5")), str(negotiate("de", "en-US"))
    ('de_AT', 'de')
    """
    tags = [part.split(";")[0].strip() for part in accepted.split(",")[:12]]
    wanted = [tag for tag in tags if tag.split("-")[0].lower() in LANGUAGES and len(tag) < 12]
    if chosen in LANGUAGES:
        wanted = [tag for tag in wanted if tag.split("-")[0].lower() == chosen] or [chosen]
    tag = wanted[0] if wanted else DEFAULT.replace("_", "-")
    return locale_of(DEFAULT.replace("_", "-") if tag == "en" else tag)
