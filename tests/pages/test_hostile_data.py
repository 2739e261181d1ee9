"""Whatever an agent or a customer sends, in whatever field: on every page it is text, and nothing of it runs."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from agentsight import wire
from agentsight.core import sessions, tenancy
from agentsight.core.ports import Store
from agentsight.server.pages.details import TOPICS
from served import Api, event, message

from .conftest import PAGES, Looking, now_us
from .test_conversations import HOSTILE
from .test_hostile_brand import WATCH, calm, corpus, names

__all__ = ["corpus", "names"]  # fixtures
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not HOSTILE.is_file(), reason="the sample data is not beside the checkout"),
]


def told(text: str, place: int, minutes: int) -> list[dict[str, Any]]:
    """A conversation with this text in every field that takes any."""
    short = name = text[:200]
    key = f"{place} " + "".join(each for each in text[:120] if each.isprintable())  # an id holds no others
    made: list[dict[str, Any]] = [
        event("conversation", key, environment="production", customer_id=name, name=name, source=short, language=text[:20],
              device=text[:40],
              metadata={short: text, "agent_version": short, "user_agent": text, "page_url": text, "prompt_id": short}),
        message(key, text),
        message(key, text, "agent", metadata={short: text}),
        event("action", key, action_name=name, tools_used={short: text}, response={"said": text}, duration_ms=12, error_msg=text),
        event("button", key, button_event=short, label=name, value=short),
        event("token_usage", key, model=short, prompt_tokens=3),
        event("feedback", key, sentiment="negative", comment=text),
        event("attachment", key, filename=short, mime_type=("text/plain", "image/svg+xml", "text/html")[place % 3],
              data=base64.b64encode(text.encode()).decode()),
    ]  # fmt: skip
    at = wire.instant(now_us() - minutes * 60_000_000)
    return [one | {"occurred_at": at} for one in made]


def test_hostile_words_in_every_field_run_nowhere(look: Looking, names: list[str]):
    site = look.site
    chosen = names[::3]

    def make(store: Store) -> tuple[str, str, str]:
        now = now_us()
        organization = tenancy.ensure_organization(store, "Hostile ground", now)
        agent = tenancy.ensure_agent(store, organization, "Target", now)
        owner = tenancy.add_user(store, organization, "owner@hostile.example", "owner", (), now)
        key, _ = tenancy.issue_key(store, agent, "write", now)
        return sessions.start(store, owner, now), key, f"/o/{organization.slug}/a/{agent.slug}"

    session, key, base = site.storage.write(make).result()
    with Api(site.url, key) as api:
        for place, text in enumerate(chosen):
            answers = api.batch(*told(text, place, 5 + place))
            assert answers["accepted"] == 8, [one for one in answers["results"] if one["verdict"] != "accepted"]
    page = look.page(session=session)
    page.add_init_script(WATCH)
    page.on("dialog", lambda dialog: look.said.append(f"dialog: {dialog.message}"))
    listed = [
        f"conversations?{name}={value}"
        for name, value in (("search", "%3Cimg"), ("source", "%3Csvg%2Fonload%3D"), ("metadata", "x%3A%22%3E"))
    ]
    splits = [f"analytics/{topic}?split={by}" for topic, about in TOPICS.items() for by in about.splits]
    for place in (*(one for one in PAGES if one != "conversations/5"), *splits, *listed):
        page.goto(f"{site.url}{base}/{place}")
        calm(page)
        assert page.locator("h1").first.is_visible(), place
    assert page.locator("main :is(img, iframe, form[action^=http], base, object, embed)").count() == 0
    page.goto(f"{site.url}{base}/conversations")
    opened = page.locator("a.open").evaluate_all("all => all.map(each => each.href)")
    assert len(opened) >= min(50, len(chosen))
    for address in opened:
        page.goto(address)
        page.evaluate("() => { for (const each of document.querySelectorAll('details')) each.open = true; }")
        calm(page)
        assert page.locator(".md :is(img, svg, iframe, form, style, script)").count() == 0
        schemes = page.locator("main a[href]").evaluate_all("all => all.map(each => each.protocol)")
        assert set(schemes) <= {"http:", "https:", "mailto:"}, (address, schemes)
    # what one hovers over, chooses and finds is text as well
    page.goto(f"{site.url}{base}/analytics")
    page.keyboard.press("Control+k")
    page.locator("#palette input").fill("<img src=x onerror=__xss(1)>")
    page.wait_for_timeout(200)
    calm(page)
    # a file with such a name and such lines
    page.goto(f"{site.url}{base}/migrate")
    file = {
        "name": '"><img src=x onerror=__xss(2)>.jsonl',
        "mimeType": "text/plain",
        "buffer": b"\n".join(text.encode() for text in chosen),
    }
    page.set_input_files("input[type=file]", file)
    page.get_by_role("button", name="Upload and check").click()
    page.get_by_text("checked, nothing stored yet").wait_for()
    calm(page)
