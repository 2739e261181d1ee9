"""What the eye would stumble over: things that stick out, cannot be read, or stand beside numbers they do not belong to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

import httpx
import pytest

from agentsight import wire
from agentsight.core import sessions, tenancy
from agentsight.core.ports import Store
from served import Api, event, message

from .conftest import Looking, Site, now_us
from .test_conversations import talk
from .test_shares import post

LONG = "x" * 230
TABLE = (
    "| " + " | ".join("heading" for _ in range(9)) + " |\n" + "|---" * 9 + "|\n| " + " | ".join(["words"] * 9) + " |"
)


@dataclass
class Odd:
    """An agent whose one conversation has everything overlong, and tokens of a model nobody knows the price of."""

    owner: str
    base: str


@pytest.fixture(scope="module")
def odd(site: Site) -> Odd:
    def make(store: Store) -> tuple[Odd, str]:
        now = now_us()
        organization = tenancy.ensure_organization(store, "Odd looks", now)
        agent = tenancy.ensure_agent(store, organization, "Agent " + "with a very long name " * 4, now)
        owner = tenancy.add_user(store, organization, "owner@odd.example", "owner", (), now)
        made = Odd(sessions.start(store, owner, now), f"/o/{organization.slug}/a/{agent.slug}")
        return made, tenancy.issue_key(store, agent, "write", now)[0]

    made, key = site.storage.write(make).result()
    told = (
        event("conversation", "odd", environment="production", customer_id=LONG, name=LONG, source=LONG),
        message("odd", "W" * 900),
        message("odd", f"```\n{LONG}\n```\n\n{TABLE}", "agent"),
        event("action", "odd", action_name=LONG, duration_ms=12, error_msg=LONG),
        event("button", "odd", button_event="x" * 200, label=LONG, value="yes"),
        event("attachment", "odd", filename="x" * 200 + ".txt", mime_type="text/plain", data="aGk="),
        event("feedback", "odd", sentiment="negative", comment=LONG * 4),
        event("token_usage", "odd", model="in-house", prompt_tokens=10**9, completion_tokens=10**9),
        event("token_usage", "odd", model="gpt-4o", prompt_tokens=10**10, completion_tokens=10**10),
    )
    at = wire.instant(now_us() - 60_000_000)
    with Api(site.url, key) as api:
        answer = api.batch(*(one | {"occurred_at": at} for one in told))
        ticket = {
            "title": LONG,
            "conversation_id": api.conversation("odd")["id"],
            "priority": "high",
            "tags": [LONG[:40]],
        }
        assert api.post("/api/tickets/", json=ticket).status_code == 201
    assert answer["accepted"] == len(told), answer
    return made


@pytest.mark.slow
@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_sticks_out_and_what_a_menu_opens_can_be_seen(look: Looking, odd: Odd, width: int):
    page = look.page(session=odd.owner, viewport={"width": width, "height": 900})
    root = page.locator("html")
    for place in (
        "analytics",
        "analytics/tokens",
        "analytics/tools",
        "conversations",
        "conversations/by/odd",
    ):
        page.goto(f"{look.site.url}{odd.base}/{place}")
        for opened in range(-1, page.locator("main details.menu").count()):
            wide = root.evaluate(
                """(root, place) => {
                  document.querySelectorAll('main details.menu').forEach((each, at) => { each.open = at === place; });
                  return root.scrollWidth - root.clientWidth;
                }""",
                opened,
            )
            assert wide <= 0, (place, opened, wide)
            for button in page.locator("main details.menu[open] .btn.main").all():
                ground = button.evaluate("each => getComputedStyle(each).backgroundColor")
                assert ground != "rgba(0, 0, 0, 0)", (place, button.inner_text())
    page.goto(f"{look.site.url}{odd.base}/conversations/by/odd")
    aside = page.locator(".talk > aside")
    assert aside.evaluate("each => each.scrollWidth - each.clientWidth") <= 0
    cell = page.locator(".bub td").first
    cell.scroll_into_view_if_needed()
    assert cell.evaluate("each => each.getClientRects().length") == 1
    assert cell.bounding_box()["height"] < 60, "words of a table are broken letter by letter"


def test_a_cost_nobody_can_know_is_not_shown_as_nothing(site: Site, odd: Odd):
    with site.http(odd.owner) as web:
        rows = web.get(f"{odd.base}/analytics/tokens").text.partition('data-part="rows"')[2]
    costs = re.findall(r'<bdi>([\w-]+)</bdi>.*?data-th="Cost">(?:<[^>]+>)*([^<]+)', rows)
    assert dict(costs)["in-house"] == "Unknown" and dict(costs)["gpt-4o"].startswith("US$")


@pytest.mark.parametrize("topic", ["tools", "feedback", "escalations"])
def test_conversations_below_numbers_are_of_their_period_and_filter(site: Site, web: httpx.Client, topic: str):
    until = date.today() - timedelta(days=10)
    since = until - timedelta(days=25)
    html = web.get(f"{site.base}/analytics/{topic}?from={since}&to={until}&source=web").text
    part = html.partition('data-part="some"')[2]
    days = re.findall(r'<time datetime="(\d{4}-\d\d-\d\d)', part)
    sources = re.findall(r'class="c-src"><a[^>]*><bdi>([^<]+)', part)
    assert days and set(sources) == {"web"}
    assert all(since - timedelta(days=1) <= date.fromisoformat(day) <= until for day in days)


def test_the_latest_conversations_beside_numbers_are_of_their_period_and_filter(site: Site, web: httpx.Client):
    until = date.today() - timedelta(days=10)
    for query, since, last in (("source=web", date.min, date.max), (f"from={until}&to={until}", until, until)):
        part = web.get(f"{site.base}/analytics?{query}").text.partition('data-part="latest"')[2]
        days = [date.fromisoformat(day) for day in re.findall(r'<time datetime="(\d{4}-\d\d-\d\d)', part)]
        sources = set(re.findall(r'class="c-src"><a[^>]*><bdi>([^<]+)', part))
        assert days and all(since <= day <= last for day in days)
        assert "from=" in query or sources == {"web"}
        everything = re.search(r'href="([^"]+)">View all', part)
        assert everything
        listed = web.get(everything[1].replace("&amp;", "&")).text
        assert re.findall(r'class="open" href="[^"]*?conversations/(\d+)', part)[0] in re.findall(
            r'class="open" href="[^"]*?conversations/(\d+)', listed
        )


def test_what_was_deleted_does_not_come_back_beside_a_new_one_of_its_id(site: Site, web: httpx.Client):
    hello = ("message", 0, {"sender": "end_user", "content": "hi"})
    id = talk(site, "twice", hello)
    page = f"{site.base}/conversations/{id}"
    assert post(web, page, f"{page}/delete").status_code == 303
    talk(site, "twice", hello, again="-new")
    refused = post(web, f"{site.base}/conversations", f"{page}/restore")
    assert refused.status_code == 409 and "same id" in refused.text
    assert web.get(page).status_code == 404
