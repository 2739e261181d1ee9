"""Forty nasty inputs and more: refused by name, never an error of ours, nothing of the neighbours lost."""

from __future__ import annotations

import gzip
import json
import socket
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest

from served import Api, Server, event, message

JSON = {"Content-Type": "application/json"}
GZIP = {**JSON, "Content-Encoding": "gzip"}
DEEP = 1_000


def refusal(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The error body, which has the one shape of every error."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text[:500]}"
    body = answer.json()
    assert isinstance(body["detail"], str) and body["detail"] and body["code"]
    assert body["request_id"] == answer.headers["x-request-id"]
    for reasons in body.get("fields", {}).values():
        assert all(isinstance(reason, str) for reason in reasons)
    return body


def raw(event: dict[str, Any], **spelled: str) -> str:
    """One event as JSON text, some fields spelled in ways no encoder of ours would."""
    fields = {name: json.dumps(value) for name, value in event.items()} | spelled
    return "{" + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}"


# -- a bad event in a batch ------------------------------------------------------------------------------------------
BAD_FIELDS = {
    "NaN": ({"metadata": '{"x": NaN}'}, "metadata"),
    "Infinity": ({"metadata": '{"x": [-Infinity]}'}, "metadata"),
    "1e999": ({"metadata": '{"x": 1e999}'}, "metadata"),
    "2^63": ({"metadata": '{"x": 9223372036854775808}'}, "metadata"),
    "2^64 as seq": ({"seq": "18446744073709551616"}, "seq"),
    "5,000 digits": ({"metadata": '{"x": ' + "9" * 5_000 + "}"}, "metadata"),
    "1,000 deep": ({"metadata": "[" * DEEP + "]" * DEEP}, "metadata"),
    "100,000 deep": ({"metadata": '{"a":' * 100_000 + "1" + "}" * 100_000}, "metadata"),
    "11 deep": ({"metadata": '{"a":' * 11 + "1" + "}" * 11}, "metadata"),
    "5 MB of text": ({"content": '"' + "x" * 5_000_000 + '"'}, "content"),
    "257 keys": ({"metadata": json.dumps({str(n): n for n in range(257)})}, "metadata"),
    "a long key": ({"metadata": json.dumps({"k" * 257: 1})}, "metadata"),
    "much metadata": ({"metadata": json.dumps({"k": "v" * 70_000})}, "metadata"),
    "no id": ({"id": "null"}, "id"),
    "a number for an id": ({"id": "5"}, "id"),
    "a long id": ({"id": '"' + "x" * 129 + '"'}, "id"),
    "no kind": ({"kind": "null"}, "kind"),
    "an unknown kind": ({"kind": '"thought"'}, "kind"),
    "a list for a kind": ({"kind": "[]"}, "kind"),
    "no conversation": ({"conversation_id": '""'}, "conversation_id"),
    "a long conversation_id": ({"conversation_id": '"' + "x" * 256 + '"'}, "conversation_id"),
    "a line break in a conversation_id": ({"conversation_id": '"a\\nb"'}, "conversation_id"),
    "no time": ({"occurred_at": "null"}, "occurred_at"),
    "a number for a time": ({"occurred_at": "1700000000"}, "occurred_at"),
    "30 February": ({"occurred_at": '"2024-02-30T00:00:00Z"'}, "occurred_at"),
    "the year 9999": ({"occurred_at": '"9999-01-01T00:00:00Z"'}, "occurred_at"),
    "the year 1": ({"occurred_at": '"0001-01-01T00:00:00Z"'}, "occurred_at"),
    "a negative seq": ({"seq": "-1"}, "seq"),
    "text for a seq": ({"seq": '"1"'}, "seq"),
    "no sender": ({"sender": "null"}, "sender"),
    "an unknown sender": ({"sender": '"user"'}, "sender"),
    "no content": ({"content": "null"}, "content"),
    "a list for content": ({"content": "[1]"}, "content"),
}


@pytest.mark.parametrize("bad", BAD_FIELDS)
def test_a_bad_event_names_its_field_and_costs_only_itself(api: Api, bad: str):
    spelled, field = BAD_FIELDS[bad]
    events = [raw(message("c", "before")), raw(message("c", "bad"), **spelled), raw(message("c", "after"))]
    answer = api.post("/api/batch/", content='{"events": [' + ",".join(events) + "]}", headers=JSON)
    assert answer.status_code == 200, answer.text[:500]
    body = answer.json()
    assert (body["accepted"], body["rejected"]) == (2, 1)
    assert [result["index"] for result in body["results"]] == [0, 1, 2]
    assert body["results"][1]["field"] == field
    assert isinstance(body["results"][1]["reason"], str)
    assert [row["content"] for row in api.conversation("c")["messages"]] == ["before", "after"]


BAD_ACTIONS = {
    "a negative duration": ({"duration_ms": -1}, "duration_ms"),
    "an endless duration": ({"duration_ms": 10**18}, "duration_ms"),
    "text for a duration": ({"duration_ms": "5"}, "duration_ms"),
    "true for a duration": ({"duration_ms": True}, "duration_ms"),
    "no time for a start": ({"started_at": "soon"}, "started_at"),
    "a blank name": ({"action_name": " "}, "action_name"),
    "a long name": ({"action_name": "x" * 256}, "action_name"),
    "a deep response": ({"response": json.loads("[" * 70 + "]" * 70)}, "response"),
    "much of a response": ({"response": "x" * 300_000}, "response"),
}


@pytest.mark.parametrize("bad", BAD_ACTIONS)
def test_a_bad_action_names_its_field_and_costs_only_itself(api: Api, bad: str):
    spelled, field = BAD_ACTIONS[bad]
    answer = api.batch(event("action", "c", **{"action_name": "look", **spelled}), message("c"))
    assert (answer["results"][0]["verdict"], answer["results"][0]["field"]) == ("rejected", field)
    assert answer["results"][1]["verdict"] == "accepted"


@pytest.mark.parametrize(
    ("kind", "fields", "field"),
    [
        ("token_usage", {"prompt_tokens": -1}, "prompt_tokens"),
        ("token_usage", {"total_tokens": 1.5}, "total_tokens"),
        ("token_usage", {"completion_tokens": 2**60}, "completion_tokens"),
        ("token_usage", {"embedding_tokens": "5"}, "embedding_tokens"),
        ("feedback", {"sentiment": "good"}, "sentiment"),
        ("feedback", {"sentiment": "positive", "comment": "x" * 5_001}, "comment"),
        ("conversation", {"is_used": "yes"}, "is_used"),
        ("conversation", {"customer_id": "x" * 256}, "customer_id"),
        ("conversation", {"device": {}}, "device"),
        ("button", {"button_event": "e", "label": "", "value": "v"}, "label"),
        ("attachment", {}, "data"),
        ("attachment", {"data": 5}, "data"),
        ("attachment", {"data": "%%%"}, "data"),
        ("attachment", {"data": "aGVsbG8=", "sender": "me"}, "sender"),
    ],
)
def test_a_bad_field_of_any_kind_is_named(api: Api, kind: str, fields: dict, field: str):
    answer = api.batch(event(kind, "c", **fields), message("c"))
    assert (answer["results"][0]["verdict"], answer["results"][0].get("field")) == ("rejected", field)
    assert len(api.conversation("c")["messages"]) == 1


def test_what_is_no_event_at_all_costs_only_itself(api: Api):
    answer = api.batch(message("c"), 5, None, "x", [], {}, message("c"))  # type: ignore[arg-type]
    assert [result["verdict"] for result in answer["results"]] == ["accepted", *["rejected"] * 5, "accepted"]


@pytest.mark.parametrize("position", [0, 499, 999])
def test_a_thousand_events_with_a_bad_one_store_the_other_999(api: Api, position: int):
    events: list[Any] = [message("c", str(n)) for n in range(1_000)]
    events[position]["sender"] = "nobody"
    answer = api.batch(*events)
    assert (answer["accepted"], answer["rejected"]) == (999, 1)
    assert answer["results"][position]["field"] == "sender"
    assert len(api.conversation("c")["messages"]) == 999


def test_an_event_twice_in_one_batch_is_a_duplicate_of_itself(api: Api):
    one = message("c")
    answer = api.batch(one, one)
    assert [result["verdict"] for result in answer["results"]] == ["accepted", "duplicate"]
    assert api.batch(one)["duplicate"] == 1
    assert len(api.conversation("c")["messages"]) == 1


def test_the_same_event_id_under_another_agent_is_another_event(server: Server, api: Api):
    one = message("c", "mine")
    api.batch(one)
    with server.api() as other:
        assert other.batch({**one, "content": "theirs"})["accepted"] == 1
        assert other.conversation("c")["messages"][0]["content"] == "theirs"
    assert api.conversation("c")["messages"][0]["content"] == "mine"


def test_a_name_given_twice_means_its_last_value_in_a_batch(api: Api):
    """The older routes refuse it; a batch is read by a decoder that knows one meaning alone, so nothing can be smuggled."""
    one = raw(message("c", "first"))[:-1] + ', "content": "last"}'
    assert api.post("/api/batch/", content='{"events": [' + one + "]}", headers=JSON).json()["accepted"] == 1
    assert api.conversation("c")["messages"][0]["content"] == "last"


def test_the_first_delivery_of_an_event_id_stands(api: Api):
    one = message("c", "first")
    api.batch(one)
    assert api.batch({**one, "content": "second"})["duplicate"] == 1
    assert [row["content"] for row in api.conversation("c")["messages"]] == ["first"]


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ('"half \\ud83d"', "half �"),
        ('"whole \\ud83d\\ude00"', "whole 😀"),
        ('"nul \\u0000"', "nul ␀"),
        ('"\\udc00\\ud800"', "��"),
        ('"\\u202e\\u0007 kept"', "\u202e\u0007 kept"),
    ],
)
@pytest.mark.parametrize("route", ["/api/batch/", "/api/track/"])
def test_text_no_database_can_hold_is_made_storable(api: Api, sent: str, stored: str, route: str):
    one = raw(message("c"), content=sent, metadata='{"k\\ud83d": ' + sent + "}")
    content = '{"events": [' + one + "]}" if route == "/api/batch/" else one
    answer = api.post(route, content=content, headers=JSON)
    assert answer.status_code in (200, 201), answer.text
    (row,) = api.conversation("c")["messages"]
    assert (row["content"], row["metadata"]) == (stored, {"k�": stored})


HALF = r'"half \ud83d"'
ATTACHMENTS = '[{"filename": "a", "mime_type": "text/plain", "data": "YQ=="}]'


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/api/track/", f'{{"conversation_id": "c", "content": "x", "sender": "agent", "timestamp": {HALF}}}'),
        ("/api/conversations/", f'{{"conversation_id": "c", "event_id": {HALF}}}'),
        ("/api/attachments/", f'{{"conversation_id": "c", "attachments": {ATTACHMENTS}, "event_id": {HALF}}}'),
        ("/api/conversation-feedbacks/", f'{{"conversation_id": "c", "sentiment": "neutral", "event_id": {HALF}}}'),
        ("/api/feedbacks/", f'{{"conversation_id": "c", "sentiment": "neutral", "event_id": {HALF}}}'),
        ("/api/ingest/", f'{{"conversations": [{{"conversation_id": {HALF}}}]}}'),
        ("/api/batch/", f'{{"events": [{{"id": {HALF}}}]}}'),
    ],
)
def test_text_no_answer_can_hold_is_answered_all_the_same(api: Api, route: str, body: str):
    api.batch(message("c"))
    answer = api.post(route, content=body, headers=JSON)
    assert answer.status_code in (200, 201, 400), answer.text
    assert "\ud83d" not in answer.text


# -- a bad body ------------------------------------------------------------------------------------------------------
BATCH_BODIES: dict[str, tuple[bytes, int]] = {
    "empty": (b"", 400),
    "blank": (b"  \n", 400),
    "a list": (b"[]", 400),
    "text": (b'"x"', 400),
    "null": (b"null", 400),
    "a number": (b"5", 400),
    "not JSON": (b"{", 400),
    "cut short": (b'{"events": [{"id": "a"', 400),
    "two documents": (b"{}{}", 400),
    "no events": (b"{}", 400),
    "events null": (b'{"events": null}', 400),
    "events a text": (b'{"events": "x"}', 400),
    "events empty": (b'{"events": []}', 400),
    "1,001 events": (json.dumps({"events": [{}] * 1_001}).encode(), 413),
    "UTF-16": ('{"events": []}'.encode("utf-16"), 400),
    "UTF-16 with events": (json.dumps({"events": [message("c")]}).encode("utf-16"), 400),
    "latin-1": ('{"events": [{"id": "č"}]}'.encode("iso-8859-2"), 400),
    "9 MB": (b'{"events": ["' + b"x" * 9_000_000 + b'"]}', 413),
    "50 MB of nothing": (b" " * 50_000_000, 413),
    "brackets without end": (b"[" * 100_000, 400),
    "objects without end": (b'{"events":' * 100_000, 400),
    "NUL": (b"\x00" * 10, 400),
    "NaN": (b"NaN", 400),
}


@pytest.mark.parametrize("bad", BATCH_BODIES)
def test_a_batch_that_is_none_is_refused(api: Api, bad: str):
    body, status = BATCH_BODIES[bad]
    refusal(api.post("/api/batch/", content=body, headers=JSON), status)


@pytest.mark.parametrize("route", ["/api/track/", "/api/conversations/", "/api/conversation-feedbacks/"])
@pytest.mark.parametrize("bad", [name for name in BATCH_BODIES if "events" not in name])
def test_a_body_that_is_none_is_refused_by_the_older_routes_too(api: Api, route: str, bad: str):
    body, status = BATCH_BODIES[bad]
    refusal(api.post(route, content=body, headers=JSON), status)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"content": "a", "content": "b"}', "content"),
        ('{"metadata": {"x": NaN}, "content": "a"}', "body"),
        ('{"content": 1e999}', "body"),
        ('{"content": "a", "sender": "agent", "conversation_id": "c", "metadata": [9223372036854775808]}', "metadata"),
        ('{"content": "a", "sender": "agent", "conversation_id": "c", "metadata": [[[[[[[[[[[]]]]]]]]]]]}', "metadata"),
        ("[" * 100_000 + "]" * 100_000, "body"),
        ('{"content": "' + "x" * 300_000 + '", "sender": "agent", "conversation_id": "c"}', "content"),
    ],
    ids=["one name twice", "NaN", "1e999", "2^63", "11 deep", "100,000 deep", "300,000 characters"],
)
def test_a_bad_single_event_names_its_field(api: Api, body: str, field: str):
    told = refusal(api.post("/api/track/", content=body, headers=JSON), 400)
    assert list(told["fields"]) == [field]


def test_a_byte_order_mark_is_fine(api: Api):
    body = b"\xef\xbb\xbf" + json.dumps({"events": [message("c")]}).encode()
    assert api.post("/api/batch/", content=body, headers=JSON).json()["accepted"] == 1
    one = b"\xef\xbb\xbf" + raw(message("c")).encode()
    assert api.post("/api/track/", content=one, headers=JSON).status_code == 201


@pytest.mark.parametrize("route", ["/api/batch/", "/api/track/", "/api/conversations/", "/api/conversation-feedbacks/"])
@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "image/png"]
)
def test_another_content_type_is_415(api: Api, route: str, content_type: str):
    refusal(api.post(route, content=b"{}", headers={"Content-Type": content_type}), 415)


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/x+json"])
def test_json_by_any_of_its_names_is_read(api: Api, content_type: str):
    body = json.dumps({"events": [message("c")]})
    assert api.post("/api/batch/", content=body, headers={"Content-Type": content_type}).status_code == 200


# -- compression -----------------------------------------------------------------------------------------------------
def test_a_gzipped_batch_is_read(api: Api):
    body = gzip.compress(json.dumps({"events": [message("c")]}).encode())
    assert api.post("/api/batch/", content=body, headers=GZIP).json()["accepted"] == 1


GOOD = json.dumps({"events": [{}]}).encode()
COMPRESSED = {
    "not gzip": (GOOD, 400),
    "cut short": (gzip.compress(GOOD)[:-9], 400),
    "a broken checksum": (gzip.compress(GOOD)[:-8] + b"12345678", 400),
    "something after it": (gzip.compress(GOOD) + b"more", 400),
    "gzip in gzip": (gzip.compress(gzip.compress(GOOD)), 400),
    "a bomb of 1 to 1000": (gzip.compress(b" " * 100_000_000), 413),
    "zlib": (zlib.compress(GOOD), 400),
    "nothing": (b"", 400),
}


@pytest.mark.parametrize("bad", COMPRESSED)
def test_broken_gzip_is_refused(api: Api, bad: str):
    body, status = COMPRESSED[bad]
    refusal(api.post("/api/batch/", content=body, headers=GZIP), status)


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd", "x"])
def test_another_encoding_is_415(api: Api, encoding: str):
    refusal(api.post("/api/batch/", content=b"x", headers={**JSON, "Content-Encoding": encoding}), 415)


def test_fifty_bombs_at_once_cost_the_server_little_memory(server: Server, api: Api):
    bomb = gzip.compress(b" " * 100_000_000)
    before = resident_mb(server)
    with ThreadPoolExecutor(10) as pool:
        sent = pool.map(lambda _: api.post("/api/batch/", content=bomb, headers=GZIP).status_code, range(50))
        assert set(sent) == {413}
    assert resident_mb(server) - before < 200


def resident_mb(server: Server) -> float:
    with open(f"/proc/{server.process.pid}/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


# -- bodies that never end, slow clients -----------------------------------------------------------------------------
def test_a_chunked_body_without_end_is_cut_at_the_limit(api: Api):
    def endless() -> Iterator[bytes]:
        yield b'{"events": ["'
        until = time.monotonic() + 30
        while time.monotonic() < until:
            yield b"x" * 65_536

    try:
        status = api.post("/api/batch/", content=endless(), headers=JSON, timeout=20).status_code
    except httpx.WriteError:  # the server answered and closed while we were still writing
        status = 413
    assert status == 413


def head(api: Api, length: str, route: str = "/api/batch/") -> bytes:
    return (
        f"POST {route} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Api-Key {api.key}\r\n"
        f"Content-Type: application/json\r\n{length}\r\n\r\n"
    ).encode()


def connected(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def test_a_body_shorter_than_it_says_stores_nothing(server: Server, api: Api):
    body = json.dumps({"events": [message("c")]}).encode()
    with connected(server) as line:
        line.sendall(head(api, f"Content-Length: {len(body) + 50}") + body)
    time.sleep(0.2)
    assert api.ids() == []


def test_a_length_and_chunks_at_once_are_never_two_requests(server: Server, api: Api):
    """The classic of request smuggling: whatever is answered, the second request must not run."""
    hidden = head(api, "Content-Length: 0", "/api/conversations/1/delete/")
    with connected(server) as line:
        line.sendall(head(api, "Content-Length: 6\r\nTransfer-Encoding: chunked") + b"0\r\n\r\n" + hidden)
        line.shutdown(socket.SHUT_WR)
        answers = received(line)
    assert answers.startswith(b"HTTP/1.1 4")
    assert api.ids() == []


def received(line: socket.socket) -> bytes:
    """Everything until the other side closes."""
    got = b""
    while chunk := line.recv(65_536):
        got += chunk
    return got


@pytest.mark.slow
def test_a_body_that_never_arrives_is_cut_within_35_seconds_and_nobody_waits_for_it(server: Server, api: Api):
    lines = [connected(server) for _ in range(100)]
    begun = time.monotonic()
    for line in lines:
        line.sendall(head(api, "Content-Length: 1000") + b'{"events"')
    waits = []
    for n in range(20):
        asked = time.monotonic()
        api.batch(message("c", str(n)))
        waits.append(time.monotonic() - asked)
    assert sorted(waits)[10] < 0.5
    for line in lines:
        line.settimeout(40)
        assert b"400" in line.recv(4_096).split(b"\r\n")[0]
        line.close()
    assert time.monotonic() - begun < 38


@pytest.mark.slow
def test_a_head_that_never_ends_is_cut_within_25_seconds(server: Server):
    with connected(server) as silent, connected(server) as slow:
        begun = time.monotonic()
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        slow.settimeout(1)
        while not closed(slow):
            assert time.monotonic() - begun < 25
            with suppress(OSError):
                slow.sendall(b"X-A: b\r\n")
        silent.settimeout(5)
        assert silent.recv(1) == b""


def closed(line: socket.socket) -> bool:
    """The other side has ended the connection; waits for it as long as the socket's own timeout."""
    try:
        return line.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_a_head_over_its_limit_is_cut(server: Server):
    with connected(server) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        with suppress(OSError):
            for _ in range(100):
                line.sendall(b"X-A: " + b"b" * 10_000 + b"\r\n")
                time.sleep(0.001)
        line.settimeout(5)
        with suppress(ConnectionResetError):
            assert b" 431 " in received(line)


def test_an_answer_to_a_body_that_was_not_read_leaves_the_connection_usable(server: Server, api: Api):
    with connected(server) as line:
        body = b"x" * 5_000_000
        line.sendall(head(api, f"Content-Length: {len(body)}", "/api/nowhere/") + body)
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answers = received(line)
    assert (answers.count(b"HTTP/1.1 404"), answers.count(b"HTTP/1.1 200")) == (1, 1)


# -- heads and paths -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nowhere/", 404),
        ("/api/nowhere/", 404),
        ("//evil", 404),
        ("/api/conversations/../../etc/passwd", 404),
        ("/api/conversations/%2e%2e/", 404),
        ("/api/conversations/1%00/", 404),
        ("/files/x/../../secret", 404),
        ("/api/conversations/?" + "a" * 60_000, 200),
    ],
)
def test_a_path_that_leads_nowhere_is_not_found(api: Api, path: str, status: int):
    answer = api.get(api.url + path)
    assert answer.status_code in (status, 400, 414), answer.text[:200]
    assert answer.status_code != 500


@pytest.mark.parametrize(
    ("asked", "possible"),
    [
        ("GET /api/batch/", "POST"),
        ("DELETE /api/track/", "POST"),
        ("PUT /api/buttons/", "POST"),
        ("POST /healthz", "GET, HEAD"),
        ("PUT /api/conversations/", "GET, POST"),
        ("POST /api/feedbacks/1/", "DELETE, GET, PATCH"),
    ],
)
def test_another_method_is_405_and_hears_which_are_possible(api: Api, asked: str, possible: str):
    answer = api.request(*asked.split())
    refusal(answer, 405)
    assert answer.headers["allow"] == possible


def test_what_can_be_read_can_be_asked_for_its_head(api: Api):
    api.batch(event("attachment", "c", data="aGk=", filename="a.txt"))
    (file,) = api.conversation("c")["messages"][0]["attachments"]
    for path in ("/api/conversations/", "/api/analytics/?metric=total_messages", file["file_url"]):
        whole, head = api.get(path), api.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == whole.headers["content-length"]


def test_a_forged_host_never_reaches_a_link(api: Api):
    api.batch(*(message(f"c{n}") for n in range(11)))
    for host in ("evil/?x=", "evil.example:99999999", "a b", "<script>", ""):
        answer = api.get("/api/conversations/", headers={"Host": host})
        assert answer.status_code in (400, 200), answer.text
        assert host == "" or host not in answer.text
    forged = api.get("/api/conversations/", headers={"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "gopher"})
    assert "evil" not in forged.text and "gopher" not in forged.text


def test_every_answer_has_a_request_id_and_forbids_sniffing(api: Api):
    for answer in (api.get("/healthz"), api.get("/nowhere"), api.get("/api/conversations/"), api.post("/api/batch/")):
        assert answer.headers["x-request-id"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers or "uvicorn" not in answer.headers["server"]
    assert "no-store" in api.get("/api/conversations/").headers["cache-control"]


def test_a_client_clock_far_off_is_corrected_by_what_it_says_it_sent_at(api: Api):
    one = message("c", occurred_at="2020-01-01T00:00:00Z")
    sent = {"sent_at": "2020-01-01T00:00:05Z", "events": [one]}
    assert api.post("/api/batch/", json=sent).json()["accepted"] == 1
    assert api.conversation("c")["started_at"] > "2026"
