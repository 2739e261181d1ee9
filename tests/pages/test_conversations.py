"""The list and the viewer."""

from __future__ import annotations

import html
import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from agentsight.core import ingest
from agentsight.core.ports import Store
from agentsight.wire import Draft, check
from served import Api

from .conftest import Looking, Site


def counted(text: str) -> int:
    """How many conversations a list says it holds."""
    found = re.search(r'<b class="num">([\d,.]+)\+?</b> <span class="muted">conversation', text)
    assert found, text[:2000]
    return int(found[1].replace(",", ""))


def links(text: str) -> list[str]:
    return [html.unescape(found) for found in re.findall(r'class="open" href="([^"]+)"', text)]


def test_pages_follow_one_another_without_a_gap_and_back(web: httpx.Client, site: Site):
    seen: list[str] = []
    address = f"{site.base}/conversations"
    total = counted(web.get(address).text)
    firsts = []
    while address:
        text = web.get(address).text
        firsts.append(links(text)[0])
        seen += [link.partition("?")[0] for link in links(text)]
        onward = re.search(r'rel="next" href="([^"]+)"', text)
        address = html.unescape(onward[1]) if onward else ""
    assert len(seen) == len(set(seen)) == total
    back = re.search(r'rel="prev" href="([^"]+)"', text)
    assert back and links(web.get(html.unescape(back[1])).text)[0] == firsts[-2]


@pytest.mark.parametrize(
    "query",
    ["source=web", "device=mobile", "language=de", "country=US", "feedback_sentiment=positive", "escalated=true",
     "has_error=true", "action_name=get_order_status", "search=refund", "customer_id__icontains=cust-1",
     "started_at_after=2020-01-01&source=viber&language=en"],
)  # fmt: skip
def test_every_filter_counts_what_the_api_counts(site: Site, web: httpx.Client, query: str):
    said = counted(web.get(f"{site.base}/conversations?{query}").text)
    answer = web.get(f"/api/conversations/?{query}&environment=production&page_size=1")
    assert answer.status_code == 200
    assert said == answer.json()["count"]


def test_a_chip_takes_its_condition_out(look: Looking):
    page = look.page("conversations?source=web&device=mobile")
    assert page.locator(".chips .chip").count() == 2
    page.get_by_role("link", name="Remove filter Device").click()
    page.wait_for_url(re.compile(r"source=web(?!.*device)"))
    assert page.locator(".chips .chip").count() == 1


def test_a_word_in_a_chip_turns_its_condition_round(web: httpx.Client, site: Site):
    def chips(query: str) -> list[str]:
        page = web.get(f"{site.base}/conversations?{query}", headers={"accept-language": "en-GB"}).text
        found = re.findall(r'<span class="chip">(.*?)</a></span>', page, re.DOTALL)
        return [" ".join(re.sub("<[^>]+>", " ", one).split()) for one in found]

    def turned(query: str, word: str) -> str:
        page = web.get(f"{site.base}/conversations?{query}", headers={"accept-language": "en-GB"}).text
        href = re.search(rf'<a class="op" href="([^"]+)"[^>]*>{word}</a>', page)
        assert href, page[:200]
        return html.unescape(href[1]).partition("?")[2]

    assert chips("source=web&search=true") == ["Source is web", "Search true"]
    assert turned("source=web&escalated=true", "is") == "escalated=true&source__not=web"
    assert turned("source__not=web&source__not=viber", "is not") == "source__not=viber&source=web"
    assert turned("customer_id__icontains=7", "contains") == "customer_id__icontains__not=7"
    assert turned("name__not=refund", "does not contain") == "name=refund"
    assert turned("escalated=true", "yes") == "escalated=false"
    moved = web.get(
        f"{site.base}/conversations?source=web&field=country&op=not_is&value=germany", follow_redirects=False
    )
    assert moved.status_code == 303 and moved.headers["location"].endswith("?source=web&country__not=DE")
    for nothing in ("field=&op=not_is&value=x", "field=nowhere&op=&value=x", "field=source&op=contains&value="):
        bare = web.get(f"{site.base}/conversations?{nothing}", follow_redirects=False)
        assert bare.status_code == 303 and bare.headers["location"].endswith("/conversations")


def test_searching_keeps_the_cursor_and_narrows_as_one_types(look: Looking):
    page = look.page("conversations")
    page.keyboard.press("/")
    page.keyboard.type("refund", delay=20)
    page.wait_for_url("**search=refund*")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("s")
    page.wait_for_url("**search=refunds*")
    assert page.locator("#q").input_value() == "refunds"


def test_unknown_parameters_are_ignored_and_impossible_ones_said(web: httpx.Client, site: Site):
    assert web.get(f"{site.base}/conversations?nonsense=1").status_code == 200
    answer = web.get(f"{site.base}/conversations?escalated=perhaps&before=x&started_at_after=nie")
    assert answer.status_code == 200
    assert answer.text.count("could not be read") == 2


def test_an_agent_without_events_shows_the_five_lines_and_opens_itself_on_the_first_event(look: Looking):
    site = look.site
    path = site.base.rpartition("/")[0] + "/silent-agent/conversations"
    page = look.page(path)
    expect(page.get_by_text("No conversations yet")).to_be_visible()
    assert "get_or_create_conversation" in page.locator("pre.code").last.inner_text()
    with Api(site.url, site.server.key("Silent agent", site.base.split("/")[2])) as api:
        api.batch(
            {"id": "first", "kind": "message", "conversation_id": "first-one", "sender": "end_user",
             "content": "hello?", "occurred_at": "2026-11-20T08:00:00Z"}
        )  # fmt: skip
    expect(page.get_by_text("1 conversation is in development")).to_be_visible(timeout=8000)
    page.get_by_role("link", name="Show development").click()
    expect(page.locator("a.open")).to_have_text("first-one")


# -- the viewer ------------------------------------------------------------------------------------------------------
def talk(site: Site, key: str, *events: tuple[str, float, dict[str, Any]], again: str = "") -> int:
    """Store a conversation of these (kind, seconds, fields); our id of it."""
    start_us = (time.time_ns() // 1000) - 3_600_000_000

    def change(store: Store) -> int:
        agent = next(a for a in store.tenants.agents(1) if a.slug == site.base.rpartition("/")[2])
        drafts = [
            Draft(
                f"{key}-c{again}",
                "conversation",
                key,
                start_us,
                0,
                check("conversation", {"environment": "production"}),
            )
        ]
        for place, (kind, at, fields) in enumerate(events):
            drafts.append(
                Draft(f"{key}-{place}{again}", kind, key, start_us + int(at * 1e6), place, check(kind, fields))
            )
        for start in range(0, len(drafts), 1000):
            ingest.accept(store, agent, drafts[start : start + 1000], start_us)
        return store.conversations.live(agent.id, [key])[key].id

    return site.storage.write(change).result()


@pytest.fixture(scope="module")
def long(site: Site) -> int:
    """A thread of 20,000 messages with an error far inside."""
    lines = [
        ("message", i / 2, {"sender": "agent" if i % 2 else "end_user", "content": f"line {i}"}) for i in range(20_000)
    ]
    lines[15_000] = ("action", 7_500, {"action_name": "lookup", "error_msg": "timeout", "tools_used": {"n": 1}})
    return talk(site, "endless", *lines)  # type: ignore[arg-type]


def test_the_transcript_shows_everything_in_order(look: Looking):
    id = talk(
        look.site,
        "showcase",
        ("message", 0, {"sender": "end_user", "content": "Hello **there**"}),
        (
            "action",
            1,
            {
                "action_name": "find_order",
                "duration_ms": 312,
                "tools_used": {"order": "48213"},
                "response": '{"ok": true}',
            },
        ),
        ("action", 2, {"action_name": "open_ticket", "duration_ms": 20, "error_msg": "No operator online"}),
        (
            "message",
            4,
            {"sender": "agent", "content": "| a | b |\n|---|---|\n| 1 | 2 |\n\nSee [us](https://example.com)."},
        ),
        ("token_usage", 4, {"prompt_tokens": 842, "completion_tokens": 176, "model": "gpt-4o"}),
        ("button", 9, {"button_event": "offer", "label": "Text me", "value": "sms"}),
        ("feedback", 20, {"sentiment": "negative", "comment": "Too slow"}),
    )
    page = look.page(f"conversations/{id}")
    kinds = page.locator(".thread > li").evaluate_all("all => all.map(each => each.className.split(' ')[0])")
    assert kinds == ["day", "msg", "act", "act", "msg", "aside", "aside"]
    expect(page.locator(".msg").nth(0).locator("strong")).to_have_text("there")
    expect(page.locator(".msg").nth(1)).to_contain_text("answered in 4.00 s")
    expect(page.locator(".msg").nth(1)).to_contain_text("842 in · 176 out")
    expect(page.locator(".msg").nth(1).locator("td")).to_have_text(["1", "2"])
    assert page.locator(".msg a[rel]").get_attribute("rel") == "noopener noreferrer nofollow"
    tool = page.locator(".act").nth(0)
    expect(tool.locator("pre").first).to_be_hidden()
    tool.locator("summary").click()
    expect(tool.locator("pre").nth(1)).to_contain_text('"ok": true')
    expect(page.locator(".act.failed code")).to_have_text("open_ticket")
    expect(page.locator(".chip.on")).to_contain_text("Text me")
    expect(page.locator(".said.negative")).to_contain_text("Too slow")
    for name in ("First error", "Escalation", "Negative feedback"):
        expect(page.get_by_role("link", name=name)).to_be_visible()


@pytest.mark.timed
def test_twenty_thousand_messages_open_at_once_and_jump_to_the_first_error(look: Looking, long: int):
    began = time.monotonic()
    page = look.page(f"conversations/{long}")
    assert time.monotonic() - began < 3
    assert page.locator(".thread > li").count() <= 202
    page.get_by_role("link", name="First error").click()
    page.wait_for_url("**at=*")
    expect(page.locator(".act.failed")).to_be_in_viewport()
    page.get_by_role("link", name="Later messages").click()
    page.wait_for_url("**from=*")
    texts = page.locator(".msg .bub").all_text_contents()
    assert any("line 151" in text for text in texts)
    page.get_by_role("link", name="Earlier messages").click()
    expect(page.locator(".thread")).to_contain_text("line 15001")


def test_an_anchor_opens_its_message_wherever_it_is(look: Looking, long: int):
    page = look.page(f"conversations/{long}")
    page.get_by_role("link", name="Later messages").click()
    expect(page).to_have_url(re.compile("from="))
    link = page.locator(".msg header a").nth(50)
    wanted = str(page.locator(".msg .bub").nth(50).text_content()).strip()
    address = look.site.url + str(link.get_attribute("href"))
    other = look.page()
    other.goto(address)
    expect(other.locator(".msg:target .bub")).to_have_text(wanted)
    expect(other.locator(".msg:target")).to_be_in_viewport()


def test_newer_and_older_stay_inside_the_filter(web: httpx.Client, site: Site):
    listed = links(web.get(f"{site.base}/conversations?source=viber").text)
    text = web.get(listed[1]).text
    newer = re.search(r'rel="prev" data-key="\[" href="([^"]+)"', text)
    older = re.search(r'rel="next" data-key="]" href="([^"]+)"', text)
    assert newer and html.unescape(newer[1]) == listed[0]
    assert older and html.unescape(older[1]) == listed[2]


def test_mark_rename_judge_and_delete(look: Looking):
    id = talk(look.site, "managed", ("message", 0, {"sender": "end_user", "content": "hi"}))
    page = look.page(f"conversations/{id}")
    page.keyboard.press("s")
    expect(page.get_by_role("status")).to_have_text("Marked.")
    page.locator("summary", has_text="Rename").click()
    page.get_by_label("Name").fill("A <b>bold</b> name")
    page.get_by_role("button", name="Save").first.click()
    expect(page.locator(".top h1")).to_contain_text("A <b>bold</b> name")
    page.locator("summary", has_text="Give feedback").click()
    page.get_by_label("neutral").check()
    page.get_by_label("Comment").fill("could be kinder")
    page.locator("details[open] button").click()
    expect(page.locator(".said")).to_contain_text("could be kinder")
    page.locator("summary", has_text="Delete").click()
    page.get_by_role("button", name="Delete this conversation").click()
    expect(page.get_by_role("status")).to_contain_text("deleted")
    with look.site.http() as web:
        assert web.get(f"{look.site.base}/conversations/{id}").status_code == 404
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("status")).to_contain_text("back")
    expect(page.locator(".said")).to_contain_text("could be kinder")


def test_a_number_no_row_can_have_leads_nowhere(site: Site, web: httpx.Client):
    for place in ("conversations/{}", "conversations/{}/first/error", "reports/{}"):
        assert web.get(f"{site.base}/{place.format('9' * 30)}").status_code == 404, place


def test_a_callers_own_id_leads_to_the_conversation(site: Site, web: httpx.Client):
    id = talk(site, "own/id with space", ("message", 0, {"sender": "end_user", "content": "hi"}))
    answer = web.get(f"{site.base}/conversations/by/own/id%20with%20space")
    assert answer.headers["location"].endswith(f"/conversations/{id}")


def test_live_messages_appear_without_a_reload_and_leave_an_open_part_alone(look: Looking):
    site = look.site
    id = talk(site, "streaming", ("message", 0, {"sender": "end_user", "content": "first"}))
    page = look.page(f"conversations/{id}")
    expect(page.locator("[data-live].on")).to_be_visible()
    talk(site, "streaming", ("message", 0, {"sender": "end_user", "content": "first"}),
         ("message", 2, {"sender": "agent", "content": "and second"}))  # fmt: skip
    expect(page.locator(".thread")).to_contain_text("and second", timeout=8000)


HOSTILE = Path(__file__).resolve().parents[3] / "shared" / "data" / "hostile_strings.json"


@pytest.mark.skipif(not HOSTILE.is_file(), reason="the sample data is not beside the checkout")
def test_hostile_text_stays_text_everywhere(look: Looking):
    payloads = [
        entry["payload"].replace("{{JS}}", "window.__xss=1").replace("{{B}}", "http://beacon.invalid/x")
        for entry in json.loads(HOSTILE.read_text())["payloads"]
    ]
    events: list[tuple[str, float, dict[str, Any]]] = []
    for place, text in enumerate(payloads):
        sender = "agent" if place % 2 else "end_user"
        events.append(("message", place, {"sender": sender, "content": text}))
        if place % 10 == 0:
            events.append(
                (
                    "action",
                    place,
                    {"action_name": text[:200] or "x", "tools_used": {text[:200]: text}, "error_msg": text},
                )
            )
            events.append(
                ("button", place, {"button_event": text[:200] or "x", "label": text[:200] or "x", "value": "v"})
            )
            events.append(("feedback", place, {"sentiment": "negative", "comment": text[:4000]}))
            events.append(("token_usage", place, {"prompt_tokens": 1, "model": text[:200]}))
    id = talk(look.site, "hostile", *events)
    page = look.page()
    page.add_init_script(
        "window.addEventListener('securitypolicyviolation', e => console.error('CSP', e.violatedDirective))"
    )
    for address in (
        f"conversations/{id}",
        f"conversations/{id}?at=0",
        "analytics",
        "analytics/tools",
        "analytics/tokens",
        "analytics/buttons",
    ):
        page.goto(look.address(address))
        for summary in page.locator(".act summary").all()[:5]:
            summary.click()
        assert page.locator(".top h1").is_visible()
        assert page.locator("html").evaluate("() => window.__xss === undefined")
    # links in messages lead to http(s) and mail only, pictures load from nowhere
    page.goto(look.address(f"conversations/{id}"))
    schemes = page.locator(".md a[href]").evaluate_all("all => all.map(each => each.protocol)")
    assert set(schemes) <= {"http:", "https:", "mailto:"}
    assert page.locator(".md img, .md svg, .md iframe, .md form, .md style, .md script").count() == 0
    page.get_by_role("link", name="Newer").or_(page.get_by_role("link", name="Older")).first.click()
    assert page.locator(".top h1").is_visible()


def test_hostile_names_stay_text_in_lists(look: Looking):
    name = '"><img src=x onerror=window.__xss=1>'
    talk(look.site, "hostile-head", ("conversation", 0, {"name": name, "source": name, "language": name[:30],
         "customer_id": name, "metadata": {name: name}}), ("message", 1, {"sender": "end_user", "content": "x"}))  # fmt: skip
    page = look.page("conversations?search=onerror")
    expect(page.locator("a.open").first).to_have_text(name)
    page.locator("a.open").first.click()
    expect(page.locator(".top h1")).to_contain_text(name)
    assert page.locator("html").evaluate("() => window.__xss === undefined")
