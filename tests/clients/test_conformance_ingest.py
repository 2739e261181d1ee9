"""The conformance checklist of SDK 0.1 (contracts, section 6): ingest, projection, uploads. Each test names its items."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import httpx
import pytest

from agentsight.core import prices
from agentsight.core import usage as core
from served import Api, Server
from spanned import llm, post, rows, said, send, span, tool, turn, whole, within


# -- ingest ----------------------------------------------------------------------------------------------------------
def test_1_to_3_a_replayed_batch_changes_nothing(api: Api):
    one = turn(("end_user", "hi"), ("agent", "hello"))
    batch = (one, tool(one, "look"), llm(one, "gpt-4o-mini", input=5, output=2))
    first = send(api, "c", *batch)
    before = whole(api, "c"), rows(api, "/api/token-usage/"), rows(api, "/api/spans/")
    again = send(api, "c", *batch)
    assert (first["rejected"], again["accepted"]) == (0, 0)
    assert (whole(api, "c"), rows(api, "/api/token-usage/"), rows(api, "/api/spans/")) == before
    assert len(before[2]) == 3


@pytest.mark.parametrize("complete", [True, False])
def test_4_spans_split_over_two_posts_in_either_order_give_the_same(api: Api, complete: bool):
    """Parts of a turn that is too large for one request arrive apart, and after an outage the other way round."""
    told = []
    for key, halves in (("whole", [[0, 1, 2]]), ("children first", [[1, 2], [0]]), ("turn first", [[0], [1, 2]])):
        one = turn(("end_user", "hi"), ("agent", "yes"), complete=complete, reason="" if complete else "abandoned")
        spans = [one, tool(one, "look"), llm(one, "gpt-4o-mini", input=5, output=2)]
        for half in halves:
            send(api, key, *(spans[place] for place in half))
        conversation = whole(api, key)
        used = [{k: row[k] for k in ("model", "total_tokens", "calls", "incomplete", "incomplete_reason")} for row in
                rows(api, "/api/token-usage/", conversation_id=key)]  # fmt: skip
        told.append(([(row["content"], row["action_name"]) for row in conversation["messages"]], used))
    assert told[0] == told[1] == told[2]
    assert len(told[0][0]) == (3 if complete else 0) and told[0][1][0]["incomplete"] is not complete


def test_4_two_blocks_of_one_conversation_in_one_request_know_of_one_another(api: Api):
    one = turn(("end_user", "hi"))
    blocks = [{"conversation_id": "c", "spans": [part]} for part in (tool(one, "look"), one)]
    post(api, {"conversations": blocks})
    assert [row["action_name"] for row in whole(api, "c")["messages"]] == [None, "look"]


def test_5_and_6_gzip_is_taken_as_advertised_and_bounded(api: Api):
    assert "gzip-ingest" in api.get("/api/me/").json()["capabilities"]
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    body = json.dumps({"conversations": [{"conversation_id": "z", "spans": [turn(("end_user", "zipped"))]}]}).encode()
    assert api.post("/api/ingest/", content=gzip.compress(body), headers=headers).status_code == 201
    assert said(whole(api, "z")) == [("end_user", "zipped")]
    bomb = gzip.compress(b" " * 60_000_000)
    refused = api.post("/api/ingest/", content=bomb, headers=headers)
    assert refused.status_code == 413 and refused.json()["detail"]


@pytest.mark.slow
def test_7_32_megabytes_of_plain_json_are_taken(api: Api):
    long = [turn(("end_user", "x" * 16_384), second=place) for place in range(2_000)]
    body = json.dumps({"conversations": [{"conversation_id": "long", "spans": long}]}).encode()
    assert 32_000_000 < len(body) < 38_000_000
    answer = api.post("/api/ingest/", content=body, headers={"Content-Type": "application/json"}, timeout=120)
    assert answer.status_code == 201 and answer.json()["rejected"] == 0
    assert rows(api, "/api/conversations/", conversation_id="long", full="false")[0]["message_count"] == 2_000


def test_8_to_10_a_span_is_kept_as_it_came_whatever_it_is(api: Api):
    odd = span("teleport", name="a name", future={"deep": [1, None, "\ud800", "\0", 2**70]}, status="weird")
    odd["attributes"] = {"vendor.list": ["a", 1.5, True], "text": '{"a": NaN} \U0001f600 \u202e'}
    odd["otel"]["resource"] = {"host": "h"}
    send(api, "c", odd)
    (row,) = rows(api, "/api/spans/", kind="teleport")
    assert "payload" not in row and row["attributes"] == odd["attributes"] and row["status"] == "weird"
    shown = api.get(f"/api/spans/{row['id']}/", params={"payload": "true"})
    assert shown.json()["payload"] == odd
    assert "payload" not in api.get(f"/api/spans/{row['id']}/", params={"payload": "false"}).json()


def test_11_and_12_who_asks_and_where(api: Api, server: Server):
    body = {"conversations": [{"conversation_id": "c", "spans": [turn(("end_user", "hi"))]}]}
    bare = api.post("/api/ingest", json=body, follow_redirects=False)
    assert bare.status_code in (201, 404), "never a redirect, which turns a POST into a GET"
    for header in ({"Authorization": f"Bearer {api.key}"}, {"Authorization": ""}, {"Authorization": "Api-Key nobody"}):
        refused = api.post("/api/ingest/", json=body, headers=header)
        assert refused.status_code == 401 and refused.json()["detail"], header
        assert "subscription" not in refused.text.lower(), "that word means another thing to the client (14)"
    assert (
        api.post("/api/ingest/", json=body, headers={"Authorization": f"Api-Key {api.key.upper()}"}).status_code == 201
    )


def test_13_a_read_key_may_not_send(server: Server):
    with server.api("readers", role="read") as reader:
        refused = reader.post("/api/ingest/", json={"conversations": []})
        assert refused.status_code == 403 and refused.json()["detail"]
        assert reader.get("/api/me/").json()["role"] == "read"


def test_16_an_invalid_block_costs_its_neighbours_nothing(api: Api):
    good = {"conversation_id": "good", "spans": [turn(("end_user", "hi"))]}
    told = post(api, {"conversations": [{"conversation_id": "x" * 300, "spans": []}, good, {"spans": [span("turn")]}]})
    assert [one["index"] for one in told["conversations"]] == [0, 2] and all(
        one["errors"] for one in told["conversations"]
    )
    assert said(whole(api, "good")) == [("end_user", "hi")]


def test_17_and_18_hostile_text_and_numbers_that_are_none(api: Api):
    one = turn(("end_user", "nul\0 half\ud800 \U0001f600 \u202eright"), ("agent", "fine"))
    one["events"][1]["attributes"]["agentsight.message.metadata"] = '{"score": NaN, "inf": -Infinity}'
    send(api, "c", one, tool(one, "t", **{"agentsight.tool.arguments": '{"x": NaN}'}))
    messages = whole(api, "c")["messages"]
    assert messages[0]["content"] == "nul\u2400 half\ufffd \U0001f600 \u202eright"
    assert messages[1]["metadata"] == {"latency_ms": 1000.0, "score": None, "inf": None}
    assert messages[2]["action_logs"][0]["tools_used"] == {"x": None}


def test_19_times_with_and_without_fraction_and_events_at_one_moment(api: Api):
    one = turn(*(("end_user", str(place)) for place in range(5)), second=3)
    assert "." not in one["started_at"]
    later = turn(("agent", "later"), second=3.000001)
    send(api, "c", later, one)
    assert [text for _, text in said(whole(api, "c"))] == ["0", "1", "2", "3", "4", "later"]


def test_20_a_parent_nobody_sends_leaves_a_root(api: Api):
    one = turn(("end_user", "hi"), parent_span_id="f" * 16)
    send(api, "c", one, tool(one, "t"))
    tree = api.get(f"/api/traces/{one['trace_id']}/").json()
    assert (tree["span_count"], tree["truncated"], len(tree["roots"])) == (2, False, 1)
    assert tree["roots"][0]["parent_span_id"] == "f" * 16
    assert [child["name"] for child in tree["roots"][0]["children"]] == ["tool"]


# -- projection ------------------------------------------------------------------------------------------------------
def test_21_to_23_a_visit_is_no_use_until_somebody_says_something(api: Api):
    send(api, "c", span("conversation", 0, 0, name="conversation_opened"), customer_id="u")
    opened = whole(api, "c")
    assert (opened["is_used"], opened["message_count"], opened["environment"]) == (False, 0, "production")
    told = span("conversation", 1, 0, name="metadata_updated")
    told["attributes"]["agentsight.conversation.metadata"] = '{"v": 2}'
    send(api, "c", told, metadata={"v": 1})
    after = whole(api, "c")
    assert (after["is_used"], after["metadata"]) == (False, {"v": 2})
    send(api, "c", turn(("end_user", "hi"), second=2))
    assert whole(api, "c")["is_used"] is True


def test_24_and_25_messages_are_those_that_were_sent_in_their_order(api: Api):
    one = turn(("end_user", "a"), ("end_user", "b"), ("end_user", "c"), ("agent", "d"))
    send(api, "c", one, turn(("end_user", "alone"), second=5, name="message"))
    assert said(whole(api, "c")) == [*(("end_user", text) for text in "abc"), ("agent", "d"), ("end_user", "alone")]


@pytest.mark.parametrize("reason", ["error", "abandoned", "deadline", "shutdown"])
def test_26_to_28_a_broken_turn_leaves_its_tokens_alone(api: Api, reason: str):
    one = turn(("end_user", "half"), complete=False, reason=reason)
    send(api, "c", one, tool(one, "t"), llm(one, "gpt-4o-mini", input=7, output=3))
    assert whole(api, "c")["messages"] == []
    (used,) = rows(api, "/api/token-usage/", incomplete="true")
    assert (used["total_tokens"], used["incomplete"], used["incomplete_reason"]) == (10, True, reason)
    assert used["turn_id"] == one["span_id"] and rows(api, "/api/token-usage/", incomplete="false") == []


def test_29_to_33_tools_and_tasks_are_actions_by_name(api: Api):
    declared = api.post("/api/actions/", json={"name": "look", "display_name": "Look up", "description": "d"}).json()
    one = turn(("end_user", "hi"))
    failed = tool(one, "refund", 0.5, **{"agentsight.tool.error": "upstream 503"})
    failed["events"] = [{"name": "exception", "timestamp": one["started_at"], "attributes": {}}] * 2
    plan = tool(one, "plan", 0.7)
    send(api, "c", one, tool(one, "look", **{"agentsight.tool.response": "[1]"}), failed, plan | {"kind": "task"})
    performed = [row for row in whole(api, "c")["messages"] if row["action_logs"]]
    assert [row["content"] for row in performed] == [f"Action {name} performed" for name in ("look", "refund", "plan")]
    looked, broke, _ = (row["action_logs"][0] for row in performed)
    assert (looked["tools_used"], looked["duration_ms"], looked["response"]) == ({"n": 1}, 200, "[1]")
    assert (broke["error_message"], broke["response"]) == ("upstream 503", None)
    listed = {row["name"]: row for row in rows(api, "/api/actions/")}
    assert listed["look"] == declared and set(listed) == {"look", "refund", "plan"}
    assert looked["action"] == declared["id"]
    (run,) = api.get(f"/api/actions/{declared['id']}/logs/").json()
    assert {**looked, "action": declared["id"]} == run


def test_34_to_38_usage_is_a_row_for_each_turn_and_model(api: Api):
    one = turn(("end_user", "hi"))
    cached = llm(one, "gpt-4o-mini", input=80, output=45, cache_read_tokens=40, reasoning_tokens=12)
    again = llm(one, "gpt-4o-mini", 0.4, input=1, output=1, usage_reported=False)
    embedded = llm(one, "text-embedding-3-small", embedding_tokens=8)
    outside = llm(None, "gpt-4o-mini", 9, input=2, output=3)
    send(api, "c", one, cached, again, embedded, outside)
    used = {(row["turn_id"], row["model"]): row for row in rows(api, "/api/token-usage/")}
    turn_id = one["span_id"]
    assert set(used) == {(turn_id, "gpt-4o-mini"), (turn_id, "text-embedding-3-small"), (None, "gpt-4o-mini")}
    chat = used[turn_id, "gpt-4o-mini"]
    counts = {"prompt_tokens": 81, "cache_read_tokens": 40, "completion_tokens": 46, "reasoning_tokens": 12,
              "total_tokens": 167, "calls": 2, "unreported_calls": 1, "embedding_tokens": 0}  # fmt: skip
    assert {name: chat[name] for name in counts} == counts and chat["conversation_id"] == "c"
    embeds = used[turn_id, "text-embedding-3-small"]
    assert (embeds["embedding_tokens"], embeds["total_tokens"]) == (8, 8)
    assert rows(api, "/api/token-usage/", turn_id=turn_id, model="gpt-4o-mini") == [chat]
    spent = whole(api, "c")["token_usage"]
    assert spent["totals"]["total_tokens"] == 167 + 8 + 5 and {one["model"] for one in spent["models"]} == {
        "gpt-4o-mini", "text-embedding-3-small"}  # fmt: skip


def test_39_and_40_what_has_no_price_is_unpriced_until_it_has(api: Api, monkeypatch: pytest.MonkeyPatch):
    one = turn(("end_user", "hi"))
    send(api, "c", one, llm(one, "house-model-1", input=10), llm(one, "gpt-4o-mini-2024-07-18", input=1_000_000))
    used = {row["model"]: row for row in rows(api, "/api/token-usage/")}
    assert (used["house-model-1"]["cost_source"], used["house-model-1"]["cost_usd"]) == ("unpriced", "0.00000000")
    dated = used["gpt-4o-mini-2024-07-18"]
    assert (dated["cost_source"], dated["cost_usd"]) == ("backend", "0.15000000"), "the price of its family"
    found = {
        source: [row["model"] for row in rows(api, "/api/token-usage/", cost_source=source)] for source in core.SOURCES
    }
    assert found == {"backend": ["gpt-4o-mini-2024-07-18"], "unpriced": ["house-model-1"], "reported": []}
    assert not core.is_priced("house-model-1", 0)
    monkeypatch.setattr(prices, "cost", lambda *_: (1, 1))
    assert core.is_priced("house-model-1", 0), "a price that comes to be known holds for what is there already"


def test_41_only_four_actions_are_an_escalation(api: Api):
    for place, name in enumerate(("fallback_to_human", "open_ticket", "ticket", "contact_human", "call_mother")):
        one = turn(("end_user", "help"))
        send(api, f"c{place}", one, tool(one, name))
    day = {"from": one["started_at"][:10], "to": one["started_at"][:10]}
    told = api.get("/api/analytics/", params={"metric": "escalated_conversations", **day}).json()
    assert told["metrics"][0]["total"] == 4


def test_43_and_44_metadata_are_those_told_last_and_an_empty_object_clears_them(api: Api):
    def document(second: float, told: str | None) -> dict[str, Any]:
        own = turn(("end_user", "hi"), second=second)
        own["attributes"] |= {} if told is None else {"agentsight.conversation.metadata": told}
        return own

    send(api, "c", document(5, '{"v": "new"}'), metadata={"v": "old"})
    send(api, "c", document(1, '{"v": "old"}'), metadata={"v": "old"})
    assert whole(api, "c")["metadata"] == {"v": "new"}
    send(api, "c", document(6, None))
    assert whole(api, "c")["metadata"] == {"v": "new"}
    send(api, "c", document(7, "{}"), metadata={})
    assert whole(api, "c")["metadata"] == {}


def test_45_and_46_environments(api: Api):
    for place, told in enumerate(("prod", "DEV ", "development", "staging-7", None)):
        about = {} if told is None else {"environment": told}
        send(api, f"c{place}", turn(("end_user", "hi"), second=place), **about)
    lies_in = [whole(api, f"c{place}")["environment"] for place in range(5)]
    assert lies_in == ["production", "development", "development", "development", "production"]
    day = {"from": turn()["started_at"][:10], "to": turn()["started_at"][:10]}
    counted = api.get("/api/analytics/", params={"metric": "total_messages", **day}).json()["metrics"][0]["total"]
    assert counted == 2, "development is readable and not counted"


def test_47_and_48_latency_is_the_turns_and_orphans_stay_out(api: Api):
    one = turn(("end_user", "hi"), ("agent", "a"), ("agent", "b"), duration_ms=1234.5)
    lost = turn()
    send(api, "c", one, tool(lost, "orphan"), within(lost, "button"))
    messages = whole(api, "c")["messages"]
    assert [row["metadata"] for row in messages] == [{}, {}, {"latency_ms": 1234.5}]
    assert {row["kind"] for row in rows(api, "/api/spans/", trace_id=lost["trace_id"])} == {"tool", "button"}


def test_42_a_click_is_no_row_of_the_transcript(api: Api):
    press = {f"agentsight.button.{name}": name for name in ("event", "label", "value")}
    send(api, "c", span("button", attributes=press))
    assert whole(api, "c")["messages"] == [] and len(rows(api, "/api/spans/", kind="button")) == 1


# -- uploads ---------------------------------------------------------------------------------------------------------
CLIENT = {"User-Agent": "agentsight-python/0.1.4"}


def test_49_and_50_an_upsert_before_any_span_makes_the_one_conversation(api: Api):
    asked = {"conversation_id": "c", "environment": "production"}
    first, again = (api.post("/api/conversations/", json=asked, headers=CLIENT) for _ in range(2))
    assert (first.status_code, again.status_code, first.json()["id"]) == (201, 200, again.json()["id"])
    assert whole(api, "c")["is_used"] is False
    send(api, "c", turn(("end_user", "hi")), customer_id="u")
    found = whole(api, "c")
    assert (found["id"], found["is_used"], found["customer_id"]) == (first.json()["id"], True, "u")


def upload(api: Api, conversation: int, *files: bytes, **more: Any) -> Any:
    listed = [
        {"filename": "a.txt", "mime_type": "text/plain", "data": base64.b64encode(file).decode()} for file in files
    ]
    body = {"conversation": str(conversation), "timestamp": "2026-03-02T10:00:00", "mode": "base64", "sender": "end_user",
            "metadata": {}, "attachments": listed, **more}  # fmt: skip
    return api.post("/api/attachments/", json=body, headers=CLIENT)


def test_51_and_52_bytes_go_to_the_conversation_or_to_one_of_its_messages(api: Api):
    send(api, "c", turn(("end_user", "hi")))
    send(api, "other", turn(("end_user", "ho")))
    here, there = whole(api, "c"), whole(api, "other")
    message = here["messages"][0]
    assert upload(api, here["id"], b"one").status_code == 201
    attached = upload(api, here["id"], b"two", message=str(message["id"]))
    assert attached.status_code == 201 and attached.json()["message_id"] == message["id"]
    after = whole(api, "c")["messages"]
    assert [(row["timestamp"], len(row["attachments"])) for row in after if row["id"] == message["id"]] == [
        (message["timestamp"], 1)]  # fmt: skip
    for foreign in (there["messages"][0]["id"], 888_888_888):
        assert upload(api, here["id"], b"three", message=str(foreign)).status_code == 404
    assert len(whole(api, "other")["messages"][0]["attachments"]) == 0


@pytest.mark.slow
def test_53_what_is_too_much_says_how_much_would_not_be(api: Api):
    send(api, "c", turn(("end_user", "hi")))
    id = whole(api, "c")["id"]
    many, large, huge = (
        upload(api, id, *[b"x"] * 11),
        upload(api, id, b"x" * 27_000_000),
        upload(api, id, b"x" * 31_000_000),
    )
    for refused, limit in ((many, "10"), (large, "25"), (huge, "40")):
        assert refused.status_code == 413 and limit in refused.json()["detail"], refused.text


def test_54_and_55_a_lookup_finds_it_and_a_descriptor_is_no_second_file(api: Api):
    send(api, "c", turn(("end_user", "hi")))
    id = api.get("/api/conversations/lookup/", params={"conversation_id": "c"}).json()["id"]
    assert upload(api, id, b"one").status_code == 201
    told = {
        "agentsight.attachment.mode": "base64",
        "agentsight.attachment.count": 1,
        "agentsight.attachment.files": "[{}]",
    }
    send(api, "c", span("attachment", 2, attributes=told))
    listed = api.get(f"/api/conversations/{id}/attachments/").json()
    assert listed["attachment_count"] == 1
    link = listed["attachments"][0]["file_url"]
    assert httpx.get(link).content == b"one", "76: signed, so it needs no key"
    assert httpx.get(link.replace("/files/", "/files/x")).status_code == 404
