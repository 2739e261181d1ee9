"""What clients 0.1.x bring shows beside the transcript: tickets with their threads, the steps of the turns."""

from __future__ import annotations

import httpx
import pytest

from served import Api
from spanned import llm, send, tool, turn

from .conftest import Looking, Site


@pytest.fixture
def opened(site: Site) -> str:
    """The place of a conversation with spans and a ticket."""
    organization = site.base.split("/")[2]
    with Api(site.url, site.server.key("Silent agent", organization)) as api:
        one = turn(("end_user", "Where is it?"), ("agent", "There."), name="ask <b>")
        deep = tool(one, "lookup") | {"name": "lookup", "status": "error"}
        send(api, "spanned", one, deep, llm(one, "gpt-4o-mini", input=3) | {"parent_span_id": deep["span_id"]})
        head = api.conversation("spanned")
        if not head["tickets"]:
            ticket = {"title": "Broken <i>", "conversation_id": head["id"], "priority": "high", "tags": ["bug"]}
            made = api.post("/api/tickets/", json=ticket).json()
            api.post(f"/api/tickets/{made['id']}/comments/", json={"body": "Somebody looks <script>"})
    return f"/o/{organization}/a/silent-agent/conversations/{head['id']}"


def test_tickets_and_steps_stand_beside_the_transcript(look: Looking, opened: str):
    page = look.page(opened)
    tickets = page.locator('[data-part="tickets"]')
    assert "Broken <i>" in tickets.inner_text() and "high" in tickets.inner_text()
    tickets.locator("summary").first.click()
    assert "Somebody looks <script>" in tickets.inner_text()
    steps = page.locator('[data-part="steps"] li')
    depths = [(steps.nth(place).get_attribute("data-depth"), steps.nth(place).inner_text()) for place in range(3)]
    assert [depth for depth, _ in depths] == ["0", "1", "2"]
    assert "ask <b>" in depths[0][1] and "failed" in depths[1][1] and "llm" in depths[2][1]


def test_the_page_of_a_conversation_without_either_says_nothing_of_them(web: httpx.Client, site: Site):
    found = web.get("/api/conversations/", params={"page_size": 1, "full": "false"}).json()["results"][0]
    text = web.get(f"{site.base}/conversations/{found['id']}").text
    assert 'data-part="steps"' not in text and 'data-part="tickets"' not in text
