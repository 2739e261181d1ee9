"""Pages are for everybody: with a keyboard, a phone, no script, a screen reader, on paper."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import expect

from agentsight.core import people, sessions, tenancy
from agentsight.core.ports import Store

from .conftest import PAGES, Looking, now_us

pytestmark = pytest.mark.drawn

MAIN = ("analytics", "analytics/countries", "conversations", "conversations/5", "reports", "settings/keys", "/login")
OTHERS = (
    *(path for path in PAGES if path not in MAIN),
    *("conversations/999999", "settings/audit", "settings/retention", "/profile", "/forgot"),
)
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("paths", [MAIN, pytest.param(OTHERS, marks=pytest.mark.slow)], ids=["main", "others"])
def test_axe_finds_nothing_on_any_page(look: Looking, theme: str, paths: tuple[str, ...]):
    from axe_playwright_python.sync_playwright import Axe

    axe, found = Axe(), {}
    page = look.page(theme=theme, bypass_csp=True)
    for path in paths:
        page.goto(look.address(path))
        result = axe.run(page, options={"runOnly": LEVELS})
        if result.violations_count:
            found[path] = [(v["id"], [n["html"][:160] for n in v["nodes"][:3]]) for v in result.response["violations"]]
    look.said.clear()  # the missing page's own 404
    assert not found


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_where_somebody_comes_in_by_a_link(look: Looking, theme: str):
    from axe_playwright_python.sync_playwright import Axe

    def make(store: Store) -> tuple[str, str]:
        owner = store.tenants.user_by_email("owner@example.com")
        assert owner
        organization = store.tenants.organization(owner.organization_id)
        assert organization
        who, email = sessions.principal(store, owner), f"guest-{theme}@example.com"
        token, _ = people.invite(store, who, organization, email, "client", (), 7, now_us())
        return token, tenancy.issue_link(store, owner, now_us())

    invited, link = look.site.storage.write(make).result()
    page = look.page(session=None, theme=theme, bypass_csp=True)
    for path in (f"/invite/{invited}", f"/reset/{link}"):
        page.goto(look.address(path))
        result = Axe().run(page, options={"runOnly": LEVELS})
        assert result.violations_count == 0, result.generate_report()
    page.goto(look.address(f"/invite/{invited}"))
    page.get_by_label("Your name").fill("Gustav")
    page.get_by_label("New password").fill("eleven slow tortoises")
    page.get_by_role("button", name="Accept and sign in").click()
    page.wait_for_url("**/analytics")


def test_axe_finds_nothing_on_a_phone(look: Looking):
    from axe_playwright_python.sync_playwright import Axe

    page = look.page(bypass_csp=True, viewport={"width": 390, "height": 800})
    for path in (
        "analytics",
        "analytics/tools?customer_id=nobody",
        "conversations?source__not=web",
        "conversations/5?search=order",
    ):
        page.goto(look.address(path))
        if "__not" in path:
            page.locator(".far summary").click()
        result = Axe().run(page, options={"runOnly": LEVELS})
        assert not result.violations_count, (path, result.generate_report())


@pytest.mark.parametrize("width", [360, 390, 820])
def test_no_page_scrolls_sideways(look: Looking, width: int):
    page = look.page(viewport={"width": width, "height": 800})
    for path in PAGES:
        page.goto(look.address(path))
        over = page.locator("html").evaluate("root => root.scrollWidth - root.clientWidth")
        assert over <= 0, f"{path} is {over} pixels too wide"


def test_the_phone_menu_opens_and_leads_on(look: Looking):
    page = look.page("analytics", viewport={"width": 390, "height": 800}, has_touch=True)
    expect(page.locator(".side")).to_be_hidden()
    page.get_by_role("button", name="Navigation").click()
    page.locator(".side").get_by_role("link", name="Conversations").click()
    page.wait_for_url("**/conversations")


def test_a_task_with_the_keyboard_alone(look: Looking):
    page = look.page("analytics")
    page.keyboard.press("g")
    page.keyboard.press("c")
    page.wait_for_url("**/conversations")
    for key in "jjk":
        page.keyboard.press(key)
    expect(page.locator("tr.at")).to_have_count(1)
    page.keyboard.press("Enter")
    page.wait_for_url("**/conversations/*")
    first = page.url
    page.keyboard.press("]")
    page.wait_for_url(lambda url: url != first)
    page.keyboard.press("[")
    page.wait_for_url(first)
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", name="Keyboard shortcuts")).to_be_hidden()


def test_without_a_script_filters_pages_themes_and_tabs_work(look: Looking):
    page = look.page("analytics", java_script_enabled=False)
    assert page.locator(".heat").count() == 2 and page.locator(".heat").nth(1).is_visible()
    page.locator(".seg a", has_text="90d").click()
    page.wait_for_url("**range=90d*")
    page.locator(".data summary").first.click()
    expect(page.locator(".data table").first).to_be_visible()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.goto(look.address("conversations"))
    page.locator("#f-source").select_option("web")
    page.locator("noscript button, form.tools > button").first.click()
    page.wait_for_url("**source=web*")
    page.get_by_role("link", name="Older").click()
    page.wait_for_url("**before=*")
    page.locator("a.open").first.click()
    expect(page.locator(".thread")).to_be_visible()


def test_when_the_server_is_gone_what_is_shown_stays(look: Looking):
    page = look.page("analytics?range=30d")
    shown = page.locator(".figure b").first.inner_text()
    page.context.set_offline(True)
    page.locator(".seg a", has_text="90d").click()
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    assert page.locator(".figure b").first.inner_text() == shown and "range=30d" in page.url
    page.context.set_offline(False)
    page.locator(".seg a", has_text="90d").click()
    page.wait_for_url("**range=90d*")
    expect(page.locator("#gone")).to_be_hidden()
    look.said.clear()  # what the browser says of a line that is down


def test_a_form_is_sent_once_however_often_its_button_is_pressed(look: Looking):
    page = look.page("analytics")
    page.locator("summary", has_text="Save report").click()
    pressed = """button => {
      let sent = 0;
      addEventListener('submit', event => { if (!event.defaultPrevented) sent += 1; event.preventDefault(); });
      for (let n = 0; n < 3; n++) button.click();
      return [sent, button.getAttribute('aria-busy')];
    }"""
    assert page.locator("form[action*='reports/save'] button").evaluate(pressed) == [1, "true"]


def test_the_theme_of_the_system_needs_no_script_and_does_not_flash(look: Looking):
    page = look.page("analytics", theme="auto", color_scheme="dark")
    assert page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor") == "rgb(12, 14, 18)"


def test_right_to_left_mirrors_the_page(look: Looking):
    page = look.page("analytics")
    page.locator("html").evaluate("root => { root.dir = 'rtl'; }")
    side, main = (page.locator(css).bounding_box() for css in (".side", "main"))
    assert side and main and side["x"] > main["x"]
    assert page.locator("html").evaluate("root => root.scrollWidth - root.clientWidth") <= 0


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="pdftotext (poppler-utils) is not installed")
def test_a_printed_page_has_its_headings_and_no_controls(look: Looking, tmp_path: Path):
    page = look.page("analytics")
    page.pdf(path=tmp_path / "page.pdf", format="A4", print_background=True)
    text = subprocess.run(["pdftotext", tmp_path / "page.pdf", "-"], capture_output=True, text=True, check=True)
    for heading in ("Analytics", "Total messages", "Messages and conversations", "Peak hours", "World map", "Devices",
                    "Tool usage", "Feedback", "compared with"):  # fmt: skip
        assert heading in " ".join(text.stdout.split()), heading
    for control in ("Save report", "Search conversations", "Sign out"):
        assert control not in text.stdout
