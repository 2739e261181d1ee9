"""Reports, shared links, frames, settings, migration: what people make of the pages."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import httpx
from playwright.sync_api import expect

from .conftest import Looking, Site
from .test_conversations import counted
from .test_signing_in import csrf


def post(web: httpx.Client, page: str, to: str, **fields: str) -> httpx.Response:
    """Send a form as its page would."""
    return web.post(to, data={"csrf": csrf(web.get(page).text), **fields})


def share(web: httpx.Client, site: Site, query: str = "", **fields: str) -> str:
    """Make a link; its path."""
    at = f"{site.base}/share{query}"
    answer = post(web, at, at, **{"name": "For the board", "days": "30", "password": "", "hosts": ""} | fields)
    assert answer.status_code == 200, answer.text
    found = re.search(r"/s/[\w-]{40,}", answer.text)
    assert found
    return found[0]


# -- reports ---------------------------------------------------------------------------------------------------------
def test_a_report_stays_as_it_was_saved(look: Looking):
    page = look.page("analytics?range=30d")
    before = page.locator(".figure b").all_inner_texts()
    page.locator("summary", has_text="Save report").click()
    page.get_by_label("Name").last.fill("October for the board")
    page.locator("form.pop button", has_text="Save").click()
    page.wait_for_url(re.compile(r"/reports/\d+$"))
    expect(page.get_by_role("status")).to_have_text("Saved.")
    assert page.locator(".figure b").all_inner_texts() == before
    assert page.locator(".kpi a[href]").count() == 0, "a frozen number leads nowhere"
    page.goto(look.address("reports"))
    expect(page.locator("a.open").first).to_have_text("October for the board")


def test_two_reports_are_compared_number_by_number(site: Site, web: httpx.Client):
    for name, query in (("Wide", "?range=90d"), ("Narrow", "?range=7d")):
        assert (
            post(web, f"{site.base}/analytics{query}", f"{site.base}/reports/save{query}", name=name).status_code == 303
        )
    ids = re.findall(r"reports/(\d+)\"", web.get(f"{site.base}/reports").text)
    text = web.get(f"{site.base}/reports/compare?a={ids[1]}&b={ids[0]}").text
    assert "Wide" in text and "Narrow" in text and "Satisfaction" in text
    assert web.get(f"{site.base}/reports/compare?a=x&b=1").status_code == 404
    assert post(web, f"{site.base}/reports/{ids[0]}", f"{site.base}/reports/{ids[0]}/delete").status_code == 303
    assert web.get(f"{site.base}/reports/{ids[0]}").status_code == 404


# -- shares ----------------------------------------------------------------------------------------------------------
def test_a_shared_page_shows_the_same_numbers_and_leads_nowhere(look: Looking, web: httpx.Client):
    path = share(web, look.site, "?range=30d")
    mine = look.page("analytics?range=30d").locator(".figure b").all_inner_texts()
    page = look.page(path, session=None)
    assert page.locator(".figure b").all_inner_texts() == mine
    assert page.locator("main a[href]").count() == 0
    with httpx.Client(base_url=look.site.url) as stranger:
        headers = stranger.get(path).headers
    assert headers["referrer-policy"] == "no-referrer" and "noindex" in headers["x-robots-tag"]


def test_a_password_is_asked_and_remembered(look: Looking, web: httpx.Client):
    path = share(web, look.site, password="open sesame")
    page = look.page(path, session=None)
    assert "Total messages" not in page.content()
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Password").fill("open sesame")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_text("Total messages").first).to_be_visible()
    page.reload()
    expect(page.get_by_text("Total messages").first).to_be_visible()
    look.said.clear()  # the 403 of the wrong password


def test_a_revoked_link_is_as_unknown_as_any_other(site: Site, web: httpx.Client):
    path = share(web, site, name="To be revoked")
    text = web.get(f"{site.base}/settings/shares").text
    revoke = re.search(r'action="([^"]+/shares/\d+/revoke[^"]*)"', text)
    assert revoke
    assert post(web, f"{site.base}/settings/shares", html.unescape(revoke[1])).status_code == 303
    with httpx.Client(base_url=site.url) as stranger:
        gone, never = stranger.get(path), stranger.get("/s/" + "x" * 43)
    assert gone.status_code == never.status_code == 404
    assert re.sub(r"\s+", "", gone.text) == re.sub(r"\s+", "", never.text)


def test_a_shared_conversation_tells_no_metadata_and_no_address(site: Site, web: httpx.Client):
    path = share(web, site, "?kind=conversation&target=5", name="One talk")
    with httpx.Client(base_url=site.url) as stranger:
        text = stranger.get(path).text
    assert 'class="thread"' in text
    assert "agent_version" not in text and "IP address" not in text


def test_only_named_sites_frame_an_embed(look: Looking, web: httpx.Client):
    path = share(web, look.site, hosts=look.site.url).replace("/s/", "/e/")
    closed = share(web, look.site).replace("/s/", "/e/")
    with httpx.Client(base_url=look.site.url) as stranger:
        assert f"frame-ancestors {look.site.url};" in stranger.get(path).headers["content-security-policy"]
        assert "frame-ancestors 'none';" in stranger.get(closed).headers["content-security-policy"]
        assert "set-cookie" not in stranger.get(path).headers
        some = stranger.get(path + "?widgets=kpis,map").text
    assert 'class="kpis"' in some and 'class="map"' in some and 'class="heat"' not in some


def test_an_embed_draws_its_map_inside_a_sandbox(look: Looking, web: httpx.Client):
    path = share(web, look.site, hosts="*").replace("/s/", "/e/")
    page = look.page("/login", session=None, bypass_csp=True)
    page.locator("body").evaluate(
        "(body, url) => { const frame = document.createElement('iframe'); frame.sandbox = ''; frame.src = url;"
        " frame.width = 900; frame.height = 900; body.append(frame); }",
        look.site.url + path + "?widgets=map",
    )
    shape = page.frame_locator("iframe").locator(".map a use").first
    expect(shape).to_be_attached()
    box = shape.bounding_box()
    assert box and box["width"] > 1
    look.said.clear()  # a sandbox without scripts says so


def test_a_link_to_the_numbers_has_no_target_whatever_the_address_says(site: Site, web: httpx.Client):
    with site.http() as guest:
        assert guest.get(site.url + share(web, site, "?kind=analytics&target=abc")).status_code == 200


# -- settings --------------------------------------------------------------------------------------------------------
def test_a_new_key_is_shown_once_works_and_ends(site: Site, web: httpx.Client):
    at = f"{site.base}/settings/keys"
    agent = str(site.agents[site.base.rpartition("/")[2]])
    answer = post(web, at, at, agent=agent, role="read")
    key = re.search(r"ags_[0-9a-f]{32}_[0-9a-f]{6}", answer.text)
    assert key and key[0] not in web.get(at).text
    with httpx.Client(base_url=site.url, headers={"Authorization": f"Api-Key {key[0]}"}) as api:
        assert api.get("/api/conversations/").status_code == 200
        revoke = re.search(r'action="([^"]+/keys/\d+/revoke[^"]*)"', web.get(at).text)
        assert revoke and post(web, at, html.unescape(revoke[1])).status_code == 303


# -- migrate ---------------------------------------------------------------------------------------------------------
def test_a_file_is_checked_then_run_and_a_second_time_changes_nothing(look: Looking, tmp_path: Path):
    lines = [
        json.dumps({"conversation_id": f"old-{n}", "environment": "production", "messages": [
            {"role": "user", "content": "hi", "timestamp": f"2026-11-0{1 + n % 9}T08:00:00Z"},
            {"role": "assistant", "content": "hello", "timestamp": f"2026-11-0{1 + n % 9}T08:00:02Z"}]})
        for n in range(120)
    ]  # fmt: skip
    file = tmp_path / "history.jsonl"
    file.write_text("\n".join([*lines, "this is no JSON"]))
    page = look.page("migrate")
    page.set_input_files("input[type=file]", file)
    page.get_by_role("button", name="Upload and check").click()
    expect(page.locator(".card .tag").first).to_have_text("checked, nothing stored yet", timeout=15_000)
    numbers = dict(
        zip(page.locator(".facts dt").all_inner_texts(), page.locator(".facts dd").all_inner_texts(), strict=True)
    )
    assert numbers["New conversations"] == "120" and numbers["Could not be read"] == "1"
    with look.site.http() as web:
        assert counted(web.get(f"{look.site.base}/conversations?conversation_id=old-7").text) == 0
    page.get_by_role("button", name="Import it").click()
    expect(page.locator(".card .tag").first).to_have_text("imported", timeout=15_000)
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert "line 121" in Path(download.value.path()).read_text()
    page.goto(look.address("migrate"))
    page.set_input_files("input[type=file]", file)
    page.get_by_role("button", name="Upload and check").click()
    expect(page.locator(".card .tag").first).to_have_text("checked, nothing stored yet", timeout=15_000)
    expect(page.locator(".facts dd").first).to_have_text("0")
