"""A stranger's id is not found: every route of the API that takes one answers as for an id nobody has."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter

from agentsight.core import sessions, tenancy
from agentsight.core.ports import Store
from agentsight.server.app import open_app
from agentsight.server.http import SESSION_COOKIE
from agentsight.server.settings import Settings
from agentsight.storage import open_storage
from served import Api, Server, event, message

NOBODY = 888_888_888
WRITES = ("POST", "PATCH", "PUT", "DELETE")
BODY = {
    "name": "taken",
    "is_marked": True,
    "metadata": {"taken": True},
    "sentiment": "positive",
    "content": "taken",
    "sender": "agent",
    "action_name": "taken",
    "button_event": "taken",
    "label": "taken",
    "value": "taken",
    "attachments": [{"filename": "a", "mime_type": "text/plain", "data": "aGVsbG8="}],
}
PLACED = ("/api/track/", "/api/action_logs/", "/api/buttons/", "/api/attachments/", "/api/conversation-feedbacks/")


def routes(of: Any) -> Iterator[tuple[str, str]]:
    """Method and path of everything this router serves."""
    for route in of:
        inner = getattr(route, "original_router", None)
        if isinstance(inner, APIRouter):
            yield from routes(inner.routes)
        for method in sorted(getattr(route, "methods", None) or ()):
            yield method, route.path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    app = open_app(Settings.of(tmp_path_factory.mktemp("routes")))
    app.state.storage.close()
    return list(routes(app.routes))


@pytest.fixture
def victim(server: Server) -> Iterator[Api]:
    with server.api(organization="victims") as api:
        api.batch(
            event("conversation", "secret", name="canary", customer_id="canary-1", metadata={"canary": "canary"}),
            message("secret", "canary in a message"),
            event("action", "secret", action_name="canary"),
            event("feedback", "secret", sentiment="negative", comment="canary"),
            event("attachment", "secret", filename="canary.txt", data="Y2FuYXJ5"),
        )
        yield api


def unsigned(conversation: dict[str, Any]) -> str:
    """A conversation without the links to its files, which are signed anew every second."""
    return re.sub(r'"file_url": "[^"]*"', "", json.dumps(conversation))


def same(first: Any, second: Any) -> bool:
    """Equal answers but for the request id."""
    drop = re.compile(r'"request_id":"[^"]*"')
    return (first.status_code, drop.sub("", first.text)) == (second.status_code, drop.sub("", second.text))


def test_every_route_with_an_id_answers_a_stranger_as_for_an_id_nobody_has(
    api: Api, victim: Api, table: list[tuple[str, str]]
):
    theirs, before = victim.conversation("secret")["id"], victim.conversation("secret")
    asked = [(method, path) for method, path in table if path.startswith("/api/") and "{" in path]
    assert len(asked) >= 6
    for method, path in asked:
        foreign, unknown = (
            api.request(method, re.sub(r"\{[^}]*\}", str(id), path), json=BODY if method in WRITES else None)
            for id in (theirs, NOBODY)
        )
        assert foreign.status_code == 404 and same(foreign, unknown), f"{method} {path}: {foreign.text}"
    assert unsigned(victim.conversation("secret")) == unsigned(before)


@pytest.mark.parametrize("path", PLACED)
@pytest.mark.parametrize("field", ["conversation", "message"])
def test_every_body_with_an_id_answers_a_stranger_as_for_an_id_nobody_has(api: Api, victim: Api, path: str, field: str):
    before = victim.conversation("secret")
    if field == "message" and path == "/api/conversation-feedbacks/":
        return
    theirs = before["id"] if field == "conversation" else before["messages"][0]["id"]
    foreign, unknown = (api.post(path, json={**BODY, field: id}) for id in (theirs, NOBODY))
    assert foreign.status_code == 404 and same(foreign, unknown), foreign.text
    assert unsigned(victim.conversation("secret")) == unsigned(before)


def test_feedback_by_name_on_a_strangers_conversation_is_not_found(api: Api, victim: Api):
    answers = [
        api.post("/api/conversation-feedbacks/", json={"conversation_id": name, "sentiment": "positive"})
        for name in ("secret", "nobody")
    ]
    assert answers[0].status_code == 404 and same(*answers)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"conversation_id": "secret"},
        {"search": "canary"},
        {"message_contains": "canary"},
        {"name": "canary"},
        {"metadata": "canary:canary"},
        {"customer_id": "canary-1"},
        {"customer_id__icontains": "canary"},
        {"action_name": "canary"},
        {"has_feedback": "true"},
        {"feedback_sentiment": "negative"},
        {"include_deleted": "true"},
        {"agent": "1"},
    ],
)
def test_no_filter_finds_a_strangers_conversation(api: Api, victim: Api, asked: dict[str, str]):
    found = api.get("/api/conversations/", params=asked).json()
    assert (found["count"], found["results"]) == (0, [])
    assert victim.get("/api/conversations/", params=asked).json()["count"] == 1


def test_no_route_without_an_id_shows_a_stranger_anything(api: Api, victim: Api, table: list[tuple[str, str]]):
    for method, path in table:
        if method == "GET" and "{" not in path:
            answer = api.get(path, params={"metric": "total_messages", "conversation_id": "secret", "by": "tool"})
            assert "canary" not in answer.text, path


def test_every_route_of_the_api_asks_for_a_key(server: Server, table: list[tuple[str, str]]):
    with Api(server.url, "none") as nobody:
        del nobody.headers["Authorization"]
        for method, path in table:
            if path.startswith("/api/") and path != "/api/auth/token/" and method != "HEAD":
                answer = nobody.request(
                    method, re.sub(r"\{[^}]*\}", "1", path), json=BODY if method in WRITES else None
                )
                assert answer.status_code == 401, f"{method} {path}: {answer.status_code}"


def test_a_key_that_may_only_read_changes_nothing_anywhere(server: Server, table: list[tuple[str, str]]):
    with server.api("shared-agent") as writer, server.api("shared-agent", role="read") as reader:
        writer.batch(message("c"))
        before = writer.conversation("c")
        for method, path in table:
            if path.startswith("/api/") and not path.startswith("/api/auth/") and method in WRITES:
                path = re.sub(r"\{[^}]*\}", str(before["id"]), path)
                answer = reader.request(method, path, json={**BODY, "conversation_id": "c"})
                assert answer.status_code == 403, f"{method} {path}: {answer.text}"
        assert reader.conversation("c") == writer.conversation("c") == before


def test_the_secret_of_one_installation_opens_nothing_in_another(start: Any, tmp_path: Path):
    first, second = start(tmp_path / "one"), start(tmp_path / "two")
    with first.api() as api, second.api() as other:
        for one in (api, other):
            one.batch(event("attachment", "c", filename="a.txt", data="aGVsbG8="))
        (row,) = api.get(f"/api/conversations/{api.conversation('c')['id']}/attachments/").json()["messages"]
        path = row["attachments"][0]["file_url"].removeprefix(first.url)
        assert (api.get(path).status_code, other.get(path).status_code) == (200, 404)
        assert other.get("/api/conversations/", headers={"Authorization": f"Api-Key {api.key}"}).status_code == 401


def test_an_organization_without_agents_opens_and_finds_nothing(server: Server):
    def make(store: Store) -> str:
        now_us = time.time_ns() // 1000
        owner = tenancy.ensure_organization(store, "nothing yet", now_us)
        return sessions.start(store, tenancy.add_user(store, owner, "new@example.com", "owner", (), now_us), now_us)

    storage = open_storage(server.database)
    cookies = {SESSION_COOKIE: storage.write(make).result()}
    storage.close()
    with httpx.Client(base_url=server.url, cookies=cookies, timeout=30) as web:
        for page in ("analytics", "conversations?search=hello", "usage", "reports", "history", "settings/retention"):
            assert web.get(f"/o/nothing-yet/a/all/{page}").status_code == 200, page
        assert web.get("/api/conversations/?search=hello").json()["count"] == 0
        assert web.get("/api/analytics/?metric=total_messages").json()["metrics"][0]["total"] == 0
