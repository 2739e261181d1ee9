"""User A can never see, continue, stop, follow or change anything of user B's; a stranger's looks like nothing."""

from __future__ import annotations

import json
from typing import Any

from .conftest import Start, wait_until


def test_a_strangers_things_look_exactly_like_things_that_do_not_exist(start: Start, url: str) -> None:
    with start(url=url) as backend:
        ann, bob = backend.person("ann"), backend.person("bob")
        canary = "canary-7f3a"
        mine = ann.said(f"say {canary}")
        conversation, run = mine["conversation_id"], mine["run_id"]
        with ann.stream("slow 60", conversation) as lines:
            live = next(lines)["run_id"]

            def attempts(number: int, run_id: str) -> list[Any]:
                at = f"{bob.base}/conversations/{number}"
                body = {"message": "hi", "conversation_id": number}
                return [
                    bob.http.post(bob.base, json=body),
                    bob.http.post(f"{bob.base}/stream", json=body),
                    bob.http.get(at),
                    bob.http.get(f"{at}/messages"),
                    bob.http.patch(at, json={"title": "mine"}),
                    bob.http.delete(at),
                    bob.http.post(f"{at}/regenerate"),
                    bob.http.get(f"{bob.base}/runs/{run_id}"),
                    bob.http.get(f"{bob.base}/runs/{run_id}/events"),
                    bob.http.post(f"{bob.base}/runs/{run_id}/stop"),
                ]

            unknown = "00000000-0000-4000-8000-000000000000"
            for theirs, nothing in zip(attempts(conversation, live), attempts(999_999, unknown), strict=True):
                assert theirs.status_code == nothing.status_code == 404
                assert {**theirs.json(), "request_id": ""} == {**nothing.json(), "request_id": ""}
                assert canary not in theirs.text
        assert bob.http.get(f"{bob.base}/runs/{run}").status_code == 404
        assert bob.http.get(f"{bob.base}/conversations").json()["items"] == []
        assert canary not in bob.http.get("/chat/", headers={"Accept": "*/*"}).text
        assert json.loads(bob.said("history")["response"]) == []
        after = ann.http.get(f"{ann.base}/conversations/{conversation}").json()
        assert after["title"] == f"say {canary}"
        assert wait_until(lambda: (run := ann.run(live))["status"] != "running" and run)["status"] == "completed"


def test_names_clients_choose_are_their_own(start: Start, url: str) -> None:
    with start(url=url) as backend:
        ann, bob = backend.person("ann"), backend.person("bob")
        for person in (ann, bob):
            body = {"message": f"I am {person.name}", "conversation_id": "support-7"}
            assert person.http.post("/chat", json=body).status_code == 200
        (item,) = bob.http.get(f"{bob.base}/conversations").json()["items"]
        assert bob.messages(item["id"])[0]["content"] == "I am bob"
        body = {"message": "history", "conversation_id": "support-7"}
        assert "ann" not in bob.http.post("/chat", json=body).json()["response"]


def test_a_user_cannot_speak_for_somebody_else(start: Start) -> None:
    with start() as backend:
        refused = backend.person("ann").http.post("/chat", json={"message": "hi", "customer_id": "bob"})
        assert refused.status_code == 422 and "customer_id" in refused.json()["fields"]


def test_a_key_that_somebody_else_used_is_free(start: Start, url: str) -> None:
    with start(url=url) as backend:
        ann, bob = backend.person("ann").say("one", key="same"), backend.person("bob").say("two", key="same")
        assert ann.json()["response"] == "You said one." and bob.json()["response"] == "You said two."


def test_user_names_of_all_kinds_keep_apart(start: Start) -> None:
    names = ["a", "A", "ä", "a%2Fb", "a.b", "a b", "..", "user@example.com", "名前", "%00"]
    with start() as backend:
        for name in names:
            person = backend.person(name)
            from urllib.parse import quote

            answer = person.http.post(f"/api/{quote(name, safe='')}/chat", json={"message": f"I am {name}"})
            if name not in ("..",):
                assert answer.status_code == 200, (name, answer.text)
                assert answer.json()["response"] == f"You said I am {name}."
