"""Any colour a brand may choose can be read, in both themes, on every ground the pages have."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentsight.server.ui import theme
from agentsight.server.ui.theme import Brand, contrast

pytestmark = pytest.mark.drawn

colours = st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}")
HARD = ("#ffffff", "#fefefe", "#000000", "#010101", "#808080", "#7f7f7f", "#ffff00", "#ffd400", "#00ff00", "#0000ff")


def hard(test):
    for colour in HARD:
        test = example(accent=colour)(test)
    return test


@hard
@given(accent=colours)
def test_words_lines_and_buttons_stand_out_whatever_the_colour(accent: str):
    words, lines = theme.texts(accent), theme.lines(accent)
    for name, grounds in theme.GROUNDS.items():
        tint = theme.mixed(lines[name], theme.SURFACES[name], 0.12)
        for ground in (*grounds, tint):
            assert contrast(words[name], ground) >= 4.5, (name, ground)
        assert contrast(lines[name], theme.SURFACES[name]) >= 3, name
    button, on_button = theme.buttons(accent)
    assert contrast(button, on_button) >= 4.5


@pytest.mark.parametrize("accent", ["#2563eb", "#0f766e", "#b91c1c", "#6d28d9"])
def test_a_colour_that_is_fine_stays_as_it_was_chosen(accent: str):
    assert theme.buttons(accent) == (accent, "#ffffff")
    assert theme.lines(accent)["light"] == accent


def test_the_grounds_are_those_of_the_style_sheet():
    from agentsight.server.ui.assets import STATIC

    css = (STATIC / "app.css").read_text()
    for place, name in enumerate(("surface", "bg", "surface2")):
        found = re.search(rf"--{name}: light-dark\((#\w+), (#\w+)\)", css)
        assert found
        for value, ground in zip(found.groups(), ("light", "dark"), strict=True):
            full = value if len(value) == 7 else "#" + "".join(2 * digit for digit in value[1:])
            assert theme.GROUNDS[ground][place] == full, name


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.one_of(st.text(), st.integers(), st.none(), colours, st.sampled_from(["own", "round"]))
            for name in ("name", "accent", "accent2", "radius", "font", "logo", "font_file")
        },
    )
)
def test_whatever_stands_in_the_settings_the_style_sheet_holds_properties_and_nothing_else(settings: dict[str, object]):
    brand = Brand.of("Acme", settings, "/brand/acme/")
    sheet = theme.style(brand)
    assert re.fullmatch(r":root\{(--[\w-]+:[^;{}<>\\]+;?)+\}", sheet), sheet
    assert "<script" not in theme.icon(brand)
