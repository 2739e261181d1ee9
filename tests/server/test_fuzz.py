"""Anything at all, sent to any route: an answer below 500, always, with an error body of the one shape."""

from __future__ import annotations

import gzip
import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agentsight import wire
from agentsight.core import actions, feedback, spans, tickets, usage
from served import Api, event, message
from spanned import llm, tool, turn

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["None", "", " ", "\x00", "\ud800", "1", "2026-01-01T00:00:00Z", "production", "end_user", "YQ=="]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = sorted({name for fields in wire.EVENTS.values() for name in fields} | {"id", "kind", "occurred_at", "seq"})
OLDER = (*FIELDS, "conversation", "message", "timestamp", "attachments", "is_used", "question", "answer", "event_id")
ROUTES = (
    "/api/conversations/",
    "/api/track/",
    "/api/action_logs/",
    "/api/buttons/",
    "/api/attachments/",
    "/api/conversation-feedbacks/",
)


def fuzzing(examples: int) -> settings:
    return settings(max_examples=examples, suppress_health_check=list(HealthCheck))


def spoiled(whole: st.SearchStrategy[dict[str, Any]], names: tuple[str, ...] | list[str]) -> st.SearchStrategy[Any]:
    """A whole body, some of its fields replaced by anything."""
    return st.tuples(whole, st.dictionaries(st.sampled_from(sorted(names)), ANYTHING, max_size=3)).map(
        lambda pair: pair[0] | pair[1]
    )


WHOLE = st.sampled_from(
    [
        message("fuzz"),
        event("conversation", "fuzz", customer_id="c", metadata={"a": 1}),
        event("action", "fuzz", action_name="look", duration_ms=5),
        event("button", "fuzz", button_event="e", label="l", value="v"),
        event("attachment", "fuzz", data="YQ=="),
        event("token_usage", "fuzz", prompt_tokens=1),
        event("feedback", "fuzz", sentiment="positive"),
    ]
)
OLD_WHOLE = st.just(
    {
        "conversation_id": "fuzz",
        "content": "x",
        "sender": "agent",
        "action_name": "a",
        "button_event": "e",
        "label": "l",
        "value": "v",
        "sentiment": "positive",
        "attachments": [{"filename": "a", "mime_type": "text/plain", "data": "YQ=="}],
    }
)


def text(document: Any) -> bytes:
    """JSON as careless encoders write it: NaN, lone surrogates and all."""
    return json.dumps(document).encode()


def sound(answer: Any) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        body = answer.json()
        assert isinstance(body["detail"], str) and body["code"]
        assert all(isinstance(reason, str) for reasons in body.get("fields", {}).values() for reason in reasons)


@fuzzing(200)
@given(items=st.lists(spoiled(WHOLE, FIELDS) | ANYTHING, min_size=1, max_size=5), zipped=st.booleans())
@example(items=[{"": float("inf")}], zipped=False)
def test_any_batch_is_answered_item_by_item_and_costs_its_neighbours_nothing(api: Api, items: list[Any], zipped: bool):
    good = message("good")
    body = text({"events": [*items, good]})
    headers = {"Content-Type": "application/json"} | ({"Content-Encoding": "gzip"} if zipped else {})
    answer = api.post("/api/batch/", content=gzip.compress(body) if zipped else body, headers=headers)
    sound(answer)
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert len(results) == len(items) + 1
    assert results[-1]["verdict"] == "accepted"
    for result in results:
        if result["verdict"] == "rejected":
            assert result["field"] and result["reason"]


@pytest.mark.parametrize("route", ROUTES)
@fuzzing(60)
@given(body=spoiled(OLD_WHOLE, OLDER) | ANYTHING)
def test_any_body_to_an_older_route_is_answered(api: Api, route: str, body: Any):
    sound(api.post(route, content=text(body), headers={"Content-Type": "application/json"}))


@pytest.mark.parametrize("route", [*ROUTES, "/api/batch/"])
@fuzzing(25)
@given(
    body=st.binary(max_size=60),
    content_type=st.sampled_from(
        ["application/json", "multipart/form-data; boundary=b", "multipart/form-data; boundary=", "x", ""]
    ),
    encoding=st.sampled_from(["", "gzip", "identity", "br"]),
)
def test_any_bytes_are_answered(api: Api, route: str, body: bytes, content_type: str, encoding: str):
    headers = {"Content-Type": content_type, "Content-Encoding": encoding}
    sound(api.post(route, content=body, headers=headers))


PART = st.tuples(
    st.sampled_from(["message", "conversation", "metadata", "sender", "timestamp", "attachment_0", "é"]),
    st.sampled_from(["", '; filename="a"', "; filename*=utf-8''%C4", '; filename=""', '; filename="\\"', "; filename"]),
    st.binary(max_size=12),
)


@fuzzing(80)
@given(st.lists(PART, max_size=5))
def test_any_multipart_body_is_answered(api: Api, parts: list[tuple[str, str, bytes]]):
    body = b"".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + data + b"\r\n"
        for name, extra, data in parts
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    sound(api.post("/api/attachments/", content=body + b"--b--\r\n", headers=headers))


@fuzzing(150)
@given(
    asked=st.dictionaries(
        st.sampled_from([*wire.FILTERS, "page", "page_size", "ordering", "env"]),
        st.text(max_size=12)
        | st.integers(-(2**70), 2**70).map(str)
        | st.sampled_from(["true", "2026-03-02", "a:b,c:d"]),
        max_size=4,
    )
)
def test_any_question_to_the_list_is_answered(api: Api, asked: dict[str, str]):
    clean = {name: value.encode("utf-8", "replace").decode() for name, value in asked.items()}
    sound(api.get("/api/conversations/", params=clean))


@fuzzing(60)
@given(
    id=st.integers(-(2**70), 2**70).map(str) | st.text(max_size=8),
    what=st.sampled_from(["rename", "mark", "update", "delete", "attachments", "x", ""]),
    method=st.sampled_from(["GET", "POST", "PATCH", "DELETE"]),
    body=spoiled(OLD_WHOLE, [*OLDER, "name", "is_marked"]) | ANYTHING,
)
def test_any_change_to_anything_is_answered(api: Api, id: str, what: str, method: str, body: Any):
    url = f"{api.url}/api/conversations/{quote(id.encode('utf-8', 'replace'), safe='')}/{what}/"
    sound(api.request(method, url, content=text(body), headers={"Content-Type": "application/json"}))


# -- what clients 0.1.x ask for --------------------------------------------------------------------------------------
NEWER = ("/api/tickets/", "/api/actions/", "/api/feedbacks/")
LISTS = (*NEWER, "/api/spans/", "/api/token-usage/", "/api/token-usage/summary/", "/api/conversations/metadata-values/")
NEW_FIELDS = ("title", "status", "priority", "tags", "environment", "conversation_id", "conversation", "feedback_id", "agent",
              "name", "display_name", "description", "kind", "message", "sentiment", "comment", "topic", "reason", "metadata",
              "body", "event_id")  # fmt: skip
NEW_WHOLE = st.sampled_from(
    [
        {"title": "x", "status": "open", "tags": ["a"]},
        {"name": "look"},
        {"kind": "agent", "sentiment": "positive", "agent": 1},
        {"kind": "message", "message": 1, "sentiment": "negative"},
        {"conversation_id": "fuzz", "sentiment": "neutral"},
    ]
)
SPAN_FIELDS = ("span_id", "trace_id", "parent_span_id", "kind", "name", "started_at", "ended_at", "duration_ms", "status",
               "attributes", "events", "otel")  # fmt: skip
ATTRIBUTES = ("agentsight.turn.id", "agentsight.turn.complete", "agentsight.tool.name", "agentsight.tool.arguments",
              "agentsight.conversation.metadata", "agentsight.conversation.customer_id", "gen_ai.request.model",
              "gen_ai.usage.input_tokens", "agentsight.button.label", "agentsight.turn.incomplete_reason")  # fmt: skip
SPANS = st.lists(
    spoiled(st.sampled_from([turn(("end_user", "hi"), ("agent", "ho")), tool(turn(), "t"), llm(None, "m", input=1)]), SPAN_FIELDS)
    | st.dictionaries(st.sampled_from(ATTRIBUTES), ANYTHING).map(lambda told: {"kind": "tool", "attributes": told})
    | ANYTHING,
    max_size=4,
)  # fmt: skip


@fuzzing(150)
@given(
    sent=SPANS,
    about=st.dictionaries(st.sampled_from(["metadata", "environment", "name", "device", "conversation_id"]), ANYTHING),
)
def test_any_spans_are_answered_and_cost_their_neighbours_nothing(api: Api, sent: list[Any], about: dict[str, Any]):
    good = {"conversation_id": "good", "spans": [turn(("end_user", "hi"))]}
    body = text({"conversations": [{"conversation_id": "fuzz", "spans": sent, **about}, good, sent]})
    answer = api.post("/api/ingest/", content=body, headers={"Content-Type": "application/json"})
    sound(answer)
    assert answer.status_code in (201, 400), answer.text
    if answer.status_code == 201:
        assert api.get("/api/conversations/", params={"conversation_id": "good"}).json()["count"] == 1
        sound(api.get("/api/spans/", params={"page_size": 100}))


@pytest.mark.parametrize("route", NEWER)
@fuzzing(60)
@given(
    body=spoiled(NEW_WHOLE, NEW_FIELDS) | ANYTHING,
    id=st.integers(-1, 9).map(str) | st.just("") | st.text(max_size=6),
    what=st.sampled_from(["", "comments/", "logs/", "payload/"]),
    method=st.sampled_from(["GET", "POST", "PATCH", "DELETE"]),
)
def test_any_change_to_what_newer_clients_know_is_answered(
    api: Api, route: str, body: Any, id: str, what: str, method: str
):
    place = f"{quote(id.encode('utf-8', 'replace'), safe='')}/{what}" if id else ""
    headers = {"Content-Type": "application/json"}
    sound(api.request(method, f"{api.url}{route}{place}", content=text(body), headers=headers))


@pytest.mark.parametrize("route", LISTS)
@fuzzing(60)
@given(
    asked=st.dictionaries(
        st.sampled_from(
            sorted({*spans.FILTERS, *tickets.FILTERS, *feedback.FILTERS, *actions.FILTERS, *usage.FILTERS} | {
                "page", "page_size", "ordering", "env", "group_by", "currency", "key", "payload"})
        ),
        st.text(max_size=12)
        | st.integers(-(2**70), 2**70).map(str)
        | st.sampled_from(["true", "2026-03-02", "2026-03-02T10:00:00", "-created_at", "open", "model", "a,b", "production"]),
        max_size=4,
    )
)  # fmt: skip
def test_any_question_to_the_newer_lists_is_answered(api: Api, route: str, asked: dict[str, str]):
    clean = {name: value.encode("utf-8", "replace").decode() for name, value in asked.items()}
    sound(api.get(route, params=clean))


@fuzzing(40)
@given(id=st.integers(-1, 9).map(str) | st.text(max_size=8), body=ANYTHING, told=ANYTHING)
def test_any_message_and_trace_is_answered(api: Api, id: str, body: Any, told: Any):
    own = quote(id.encode("utf-8", "replace"), safe="")
    for path in (f"/api/track/{own}/", f"/api/traces/{own}/", f"/api/spans/{own}/"):
        sound(api.get(f"{api.url}{path}"))
    for content in (text(body), text({"metadata": told})):
        sound(api.patch(f"{api.url}/api/track/{own}/", content=content, headers={"Content-Type": "application/json"}))
