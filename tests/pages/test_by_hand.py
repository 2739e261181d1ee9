"""Everything can be done without a script, and the daily work with the keyboard alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from agentsight import wire
from agentsight.core import ingest, people, sessions, tenancy
from agentsight.core.ports import Store
from served import event, message

from .conftest import PAGES, Looking, Site, now_us

PASSWORD = "nine patient herons"


@dataclass
class Desk:
    """An organization of its own with an owner who has a password, and three conversations of today."""

    owner: str  # a session token
    email: str
    base: str


@pytest.fixture
def desk(site: Site, request: pytest.FixtureRequest) -> Iterator[Desk]:
    name = f"desk {request.node.name}"[:60]
    secret = people.new_password(PASSWORD, "herons@example.com")

    def make(store: Store) -> Desk:
        now = now_us()
        organization = tenancy.ensure_organization(store, name, now)
        agent = tenancy.ensure_agent(store, organization, "Clerk", now)
        for place in range(3):
            key, at = f"talk-{place}", wire.instant(now - (60 + place) * 60_000_000)
            said = [event("conversation", key, environment="production", source=("web", "mail")[place % 2], name=f"Talk {place}"),
                    message(key, f"a question about parcel {place}"), message(key, "an answer", "agent")]  # fmt: skip
            ingest.accept(store, agent, [wire.parse(one | {"occurred_at": at}) for one in said], now)
        owner = tenancy.add_user(store, organization, f"owner@{organization.slug}.example", "owner", (), now)
        people.set_password(store, owner, secret, now)
        return Desk(sessions.start(store, owner, now), owner.email, f"/o/{organization.slug}/a/{agent.slug}")

    yield site.storage.write(make).result()


@pytest.mark.slow
def test_without_a_script_every_page_opens_and_every_form_works(look: Looking, desk: Desk, tmp_path: Path):
    page = look.page(session=desk.owner, java_script_enabled=False)

    def to(place: str) -> None:
        answer = page.goto(look.site.url + (place if place.startswith("/") else f"{desk.base}/{place}"))
        assert answer.ok, (place, answer.status)

    def press(name: str, within: Any = None) -> None:
        (within or page).get_by_role("button", name=name, exact=True).last.click()

    def told(words: str) -> None:
        expect(page.get_by_role("status").first).to_have_text(words)

    def opened(summary: str) -> Any:
        """The part that unfolds under these words."""
        part = page.locator("details", has=page.locator("summary", has_text=summary)).last
        part.locator("summary").click()
        return part

    for place in (*PAGES, "settings/audit", "settings/retention", "/profile", "/forgot"):
        if place != "conversations/5":
            to(place)
            assert page.locator("h1").first.is_visible(), place

    # what is looked at: dates, filters, a search
    to("analytics")
    dates = page.locator("details.menu", has=page.locator("input[name=from]"))
    dates.locator("summary").click()
    dates.get_by_label("From").fill("2026-01-02")
    press("Apply", dates)
    assert "from=2026-01-02" in page.url
    to("analytics")
    chosen = opened("Filters")
    chosen.get_by_label("Source").select_option("mail")
    press("Apply", chosen)
    assert "source=mail" in page.url
    expect(page.locator(".kpi .figure b").nth(1)).to_have_text("1")
    page.locator(".chip a", has_text="is").click()
    assert "source__not=mail" in page.url
    expect(page.locator(".kpi .figure b").nth(1)).not_to_have_text("1")
    more = opened("Filters")
    more.get_by_label("About what").select_option("Customer")
    more.get_by_label("How").select_option("does not contain")
    more.get_by_label("Value").fill("x")
    press("Apply", more)
    assert "customer_id__icontains__not=x" in page.url and "source__not=mail" in page.url and "field=" not in page.url
    page.locator("#find").fill("parcel 2")
    page.locator("#find").press("Enter")
    expect(page.locator("a.open")).to_have_count(1)

    # a view, kept and taken away
    views = page.locator("details", has=page.locator(".views"))
    views.locator("summary").click()
    views.get_by_label("Name").fill("Parcels")
    press("Save view", views)
    views.locator("summary").click()
    page.get_by_role("button", name="Delete the view Parcels").click()
    views.locator("summary").click()
    expect(page.get_by_role("button", name="Delete the view Parcels")).to_have_count(0)

    # two reports, compared, renamed, deleted
    for name in ("One", "Two"):
        to("analytics?range=7d")
        saving = opened("Save report")
        saving.get_by_label("Name").fill(name)
        press("Save", saving)
        told("Saved.")
    to("reports")
    press("Compare the two chosen")
    expect(page.locator("main")).to_contain_text("One")
    to("reports")
    page.get_by_role("link", name="Two").click()
    page.locator('summary[aria-label="More"]').click()
    page.locator("main").get_by_label("Name").fill("Three")
    press("Rename")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Delete").click()
    press("Delete the report")
    expect(page.locator("a.open")).to_have_text("One")

    # a link, its preview, its end
    to("share?range=7d")
    press("Preview")
    press("Make the link")
    link = page.locator("pre.code").first.inner_text()
    guest = look.page(link.removeprefix(look.site.url), session=None, java_script_enabled=False)
    expect(guest.locator(".kpis")).to_be_visible()
    to("settings/shares")
    page.get_by_role("button", name="Revoke").first.click()
    press("Revoke the link")
    expect(page.locator("tr.over")).to_have_count(1)

    # a key, changed over and revoked
    to("settings/keys")
    press("Create")
    assert re.search(r"ags_[0-9a-f]{32}", page.locator("pre.code").inner_text())
    page.get_by_role("button", name="Change over").first.click()
    press("Make a new key")
    assert re.search(r"ags_[0-9a-f]{32}", page.locator("pre.code").inner_text())
    page.get_by_role("button", name="Revoke").first.click()
    press("Revoke the key")
    expect(page.locator(".tag.bad")).to_have_text("revoked")

    # settings
    to("settings/general")
    page.get_by_label("Time zone").fill("Europe/Zagreb")
    page.get_by_label("Costs").uncheck()
    page.get_by_role("button", name="Save").first.click()
    told("Saved.")
    expect(page.get_by_label("Time zone")).to_have_value("Europe/Zagreb")
    page.get_by_placeholder("Name").fill("Second")
    press("Create")
    expect(page.get_by_role("heading", name="Second")).to_be_visible()
    to("settings/team")
    page.get_by_label("E-mail").fill("new@herons.example")
    press("Invite")
    assert "/invite/" in page.locator("pre.code").inner_text()
    to("settings/retention")
    page.get_by_label("What was said, in days").fill("400")
    press("Show what would go")
    expect(page.locator("[data-part=due]")).to_contain_text("not saved yet")
    press("Save")
    told("Saved.")
    to("settings/audit")
    page.get_by_label("Action").select_option("key.")
    press("Apply")
    expect(page.locator("tbody code").first).to_have_text(re.compile(r"^key\."))
    assert set(page.locator("tbody code").all_inner_texts()) == {"key.created", "key.rotated", "key.revoked"}
    to("/profile")
    page.get_by_label("Name").fill("Heron")
    page.get_by_role("button", name="Save").first.click()
    expect(page.get_by_label("Name")).to_have_value("Heron")

    # a file, brought along
    file = tmp_path / "old.csv"
    file.write_text("conversation_id,sender,content,timestamp\nold-1,user,hello,2026-11-01T08:00:00Z\n")
    to("migrate")
    page.set_input_files("input[type=file]", file)
    press("Upload and check")
    again(page, "checked, nothing stored yet")
    press("Import it")
    again(page, "imported")

    # a conversation: marked, renamed, judged, deleted
    to("conversations?search=parcel")
    page.locator("a.open").first.click()
    press("Mark")
    told("Marked.")
    part = opened("Rename")
    part.get_by_label("Name").fill("Renamed by hand")
    press("Save", part)
    expect(page.locator("h1")).to_contain_text("Renamed by hand")
    part = opened("Give feedback")
    part.get_by_label("negative").check()
    press("Save", part)
    told("Thank you, your feedback is kept.")
    press("Delete this conversation", opened("Delete"))
    told("The conversation is deleted. It no longer counts anywhere.")
    press("Undo")
    told("The conversation is back, and counts again.")

    # how one likes to see it, and out
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.locator(".me").click()
    press("Deutsch")
    expect(page.locator("html")).to_have_attribute("lang", re.compile("^de"))
    page.locator(".me").click()
    page.locator('form[action="/logout"] button').click()
    page.wait_for_url("**/login*")


def again(page: Any, words: str) -> None:
    """Without a script a page that waits is asked for again."""
    for _ in range(60):
        if page.locator(".card .tag").first.inner_text() == words:
            return
        page.wait_for_timeout(250)
        page.reload()
    pytest.fail(f"it never said {words}: {page.locator('main').inner_text()}")


@pytest.mark.slow
def test_a_day_with_the_keyboard_alone(look: Looking, desk: Desk):
    page = look.page("/login", session=None)
    press = page.keyboard.press

    def on(css: str, most: int = 60) -> None:
        """Tab until the focus is there."""
        for _ in range(most):
            if page.evaluate("css => document.activeElement.matches(css)", css):
                return
            press("Tab")
        pytest.fail(f"the keyboard never came to {css}")

    on("input[name=email]")
    page.keyboard.type(desk.email)
    press("Tab")
    page.keyboard.type(PASSWORD)
    press("Enter")
    page.wait_for_url("**/analytics")

    press("w")
    page.wait_for_url("**range=7d*")
    press("c")
    on("input[name=from]", 1)
    press("Escape")
    expect(page.locator("details.menu[open]")).to_have_count(0)

    on('.kpi a[href*="counted_by=started"]')
    press("Enter")
    page.wait_for_url("**counted_by=started*")
    expect(page.locator("a.open")).to_have_count(3)
    press("j")
    press("j")
    press("Enter")
    page.wait_for_url("**/conversations/*")
    middle = page.url
    for key in "[]":
        press(key)
        page.wait_for_url(lambda url: url != middle)
        press("]" if key == "[" else "[")
        page.wait_for_url(middle)

    press("s")
    expect(page.get_by_role("status")).to_have_text("Marked.")
    press("/")
    page.keyboard.type("parcel 0")
    press("Enter")
    page.wait_for_url("**search=parcel*")
    expect(page.locator("a.open")).to_have_count(1)
    page.locator("body").evaluate("() => document.activeElement.blur()")
    press("?")
    expect(page.locator("#keys")).to_be_visible()
    press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    press("Control+k")
    expect(page.locator("#palette input")).to_be_focused()
    page.keyboard.type("report history")
    press("Enter")
    page.wait_for_url("**/reports")
