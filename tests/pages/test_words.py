"""How numbers are written, in every language there is."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from babel import Locale, localedata, numbers

from agentsight.server.ui.words import Voice

pytestmark = pytest.mark.drawn

SOME = (0, 1, 999, 1_000, 1_234, 9_999.0, 10_000, 123_456, 1_234_567, 10**9, 0.4, 0.5, 1.5, 12_345.5, -0.0, -7, -1_234)


@pytest.mark.parametrize("letter", "abcdefghijklmnopqrstuvwxyz")
def test_whole_numbers_are_written_as_their_language_has_it(letter: str):
    for tag in localedata.locale_identifiers():
        if tag.startswith(letter):
            locale = Locale.parse(tag)
            said = [Voice(locale, ZoneInfo("UTC")).number(value) for value in SOME]
            assert said == [numbers.format_decimal(value or 0, format="#,##0", locale=locale) for value in SOME], tag
