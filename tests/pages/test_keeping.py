"""Retention, erasing and taking along from the dashboard and the API: an owner may, what is typed is checked."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from agentsight import wire
from agentsight.core import audit, ingest, sessions, tenancy
from agentsight.core.model import Organization
from agentsight.core.ports import Store
from served import event, message

from .conftest import Site, now_us
from .test_shares import post


@dataclass
class Home:
    """An organization of its own beside the sample data, with an owner, a member, and a customer who can be erased."""

    site: Site
    organization: Organization
    agent_id: int
    owner: httpx.Client
    member: httpx.Client
    place: str

    def audit(self) -> list[str]:
        return self.site.storage.read(lambda store: [line.action for line in audit.lines(store, self.organization.id)])


@pytest.fixture
def home(site: Site, request: pytest.FixtureRequest) -> Iterator[Home]:
    name = f"keepers {request.node.name}"[:100]

    def make(store: Store) -> Any:
        owner = tenancy.ensure_organization(store, name, now_us())
        agent = tenancy.ensure_agent(store, owner, "Keeper", now_us())
        said = [event("conversation", "c", customer_id="bob", environment="production"), message("c", "bob's secret")]
        ingest.accept(store, agent, [wire.parse(one) for one in said], now_us())
        tokens = []
        for role in ("owner", "member"):
            person = tenancy.add_user(store, owner, f"{role}@{owner.slug}.example", role, (), now_us())
            tokens.append(sessions.start(store, person, now_us()))
        return owner, agent, tokens

    owner, agent, tokens = site.storage.write(make).result()
    place = f"/o/{owner.slug}/a/all/settings/retention"
    with site.http(tokens[0]) as first, site.http(tokens[1]) as second:
        yield Home(site, owner, agent.id, first, second, place)


def test_rules_are_tried_before_they_are_kept(home: Home):
    shown = home.owner.get(home.place).text
    assert "Nothing is due to go" in shown
    rules = {"content_days": "30", "numbers_months": "2", "deleted_days": "7"}
    tried = post(home.owner, home.place, home.place, do="try", **rules)
    assert (tried.status_code, "not saved yet" in tried.text) == (200, True)
    assert re.search(r"Due to go: the content of \d+ conversations, 1 conversations", tried.text)
    assert "Nothing is due to go" in home.owner.get(home.place).text
    assert post(home.owner, home.place, home.place, do="save", **rules).status_code == 303
    assert 'value="30"' in home.owner.get(home.place).text
    assert home.audit() == ["settings.changed"]
    wrong = post(home.owner, home.place, home.place, do="save", content_days="soon")
    assert wrong.status_code == 400 and "content_days" in wrong.text and 'value="soon"' in wrong.text


def test_a_customer_is_erased_when_the_id_is_typed_twice(home: Home):
    at = home.place.replace("settings/retention", "settings/erase")
    told = {"agent": str(home.agent_id), "customer_id": "bob"}
    refused = post(home.owner, home.place, at, **told, confirm="Bob")
    assert refused.status_code == 400 and "confirm" in refused.text
    done = post(home.owner, home.place, at, **told, confirm="bob")
    certificate = json.loads(done.text)
    assert (done.status_code, certificate["removed"]["conversations"], certificate["customer"]) == (200, 1, "bob")
    assert "attachment" in done.headers["content-disposition"]
    assert home.audit() == ["customer.erased"]


def test_the_api_erases_for_an_owner_and_says_what_is_wrong(home: Home):
    def ask(**body: Any) -> httpx.Response:
        headers = {"Origin": home.site.url, "Sec-Fetch-Site": "same-origin", "X-Requested-With": "test"}
        return home.owner.post("/api/customers/erase/", json=body, headers=headers)

    for body, field in (
        ({"agent": home.agent_id}, "customer_id"),
        ({"agent": "x", "customer_id": "bob"}, "agent"),
        ({"agent": home.agent_id, "customer_id": "bob"}, "confirm"),
        ({"agent": home.agent_id, "customer_id": " ", "confirm": " "}, "customer"),
    ):
        answer = ask(**body)
        assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])
    assert ask(agent=10**9, customer_id="bob", confirm="bob").status_code == 404
    stranger = next(iter(home.site.agents.values()))
    assert ask(agent=stranger, customer_id="bob", confirm="bob").status_code == 404
    done = ask(agent=home.agent_id, customer_id="bob", confirm="bob")
    assert (done.status_code, done.json()["removed"]["messages"]) == (200, 1)


def test_everything_comes_in_one_file(home: Home):
    at = home.place.replace("settings/retention", "settings/archive")
    answer = post(home.owner, home.place, at)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert b"bob's secret" in archive.read("event.jsonl")
    assert (manifest["organization"], manifest["counts"]["conversation"]) == (home.organization.name, 1)
    assert home.audit() == ["export"]


def test_a_member_may_none_of_it(home: Home):
    assert home.member.get(home.place).status_code == 403
    token = re.search(
        r'name="csrf" value="([^"]+)"', home.member.get(home.place.replace("settings/retention", "reports")).text
    )
    for section in ("retention", "erase", "archive"):
        at = home.place.replace("settings/retention", f"settings/{section}")
        assert home.member.post(at, data={"csrf": token[1] if token else ""}).status_code == 403
    assert home.audit() == []
