"""The routes older clients post to: what they accept, where it goes, what they answer."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from served import Api, Server, at, message

_seconds = count(1)

MESSAGE = {"content": "hello", "sender": "end_user", "metadata": {}}
ACTION = {"action_name": "look", "metadata": {}}
BUTTON = {"button_event": "helpful", "label": "Yes", "value": "yes", "metadata": {}}
FILES = {"attachments": [{"filename": "a.txt", "mime_type": "text/plain", "data": "aGVsbG8="}], "mode": "base64"}
ROUTES = {
    "/api/track/": MESSAGE,
    "/api/action_logs/": ACTION,
    "/api/buttons/": BUTTON,
    "/api/attachments/": FILES,
}
every_route = pytest.mark.parametrize("route", ROUTES)


def post(api: Api, route: str, *, status: int = 201, **fields: object) -> dict:
    """Post the route's plainest body with these fields; each call is a moment later than the one before."""
    body = {"timestamp": at(next(_seconds)), **ROUTES.get(route, {}), **fields}
    answer = api.post(route, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def opened(api: Api, conversation_id: str = "c", **fields: object) -> int:
    return post(api, "/api/conversations/", conversation_id=conversation_id, **fields)["id"]


# -- answers ---------------------------------------------------------------------------------------------------------
@every_route
def test_a_stored_item_is_answered_201_with_an_object_and_a_whole_number_as_id(api: Api, route: str):
    answer = post(api, route, conversation_id="c")
    assert type(answer["id"]) is int and answer["id"] >= 1


@pytest.mark.parametrize("path", ["/api/track", "//api/track/", "//api//track", "/api/track/"])
def test_paths_are_served_as_clients_join_them_without_a_redirect(api: Api, path: str):
    answer = api.post(api.url + path, json={**MESSAGE, "conversation_id": "c"}, follow_redirects=False)
    assert answer.status_code == 201


def test_a_get_with_a_json_content_type_and_no_body_works(api: Api):
    row = opened(api)
    headers = {"Content-Type": "application/json"}
    assert api.get("/api/conversations/", headers=headers).json()["count"] == 1
    assert api.delete(f"/api/conversations/{row}/delete/", headers=headers).status_code == 200


@pytest.mark.parametrize("header", [None, "", "Api-Key", "Api-Key nonsense", "Bearer x", "Api-Key " + "x" * 9_000])
def test_without_a_known_key_every_route_is_401_and_says_so(server: Server, api: Api, header: str | None):
    del api.headers["Authorization"]
    headers = {} if header is None else {"Authorization": header}
    asked = [
        ("POST", route) for route in (*ROUTES, "/api/conversations/", "/api/batch/", "/api/conversation-feedbacks/")
    ]
    asked += [("GET", path) for path in ("/api/conversations/", "/api/conversations/1/", "/api/conversations/lookup/")]
    for method, path in asked:
        answer = api.request(method, path, headers=headers)
        assert answer.status_code == 401, (method, path, answer.text)
        assert isinstance(answer.json()["detail"], str)
        assert "api-key" in answer.headers["www-authenticate"].lower()


@pytest.mark.parametrize("spelled", ["api-key {}", "API-KEY {}", "Api-Key  {}"])
def test_the_scheme_may_be_written_in_any_case(api: Api, spelled: str):
    assert api.get("/api/conversations/", headers={"Authorization": spelled.format(api.key)}).status_code == 200


def test_a_revoked_key_is_refused_within_two_seconds_beside_a_running_server(server: Server, api: Api):
    assert api.get("/api/conversations/").status_code == 200
    command = [sys.executable, "-m", "agentsight.cli", "keys", "revoke", api.key[:12], "--database", server.database]
    subprocess.run(command, check=True, capture_output=True)
    time.sleep(1.1)
    assert api.get("/api/conversations/").status_code == 401


def test_two_authorization_headers_are_nobody(api: Api):
    sent = api.build_request("GET", "/api/conversations/")
    sent.headers = type(sent.headers)([*sent.headers.raw, (b"authorization", f"Api-Key {api.key}".encode())])
    assert api.send(sent).status_code == 401


@every_route
def test_a_key_that_may_only_read_is_403_on_every_post(server: Server, route: str):
    with server.api(role="read") as reader:
        assert reader.post(route, json={**ROUTES[route], "conversation_id": "c"}).status_code == 403
        assert reader.get("/api/conversations/").json()["count"] == 0


# -- conversations ---------------------------------------------------------------------------------------------------
def test_the_same_conversation_twice_is_201_then_200_with_the_first_values(api: Api):
    first = post(api, "/api/conversations/", conversation_id="c", customer_id="one", device=None, metadata={"a": 1})
    again = post(
        api,
        "/api/conversations/",
        status=200,
        conversation_id="c",
        customer_id="two",
        device="mobile",
        metadata={"a": 2, "b": 3},
    )
    assert (first["created"], again["created"], first["id"] == again["id"]) == (True, False, True)
    stored = api.conversation("c")
    assert (stored["customer_id"], stored["device"], stored["metadata"]) == ("one", "mobile", {"a": 1, "b": 3})


@pytest.mark.parametrize("flags", [(False, True), (True, False), (False, False, True), (None,)])
def test_once_used_a_conversation_stays_used(api: Api, flags: tuple[bool | None, ...]):
    for flag in flags:
        given = {} if flag is None else {"is_used": flag}
        api.post("/api/conversations/", json={"timestamp": at(next(_seconds)), "conversation_id": "c", **given})
    assert api.conversation("c")["is_used"] is True


def test_a_late_message_marks_an_opened_conversation_used_and_has_its_environment(api: Api):
    row = opened(api, is_used=False, environment="production")
    post(api, "/api/track/", conversation=row, conversation_id="c")
    stored = api.conversation("c")
    assert (stored["is_used"], stored["environment"]) == (True, "production")


def test_fifty_first_posts_at_once_make_one_conversation(api: Api):
    def first(number: int) -> int:
        body = {"timestamp": at(number), "conversation_id": "c", "customer_id": f"c-{number}"}
        return api.post("/api/conversations/", json=body).json()["id"]

    with ThreadPoolExecutor(16) as pool:
        ids = set(pool.map(first, range(50)))
    assert len(ids) == 1 == len(api.ids())


def test_one_conversation_id_under_two_agents_is_two_conversations(server: Server, api: Api):
    with server.api() as other:
        first, second = opened(api, "shared", name="ours"), opened(other, "shared", name="theirs")
        assert first != second
        assert (api.conversation("shared")["name"], other.conversation("shared")["name"]) == ("ours", "theirs")


@pytest.mark.parametrize(
    ("told", "stored"),
    [
        ("production", "production"),
        ("PROD", "production"),
        ("development", "development"),
        ("Dev", "development"),
        ("staging", "development"),
        (None, "development"),
        (7, "development"),
    ],
)
def test_only_a_known_word_makes_a_conversation_count(api: Api, told: object, stored: str):
    answer = post(api, "/api/conversations/", conversation_id="c", environment=told)
    assert answer["environment"] == stored == api.conversation("c")["environment"]
    assert ("warnings" in answer) == (told in ("staging", 7))


@pytest.mark.parametrize("told", ["", " ", None, "x" * 256, "a\nb", [1], {}])
def test_a_conversation_without_a_usable_id_is_refused_by_name(api: Api, told: object):
    answer = post(api, "/api/conversations/", status=400, conversation_id=told)
    assert list(answer["fields"]) == ["conversation_id"]
    assert answer["detail"].startswith("conversation_id: ")


@pytest.mark.parametrize("told", [" spaced  id ", "Ärger/../..", "😀", "<script>", "..", "a,b:c", 42])
def test_conversation_ids_keep_their_spelling(api: Api, told: object):
    opened(api, told)
    assert api.ids(conversation_id=str(told)) == [str(told)]
    assert api.get("/api/conversations/lookup/", params={"conversation_id": str(told)}).status_code == 200


# -- where an event goes ---------------------------------------------------------------------------------------------
@every_route
@pytest.mark.parametrize("conversation", [None, "None", "", "absent"])
def test_without_our_id_the_conversation_id_finds_or_makes_the_place(api: Api, route: str, conversation: object):
    place = {} if conversation == "absent" else {"conversation": conversation}
    post(api, route, conversation_id="new", **place)
    post(api, route, conversation_id="new", **place)
    stored = api.conversation("new")
    assert len(stored["messages"]) == 2
    assert (stored["is_used"], stored["environment"]) == (True, "development")


@every_route
@pytest.mark.parametrize("spelled", [int, str])
def test_our_id_wins_over_a_differing_conversation_id(api: Api, route: str, spelled: type):
    row = opened(api, "right")
    post(api, route, conversation=spelled(row), conversation_id="wrong")
    assert api.ids() == ["right"]
    assert len(api.conversation("right")["messages"]) == 1


@every_route
@pytest.mark.parametrize("unusable", [None, "None"])
def test_our_id_alone_is_enough(api: Api, route: str, unusable: object):
    row = opened(api)
    post(api, route, conversation=row, conversation_id=unusable)
    assert len(api.conversation("c")["messages"]) == 1


@every_route
def test_with_no_place_at_all_the_conversation_is_asked_for(api: Api, route: str):
    answer = post(api, route, status=400, conversation=None, conversation_id="None")
    assert list(answer["fields"]) == ["conversation"]


@every_route
@pytest.mark.parametrize("row", [999_999_999, "999999999", 2**63, 2**200])
def test_an_id_nobody_has_is_not_found(api: Api, route: str, row: object):
    assert post(api, route, status=404, conversation=row)["code"] == "not_found"
    assert post(api, route, status=404, message=row)["code"] == "not_found"


@every_route
@pytest.mark.parametrize("row", [-1, 1.5, True, "x", "1_0", "١٢", [1], {}])
def test_an_id_that_is_no_id_is_refused_by_name(api: Api, route: str, row: object):
    assert list(post(api, route, status=400, conversation=row, conversation_id="c")["fields"]) == ["conversation"]
    assert api.ids() == []


@every_route
def test_a_strangers_id_is_never_written_to(server: Server, api: Api, route: str):
    with server.api() as stranger:
        theirs = opened(stranger, "theirs")
        said = post(stranger, "/api/track/", conversation=theirs)["id"]
        before = stranger.conversation("theirs")
        assert post(api, route, status=404, conversation=theirs)["detail"] == "no such conversation"
        assert post(api, route, status=404, message=said)["detail"] == "no such message"
        post(api, route, conversation=theirs, conversation_id="mine")
        assert stranger.conversation("theirs") == before
        assert len(api.conversation("mine")["messages"]) == 1


@every_route
def test_after_a_deletion_the_conversation_id_starts_anew(api: Api, route: str):
    row = opened(api)
    api.delete(f"/api/conversations/{row}/delete/")
    post(api, route, conversation=row, conversation_id="c")
    stored = api.conversation("c")
    assert stored["id"] != row and len(stored["messages"]) == 1
    assert post(api, route, status=404, conversation=row)["code"] == "not_found"


@pytest.mark.parametrize("route", ["/api/conversations/", *ROUTES])
def test_what_a_deleted_conversation_was_told_is_no_repeat_for_the_one_after_it(api: Api, route: str):
    body = {**ROUTES.get(route, {}), "timestamp": at(next(_seconds)), "conversation_id": "c"}
    rows = set()
    for _ in range(3):
        assert api.post(route, json=body).status_code == 201
        assert api.post(route, json=body).status_code == 200
        row = api.conversation("c")["id"]
        assert len(api.conversation("c")["messages"]) == (route in ROUTES)
        rows.add(row)
        api.delete(f"/api/conversations/{row}/delete/")
    assert len(rows) == 3


# -- once ------------------------------------------------------------------------------------------------------------
@every_route
def test_the_same_body_again_is_200_and_the_first_row(api: Api, route: str):
    body = {**ROUTES[route], "timestamp": at(next(_seconds)), "conversation_id": "c"}
    first, second = api.post(route, json=body), api.post(route, json=body)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    assert len(api.conversation("c")["messages"]) == 1


@every_route
def test_the_same_body_sent_sixteen_times_at_once_is_stored_once(api: Api, route: str):
    body = {**ROUTES[route], "timestamp": at(next(_seconds)), "conversation_id": "c"}
    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(lambda _: api.post(route, json=body).status_code, range(16)))
    assert statuses == [200] * 15 + [201]
    assert len(api.conversation("c")["messages"]) == 1


@every_route
def test_without_a_timestamp_nothing_is_taken_for_a_repeat(api: Api, route: str):
    for _ in range(2):
        assert api.post(route, json={**ROUTES[route], "conversation_id": "c"}).status_code == 201
    assert len(api.conversation("c")["messages"]) == 2


def test_different_messages_at_the_same_moment_are_both_kept_in_order_of_arrival(api: Api):
    moment = at(next(_seconds))
    for text in ("first", "second", "third"):
        post(api, "/api/track/", conversation_id="c", content=text, timestamp=moment)
    assert [row["content"] for row in api.conversation("c")["messages"]] == ["first", "second", "third"]


def test_messages_stand_in_order_of_time_whatever_the_order_of_arrival(api: Api):
    for second in (3, 1, 2):
        post(api, "/api/track/", conversation_id="c", content=str(second), timestamp=at(second))
    assert [row["content"] for row in api.conversation("c")["messages"]] == ["1", "2", "3"]


# -- fields ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("told", "stored"), [(5, "5"), (True, "true"), (1.5, "1.5"), ("", None), (None, None), ([], None)]
)
def test_content_is_any_scalar_as_text(api: Api, told: object, stored: str | None):
    answer = post(api, "/api/track/", status=201 if stored else 400, conversation_id="c", content=told)
    assert (answer["content"] if stored else list(answer["fields"])) == (stored or ["content"])


@pytest.mark.parametrize("sender", ["user", "", None, 1, "END_USER", "c-1"])
def test_a_sender_nobody_knows_is_refused_by_name(api: Api, sender: object):
    assert list(post(api, "/api/track/", status=400, conversation_id="c", sender=sender)["fields"]) == ["sender"]


@every_route
@pytest.mark.parametrize(("told", "stored"), [(None, {}), ({}, {}), ([1], {"value": [1]}), ("x", {"value": "x"})])
def test_metadata_of_any_shape_is_kept(api: Api, route: str, told: object, stored: object):
    post(api, route, conversation_id="c", metadata=told)
    (row,) = api.conversation("c")["messages"]
    assert (row["action_logs"][0]["metadata"] if row["action_logs"] else row["metadata"]) == stored


@every_route
@pytest.mark.parametrize("told", ["yesterday", "2024-02-30T00:00:00Z", 1_700_000_000, None, "", "9999-01-01T00:00:00Z"])
def test_a_time_that_is_none_does_not_cost_the_event(api: Api, route: str, told: object):
    post(api, route, conversation_id="c", timestamp=told)
    assert len(api.conversation("c")["messages"]) == 1


@pytest.mark.parametrize(
    "told",
    ["2026-03-02T10:15:00+01:00", "2026-03-02T09:15:00Z", "2026-03-02T09:15:00", "2026-03-02T09:15:00.000000+00:00"],
)
def test_times_are_read_in_every_spelling_and_written_in_one(api: Api, told: str):
    assert post(api, "/api/track/", conversation_id="c", timestamp=told)["timestamp"] == "2026-03-02T09:15:00.000000Z"


def test_an_action_keeps_what_it_can_read_and_drops_the_optional_rest(api: Api):
    post(
        api,
        "/api/action_logs/",
        conversation_id="c",
        started_at="soon",
        ended_at=5,
        duration_ms="fast",
        tools_used=["any", {"json": 1}],
        response={"rows": [1, None]},
        error_msg=None,
    )
    wrong = {"code": 503, "why": ["busy"]}
    post(
        api,
        "/api/action_logs/",
        conversation_id="c",
        started_at=at(1),
        ended_at=at(3),
        duration_ms="320",
        error_msg=wrong,
    )
    first, second = (row["action_logs"][0] for row in api.conversation("c")["messages"])
    assert (first["started_at"], first["ended_at"], first["duration_ms"]) == (None, None, None)
    assert (first["tools_used"], first["response"]) == (["any", {"json": 1}], {"rows": [1, None]})
    assert first["error_message"] == ""
    assert (second["duration_ms"], second["ended_at"] is None) == (320, False)
    assert json.loads(second["error_message"]) == wrong


@pytest.mark.parametrize("told", [-1, 10**18, "inf", "nan", "-5", 1e300])
def test_an_impossible_duration_is_refused_by_name_or_dropped_never_an_error_of_ours(api: Api, told: object):
    answer = api.post("/api/action_logs/", json={**ACTION, "conversation_id": "c", "duration_ms": told})
    assert answer.status_code in (201, 400)
    if answer.status_code == 400:
        assert list(answer.json()["fields"]) == ["duration_ms"]


def test_button_siblings_keep_their_common_event(api: Api):
    for label in ("Yes", "No"):
        post(api, "/api/buttons/", conversation_id="c", label=label, value=label.lower())
    clicks = [row["button"] for row in api.conversation("c")["messages"]]
    assert [(click["button_event"], click["label"]) for click in clicks] == [("helpful", "Yes"), ("helpful", "No")]


@pytest.mark.parametrize("field", ["button_event", "label", "value"])
@pytest.mark.parametrize("blank", [None, "", " "])
def test_a_blank_button_field_is_refused_by_name(api: Api, field: str, blank: object):
    assert list(post(api, "/api/buttons/", status=400, conversation_id="c", **{field: blank})["fields"]) == [field]


def test_question_and_answer_in_one_body_are_two_messages(api: Api):
    body = {"timestamp": at(1), "conversation_id": "c", "question": "why?", "answer": "so."}
    assert api.post("/api/track/", json=body).status_code == 201
    assert api.post("/api/track/", json=body).status_code == 200
    said = [(row["sender"], row["content"]) for row in api.conversation("c")["messages"]]
    assert said == [("end_user", "why?"), ("agent", "so.")]


def test_an_address_that_is_none_is_kept_as_it_is_and_a_public_one_has_a_place(api: Api):
    opened(api, "odd", customer_ip_address="testclient")
    opened(api, "private", customer_ip_address="192.168.1.4")
    opened(api, "public", customer_ip_address="8.8.8.8")
    assert api.conversation("odd")["geo_location"] is None
    assert api.conversation("private")["geo_location"] is None
    public = api.conversation("public")["geo_location"]
    assert (public["ip_address"], public["country"]) == ("8.8.8.8", "US")
    assert {"city", "timezone_name"} <= set(public)


def test_fields_nobody_knows_are_ignored(api: Api):
    post(api, "/api/track/", conversation_id="c", future={"deep": [1]}, id=7)
    assert len(api.conversation("c")["messages"]) == 1


def test_an_error_says_one_sentence_and_carries_only_texts(api: Api):
    answer = api.post(
        "/api/buttons/", json={"conversation_id": "c", "button_event": "x", "label": ["no"], "value": "y"}
    )
    body = answer.json()
    assert answer.status_code == 400
    assert body == {
        "detail": "label: must be text",
        "code": "invalid",
        "fields": {"label": ["must be text"]},
        "request_id": answer.headers["x-request-id"],
    }


def test_a_message_of_a_batch_and_one_of_an_older_route_share_a_conversation(api: Api):
    api.batch(message("c", "new"))
    post(api, "/api/track/", conversation_id="c", content="old")
    assert sorted(row["content"] for row in api.conversation("c")["messages"]) == ["new", "old"]
