"""The conformance checklist of SDK 0.1 (contracts, section 6): what the unmodified client reads and manages, 56 to 76."""

from __future__ import annotations

import json
import textwrap
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentsight.core import sessions, tenancy
from agentsight.storage import open_storage
from keeping.commands import agentsight
from served import Api, Server, at, event, message
from spanned import llm, rows, send, tool, turn, whole

from .conftest import release
from .old import OldClient

PRELUDE = """
    import time
    from datetime import datetime, timedelta, timezone
    from agentsight import exceptions
    from agentsight.api import AgentSight
    client = AgentSight()
    def tried(call, *arguments, **keywords):
        try:
            return call(*arguments, **keywords)
        except exceptions.AgentSightError as wrong:
            return {"raised": type(wrong).__name__, "status": getattr(wrong, "status_code", None),
                    "detail": getattr(wrong, "detail", None), "errors": getattr(wrong, "errors", None)}
"""


@pytest.fixture(scope="module")
def spans() -> OldClient:
    return release("0.1.4")


@pytest.fixture(scope="module")
def town(server: Server) -> Iterator[Api]:
    """An agent with 250 conversations, and one in which everything happened."""
    with server.api() as api:
        for start in range(0, 249, 83):
            places = range(start, start + 83)
            api.batch(*(event("conversation", f"many-{place}", environment="production") for place in places))
            api.batch(*(message(f"many-{place}") for place in places))
        one = turn(("end_user", "Where is my parcel?"), ("agent", "On its way."), second=100)
        about = {"customer_id": "c-9", "customer_ip_address": "203.0.113.7", "device": "mobile", "source": "web",
                 "language": "hr", "name": "Lost parcel", "environment": "development",
                 "metadata": {"plan": {"tier": "pro"}, "vip": True, "n": 3, "none": None, "at": "a,b:c"}}  # fmt: skip
        send(api, "rich", one, tool(one, "parcel_lookup", 100.2), llm(one, "gpt-4o-mini", 100.3, input=1000, output=500),
             llm(None, None, 101, input=5), **about)  # fmt: skip
        yield api


def run(town: Api, spans: OldClient, script: str, **given: Any) -> Any:
    return spans.run(town, textwrap.dedent(PRELUDE) + textwrap.dedent(script), **given)


def test_56_to_61_lists_pages_and_single_conversations(town: Api, spans: OldClient):
    told = run(
        town, spans,
        """
        rich = client.conversations.get("rich")
        first = client.conversations.list().page(1)
        result = {
            "me": client.me(), "environments": client.environments(), "rich": rich,
            "listed": [row["conversation_id"] for row in client.conversations.list()],
            "lean": client.conversations.list().first(), "full": client.conversations.list_full().first(),
            "pages": [(page.count, page.page_size, page.next is None) for page in client.conversations.list().pages()],
            "beyond": tried(lambda: client.conversations.list().page(9)),
            "gone": client.conversations.delete("many-0"),
        }
        result["deleted"] = client.conversations.get("many-0")
        result["hidden"] = client.conversations.list(conversation_id="many-0").count()
        result["shown"] = client.conversations.list(conversation_id="many-0", include_deleted=True).count()
        """,
    )  # fmt: skip
    assert set(told["me"]) == {"agent_id", "agent_name", "role", "environments", "capabilities"}
    assert told["environments"] == ["production", "development"]
    assert "messages" not in told["lean"] and "messages" in told["full"]
    assert len(told["listed"]) == len(set(told["listed"])) == 250
    assert told["pages"] == [[250, 100, False], [250, 100, False], [250, 100, True]]
    assert told["beyond"]["raised"] == "NotFoundError"
    assert told["gone"]["is_deleted"] and told["deleted"]["is_deleted"] and told["deleted"]["deleted_at"]
    assert (told["hidden"], told["shown"]) == (0, 1)
    shown = {
        "agent",
        "environment_id",
        "message_count",
        "feedback_count",
        "is_used",
        "geo_location",
        "feedbacks",
        "tickets",
    }
    assert shown <= set(told["rich"]) and told["rich"]["token_usage"]["totals"]["total_tokens"] == 1505
    assert town.get("/api/conversations/", params={"page_size": 5_000, "full": "false"}).json()["page_size"] == 100
    envelope = town.get("/api/spans/").json()
    assert {"count", "page_size", "total_pages", "current_page", "next", "previous", "results"} == set(envelope)
    assert (envelope["page_size"], envelope["next"], envelope["previous"]) == (15, None, None)


FOUND = [
    {"action_name": "PARCEL"}, {"conversation_id": "rich"}, {"customer_id": "c-9"}, {"customer_id__icontains": "C-"},
    {"customer_ip_address": "203.0.113.7"}, {"device": "mobile"}, {"env": "dev"}, {"environment": "development"},
    {"has_action": True}, {"language": "hr"}, {"message_contains": "on ITS"}, {"metadata": "plan.tier:pro,vip:true,n:3"},
    {"metadata": "none:null"}, {"metadata_key": "plan.tier", "metadata_value": "pro"}, {"search": "LOST"}, {"search": "c-9"},
    {"metadata_key": "at", "metadata_value": "a,b:c"}, {"name": "pARC"}, {"has_feedback": True, "customer_id": "c-9"},
    {"feedback_sentiment": "positive", "customer_id": "c-9"}, {"include_tickets": True, "customer_id": "c-9"},
    {"has_messages": True, "customer_id": "c-9"}, {"is_marked": False, "customer_id": "c-9"},
    {"started_at_after": at(99), "started_at_before": at(101)},
]  # fmt: skip
MISSED = [
    {"action_name": "refund"}, {"customer_id": "c-"}, {"metadata": "vip:false"}, {"metadata": "plan.tier:gold"},
    {"metadata_key": "plan", "metadata_value": "pro"}, {"search": "found"}, {"name": "Found"}, {"env": "prod", "device": "mobile"},
    {"include_tickets": True, "environment": "production"}, {"started_at_after": at(99), "started_at_before": at(99.5)},
]  # fmt: skip


def test_60_every_filter_narrows_and_every_order_orders(town: Api, spans: OldClient):
    told = run(
        town, spans,
        """
        if not client.conversations.list(has_feedback=True, customer_id="c-9").count():
            client.feedbacks.create_for_conversation("rich", "positive")
        if not client.tickets.list(conversation_id="rich").count():
            client.tickets.create("Look into it", conversation="rich")
        def ids(**asked):
            return [row["conversation_id"] for row in client.conversations.list(**asked).page(1)]
        before = datetime.fromisoformat(moment)
        result = {
            "found": [ids(**asked) for asked in found], "missed": [ids(**asked) for asked in missed],
            "embedded": client.conversations.list(include_tickets=True).first()["tickets"],
            "naive": ids(started_at_after=before.replace(tzinfo=None), customer_id="c-9"),
            "date": ids(started_at_after=before.date(), started_at_before=before.date(), customer_id="c-9"),
            "orders": {order: ids(ordering=order)[:2] for order in
                       ("started_at", "-started_at", "ended_at", "-id", "id", "-customer_id", "is_marked", "language")},
            "keys": client.conversations.metadata_keys(), "message_keys": client.conversations.message_metadata_keys(),
            "values": client.conversations.metadata_values("plan.tier"),
        }
        """,
        found=FOUND, missed=MISSED, moment=at(99),
    )  # fmt: skip
    assert [asked for asked, ids in zip(FOUND, told["found"], strict=True) if ids != ["rich"]] == []
    assert [asked for asked, ids in zip(MISSED, told["missed"], strict=True) if ids] == []
    assert told["embedded"][0]["title"] == "Look into it"
    assert told["naive"] == told["date"] == ["rich"]
    orders = told["orders"]
    assert orders["-started_at"][0] == "rich" and orders["-customer_id"][0] == orders["language"][0] == "rich"
    assert orders["started_at"] != orders["-started_at"] and orders["-id"][0] == "rich"
    assert {"plan.tier", "vip", "n", "none", "at"} <= set(told["keys"]["keys"])
    assert told["message_keys"] == {"keys": ["latency_ms"]}
    assert told["values"] == {"key": "plan.tier", "values": ["pro"]}
    for odd in ({"unknown": "x"}, {"ordering": "nonsense"}, {"colour": ["a", "b"]}):
        assert town.get("/api/conversations/", params=odd).status_code == 200
    for wrong in (
        {"include_tickets": "maybe"},
        {"env": "mars"},
        {"metadata_key": "plan"},
        {"started_at_after": "soon"},
    ):
        refused = town.get("/api/conversations/", params=wrong)
        assert refused.status_code == 400 and refused.json()["fields"], wrong


def test_62_to_64_conversations_and_messages_are_managed(town: Api, spans: OldClient):
    told = run(
        town, spans,
        """
        c = client.conversations
        result = {
            "renamed": c.rename("many-1", " Renamed "), "marked": c.mark("many-1"), "unmarked": c.mark("many-1", False),
            "updated": c.update("many-1", language="de", metadata={"a": 1}),
            "merged": c.update_metadata("many-1", {"zero": 0, "no": False, "empty": "", "nil": None}, remove=["a"]),
        }
        pk = c.get("many-1")["messages"][0]["id"]
        result |= {"before": client.messages.get(pk), "set": client.messages.update(pk, metadata={"x": [1]}),
                   "more": client.messages.update_metadata(pk, {"y": 0}, remove=["x"]),
                   "unknown": tried(client.messages.get, 888888888),
                   "spoiled": tried(client._request, "PATCH", f"/api/track/{pk}/", json={"metadata": "text"})}
        """,
    )  # fmt: skip
    assert told["renamed"]["name"] == "Renamed" and set(told["renamed"]) == {"id", "conversation_id", "name"}
    assert (told["marked"]["is_marked"], told["unmarked"]["is_marked"]) == (True, False)
    assert told["updated"]["updated_fields"] == ["language", "metadata"] and told["updated"]["language"] == "de"
    assert told["merged"]["metadata"] == {"zero": 0, "no": False, "empty": "", "nil": None}
    assert told["before"]["metadata"] == {} and told["before"]["content"] == "hello"
    assert (told["set"]["metadata"], told["more"]["metadata"]) == ({"x": [1]}, {"y": 0})
    assert told["unknown"]["raised"] == "NotFoundError" and told["spoiled"]["errors"]["fields"]["metadata"]


def test_65_to_67_feedback_of_every_kind(town: Api, spans: OldClient):
    told = run(
        town, spans,
        """
        f = client.feedbacks
        pk = client.conversations.get("many-2")["messages"][0]["id"]
        result = {
            "first": f.create_for_message(pk, "negative", "too bold", topic="style", reason="bold"),
            "second": f.create_for_message(pk, "positive"),
            "agent": f.create_for_agent("neutral", "so so", environment="development"),
            "conversation": f.create_for_conversation("many-3", "negative", "bad"),
        }
        row = result["conversation"]["id"]
        result |= {
            "said": client.conversations.get("many-2"),
            "by_kind": {kind: f.list(kind=kind).count() for kind in ("message", "agent", "conversation", "product")},
            "by": {name: [one["id"] for one in f.list(**{name: value})] for name, value in
                   dict(topic="style", reason="bold", message=pk, comment_contains="BOLD", has_comment=False, env="dev",
                        search="bad", conversation_id="many-3", sentiment="neutral", category="x").items()},
            "updated": f.update(row, sentiment="positive", comment="better"), "slug": tried(f.update, row, topic="x"),
            "ticketless": tried(lambda: f.list(has_ticket=True).page(1)),
            "gate": tried(lambda: f.list(ticket_status=["open"]).page(1)),
        }
        made = client.tickets.create("From feedback", feedback_id=row)
        result |= {"made": made, "with": f.page(1, include_tickets=True, kind="conversation", conversation_id="many-3").results,
                   "counts": f.page(1, include_tickets=True, ticket_status=["done"], conversation_id="many-3").extra["counts"],
                   "one": f.get(row), "plain": f.page(1).extra["counts"], "total": f.page(1).count, "orders": [
                       [one["id"] for one in f.list(ordering=order)] for order in ("id", "-id", "sentiment", "kind", "category")]}
        result |= {"deleted": f.delete(row), "gone": tried(f.get, row), "kept": client.tickets.get(made["id"])["feedback"]}
        """,
    )  # fmt: skip
    first, second = told["first"], told["second"]
    assert first["id"] == second["id"] and (second["sentiment"], second["topic"], second["comment"]) == (
        "positive",
        "style",
        "too bold",
    )
    assert told["said"]["messages"][0]["feedback"]["id"] == first["id"] and len(told["said"]["feedbacks"]) == 1
    agent = told["agent"]
    assert (agent["kind"], agent["environment"], agent["conversation"], agent["conversation_id"]) == (
        "agent",
        "development",
        None,
        None,
    )
    assert told["by_kind"]["message"] == told["by_kind"]["agent"] == 1 and told["by_kind"]["product"] == 0
    row, by = told["conversation"]["id"], told["by"]
    assert by["topic"] == by["reason"] == by["message"] == by["comment_contains"] == [first["id"]]
    assert by["conversation_id"] == by["search"] == [row] and by["sentiment"] == [agent["id"]] and by["category"] == []
    assert agent["id"] in by["env"] and row not in by["has_comment"]
    assert (told["updated"]["sentiment"], told["updated"]["comment"]) == ("positive", "better")
    assert told["slug"]["raised"] == told["ticketless"]["raised"] == told["gate"]["raised"] == "ValidationError"
    assert told["made"]["conversation"]["conversation_id"] == "many-3" and told["made"]["feedback"]["id"] == row
    assert [one["ticket"]["title"] for one in told["with"]] == ["From feedback"] and told["one"]["ticket"][
        "comments"
    ] == []
    assert told["counts"] == {"all": 0, "tickets": 1, "open_tickets": 1, "backlog": 0, "open": 1, "in_progress": 0,
                              "in_review": 0, "done": 0, "closed": 0}  # fmt: skip
    assert told["plain"] == {"all": told["total"]} and told["orders"][0] == told["orders"][1][::-1]
    assert told["gone"]["raised"] == "NotFoundError" and told["kept"] is None
    for body, status, field in (
        ({"conversation_id": "many-3", "sentiment": "positive", "environment": "production"}, 400, "environment"),
        ({"kind": "product", "sentiment": "positive"}, 403, None), ({"kind": "message", "sentiment": "positive"}, 400, "message"),
        ({"kind": "agent", "sentiment": "positive", "agent": 888_888_888}, 404, None),
        ({"kind": "message", "message": 888_888_888, "sentiment": "positive"}, 404, None),
    ):  # fmt: skip
        refused = town.post("/api/feedbacks/", json=body)
        assert refused.status_code == status and (field is None or field in refused.json()["fields"]), refused.text


def test_65_a_changed_vote_changes_the_numbers(api: Api):
    send(api, "c", turn(("end_user", "hi"), ("agent", "ho")))
    message_id = whole(api, "c")["messages"][1]["id"]
    vote = {"kind": "message", "message": message_id, "sentiment": "negative"}

    def satisfied() -> Any:
        asked = {"metric": ["feedback_positive", "feedback_negative"], "from": "2026-01-01", "to": "2026-12-31"}
        return [one["total"] for one in api.get("/api/analytics/", params=asked).json()["metrics"]]

    given = api.post("/api/feedbacks/", json=vote)
    assert (given.status_code, satisfied(), whole(api, "c")["feedback_count"]) == (201, [0, 1], 1)
    again = api.post("/api/feedbacks/", json={**vote, "sentiment": "positive"})
    assert (again.status_code, satisfied(), api.ids(feedback_sentiment="positive")) == (200, [1, 0], ["c"])
    assert api.delete(f"/api/feedbacks/{given.json()['id']}/").status_code == 204
    assert (satisfied(), whole(api, "c")["feedback_count"], api.ids(has_feedback="true")) == ([0, 0], 0, [])


def test_68_tickets(town: Api, spans: OldClient):
    told = run(
        town, spans,
        """
        t = client.tickets
        result = {"made": t.create(" Broken ", status="backlog", priority="high", tags=["bug", "Café"],
                                   conversation="many-4"),
                  "bare": t.create("Bare", environment="dev", tags=["ordered"])}
        pk = result["made"]["id"]
        result |= {
            "changed": t.update(pk, status="in_review", title="Fixed?", tags=["bug", "ordered"]),
            "said": t.add_comment(pk, "On it"), "read": t.get(pk), "thread": list(t.comments(pk)),
            "environment": tried(client._request, "PATCH", f"/api/tickets/{pk}/", json={"environment": "production"}),
            "bad": [tried(client._request, "POST", "/api/tickets/", json=body) for body in bad],
            "by": {str(asked): [one["id"] for one in t.list(**asked)] for asked in asked_for},
            "orders": {order: [one["id"] for one in t.list(ordering=order, tags="ordered")] for order in
                       ("priority", "-priority", "status", "title", "-title", "-created_at", "updated_at")},
            "product": tried(t.create, "x", feedback_id=888888888), "nowhere": tried(t.create, "x", conversation=888888888),
        }
        result |= {"deleted": t.delete(pk), "gone": tried(t.get, pk), "no thread": tried(t.add_comment, pk, "x")}
        """,
        bad=[{"title": ""}, {}, {"title": "x", "status": "won't do"}, {"title": "x", "priority": "max"},
             {"title": "x", "tags": "a"}, {"title": "x" * 256}],
        asked_for=[{"conversation_id": "many-4"}, {"has_conversation": False}, {"priority": "high"}, {"tags": "café,other"},
                   {"search": "on it"}, {"status": ["in_review", "done"]}, {"has_feedback": True, "conversation_id": "many-4"},
                   {"created_at_after": "2020-01-01", "tags": "BUG"}, {"updated_at_before": "2020-01-01"}],
    )  # fmt: skip
    made, bare = told["made"], told["bare"]
    assert (made["title"], made["status"], made["priority"], made["tags"]) == (
        "Broken",
        "backlog",
        "high",
        ["bug", "Café"],
    )
    assert made["conversation"]["conversation_id"] == "many-4" and made["environment"] == "production"
    assert (bare["status"], bare["priority"], bare["tags"], bare["environment"]) == (
        "open",
        None,
        ["ordered"],
        "development",
    )
    assert bare["author"] == town.get("/api/me/").json()["agent_name"] and bare["conversation"] is None
    assert (told["changed"]["status"], told["changed"]["title"], told["changed"]["tags"]) == (
        "in_review",
        "Fixed?",
        ["bug", "ordered"],
    )
    assert told["said"]["role"] == "agent" and told["read"]["comments"] == told["thread"] == [told["said"]]
    assert told["read"]["comments_count"] == 1
    assert told["environment"]["raised"] == "ValidationError" and told["environment"]["errors"]["fields"]["environment"]
    assert [one["status"] for one in told["bad"]] == [400] * 6 and all(one["errors"]["fields"] for one in told["bad"])
    by = list(told["by"].values())
    pk = made["id"]
    assert by[0] == by[4] == by[5] == by[7] == [pk] and pk in by[2] and bare["id"] in by[1] and pk not in by[1]
    assert by[3] == by[6] == by[8] == []
    orders = told["orders"]
    assert (
        orders["-priority"]
        == orders["status"][::-1]
        == orders["-title"]
        == orders["updated_at"][::-1]
        == [pk, bare["id"]]
    )
    assert orders["priority"] == orders["-created_at"] == orders["title"] == [bare["id"], pk]
    assert (
        told["product"]["raised"]
        == told["nowhere"]["raised"]
        == told["gone"]["raised"]
        == told["no thread"]["raised"]
        == "NotFoundError"
    )


def test_69_actions(town: Api, spans: OldClient):
    told = run(
        town, spans,
        """
        a = client.actions
        names = [one["name"] for one in a.list()]
        looked = a.list(name="parcel_lookup").first()
        result = {
            "names": names, "looked": looked, "logs": a.logs(looked["id"]), "got": a.get(looked["id"]),
            "labelled": a.update(looked["id"], display_name="Look up", description="where it is"),
            "made": a.create("new_one", description="d"), "twice": tried(a.create, "new_one"),
            "taken": tried(a.update, looked["id"], name="new_one"),
            "part": [one["name"] for one in a.list(name__icontains="PARCEL")],
            "search": [one["name"] for one in a.list(search="where it")],
            "back": [one["name"] for one in a.list(ordering="-name")],
            "unknown": tried(a.get, 888888888), "no": tried(client._request, "DELETE", f"/api/actions/{looked['id']}/"),
        }
        """,
    )  # fmt: skip
    assert told["names"] == sorted(told["names"]) and "parcel_lookup" in told["names"]
    assert told["got"] == told["looked"] and told["looked"]["display_name"] == "parcel_lookup"
    (log,) = told["logs"]
    assert (log["action"], log["duration_ms"], log["tools_used"]) == (told["looked"]["id"], 200, {"n": 1})
    assert (told["labelled"]["display_name"], told["labelled"]["description"]) == ("Look up", "where it is")
    assert told["made"]["display_name"] == "new_one"
    assert (
        told["twice"]["raised"] == told["taken"]["raised"] == "ValidationError"
        and told["twice"]["errors"]["fields"]["name"]
    )
    assert told["twice"]["errors"]["name"], "the field stands at the top as well, where this client looks"
    assert told["part"] == told["search"] == ["parcel_lookup"] and told["back"] == sorted(told["back"], reverse=True)
    assert (told["unknown"]["raised"], told["no"]["raised"]) == ("NotFoundError", "MethodNotAllowedError")


def test_70_and_71_usage_is_the_same_listed_and_summed(town: Api, spans: OldClient):
    told = run(
        town, spans,
        """
        u = client.usage
        result = {"rows": list(u.list(conversation_id="rich")), "model": u.summary(conversation_id="rich"),
                  "conversation": u.summary("conversation", conversation_id="rich"),
                  "day": u.summary("day", currency="eur", conversation_id="rich"),
                  "env": [u.list(environment=name, conversation_id="rich").count() for name in ("production", "development")],
                  "times": [u.list(started_at_after=a, started_at_before=b, conversation_id="rich").count() for a, b in times],
                  "orders": [[one["started_at"] for one in u.list(ordering=order, conversation_id="rich")] for order in
                             ("started_at", "-started_at")]}
        """,
        times=[(at(99), at(100.5)), (at(99), at(102)), (at(50), at(60))],
    )  # fmt: skip
    usage = told["rows"]
    assert len(usage) == 2 and {row["model"] for row in usage} == {"gpt-4o-mini", None}
    priced = next(row for row in usage if row["model"])
    assert (priced["cost_usd"], priced["cost_usd_reported"], priced["cost_source"]) == (
        "0.00045000",
        "0.00000000",
        "backend",
    )
    assert priced["started_at"] == at(100.3).replace("+00:00", "Z") and priced["ended_at"] == at(100.5).replace(
        "+00:00", "Z"
    )
    for by in ("model", "conversation", "day"):
        summed = told[by]["results"]
        for name in ("prompt_tokens", "completion_tokens", "total_tokens", "calls"):
            assert sum(row[name] for row in summed) == sum(row[name] for row in usage), (by, name)
        assert sum(row["rows"] for row in summed) == 2
        assert sum(row["cost_usd"] for row in summed) == pytest.approx(0.00045) and all(
            "cost_eur" not in row for row in summed
        )
    assert told["model"]["results"][0]["group"] == "gpt-4o-mini" and told["model"]["currency"] == "USD"
    assert told["conversation"]["results"][0]["group"] == whole(town, "rich")["id"]
    assert [row["group"] for row in told["day"]["results"]] == [at(0)[:10]] and told["day"]["currency"] == "EUR"
    assert told["env"] == [0, 2] and told["times"] == [1, 2, 0] and told["orders"][0] == told["orders"][1][::-1]


def test_72_spans_and_traces(town: Api, spans: OldClient):
    told = run(
        town, spans,
        """
        s = client.spans
        listed = list(s.list(conversation_id="rich"))
        turn = next(one for one in listed if one["kind"] == "turn")
        result = {"listed": listed, "turn": turn, "whole": s.get(turn["id"], payload=True), "lean": s.get(turn["id"]),
                  "tree": s.trace(turn["trace_id"]), "unknown": tried(s.trace, "f" * 32), "nobody": tried(s.get, 888888888),
                  "by": [s.list(conversation_id="rich", **asked).count() for asked in asked_for]}
        """,
        asked_for=[{"kind": "llm"}, {"status": "ok"}, {"name": "tool"}, {"environment": "development"},
                   {"environment": "production"}, {"started_at_after": at(100.25), "started_at_before": at(100.35)},
                   {"kind": "turn", "trace_id": "x"}, {"parent_span_id": "x"}],
    )  # fmt: skip
    times = [row["started_at"] for row in told["listed"]]
    assert (
        len(times) == 4 and times == sorted(times, reverse=True) and all("payload" not in row for row in told["listed"])
    )
    assert "payload" not in told["lean"] and told["whole"]["payload"]["otel"] == {"dropped": {"events": 0}}
    tree = told["tree"]
    (root,) = tree["roots"]
    assert tree["span_count"] == 3 and [child["kind"] for child in root["children"]] == ["tool", "llm"]
    assert told["unknown"]["raised"] == told["nobody"]["raised"] == "NotFoundError"
    assert told["by"] == [2, 4, 1, 4, 0, 1, 0, 0]


def test_73_and_74_ids_of_another_agent_are_unknown_and_errors_say_why(town: Api, server: Server, spans: OldClient):
    ids = {
        "conversation": whole(town, "rich")["id"], "message": whole(town, "rich")["messages"][0]["id"],
        "span": rows(town, "/api/spans/")[0]["id"], "trace": rows(town, "/api/spans/", kind="turn")[0]["trace_id"],
        "ticket": town.post("/api/tickets/", json={"title": "mine"}).json()["id"],
        "feedback": town.post("/api/feedbacks/", json={"conversation_id": "many-5", "sentiment": "positive"}).json()["id"],
        "action": town.post("/api/actions/", json={"name": "mine_alone"}).json()["id"],
    }  # fmt: skip
    with server.api() as stranger:
        told = run(
            stranger, spans,
            """
            c, t, f, a = client.conversations, client.tickets, client.feedbacks, client.actions
            result = [tried(call, ids[name]) for call, name in (
                (c.get, "conversation"), (c.attachments, "conversation"), (client.messages.get, "message"),
                (client.spans.get, "span"), (client.spans.trace, "trace"), (t.get, "ticket"), (t.delete, "ticket"),
                (f.get, "feedback"), (f.delete, "feedback"), (a.get, "action"), (a.logs, "action"),
            )]
            result += [
                tried(t.update, ids["ticket"], title="x"), tried(t.add_comment, ids["ticket"], "x"),
                tried(t.create, "x", conversation=ids["conversation"]), tried(t.create, "x", feedback_id=ids["feedback"]),
                tried(f.update, ids["feedback"], comment="x"), tried(f.create_for_message, ids["message"], "positive"),
                tried(f.create_for_conversation, ids["conversation"], "positive"),
                tried(a.update, ids["action"], name="x"), tried(client.messages.update, ids["message"], metadata={}),
            ]
            """,
            ids=ids,
        )  # fmt: skip
        assert [one.get("raised") for one in told] == ["NotFoundError"] * len(told) and all(
            one["detail"] for one in told
        )
        for path in ("spans", "tickets", "feedbacks", "actions", "token-usage"):
            assert rows(stranger, f"/api/{path}/") == []
    assert town.get(f"/api/tickets/{ids['ticket']}/").json()["title"] == "mine"


def test_a_read_key_reads_all_and_changes_nothing(town: Api, server: Server, spans: OldClient):
    agent = town.get("/api/me/").json()["agent_name"]
    with server.api(agent, role="read") as reader:
        told = run(
            reader, spans,
            """
            rooms = ("conversations", "spans", "usage", "tickets", "feedbacks", "actions")
            result = {"read": [getattr(client, room).list().count() for room in rooms], "write": [
                tried(client.tickets.create, "x"), tried(client.feedbacks.create_for_agent, "positive"),
                tried(client.actions.create, "x"),
                tried(client.conversations.rename, "rich", "x"), tried(client.messages.update, pk, metadata={})]}
            """,
            pk=whole(town, "rich")["messages"][0]["id"],
        )  # fmt: skip
    assert all(count > 0 for count in told["read"])
    assert [one["raised"] for one in told["write"]] == ["PermissionDeniedError"] * 5


def test_what_is_deleted_takes_its_spans_tickets_usage_and_votes_out_of_sight(api: Api):
    one = turn(("end_user", "hi"))
    send(api, "c", one, tool(one, "t"), llm(one, "gpt-4o-mini", input=3))
    head = whole(api, "c")
    ticket = api.post("/api/tickets/", json={"title": "x", "conversation_id": head["id"]}).json()["id"]
    vote = {"kind": "message", "message": head["messages"][0]["id"], "sentiment": "positive"}
    given = api.post("/api/feedbacks/", json=vote).json()["id"]
    assert api.delete(f"/api/conversations/{head['id']}/delete/").status_code == 200
    for path in ("spans", "tickets", "feedbacks", "token-usage"):
        assert rows(api, f"/api/{path}/") == [], path
    for path in (
        f"tickets/{ticket}",
        f"feedbacks/{given}",
        f"traces/{one['trace_id']}",
        f"track/{head['messages'][0]['id']}",
    ):
        assert api.get(f"/api/{path}/").status_code == 404, path


def test_unicode_and_large_texts_come_back_whole(api: Api):
    text = "Straße 😀 " + "x" * 9_000
    ticket = api.post("/api/tickets/", json={"title": "Žalba 😀", "tags": ["süß"]}).json()
    assert api.post(f"/api/tickets/{ticket['id']}/comments/", json={"body": text}).json()["body"] == text
    assert rows(api, "/api/tickets/", search="žALBA")[0]["tags"] == ["süß"]
    nul = api.post("/api/tickets/", json={"title": "a\0b"})
    assert nul.json()["title"] == "a\u2400b"


# -- 15 and 75: what a bad day does to the client --------------------------------------------------------------------
class _Moody:
    """A proxy that answers the first request to each path with a status, and lets the rest through."""

    def __init__(self, target: str, status: int):
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _pass(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                name = f"{self.command} {self.path.partition('?')[0]}"
                outer.asked.append(name)
                if outer.asked.count(name) == 1 and self.path != "/api/me/":
                    self._answer(status, b'{"detail": "later", "code": "rate_limited"}', {"Retry-After": "1"})
                    return
                kept = {
                    name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")
                }
                answer = httpx.request(self.command, target + self.path, content=body, headers=kept, timeout=30)
                self._answer(answer.status_code, answer.content, {})

            do_GET = do_POST = do_PATCH = _pass

            def _answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(code)
                for name, value in {
                    **headers,
                    "Content-Type": "application/json",
                    "Content-Length": str(len(body)),
                }.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize("status", [429, 503])
def test_15_and_75_a_refused_batch_comes_again_and_a_write_is_tried_once(api: Api, spans: OldClient, status: int):
    moody = _Moody(api.url, status)
    try:
        told = spans.run(
            api,
            """
            import agentsight
            agentsight.init(auto_instrument=False)
            with agentsight.conversation("c"), agentsight.turn("ask"):
                agentsight.user_message("hi")
            agentsight.flush()
            agentsight.shutdown()
            from agentsight import exceptions
            from agentsight.api import AgentSight
            client = AgentSight()
            listed = [row["conversation_id"] for row in client.conversations.list()]
            try:
                raised = client.tickets.create("x")["title"]
            except exceptions.AgentSightError as wrong:
                raised = type(wrong).__name__
            result = {"listed": listed, "raised": raised}
            """,
            url=moody.url,
        )
    finally:
        moody.close()
    assert told == {"listed": ["c"], "raised": "RateLimitError" if status == 429 else "ServerError"}
    assert moody.asked.count("POST /api/ingest/") == 2 and moody.asked.count("POST /api/tickets/") == 1
    assert len(rows(api, "/api/spans/")) == 1


# -- people, who have many agents ------------------------------------------------------------------------------------
def test_a_person_sees_what_several_agents_said_in_one_list_and_tickets_say_whose_they_are(server: Server):
    organization = f"house-{uuid.uuid4().hex[:8]}"
    for agent in ("one", "two"):
        with server.api(agent, organization) as api:
            send(api, f"c-{agent}", turn(("end_user", f"words of {agent}")))

    def person(store: Any) -> tuple[str, int]:
        owner = store.tenants.organization_named(organization)
        now_us = time.time_ns() // 1000
        user = tenancy.add_user(store, owner, f"{organization}@example.com", "member", (), now_us)
        return sessions.start(store, user, now_us), store.tenants.agents(owner.id)[0].id

    storage = open_storage(server.database)
    session, agent_id = storage.write(person).result()
    storage.close()
    with httpx.Client(base_url=server.url, cookies={"session": session}, timeout=30) as web:
        listed = web.get("/api/conversations/").json()["results"]
        assert {row["messages"][0]["content"] for row in listed} == {"words of one", "words of two"}
        nobodys = web.post("/api/tickets/", json={"title": "x"})
        assert nobodys.status_code == 400 and "agent" in nobodys.json()["fields"]
        made = web.post("/api/tickets/", json={"title": "x", "agent": agent_id})
        assert made.status_code == 201 and made.json()["author"] == f"{organization}@example.com"
        said = web.post(f"/api/tickets/{made.json()['id']}/comments/", json={"body": "y"}).json()
        assert said["role"] == "dev"
        assert web.get("/api/spans/").json()["count"] == 2


def test_58_a_second_run_of_an_older_client_is_one_of_the_same_action(api: Api):
    for place in range(2):
        log = {"conversation_id": "c", "action_name": "look", "duration_ms": 5, "timestamp": at(place)}
        assert api.post("/api/action_logs/", json=log).status_code == 201
    (action,) = rows(api, "/api/actions/")
    assert (action["name"], len(api.get(f"/api/actions/{action['id']}/logs/").json())) == ("look", 2)
    assert {row["action_logs"][0]["action"] for row in whole(api, "c")["messages"]} == {action["id"]}


def test_older_clients_usage_is_in_the_list_too(api: Api):
    told = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "embedding_tokens": 0}
    log = {"conversation_id": "c", "action_name": "token_usage", "metadata": told, "timestamp": at(0)}
    assert api.post("/api/action_logs/", json=log).status_code == 201
    (used,) = rows(api, "/api/token-usage/")
    assert (used["total_tokens"], used["turn_id"], used["model"], used["cost_source"]) == (10, None, None, "unpriced")


def test_a_vote_taken_along_in_a_file_is_a_vote_on_that_message_again(api: Api, server: Server, tmp_path: Path):
    send(api, "c", turn(("end_user", "hi"), ("agent", "ho")))
    vote = {
        "kind": "message",
        "message": whole(api, "c")["messages"][1]["id"],
        "sentiment": "negative",
        "topic": "style",
    }
    assert api.post("/api/feedbacks/", json={**vote, "comment": "too bold"}).status_code == 201
    agent = api.get("/api/me/").json()["agent_name"]
    here: dict[str, Any] = {"data": server.data, "AGENTSIGHT_DATABASE_URL": server.database}
    agentsight("export", "--agent", agent, "--organization", "acme", "-o", str(tmp_path / "a.jsonl"), **here)
    words = ("import", str(tmp_path / "a.jsonl"), "--agent", f"{agent} again", "--organization", "acme")
    outcomes = [json.loads(agentsight(*words, **here).splitlines()[-1]) for _ in range(2)]
    assert [outcome["feedback"] for outcome in outcomes] == [1, 0]
    with server.api(f"{agent} again") as again:
        (given,) = rows(again, "/api/feedbacks/")
        assert (given["kind"], given["topic"], given["comment"]) == ("message", "style", "too bold")
        assert whole(again, "c")["messages"][1]["feedback"]["id"] == given["id"]
