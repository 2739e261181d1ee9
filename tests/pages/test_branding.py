"""An organization's look: chosen, tried on, kept; its files; what is refused."""

from __future__ import annotations

import html
import re
import struct
import zlib
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import expect

from .conftest import Looking, Site
from .test_shares import post
from .test_signing_in import csrf

PLAIN = {"name": "Demo", "accent": "#2f7df6", "accent2": "#14b88a", "radius": "round", "font": "inter"}


def png(colour: tuple[int, int, int], width: int = 96, height: int = 28) -> bytes:
    """A picture of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes(colour) * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def font(size: int = 64) -> bytes:
    """The head of a WOFF2 file; browsers look closer and fall back."""
    body = b"wOF2" + struct.pack(">IIHHIIHHIIIII", 0x10000, size, 1, 0, 1000, size - 52, 1, 0, 0, 0, 0, 0, 0)
    return body.ljust(size, b"\0")


@pytest.fixture
def at(site: Site, web: httpx.Client) -> Iterator[str]:
    """The branding page; afterwards all is as it was."""
    here = f"{site.base}/settings/branding"
    yield here
    for which in ("logo", "logo_dark", "favicon", "font_file"):
        post(web, here, f"{here}/files", which=which, remove="1")
    post(web, here, here, **PLAIN)


def upload(web: httpx.Client, at: str, which: str, data: bytes, name: str = "x.png") -> httpx.Response:
    form = {"csrf": csrf(web.get(at).text), "which": which}
    return web.post(f"{at}/files", data=form, files={"file": (name, data, "image/png")})


@pytest.mark.parametrize("colour", ["red", "#12345", "#12345g", "url(x)", "#000000;}body{display:none"])
def test_a_colour_that_is_none_is_refused(site: Site, web: httpx.Client, colour: str):
    at = f"{site.base}/settings/branding"
    form = {"name": "X", "accent": colour, "accent2": "#123456", "radius": "soft", "font": "inter"}
    answer = post(web, at, at, **form)
    assert answer.status_code == 400 and "accent" in answer.text


@pytest.mark.drawn
@pytest.mark.parametrize(
    "accent",
    ["#ffff00", pytest.param("#000000", marks=pytest.mark.slow), pytest.param("#ffffff", marks=pytest.mark.slow)],
)
def test_any_brand_colour_stays_readable(look: Looking, web: httpx.Client, accent: str):
    from axe_playwright_python.sync_playwright import Axe

    at = f"{look.site.base}/settings/branding"
    brand = {"name": "</style><b>Acme", "accent": accent, "accent2": "#0f766e", "radius": "square", "font": "serif"}
    assert post(web, at, at, **brand).status_code == 303
    try:
        for theme in ("light", "dark"):
            page = look.page("conversations", theme=theme, bypass_csp=True)
            assert page.locator(".side .brand bdi").inner_text() == "</style><b>Acme"
            result = Axe().run(page, options={"runOnly": ["color-contrast"]})
            assert result.violations_count == 0, result.generate_report()
    finally:
        plain = {"name": "Demo", "accent": "#2f7df6", "accent2": "#14b88a", "radius": "round", "font": "inter"}
        post(web, at, at, **plain)


# -- tried on before it is kept -------------------------------------------------------------------------------------
def test_a_look_is_tried_without_a_script_and_kept_by_saving(look: Looking, at: str):
    page = look.page("settings/branding", java_script_enabled=False)
    page.get_by_label("Name shown").fill("Aurora")
    page.get_by_label("First colour").fill("#aa3377")
    page.get_by_role("button", name="Preview").click()
    pane = page.locator(".try.light")
    expect(pane.locator("bdi")).to_have_text("Aurora")
    expect(pane.locator(".btn.main")).to_have_css("background-color", "rgb(170, 51, 119)")
    expect(page.locator(".side .brand bdi")).to_have_text("Demo")
    page.reload()  # asks again, keeps nothing
    page.goto(look.address("settings/branding"))
    expect(pane.locator("bdi")).to_have_text("Demo")
    page.get_by_label("First colour").fill("#aa3377")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".side .mark rect")).to_have_css("fill", "rgb(170, 51, 119)")


def test_a_look_is_seen_while_it_is_typed(look: Looking, at: str):
    page = look.page("settings/branding", theme="dark")
    page.get_by_label("First colour").fill("#ffee00")
    expect(page.locator(".try.dark .btn.main")).to_have_css("background-color", "rgb(255, 238, 0)")
    expect(page.locator(".verdicts tbody tr").first.locator(".tag").first).to_have_text("adjusted")
    page.get_by_label("Name shown").fill("Yellow Cab")
    expect(page.locator(".try.light bdi")).to_have_text("Yellow Cab")
    expect(page.locator(".try.light .mark text")).to_have_text("YC")
    expect(page.locator(".try.light")).to_have_css("color-scheme", "light")
    expect(page.locator(".side .brand bdi")).to_have_text("Demo")


# -- files -----------------------------------------------------------------------------------------------------------
BIG = struct.pack(">I", 60_000)


@pytest.mark.parametrize(
    ("which", "data", "why"),
    [
        ("logo", b"<svg onload=alert(1)>", "must be a PNG"),
        ("logo", b"\x89PNG\r\n\x1a\n<html><script>alert(1)</script>", "whole picture"),
        ("logo", png((1, 2, 3)).replace(struct.pack(">I", 96), BIG, 1), "4096 pixels"),
        ("logo", png((1, 2, 3)) + b"0" * 600_000, "512 KB"),
        ("logo", b"\0\0\1\0\1\0 ", "must be a PNG"),
        ("favicon", png((1, 2, 3)) + b"0" * 140_000, "128 KB"),
        ("font_file", b"OTTO" + b"0" * 100, "WOFF2"),
        ("font_file", font() + b"more", "WOFF2"),
        ("font_file", font()[:47], "WOFF2"),
        ("nothing", png((1, 2, 3)), "must be one of"),
        ("logo", b"", "Choose a file"),
    ],
)
def test_a_file_that_is_none_of_its_kind_is_refused(web: httpx.Client, at: str, which: str, data: bytes, why: str):
    answer = upload(web, at, which, data)
    assert answer.status_code == 400 and why in html.unescape(answer.text)


def test_each_theme_shows_its_own_logo(look: Looking, web: httpx.Client, at: str):
    for which, colour in (("logo", (200, 30, 30)), ("logo_dark", (30, 200, 30))):
        assert upload(web, at, which, png(colour)).status_code == 303
    shown = {}
    for theme in ("light", "dark", "auto"):
        page = look.page("settings/general", theme=theme, color_scheme="dark")
        picture = page.locator(".side .brand img:visible")
        expect(picture).to_have_count(1)
        shown[theme] = picture.get_attribute("src")
        expect(picture).to_have_js_property("naturalWidth", 96)
    assert shown["light"] != shown["dark"] == shown["auto"]
    answer = web.get(shown["dark"])
    assert answer.content == png((30, 200, 30)) and "sandbox" in answer.headers["content-security-policy"]
    assert web.get(shown["dark"].replace("logo_dark", "logo")).status_code == 404, "known by its own bytes alone"


def test_the_tab_has_an_icon_uploaded_or_drawn(look: Looking, web: httpx.Client, at: str):
    def address() -> str:
        found = re.search(r'<link rel="icon" href="([^"]+)"', web.get(at).text)
        assert found
        return found[1]

    drawn = web.get(address())
    assert drawn.headers["content-type"] == "image/svg+xml" and ">D</text>" in drawn.text
    assert web.get("/favicon.ico").headers["location"] == address()
    assert upload(web, at, "favicon", png((9, 9, 9), 32, 32)).status_code == 303
    assert web.get(address()).content == png((9, 9, 9), 32, 32)


def test_an_uploaded_font_is_the_pages_font_until_it_is_removed(web: httpx.Client, at: str):
    def sheet() -> str:
        found = re.search(r'href="(/brand/[^"]+[.]css)"', web.get(at).text)
        assert found
        return web.get(found[1]).text

    assert upload(web, at, "font_file", font(), "x.woff2").status_code == 303
    css = sheet()
    assert "--font:Own," in css
    source = re.search(r'url[(]"([^"]+)"', css)
    assert source and web.get(source[1]).headers["content-type"] == "font/woff2"
    assert post(web, at, f"{at}/files", which="font_file", remove="1").status_code == 303
    assert "Own" not in sheet()
    assert post(web, at, at, **PLAIN | {"font": "own"}).status_code == 400


def test_a_client_has_no_say_in_the_look(site: Site):
    with site.http(site.client) as web:
        for path in ("settings/branding", "settings/branding/try.css"):
            assert web.get(f"{site.base}/{path}").status_code == 403
