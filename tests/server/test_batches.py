"""Batches read in one go are read as they are event by event, or not at all."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agentsight import wire
from agentsight.server import batches
from agentsight.wire import Draft

PLAIN: dict[str, dict[str, Any]] = {
    "conversation": {"customer_id": "c-1", "language": "hr", "environment": "production", "is_used": False},
    "message": {"sender": "end_user", "content": "Where is my parcel? 📦 Št", "metadata": {"a": 1, "b": "ž"}},
    "action": {"action_name": "look_up", "duration_ms": 12, "tools_used": {"n": [1, 2.5, None]}, "response": "ok",
               "started_at": "2026-03-01T10:00:00Z", "error_msg": ""},
    "button": {"button_event": "helpful", "label": "👍", "value": "yes"},
    "token_usage": {"prompt_tokens": 12, "completion_tokens": 0, "model": "gpt-4o"},
    "feedback": {"sentiment": "positive", "comment": "Quick\nand kind"},
}  # fmt: skip


def enveloped(kind: str, fields: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {"id": "e-1", "kind": kind, "conversation_id": "conv", "occurred_at": "2026-03-01T10:00:00.000001Z",
            "seq": 3, **fields, **changed}  # fmt: skip


def at_once(body: bytes) -> list[Draft] | None:
    batch = batches.read(body)
    return None if batch is None else batches.drafts(batch)


def test_what_our_own_client_sends_is_read_in_one_go():
    events = [enveloped(kind, fields) for kind, fields in PLAIN.items()]
    assert {*PLAIN, "attachment"} == set(wire.EVENTS)
    for spelled in (True, False):
        body = json.dumps({"sdk": {"name": "agentsight"}, "sent_at": "x", "events": events}, ensure_ascii=spelled)
        assert at_once(body.encode()) == [wire.parse(event) for event in events]


@pytest.mark.parametrize(
    "changed",
    [
        {"content": " \u2003"}, {"content": "a\x00b"}, {"content": ""}, {"content": "x" * 262_145}, {"content": 5},
        {"sender": "bot"}, {"id": " "}, {"id": "é\u0085"}, {"conversation_id": 7}, {"conversation_id": "a\nb"},
        {"occurred_at": "2026-03-01"}, {"occurred_at": "2026-03-01T10:00:00"}, {"occurred_at": "1950-01-01T00:00:00Z"},
        {"seq": -1}, {"seq": 2**53}, {"seq": 1.0}, {"seq": True}, {"metadata": "text"}, {"metadata": {"a": 2**60}},
        {"kind": "attachment", "data": ""}, {"kind": "no such"}, {"kind": None},
    ],
    ids=repr,
)  # fmt: skip
def test_what_has_to_be_mended_or_refused_is_looked_at_event_by_event(changed: dict[str, Any]):
    event = enveloped("message", PLAIN["message"]) | changed
    assert at_once(orjson.dumps({"events": [event]})) is None


def test_what_is_no_batch_at_all_is_left_to_those_who_say_why():
    for body in (b"", b"[]", b"{}", b'{"events": []}', b'{"events": {}}', b"\xff", b'{"events": [' * 3_000):
        assert at_once(body) is None


texts = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", " ", "\u00a0", "\x00", "a\x00", "production", "prod", "\ud83d", "x" * 256, "\x85", "é"]),
)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**65), 2**65), st.floats(), texts),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
WRITTEN = (
    r"20[0-9]{2}-0[1-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-5][0-9]:[0-6][0-9]"
    r"([.,][0-9]{1,9})?([Zz]|[+-]0[0-9]:?[0-5][0-9])?"
)
times = st.one_of(
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    st.sampled_from(["2026-03-01T10:00:00.1234565Z", "2026-03-01T10:00:00.9999999+02:00", "2026-03-01t10:00:00z",
                     "2026-03-01 10:00:00Z", "2099-12-31T23:59:59.9999999Z", "2026-02-30T00:00:00Z"]),
    st.from_regex(WRITTEN, fullmatch=True),
)  # fmt: skip


@st.composite
def events(draw: Any) -> dict[str, Any]:
    kind = draw(st.sampled_from([*PLAIN, "attachment"]))
    event = enveloped(kind, PLAIN.get(kind, {"data": "eA=="}))
    names = [*wire.EVENTS[kind], "id", "conversation_id", "seq", "kind", "unknown"]
    for name in draw(st.lists(st.sampled_from(names), max_size=2)):
        event[name] = draw(st.one_of(anything, texts, st.integers(-3, 2**54), st.floats(-1, 1e13)))
    if draw(st.booleans()):
        event["occurred_at"] = draw(times)
    return event


@settings(max_examples=600)
@given(st.lists(events(), min_size=1, max_size=3), st.booleans())
@example([enveloped("message", PLAIN["message"], occurred_at="2026-03-01T10:00:00.9999999Z")], True)
@example([enveloped("message", PLAIN["message"], occurred_at="2026-03-01t10:00:00.1234564z")], True)
def test_however_an_event_is_written_both_ways_read_the_same(told: list[dict[str, Any]], spelled: bool):
    body = json.dumps({"events": told}, ensure_ascii=spelled).encode("utf-8", "surrogatepass")
    found = at_once(body)
    if found is not None:
        with suppress(orjson.JSONDecodeError):  # what nobody reads may be broken: an unknown field is passed over
            assert_same(found, body)


def assert_same(found: list[Draft], body: bytes) -> None:
    one_by_one = [wire.parse(event) for event in orjson.loads(body)["events"]]
    assert found == one_by_one
    assert repr(found) == repr(one_by_one)  # 1 is not 1.0, nor True
