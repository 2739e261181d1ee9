"""What the unmodified client 0.1.4 records arrives whole, once and in order, when one environment variable is changed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from served import Api

from .old import OldClient

FLOW = """
    import agentsight
    assert agentsight.init(auto_instrument=False)

    @agentsight.tool
    def parcel_lookup(number, courier="dhl"):
        return {"status": "in transit"}

    @agentsight.tool(name="refund")
    def refund(amount):
        raise ValueError("upstream 503")

    with agentsight.conversation(conversation_id="s-1", customer_id="c-9", device="mobile", source="whatsapp",
                                 language="hr", name="Parcel", environment="production", metadata={"plan": "pro"}):
        with agentsight.turn("ask"):
            agentsight.user_message("Gdje je moj paket? 📦", {"k": "v"})
            parcel_lookup("A-1")
            try:
                refund(3)
            except ValueError:
                pass
            agentsight.agent_message("Na putu je.")
            from agentsight.sdk.instrumentation import record_llm_call
        agentsight.user_message("Hvala!")
        agentsight.button("helpful", "Yes", "yes")
        agentsight.update_metadata({"plan": "gold", "seen": False})
    agentsight.open_conversation("s-2", customer_id="c-10")
    try:
        with agentsight.conversation("s-3"), agentsight.turn("broken"):
            agentsight.user_message("half")
            parcel_lookup("A-2")
            raise RuntimeError("no")
    except RuntimeError:
        pass
    result = agentsight.flush()
    agentsight.shutdown()
"""


@pytest.fixture
def stored(api: Api, spans: OldClient) -> Api:
    assert spans.run(api, FLOW) is True
    return api


def test_a_conversation_is_stored_in_order_with_what_is_known_of_it(stored: Api) -> None:
    conversation = stored.conversation("s-1")
    known = {
        name: conversation[name] for name in ("customer_id", "device", "source", "language", "name", "environment")
    }
    assert known == {"customer_id": "c-9", "device": "mobile", "source": "whatsapp", "language": "hr",
                     "name": "Parcel", "environment": "production"}  # fmt: skip
    assert conversation["is_used"] is True and conversation["metadata"] == {"plan": "gold", "seen": False}
    rows = conversation["messages"]
    said = [(row["sender"], row["content"]) for row in rows if not row["action_logs"] and not row["button"]]
    assert said == [("end_user", "Gdje je moj paket? 📦"), ("agent", "Na putu je."), ("end_user", "Hvala!")]
    assert rows[0]["metadata"] == {"k": "v"} and rows[0]["sender"] == "end_user"


def test_tools_are_actions_with_what_went_in_and_came_out(stored: Api) -> None:
    rows = stored.conversation("s-1")["messages"]
    found, failed = (row["action_logs"][0] for row in rows if row["action_logs"])
    assert found["tools_used"] == {"number": "A-1", "courier": "dhl"} and "in transit" in found["response"]
    assert found["error_message"] == "" and found["duration_ms"] >= 0 and found["started_at"] <= found["ended_at"]
    assert failed["tools_used"] == {"amount": 3} and "upstream 503" in failed["error_message"]
    assert [row["action_name"] for row in rows if row["action_logs"]] == ["parcel_lookup", "refund"]
    assert not any(row["button"] for row in rows), "a click is counted, and no row of the transcript"
    (clicked,) = stored.get("/api/spans/", params={"kind": "button"}).json()["results"]
    assert clicked["attributes"]["agentsight.button.label"] == "Yes"
    day = {"from": clicked["started_at"][:10], "to": clicked["started_at"][:10]}
    assert stored.get("/api/analytics/", params={"metric": "button_clicks", **day}).json()["metrics"][0]["total"] == 1


def test_a_turn_that_broke_leaves_no_half_transcript_and_a_visit_is_no_conversation(stored: Api) -> None:
    assert stored.conversation("s-3")["messages"] == []
    opened = stored.conversation("s-2")
    assert opened["is_used"] is False and opened["messages"] == [] and opened["environment"] == "production"


def test_who_am_i(api: Api, spans: OldClient) -> None:
    me = spans.run(api, "from agentsight.api import AgentSight\nresult = AgentSight().me()")
    assert me["role"] == "write" and me["capabilities"] == ["gzip-ingest"] and isinstance(me["agent_id"], int)
    assert [one["slug"] for one in me["environments"]] == ["production", "development"]


def test_what_was_recorded_can_be_read_back_and_managed(stored: Api, spans: OldClient) -> None:
    result: Any = spans.run(
        stored,
        """
        from agentsight.api import AgentSight
        client = AgentSight()
        rows = list(client.conversations.list(customer_id="c-9"))
        whole = client.conversations.get("s-1")
        renamed = client.conversations.rename("s-1", "Lost parcel")
        marked = client.conversations.mark("s-1")
        merged = client.conversations.update_metadata("s-1", {"tier": 1}, remove=["seen"])
        gone = client.conversations.delete("s-2")
        result = {"rows": rows, "whole": whole, "renamed": renamed, "marked": marked, "merged": merged, "gone": gone}
        """,
    )
    assert len(result["rows"]) == 1 and "messages" not in result["rows"][0]
    assert len(result["whole"]["messages"]) == 5 and result["renamed"]["name"] == "Lost parcel"
    assert result["marked"]["is_marked"] and result["merged"]["metadata"] == {"plan": "gold", "tier": 1}
    assert result["gone"]["is_deleted"]


def test_feedback_is_given_and_listed(stored: Api, spans: OldClient) -> None:
    result: Any = spans.run(
        stored,
        """
        from agentsight.api import AgentSight
        client = AgentSight()
        given = client.feedbacks.create_for_conversation("s-1", "positive", comment="Quick!")
        client.feedbacks.create_for_conversation("s-3", "negative")
        page = client.feedbacks.page(1)
        result = {"given": given, "counts": page.extra["counts"], "all": list(client.feedbacks.list()),
                  "good": list(client.feedbacks.list(sentiment="positive")),
                  "of": list(client.feedbacks.list(conversation_id="s-3"))}
        """,
    )
    assert (result["given"]["kind"], result["given"]["conversation_id"]) == ("conversation", "s-1")
    assert result["counts"] == {"all": 2} and [one["sentiment"] for one in result["all"]] == ["negative", "positive"]
    assert [one["comment"] for one in result["good"]] == ["Quick!"] and len(result["of"]) == 1
    refused = stored.post("/api/feedbacks/", json={"kind": "product", "sentiment": "positive"})
    assert refused.status_code == 403
    unknown = stored.post("/api/feedbacks/", json={"kind": "mood", "sentiment": "positive"})
    assert unknown.status_code == 400 and "kind" in unknown.json()["fields"]


def test_files_are_uploaded_and_listed(api: Api, spans: OldClient) -> None:
    result: Any = spans.run(
        api,
        """
        import agentsight
        agentsight.init(auto_instrument=False)
        file = {"filename": "label.txt", "mime_type": "text/plain", "data": "WkFHUkVC"}
        sent = agentsight.upload_attachments([file], conversation_id="s-9")
        agentsight.shutdown()
        from agentsight.api import AgentSight
        client = AgentSight()
        result = {"sent": sent, "listed": client.conversations.attachments("s-9"),
                  "head": client.conversations.get("s-9")}
        """,
    )
    assert result["sent"]["attachments"][0]["filename"] == "label.txt"
    assert result["listed"]["attachment_count"] == 1 and result["listed"]["attachments"][0]["file_url"]
    assert result["head"]["environment"] == "production"


def test_sent_twice_it_is_stored_once(api: Api) -> None:
    span = {
        "span_id": "a" * 16, "trace_id": "b" * 32, "parent_span_id": None, "kind": "turn", "name": "ask",
        "started_at": "2026-03-01T10:00:00+00:00", "ended_at": "2026-03-01T10:00:01.500000+00:00",
        "duration_ms": 1500.0, "status": "ok",
        "attributes": {"agentsight.turn.id": "a" * 16, "agentsight.turn.complete": True},
        "events": [
            {"name": "agentsight.message", "timestamp": "2026-03-01T10:00:00+00:00", "attributes": {
                "agentsight.message.sender": sender, "agentsight.message.content": content}}
            for sender, content in (("end_user", "one"), ("end_user", "t\ud800wo\0"), ("agent", "three"))
        ], "otel": {},
    }  # fmt: skip
    usage = {**span, "span_id": "c" * 16, "kind": "llm", "name": "gpt-4o-mini", "events": [], "attributes": {
        "agentsight.turn.id": "a" * 16, "gen_ai.request.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.usage.input_tokens": 80, "gen_ai.usage.output_tokens": 45, "agentsight.llm.cache_read_tokens": 40,
        "agentsight.llm.reasoning_tokens": 12}}  # fmt: skip
    blocks = [{"conversation_id": "t-1", "spans": [span, usage]}, {"conversation_id": ""}, "odd"]
    for tally in ({"accepted": 5, "duplicate": 0}, {"accepted": 0, "duplicate": 4}):
        body = json.dumps({"conversations": blocks})
        answer = api.post("/api/ingest/", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 201, answer.text
        told = answer.json()
        assert {name: told[name] for name in tally} == tally and told["rejected"] == 0
        assert [one["index"] for one in told["conversations"]] == [1, 2]
    rows = api.conversation("t-1")["messages"]
    assert [row["content"] for row in rows] == ["one", "t\ufffdwo␀", "three"]
    assert rows[2]["metadata"] == {"latency_ms": 1500.0}
    totals = api.get("/api/analytics/", params={"metric": "total_tokens", "from": "2026-03-01", "to": "2026-03-01"})
    assert totals.json()["metrics"][0]["total"] == 165


@pytest.mark.parametrize(
    "body", [{}, {"conversations": None}, {"conversations": {}}, {"conversations": "x"}, []]
)  # fmt: skip
def test_a_body_that_is_none_is_said_so(api: Api, body: Any) -> None:
    assert api.post("/api/ingest/", json=body).status_code == 400


def test_odd_spans_cost_nothing(api: Api) -> None:
    odd: list[Any] = [
        {"kind": 7}, {"kind": "turn", "attributes": [], "events": {}}, {"kind": "new", "attributes": {"x": [1]}},
        {"kind": "tool", "started_at": "soon", "attributes": {"agentsight.tool.name": "x" * 300}},
        {"kind": "button", "attributes": {"agentsight.button.event": "e", "agentsight.button.label": "l" * 999,
                                          "agentsight.button.value": "v", "agentsight.metadata": '{"a": NaN}'}},
        {"kind": "llm", "attributes": {"gen_ai.usage.input_tokens": -4, "gen_ai.request.model": 9}},
    ]  # fmt: skip
    answer = api.post("/api/ingest/", json={"conversations": [{"conversation_id": "odd", "device": [1], "spans": odd}]})
    assert answer.status_code == 201 and answer.json()["rejected"] == 0, answer.text
    assert len(api.conversation("odd")["messages"]) == 1
    kept = api.get("/api/spans/", params={"conversation_id": "odd"}).json()
    assert kept["count"] == 6 and {row["kind"] for row in kept["results"]} >= {"7", "turn", "new"}
