"""Saved views, the palette, and the way to the chat."""

from __future__ import annotations

import re

import httpx
from playwright.sync_api import expect

from agentsight.core import views

from .conftest import Looking, Site


def csrf(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found
    return found[1]


def keep(web: httpx.Client, site: Site, query: str, **fields: str) -> httpx.Response:
    token = csrf(web.get(f"{site.base}/conversations").text)
    told = {"csrf": token, "place": "conversations"} | fields
    return web.post(f"{site.base}/views/save?{query}", data=told, follow_redirects=False)


def test_a_view_is_its_address_and_opens_as_it_was_saved(site: Site, web: httpx.Client):
    saved = keep(web, site, "source=web&escalated=true&before=1.2", name="Escalated on the web")
    assert saved.status_code == 303 and saved.headers["location"].endswith("/conversations?source=web&escalated=true")
    page = web.get(f"{site.base}/conversations").text
    assert "Escalated on the web" in page and "conversations?source=web&amp;escalated=true" in page
    assert "Escalated on the web" not in web.get(f"{site.base}/analytics").text, "a view belongs to its page"


def test_a_view_is_ones_own_until_it_is_shared(site: Site, web: httpx.Client):
    keep(web, site, "source=viber", name="Only mine")
    keep(web, site, "source=whatsapp", name="For all of us", shared="1")
    with site.http(site.client) as other:
        page = other.get(f"{site.base}/conversations").text
        assert "For all of us" in page and "Only mine" not in page
        assert keep(other, site, "source=web", name="From a guest", shared="1").status_code == 303
        told = re.search(
            r'name="id" value="([^"]+)" aria-label="Delete the view For all', web.get(f"{site.base}/conversations").text
        )
        assert told
        fields = {"csrf": csrf(page), "id": told[1], "place": "conversations"}
        assert other.post(f"{site.base}/views/delete", data=fields).status_code == 404, "not theirs to delete"
    assert "From a guest" not in web.get(f"{site.base}/conversations").text, "who may not share keeps it for themselves"
    fields = {"csrf": csrf(web.get(f"{site.base}/conversations").text), "id": told[1], "place": "conversations"}
    web.post(f"{site.base}/views/delete", data=fields)
    assert "For all of us" not in web.get(f"{site.base}/conversations").text


def test_a_view_that_makes_no_sense_is_refused(site: Site, web: httpx.Client):
    for fields in ({"name": " "}, {"name": "x" * 81}, {"name": "fine", "place": "settings"}, {"name": "a\x00b"}):
        assert keep(web, site, "", **fields).status_code == 400, fields


def test_views_that_name_an_erased_customer_go_with_them(site: Site):
    def work(store):
        organization = store.tenants.organizations()[0]
        new = views.View("", "Somebody", "conversations", "?customer_id=erase-me", 1, True)
        views.save(store, organization.id, new)
        return views.forget(store, organization.id, {"erase-me"}), views.forget(store, organization.id, {"erase-me"})

    assert site.storage.write(work).result() == (1, 0)


def test_the_palette_goes_anywhere_by_typing(look: Looking):
    page = look.page("analytics")
    page.keyboard.press("Control+k")
    box = page.get_by_role("combobox", name="Go to a page, an agent or a view")
    expect(box).to_be_focused()
    box.fill("usage")
    expect(page.locator("#palette [role=option]").first).to_have_text("Usage and limits")
    page.keyboard.press("Enter")
    page.wait_for_url("**/usage")
    page.keyboard.press("Control+k")
    page.get_by_role("combobox").fill("parcel")
    page.keyboard.press("Enter")
    page.wait_for_url("**/conversations?search=parcel")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("combobox", name="Go to a page, an agent or a view")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#palette")).to_be_hidden()


def test_no_chat_beside_the_server_is_no_entry_and_no_page(site: Site, web: httpx.Client):
    assert "Test chat" not in web.get(f"{site.base}/analytics").text
    assert web.get(f"{site.base}/chat").status_code == 404


def test_a_hostile_name_stays_text(site: Site, web: httpx.Client):
    keep(web, site, "source=web", name='"><img src=x onerror=alert(1)>')
    page = web.get(f"{site.base}/conversations").text
    assert "<img src=x" not in page and "&lt;img src=x" in page
