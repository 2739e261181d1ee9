"""What people and programs send by mistake or on purpose: a clear refusal each time, and never a 5xx."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import Backend, Person, running
from .scripted import Scripted


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def ann(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    url = request.getfixturevalue("postgresql")() if request.param == "postgresql" else None
    with running(tmp_path_factory.mktemp("input"), url, responder=Scripted()) as backend:
        yield backend.person()


BODIES: list[tuple[bytes, int, str]] = [
    (b"", 422, "invalid"),
    (b"{", 422, "invalid"),
    (b"[]", 422, "invalid"),
    (b"null", 422, "invalid"),
    (b'"hello"', 422, "invalid"),
    (b"{}", 422, "invalid"),
    (b'{"message": ""}', 422, "invalid"),
    (b'{"message": "  \\n "}', 422, "invalid"),
    (b'{"message": null}', 422, "invalid"),
    (b'{"message": 7}', 422, "invalid"),
    (b'{"message": ["hi"]}', 422, "invalid"),
    (b'{"message": "a\\u0000b"}', 422, "invalid"),
    (b'{"message": "\\ud800"}', 422, "invalid"),
    (b'{"message": "hi", "message": "ho"}', 422, "invalid"),
    (b'{"message": "hi", "extra": 1}', 422, "invalid"),
    (b'{"message": "hi", "\\ud800": 1}', 422, "invalid"),
    (b'{"message": "hi", "conversation_id": NaN}', 422, "invalid"),
    (b'{"message": "hi", "conversation_id": 1e999}', 422, "invalid"),
    (b'{"message": "hi", "conversation_id": true}', 422, "invalid"),
    (b'{"message": "hi", "conversation_id": "1"}', 422, "invalid"),
    (b'{"message": "hi", "conversation_id": 1.5}', 422, "invalid"),
    (b'{"message": "hi", "conversation_id": 0}', 422, "invalid"),
    (b'{"message": "hi", "conversation_id": -1}', 422, "invalid"),
    (b'{"message": "hi", "conversation_id": 2147483648}', 422, "invalid"),
    (b'{"message": "hi", "conversation_id": 9223372036854775808}', 422, "invalid"),
    (b'{"message": "hi", "conversation_id": ' + b"9" * 5000 + b"}", 422, "invalid"),
    (b'{"message": "hi", "conversation_id": 2147483647}', 404, "conversation_not_found"),
    (b"[" * 100_000, 422, "invalid"),
    (b'{"message": "' + b"x" * 32_001 + b'"}', 422, "invalid"),
    (b'{"message": "' + b"x" * 1_000_001 + b'"}', 413, "too_large"),
    ('{"message": "hi"}'.encode("utf-16"), 400, "bad_request"),
    (b'{"message": "\xff"}', 400, "bad_request"),
]


@pytest.mark.parametrize("path", ["", "/stream"])
@pytest.mark.parametrize(("body", "status", "code"), BODIES, ids=range(len(BODIES)))
def test_a_body_that_does_not_fit(ann: Person, path: str, body: bytes, status: int, code: str) -> None:
    answer = ann.http.post(ann.base + path, content=body, headers={"Content-Type": "application/json"})
    told = answer.json()
    assert (answer.status_code, told["code"]) == (status, code)
    assert told["request_id"] == answer.headers["x-request-id"] and isinstance(told["detail"], str)
    assert all(isinstance(reasons, list) for reasons in told.get("fields", {}).values())
    assert "xxxxx" not in answer.text


def test_a_message_of_any_text_comes_back_as_it_was(ann: Person) -> None:
    for text in (
        "x" * 32_000,
        "😀 é ‮ \u200b",
        "\ufeffhi",
        "a\r\nb\tc",
        "'; DROP TABLE chat_runs; --",
        "<b>",
        "\x1b[31m",
    ):
        conversation = ann.said(text)["conversation_id"]
        assert ann.messages(conversation)[0]["content"] == text


def test_what_a_model_writes_is_kept_whatever_it_is(ann: Person) -> None:
    answer = ann.said("say \x01\x7f bell")
    assert ann.messages(answer["conversation_id"])[1]["content"] == answer["response"] == "\x01\x7f bell"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/conversations/0", 404), ("/conversations/abc", 404), ("/conversations/1_0", 404),
        ("/conversations/99999999999999999999", 404), ("/conversations/%D9%A1", 404), ("/conversations/-1", 404),
        ("/conversations/%00", 404), ("/runs/x", 404), ("/runs/%00", 404), (f"/runs/{'a' * 36}", 404),
        ("/runs/..%2f..%2f", 404), ("/conversations?limit=0", 422), ("/conversations?limit=abc", 422),
        ("/conversations?limit=-5", 422), ("/conversations?limit=1000000000", 200), ("/conversations?before=x", 422),
        ("/conversations?before=99999999999999999999", 422), ("/nothing", 404),
    ],
)  # fmt: skip
def test_a_path_or_query_that_does_not_fit(ann: Person, path: str, status: int) -> None:
    answer = ann.http.get(ann.base + path)
    assert answer.status_code == status and ("code" in answer.json() or status == 200)


def test_headers_that_do_not_fit(ann: Person) -> None:
    run = ann.said("hi")["run_id"]
    for value in ("abc", "-1", "1e5", "9" * 30, "1_0"):
        answer = ann.http.get(f"{ann.base}/runs/{run}/events", headers={"Last-Event-ID": value})
        assert answer.status_code == 422 and "Last-Event-ID" in answer.json()["fields"]
    assert ann.http.get(f"{ann.base}/runs/{run}/events?after=x").status_code == 422
    for key in ("", "k" * 256):
        answer = ann.http.post(ann.base, json={"message": "hi"}, headers={"Idempotency-Key": key})
        assert answer.status_code == 422
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        answer = ann.http.post(ann.base, content=b'{"message":"hi"}', headers={"Content-Type": kind})
        assert answer.status_code == 415 and answer.json()["code"] == "unsupported_media_type"


def test_methods_and_paths_that_are_not_there(ann: Person) -> None:
    for method, path, status in [("PUT", ann.base, 405), ("DELETE", "/chat", 405), ("GET", "/nope", 404)]:
        answer = ann.http.request(method, path)
        assert answer.status_code == status and answer.json()["code"] in ("method_not_allowed", "not_found")


def test_seed_forms_that_do_not_fit(ann: Person) -> None:
    for form in ({}, {"prompt": " "}, {"prompt": "a\0b"}, {"other": "x"}):
        assert ann.http.post("/chat/", data=form).status_code == 422
    assert ann.http.post("/chat/", files={"prompt": b"x"}).status_code in (400, 422)
    for name in ("", " ", "x" * 256, "a\nb"):
        answer = ann.http.post("/chat", json={"message": "hi", "conversation_id": name})
        assert answer.status_code == 422 and "conversation_id" in answer.json()["fields"]


KEYS = st.sampled_from(["message", "conversation_id"]) | st.text(max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    max_leaves=6,
)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(body=JSON, key=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20) | st.none())
def test_nothing_at_all_makes_a_server_error(ann: Person, body: Any, key: str | None) -> None:
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key is not None else {})
    answer = ann.http.post(ann.base, content=json.dumps(body).encode(), headers=headers)
    assert answer.status_code < 500, answer.text


def test_a_crash_of_ours_says_nothing_about_us(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path, responder=Scripted()) as backend:
        person = _broken(backend, monkeypatch)
        answer = person.http.get(f"{person.base}/conversations")
        assert answer.status_code == 500 and answer.json()["code"] == "server_failed"
        assert "secret" not in answer.text and answer.json()["request_id"]


def _broken(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Person:
    def fail(*args: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(backend.app.state.chat.store, "conversations", fail)
    return backend.person()
