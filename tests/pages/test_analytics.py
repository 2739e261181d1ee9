"""Every number on the page is the API's, and opens exactly its conversations."""

from __future__ import annotations

import csv
import html
import io
import re
from typing import Any
from urllib.parse import quote_plus
from zoneinfo import ZoneInfo

import httpx
import pytest
from playwright.sync_api import expect

from agentsight.core.metrics import METRICS
from agentsight.server.pages.board import MAIN, SMALL, said
from agentsight.server.ui.words import Voice, negotiate, translations

from .conftest import Looking, Site
from .test_conversations import counted

ENGLISH = Voice(negotiate("en", "en-GB"), ZoneInfo("UTC"))


def answered(web: httpx.Client, **asked: Any) -> dict[str, Any]:
    answer = web.get("/api/analytics/", params=asked)
    assert answer.status_code == 200, answer.text
    return {series["name"]: series for series in answer.json()["metrics"]}


def period_of(text: str) -> dict[str, str]:
    """The dates a page is about, as its own form says them."""
    found = {name: re.search(rf'name="{name}" value="([\d-]+)"', text) for name in ("from", "to")}
    return {name: one[1] for name, one in found.items() if one}


def tiles(text: str) -> dict[str, tuple[str, str]]:
    """(what a tile says, where it leads), by its place in the page."""
    found = re.findall(r'<a class="cover" href="([^"]+)"><b>([^<]+)</b>', text)
    assert len(found) == 8
    return {name: (said, html.unescape(href)) for name, (href, said) in zip((*MAIN, *SMALL), found, strict=True)}


@pytest.mark.parametrize(
    "query", ["", "?range=7d", "?range=90d", "?from=2026-10-01&to=2026-10-31", "?source=web", "?tz=Pacific/Auckland"]
)
def test_every_tile_says_what_the_api_says(site: Site, web: httpx.Client, query: str):
    web.headers["accept-language"] = "en-GB"
    text = web.get(f"{site.base}/analytics{query}").text
    told = period_of(text) | {
        name: value for name, value in httpx.QueryParams(query.lstrip("?")).items() if name in ("source", "tz")
    }
    api = answered(web, metric=",".join((*MAIN, *SMALL)), environment="production", **told)
    for name, (shown, _) in tiles(text).items():
        assert html.unescape(shown) == said(ENGLISH, METRICS[name].unit, api[name]["total"]), name


@pytest.mark.parametrize("name", ["total_conversations", "escalation_rate_pct", "satisfaction_pct"])
def test_a_tile_opens_exactly_its_conversations(site: Site, web: httpx.Client, name: str):
    text = web.get(f"{site.base}/analytics").text
    api = answered(web, metric="total_conversations,escalated_conversations,feedback_conversations", **period_of(text))
    wanted = {"escalation_rate_pct": "escalated_conversations", "satisfaction_pct": "feedback_conversations"}.get(
        name, name
    )
    assert counted(web.get(tiles(text)[name][1]).text) == api[wanted]["total"]


@pytest.mark.parametrize("by", ["country", "device", "source", "language"])
def test_every_row_of_a_split_opens_exactly_its_conversations(site: Site, web: httpx.Client, by: str):
    text = web.get(f"{site.base}/analytics").text
    api = answered(web, metric="total_conversations", by=by, **period_of(text))
    rows = api["total_conversations"]["rows"]
    shown = [row for row in rows if row["key"] != "unknown"] if by == "country" else rows[:6]  # nowhere is on no map
    assert len(shown) > 2
    for row in shown:
        links = re.findall(rf'href="([^"]*[?;]{by}={re.escape(quote_plus(row["key"]))}(?:&[^"]*)?)"', text)
        assert links, row
        assert counted(web.get(html.unescape(links[0])).text) == row["value"], row


def test_every_cell_of_the_heatmap_opens_exactly_its_conversations(site: Site, web: httpx.Client):
    text = web.get(f"{site.base}/analytics?range=30d").text
    api = answered(web, metric="total_conversations,total_messages", by="weekday_hour", **period_of(text))
    first = re.search(r'<table class="heat".*?</table>', text, re.DOTALL)
    assert first
    cells = re.findall(r'<td class="h\d">(?:<a href="([^"]+)"[^>]*>)?([\d,]+)', first[0])
    assert [int(value.replace(",", "")) for _, value in cells] == [
        row["value"] for row in api["total_conversations"]["rows"]
    ]
    for href, value in [cell for cell in cells if cell[0]][:12]:
        assert counted(web.get(html.unescape(href)).text) == int(value)


def test_every_day_of_the_line_opens_exactly_its_conversations(site: Site, web: httpx.Client):
    text = web.get(f"{site.base}/analytics/countries?range=7d").text
    api = answered(web, metric="total_conversations", by="day", **period_of(text))
    days = re.findall(r'<tr><th scope="row"><a href="([^"]+)">[^<]+</a></th><td class="n">([\d,]+)</td>', text)
    assert [int(value) for _, value in days] == [row["value"] for row in api["total_conversations"]["rows"]]
    for href, value in days:
        assert counted(web.get(html.unescape(href)).text) == int(value)


@pytest.mark.parametrize("topic", ["tools", "tokens", "feedback", "buttons"])
def test_a_table_says_what_the_api_says_and_what_its_export_says(site: Site, web: httpx.Client, topic: str):
    metric, by = {
        "tools": ("tool_runs", "tool"),
        "tokens": ("total_tokens", "model"),
        "feedback": ("feedback_conversations", "sentiment"),
        "buttons": ("button_clicks", "button"),
    }[topic]
    text = web.get(f"{site.base}/analytics/{topic}").text
    api = answered(web, metric=metric, by=by, **period_of(text))
    exported = list(csv.DictReader(io.StringIO(web.get(f"{site.base}/export/{topic}.csv").text)))
    assert {row[by].removeprefix("'"): float(row[metric]) for row in exported} == {
        row["key"]: row["value"] for row in api[metric]["rows"]
    }
    for row in api[metric]["rows"]:
        assert said(ENGLISH, METRICS[metric].unit, row["value"]) in text or topic == "feedback"


@pytest.mark.parametrize("topic", ["countries", "users", "tools", "tokens", "feedback", "escalations", "buttons"])
def test_every_number_of_a_page_in_full_leads_to_conversations(site: Site, web: httpx.Client, topic: str):
    """Where it counts conversations, to exactly as many."""
    page = web.get(f"{site.base}/analytics/{topic}?range=90d").text
    found = re.findall(
        r'<a[^>]*href="([^"]*conversations\?[^"]*counted_by=[^"]*)"[^>]*>([\d.,]+ ?(?:%|K|M|ms|s)?)</a>', page
    )
    assert found
    for href, shown in found[:40]:
        listed = web.get(href.replace("&amp;", "&"))
        total = int(re.search(r'class="chips"[^>]*><span><b class="num">([\d,]+)', listed.text)[1].replace(",", ""))  # type: ignore[index]
        assert total > 0, (href, shown)
        if (
            re.search("counted_by=(started|escalated|feedback|opened)&", href.replace("&amp;", "&"))
            and shown.strip().isdecimal()
        ):
            assert total == int(shown), (href, shown)


def test_comparing_shows_the_period_before_and_can_be_switched_off(look: Looking):
    page = look.page("analytics")
    assert page.locator(".kpi .pill").count() == 4
    page.keyboard.press("x")
    page.wait_for_url("**compare=0*")
    expect(page.locator(".kpi .pill")).to_have_count(0)
    assert page.locator(".line.before").count() == 0
    page.go_back()
    expect(page.locator(".kpi .pill")).to_have_count(4)


def test_presets_and_dates_are_in_the_address(look: Looking):
    page = look.page("analytics")
    page.keyboard.press("w")
    page.wait_for_url("**range=7d*")
    expect(page.locator(".seg [aria-current]").filter(has_text="7d")).to_be_visible()
    page.locator("summary", has_text="2026").click()
    page.get_by_label("From").fill("2026-10-05")
    page.get_by_label("To", exact=True).fill("2026-10-11")
    page.get_by_role("button", name="Apply").first.click()
    page.wait_for_url("**from=2026-10-05*")
    expect(page.locator(".tools summary").first).to_contain_text("5 Oct – 11 Oct 2026")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("range=forever", "range: must be one of"),
        ("from=2026-12-31&to=2026-01-01", "must not be before"),
        ("from=soon", "must be a date"),
        ("tz=Mars/Olympus", "there is no such time zone"),
        ("compare=yesterday", "compare: must be one of"),
        ("from=2020-01-01&to=2026-01-01&by=hour", "does not fit this range"),
        ("escalated=maybe", "must be true or false"),
    ],
)
def test_an_impossible_parameter_falls_back_and_says_so(site: Site, web: httpx.Client, query: str, sentence: str):
    answer = web.get(f"{site.base}/analytics?{query}&unknown=1")
    assert answer.status_code == 200 and sentence in html.unescape(answer.text)


def test_the_chart_is_read_with_the_keyboard(look: Looking):
    page = look.page("analytics")
    chart = page.locator(".ts").first
    chart.focus()
    page.keyboard.press("End")
    expect(page.locator("#say")).to_contain_text("Total messages")
    last = page.locator("#say").inner_text()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#say").inner_text() != last
    expect(page.locator("#tip")).to_be_visible()
    expect(page.locator("#tip")).to_contain_text("before (")
    page.keyboard.press("Enter")
    page.wait_for_url("**/conversations?*counted_by=messages*")


def test_the_heatmap_is_walked_with_the_keyboard(look: Looking):
    page = look.page("analytics")
    page.locator(".heat td[tabindex='0']").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#say")).to_contain_text("Tue 01:00")
    page.get_by_role("tab", name="Messages").click()
    expect(page.locator("#heat-m")).to_be_visible()
    expect(page.locator("#heat-c")).to_be_hidden()


def test_the_map_draws_real_shapes(look: Looking):
    page = look.page("analytics")
    box = page.locator(".map a").first.bounding_box()
    assert box and box["width"] * box["height"] > 20


def test_a_change_of_version_is_marked_on_the_line(look: Looking):
    page = look.page("analytics?range=90d")
    assert page.locator(".mark-at").count() >= 2
    assert "agent_version" in str(page.locator(".mark-at").first.get_attribute("data-tip"))
    page.goto(look.address("history"))
    said_of = page.locator(".timeline .btn").first
    number = int(said_of.inner_text().split()[0])
    said_of.click()
    page.wait_for_url("**metadata=*")
    assert counted(page.content()) == number


def test_a_conversation_export_is_the_whole_filter_and_no_spreadsheet_computes_it(site: Site, web: httpx.Client):
    listed = counted(web.get(f"{site.base}/conversations?source=web").text)
    answer = web.get(f"{site.base}/export/conversations.csv?source=web")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == listed == len(web.get(f"{site.base}/export/conversations.json?source=web").json())
    assert "attachment" in answer.headers["content-disposition"]
    cells = [cell for row in rows for cell in row.values()]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]


def test_german_is_complete():
    from babel.messages.pofile import read_po

    from agentsight.server.ui.words import LOCALES

    with (LOCALES / "de.po").open("rb") as file:
        german = read_po(file, locale="de")
    with (LOCALES / "agentsight.pot").open("rb") as file:
        wanted = read_po(file)
    said_in_german = {message.id: message for message in german if message.id}
    missing = [m.id for m in wanted if m.id and (m.id not in said_in_german or not _said(said_in_german[m.id].string))]
    assert not missing, missing[:20]
    for message in german:
        if message.id:
            assert not list(message.check(german)), message.id
            one = message.id if isinstance(message.id, str) else message.id[1]
            other = message.string if isinstance(message.string, str) else message.string[-1]
            assert set(re.findall(r"\{\w+\}", one)) == set(re.findall(r"\{\w+\}", other)), one
    assert translations("de").gettext("Conversations") != "Conversations"


def _said(string: Any) -> bool:
    return bool(string) and (isinstance(string, str) or all(string))


def test_a_german_speaks_german_everywhere(look: Looking):
    page = look.page("analytics", locale="de-AT")
    expect(page.locator("html")).to_have_attribute("lang", "de-AT")
    expect(page.locator(".top h1")).to_have_text("Auswertung")
    page.locator(".me").click()
    page.get_by_role("button", name="English").click()
    expect(page.locator(".top h1")).to_have_text("Analytics")
