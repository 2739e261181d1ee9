"""The usage page: what became of what was sent, and how much of what was agreed is used."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass

import httpx
import pytest

from agentsight import ConversationTracker, wire
from agentsight.core import sessions, tenancy
from agentsight.core.ports import Store
from agentsight.server import ledger

from .conftest import Site, now_us
from .test_shares import post


@dataclass
class Sender:
    """An organization with a key; what it sends is counted."""

    site: Site
    owner: str
    key: str
    place: str

    def send(self, *events: dict[str, object], client: str = "shop-bot/2.1", **more: object) -> httpx.Response:
        head = {"Authorization": f"Api-Key {self.key}", "User-Agent": f"{client} (linux)"}
        return httpx.post(f"{self.site.url}/api/batch/", headers=head, json={"events": events, **more})


@pytest.fixture
def sender(site: Site, request: pytest.FixtureRequest) -> Sender:
    def make(store: Store) -> Sender:
        organization = tenancy.ensure_organization(store, f"Sender {request.node.name}"[:60], now_us())
        agent = tenancy.ensure_agent(store, organization, "Clerk", now_us())
        key, _ = tenancy.issue_key(store, agent, "write", now_us())
        person = tenancy.add_user(store, organization, f"owner@{organization.slug}.example", "owner", (), now_us())
        return Sender(site, sessions.start(store, person, now_us()), key, f"/o/{organization.slug}/a/{agent.slug}")

    return site.storage.write(make).result()


def said(content: str = "hello", **fields: object) -> dict[str, object]:
    now = wire.instant(now_us())
    return {"id": uuid.uuid4().hex, "kind": "message", "conversation_id": "c", "occurred_at": now, "sender": "end_user",
            "content": content, **fields}  # fmt: skip


def fates(page: str) -> dict[str, str]:
    return dict(re.findall(r"<dt>([A-Z][\w ]+)</dt><dd class=\"num\">([\d,]+)</dd><dd", page))


def test_the_page_says_what_became_of_everything_that_was_sent(sender: Sender):
    once = said()
    assert sender.send(once, said(), said("")).json()["rejected"] == 1
    assert sender.send(once, dropped={"buffer_full": 12}).json()["duplicate"] == 1
    assert sender.send(said(), client="other/1").status_code == 200
    assert sender.send(said(), client="AgentSight/0.1.4").status_code == 200
    assert sender.send(*[{} for _ in range(1_001)]).status_code == 413
    wanted = {"Accepted": "4", "Duplicates": "1", "Rejected": "1", "Lost by clients": "12", "Refused requests": "1"}
    with sender.site.http(sender.owner) as web:
        web.headers["accept-language"] = "en-GB"
        deadline = time.monotonic() + 20 + ledger.EVERY_S
        while fates(page := web.get(f"{sender.place}/usage?range=7d").text) != wanted:
            assert time.monotonic() < deadline, fates(page)
            time.sleep(0.3)
    assert "13 events are missing" in page
    assert "python/0.1.4" in page and "AgentSight/0" not in page
    assert "shop-bot/2.1" in page and "other/1" in page and f"{sender.key[:12]}…" in page
    for why in ("content: is required", "buffer_full", "413 too_large"):
        assert why in page
    with sender.site.http(sender.owner) as web:
        assert fates(web.get(f"{sender.place}/usage?from=2026-01-01&to=2026-01-31").text) == {}, "other days"


def test_the_sdk_is_named_by_its_version_and_nobody_elses_agent_is_counted(sender: Sender, web: httpx.Client):
    tracker = ConversationTracker(api_key=sender.key, endpoint=sender.site.url)
    tracker.get_or_create_conversation("by-sdk", environment="production")
    tracker.track_human_message("hello")
    assert tracker.send_tracked_data()["summary"]["errors"] == 0
    with sender.site.http(sender.owner) as own:
        deadline = time.monotonic() + 20 + ledger.EVERY_S
        while "python/" not in (page := own.get(f"{sender.place}/usage").text):
            assert time.monotonic() < deadline
            time.sleep(0.3)
    assert "agentsight-python" not in page
    assert fates(web.get(f"{sender.site.base}/usage").text) == {}


def test_what_was_agreed_is_met_by_this_months_conversations(sender: Sender):
    settings = f"{sender.place}/settings/general"
    form = {"name": "Sender", "timezone": "UTC"}
    with sender.site.http(sender.owner) as web:
        web.headers["accept-language"] = "en-GB"
        talks = [said(conversation_id=f"c{n}") for n in range(3)]
        heads = [{**one, "id": uuid.uuid4().hex, "kind": "conversation", "environment": "production"} for one in talks]
        assert sender.send(*heads, *talks).json()["accepted"] == 6
        assert 'data-part="plan"' not in web.get(f"{sender.place}/usage").text
        for wrong in ("0", "-1", "many", "1e9"):
            assert post(web, settings, settings, **form, agreed=wrong).status_code == 400
        assert post(web, settings, settings, **form, agreed="4").status_code == 303
        page = web.get(f"{sender.place}/usage").text
        assert re.search(r'data-part="plan".*?>3</b>.*?of 4 agreed.*?75%', page, re.DOTALL)
        assert post(web, settings, settings, **form, agreed="").status_code == 303
        assert 'data-part="plan"' not in web.get(f"{sender.place}/usage").text
