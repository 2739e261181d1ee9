"""What a topic page says beyond its lines: how long tools take, what to do where there is nothing, who was erased."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median_low
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from agentsight import wire
from agentsight.core import ingest, sessions, tenancy, tool_times
from agentsight.core.model import Filter, Scope
from agentsight.core.ports import Store
from agentsight.core.questions import Question
from agentsight.server.pages.details import MOST_ROWS, TOPICS
from served import event, message

from .conftest import Looking, Site, now_us
from .test_shares import post

TOOK = {"look_up": [float(n * n % 997) for n in range(1, 61)], "write": [5.0, 700.0]}


@dataclass
class Shop:
    """An organization with a few conversations whose tools told how long they took."""

    site: Site
    owner: str
    place: str
    scope: Scope


@pytest.fixture(scope="module")
def shop(site: Site) -> Iterator[Shop]:
    def make(store: Store) -> Shop:
        organization = tenancy.ensure_organization(store, "Shop of tools", now_us())
        agent = tenancy.ensure_agent(store, organization, "Clerk", now_us())
        said: list[dict[str, Any]] = []
        for name, times in TOOK.items():
            for place, ms in enumerate(times):
                key, told = f"{name}-{place // 4}", {"error_msg": "no"} if ms == 700 else {}
                if place % 4 == 0:
                    customer = "eve" if place == 0 else f"c{place}"
                    said.append(
                        event("conversation", key, environment="production", customer_id=customer, source="web")
                    )
                    said.append(message(key))
                said.append(event("action", key, action_name=name, duration_ms=ms, **told))
                said.append(event("action", key, action_name="untold"))
        ingest.accept(store, agent, [wire.parse(one) for one in said], now_us())
        person = tenancy.add_user(store, organization, "shop@example.com", "owner", (), now_us())
        token = sessions.start(store, person, now_us())
        return Shop(site, token, f"/o/{organization.slug}/a/{agent.slug}", Scope(organization.id, (agent.id,)))

    yield site.storage.write(make).result()


@pytest.fixture
def owner(shop: Shop) -> Iterator[httpx.Client]:
    with shop.site.http(shop.owner) as web:
        web.headers["accept-language"] = "en-GB"
        yield web


def test_tools_show_their_median_95_percent_and_error_rate(shop: Shop, owner: httpx.Client):
    rows = {
        row["tool"]: row
        for row in csv.DictReader(owner.get(f"{shop.place}/export/tools.csv?range=12m").text.splitlines())
    }
    for name, times in TOOK.items():
        assert float(rows[name]["median_ms"]) == median_low(times)
        assert float(rows[name]["p95_ms"]) == sorted(times)[-(-95 * len(times) // 100) - 1]
    assert rows["untold"]["p95_ms"] == "" and float(rows["write"]["tool_error_rate_pct"]) == 50
    page = owner.get(f"{shop.place}/analytics/tools?range=12m&sort=p95_ms").text
    assert re.findall(r"<tr><th scope=\"row\"><bdi>(\w+)", page) == ["look_up", "write", "untold"]
    assert "50.0%" in page and "Median and 95 %" not in page


def test_of_many_conversations_the_newest_tell_how_long_tools_take(shop: Shop):
    asked = Question(("tool_runs",), "2026-01-01", "2026-12-31", where=Filter(environment="production"))

    def ask(store: Store, most: int) -> tool_times.Found:
        return tool_times.tool_times(store, shop.scope, asked, most)

    some, every = (shop.site.storage.read(lambda store, most=most: ask(store, most)) for most in (3, 1_000))
    assert every.whole and every.by_tool["look_up"].runs == 60
    assert not some.whole and sum(times.runs for times in some.by_tool.values()) == 10  # 4, 4 and the 2 of `write`
    assert shop.site.storage.read(
        lambda store: tool_times.tool_times(
            store, shop.scope, Question(("tool_runs",), "2026-01-01", "2026-12-31", where=Filter(source="mail"))
        )
    ) == tool_times.Found({}, True)


def test_a_topic_without_anything_says_how_it_comes_and_draws_no_empty_axis(site: Site, web: httpx.Client):
    silent = site.base.rpartition("/")[0] + "/silent-agent"
    for name, topic in TOPICS.items():
        page = web.get(f"{silent}/analytics/{name}", headers={"accept-language": "en"}).text
        assert 'class="ts"' not in page and "Nothing in this period" in page, name
        assert topic.begin in page and topic.sample.partition("(")[0] in page, name
    narrowed = web.get(f"{site.base}/analytics/tools?customer_id=nobody&range=7d").text
    assert "Clear all filters" in narrowed and "Last 12 months" in narrowed
    with site.http(site.client) as client:
        assert "tracker." not in client.get(f"{site.base}/analytics/tools?customer_id=nobody").text, "not theirs to do"
    overview = web.get(f"{site.base}/analytics?customer_id=nobody").text
    assert 'class="ts"' not in overview and "none that fits these days and filters" in overview


def test_what_was_erased_is_said_where_numbers_count_it_and_lists_do_not(shop: Shop, owner: httpx.Client):
    pages = [f"{shop.place}/analytics?range=12m", f"{shop.place}/analytics/tools?range=12m"]
    for page in pages:
        assert 'data-part="erased"' not in owner.get(page).text
    counted = re.search(r"Conversations</h2>.*?<b>(\d+)</b>", owner.get(pages[0]).text, re.DOTALL)
    agent = str(shop.scope.agent_ids[0])
    form = {"agent": agent, "customer_id": "eve", "confirm": "eve"}
    assert post(owner, f"{shop.place}/settings/retention", f"{shop.place}/settings/erase", **form).status_code == 200
    for page in pages:
        assert "2 conversations of these were erased with their customers" in owner.get(page).text
    again = re.search(r"Conversations</h2>.*?<b>(\d+)</b>", owner.get(pages[0]).text, re.DOTALL)
    assert counted and again and counted[1] == again[1]
    assert 'data-part="erased"' not in owner.get(f"{pages[0]}&source__not=mail").text, "such a filter leaves them out"


def test_a_wide_table_stacks_its_rows_on_a_phone(look: Looking, shop: Shop):
    page = look.page(
        f"{shop.place}/analytics/tools?range=12m", session=shop.owner, viewport={"width": 390, "height": 800}
    )
    table = page.locator(".stacks")
    assert table.evaluate("table => table.parentNode.scrollWidth - table.parentNode.clientWidth") <= 0
    cell = table.locator("td[data-th]").first
    assert cell.evaluate("cell => getComputedStyle(cell, '::before').content") == '"Tool runs"'
    table.locator("thead a", has_text="95 %").click()
    page.wait_for_url("**sort=p95_ms*")
    expect(table.locator("tbody th").first).to_have_text("look_up")


def test_a_table_of_very_many_rows_shows_the_largest_and_says_so(shop: Shop, owner: httpx.Client):
    def make(store: Store) -> str:
        organization = store.tenants.organization(shop.scope.organization_id)
        assert organization
        agent = tenancy.ensure_agent(store, organization, "Everywhere", now_us())
        said = [
            event("conversation", f"c{n}", environment="production", source=f"shop {n}", is_used=True)
            for n in range(MOST_ROWS + 30)
        ]
        ingest.accept(store, agent, [wire.parse(one) for one in said], now_us())
        return agent.slug

    slug = shop.site.storage.write(make).result()
    place = shop.place.rpartition("/")[0] + "/" + slug
    page = owner.get(f"{place}/analytics/users?range=12m&split=source&sort=total_conversations").text
    rows = page.partition('id="b-rows"')[2].partition("</table>")[0].count("<tr>") - 1
    assert rows == MOST_ROWS and f"The first {MOST_ROWS} of {MOST_ROWS + 30}" in page
    assert len(owner.get(f"{place}/export/users.csv?range=12m&split=source").text.splitlines()) == MOST_ROWS + 31


def test_at_a_tablets_width_the_toolbar_has_one_row(look: Looking):
    page = look.page(viewport={"width": 1100, "height": 800})
    for path in ("analytics", "analytics/tools", "usage", "conversations"):
        page.goto(look.address(path))
        bar = page.locator(".tools").first.bounding_box()
        assert bar and bar["height"] < 50, (path, bar)
