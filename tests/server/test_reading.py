"""Lists, filters, pages, look-ups and changes, as old clients ask for them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from served import Api, at, event, message

LIST = "/api/conversations/"


@pytest.fixture
def three(api: Api) -> Api:
    """Three conversations, oldest first: a busy one, an opened one, a plain one."""
    api.batch(
        event(
            "conversation",
            "busy",
            customer_id="Ana-1",
            customer_ip_address="8.8.8.8",
            device="Mobile",
            source="whatsapp",
            language="hr",
            name="Lost Parcel 100%",
            environment="production",
            metadata={"tier": "gold", "n": 5, "ok": True, "deep": {"er": {"x": "y:z"}}, "a.b": "dotted"},
        ),
        message("busy", "Gdje je MOJ paket? 50% _off\\ Ćevapi"),
        message("busy", "On its way", "agent"),
        event("action", "busy", action_name="ticket", error_msg="boom"),
        event("feedback", "busy", sentiment="positive"),
        event("feedback", "busy", sentiment="negative", comment="slow"),
    )
    api.batch(event("conversation", "opened", is_used=False, customer_id="b-2", device="desktop"))
    api.batch(message("plain", "hello"), event("button", "plain", button_event="e", label="paket", value="v"))
    return api


EVERYTHING = ["plain", "opened", "busy"]
FOUND = [
    ({"conversation_id": "busy"}, ["busy"]),
    ({"conversation_id": "BUSY"}, []),
    ({"conversation_id": ""}, []),
    ({"customer_id": "Ana-1"}, ["busy"]),
    ({"customer_id": "ana-1"}, []),
    ({"customer_id": ""}, EVERYTHING),
    ({"customer_id__icontains": "ANA"}, ["busy"]),
    ({"name": "lost parcel"}, ["busy"]),
    ({"name": "100%"}, ["busy"]),
    ({"name": "%"}, ["busy"]),
    ({"language": "HR"}, ["busy"]),
    ({"device": "mobile"}, ["busy"]),
    ({"source": "WhatsApp"}, ["busy"]),
    ({"country": "us"}, ["busy"]),
    ({"customer_ip_address": "8.8.8.8"}, ["busy"]),
    ({"customer_ip_address": "8.8.8"}, []),
    ({"environment": "production"}, ["busy"]),
    ({"env": "dev"}, ["plain", "opened"]),
    ({"is_marked": "true"}, []),
    ({"is_marked": "0"}, EVERYTHING),
    ({"is_used": "False"}, ["opened"]),
    ({"has_messages": "true"}, ["plain", "busy"]),
    ({"has_messages": "false"}, ["opened"]),
    ({"has_feedback": "True"}, ["busy"]),
    ({"has_feedback": "false"}, ["plain", "opened"]),
    ({"has_action": "1"}, ["busy"]),
    ({"has_error": "true"}, ["busy"]),
    ({"escalated": "true"}, ["busy"]),
    ({"action_name": "ticket"}, ["busy"]),
    ({"action_name": "Ticket"}, []),
    ({"action_name": "tick"}, []),
    ({"message_contains": "moj PAKET"}, ["busy"]),
    ({"message_contains": "ćEVAPI"}, ["busy"]),
    ({"message_contains": "% _off\\"}, ["busy"]),
    ({"message_contains": "%"}, ["busy"]),
    ({"message_contains": "paket"}, ["busy"]),
    ({"message_contains": '"a AND ('}, []),
    ({"message_contains": "h"}, ["plain"]),
    ({"search": "parcel"}, ["busy"]),
    ({"search": "OPENED"}, ["opened"]),
    ({"search": "b-2"}, ["opened"]),
    ({"feedback_sentiment": "positive"}, ["busy"]),
    ({"feedback_sentiment": "neutral"}, []),
    ({"feedback_source": "customer"}, ["busy"]),
    ({"feedback_source": "platform"}, []),
    ({"feedback_sentiment": "negative", "feedback_source": "customer"}, ["busy"]),
    ({"metadata": "tier:gold"}, ["busy"]),
    ({"metadata": "tier:gold,n:5,ok:true"}, ["busy"]),
    ({"metadata": "tier:gold,n:6"}, []),
    ({"metadata": "deep.er.x:y:z"}, ["busy"]),
    ({"metadata": "a.b:dotted"}, ["busy"]),
    ({"metadata": "a'b:1"}, []),
    ({"metadata": "tier:gol"}, []),
    ({"metadata": "deep:x"}, []),
    ({"unknown": "x"}, EVERYTHING),
    ({"customer_id": "Ana-1", "device": "mobile", "has_feedback": "true", "message_contains": "paket"}, ["busy"]),
    ({"customer_id": "Ana-1", "device": "desktop"}, []),
]


@pytest.mark.parametrize(("asked", "found"), FOUND, ids=lambda value: str(value) if isinstance(value, dict) else "")
def test_every_filter_finds_what_it_says(three: Api, asked: dict, found: list[str]):
    assert three.ids(**asked) == found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("is_marked", "maybe"),
        ("include_deleted", "2"),
        ("has_messages", "x"),
        ("started_at_after", "yesterday"),
        ("started_at_before", "2024-02-30"),
        ("feedback_sentiment", "good"),
        ("feedback_source", "me"),
        ("environment", "staging"),
        ("metadata", "novalue"),
        ("metadata", ",".join(f"k{n}:v" for n in range(1_000))),
        ("metadata", ":v"),
        ("page_size", "0"),
        ("page_size", "x"),
        ("page_size", "-1"),
        ("message_contains", "x" * 1_001),
        ("customer_id", "x" * 256),
    ],
)
def test_a_filter_that_cannot_be_read_is_refused_by_name(api: Api, name: str, value: str):
    answer = api.get(LIST, params={name: value})
    assert answer.status_code == 400, answer.text
    assert list(answer.json()["fields"]) == [name]


def test_time_bounds_are_included_and_a_date_is_the_whole_day(three: Api):
    started = {row["conversation_id"]: row["started_at"] for row in three.get(LIST).json()["results"]}
    assert three.ids(started_at_after=started["opened"]) == ["plain", "opened"]
    assert three.ids(started_at_before=started["opened"]) == ["opened", "busy"]
    assert three.ids(started_at_after="2026-03-02", started_at_before="2026-03-02") == EVERYTHING
    assert three.ids(started_at_after="2026-03-03") == [] == three.ids(started_at_before="2026-03-01")
    raw = started["opened"].replace("Z", "+00:00")  # with its plus sign unescaped, as some clients send it
    answer = three.get(f"{three.url}{LIST}?started_at_before={raw}")
    assert [row["conversation_id"] for row in answer.json()["results"]] == ["opened", "busy"]


def test_a_repeated_parameter_counts_in_its_last_form(three: Api):
    answer = three.get(f"{three.url}{LIST}?device=desktop&device=mobile")
    assert [row["conversation_id"] for row in answer.json()["results"]] == ["busy"]


# -- pages -----------------------------------------------------------------------------------------------------------
def filled(api: Api, number: int) -> list[str]:
    """So many conversations; their ids, newest first. Every third starts at the same moment as the one before it."""
    names = [f"c-{n:03}" for n in range(number)]
    starts = [at(1_000 + n - (n % 3 == 2)) for n in range(number)]
    api.batch(*(message(name, occurred_at=start) for name, start in zip(names, starts, strict=True)))
    return [name for _, name in sorted(zip(starts, names, strict=True), reverse=True)]


def test_pages_hold_ten_and_at_most_a_hundred_and_beyond_the_last_is_not_found(api: Api):
    filled(api, 120)
    sizes = {asked: len(api.get(LIST, params=params).json()["results"]) for asked, params in _SIZES.items()}
    assert sizes == {"nothing": 10, "7": 7, "100": 100, "1000000000": 100, "empty": 10}
    beyond = api.get(LIST, params={"page": 13})
    assert (beyond.status_code, beyond.json()["detail"]) == (404, "Invalid page.")
    assert api.get(LIST, params={"page": 12}).json()["next"] is None


_SIZES = {
    "nothing": {},
    "7": {"page_size": 7},
    "100": {"page_size": 100},
    "1000000000": {"page_size": 10**9},
    "empty": {"page_size": ""},
}


@pytest.mark.parametrize("page", ["0", "-1", "abc", "99999999999999999999", "1.5", "١", "1e3", " 1"])
def test_a_page_that_is_none_is_not_found(api: Api, page: str):
    assert api.get(LIST, params={"page": page}).status_code == 404


def test_following_the_links_gives_every_row_once_in_order_and_keeps_the_filters(api: Api):
    names = filled(api, 37)
    api.batch(event("conversation", "elsewhere", device="tablet"))
    page = api.get(LIST, params={"page_size": 5, "has_messages": "true", "message_contains": "h & e"}).json()
    assert page["count"] == 0
    seen, page = [], api.get(LIST, params={"page_size": 5, "has_messages": "true", "device": ""}).json()
    first = page
    while True:
        assert page["count"] == 37
        seen += [row["conversation_id"] for row in page["results"]]
        if page["next"] is None:
            break
        asked = parse_qs(urlsplit(page["next"]).query, keep_blank_values=True)
        assert (asked["page_size"], asked["has_messages"], asked["device"]) == (["5"], ["true"], [""])
        assert page["next"].startswith(api.url)
        page = api.get(page["next"]).json()
    assert seen == names
    for _ in range(7):
        page = api.get(page["previous"]).json()
    assert (page, page["previous"]) == (first, None)


def test_an_empty_list_is_one_empty_page(api: Api):
    empty = api.get(LIST).json()
    assert (empty["count"], empty["next"], empty["previous"], empty["results"]) == (0, None, None, [])


def test_a_page_deep_in_a_list_is_complete_while_conversations_are_added(api: Api):
    """Rows are added at the top; a page by number shifts, but no page ever holds a row twice or out of order."""
    filled(api, 60)

    def add(number: int) -> None:
        api.batch(message(f"late-{number}", occurred_at=at(5_000 + number)))

    with ThreadPoolExecutor(2) as pool:
        adding = pool.map(add, range(40))
        for page in range(1, 7):
            rows = api.get(LIST, params={"page": page}).json()["results"]
            order = [(row["started_at"], row["id"]) for row in rows]
            assert order == sorted(order, reverse=True) and len(set(order)) == len(rows) == 10
        list(adding)
    assert api.get(LIST).json()["count"] == 100


# -- one conversation ------------------------------------------------------------------------------------------------
def test_every_list_row_is_the_detail_object(three: Api):
    rows = three.get(LIST).json()["results"]
    assert rows == [three.get(f"{LIST}{row['id']}/").json() for row in rows]
    assert all({"messages", "feedbacks", "geo_location", "metadata", "ended_at", "is_used"} <= set(row) for row in rows)


def test_times_of_a_conversation_are_those_of_its_events(three: Api):
    busy, opened = three.conversation("busy"), three.conversation("opened")
    assert busy["ended_at"] == busy["messages"][-1]["timestamp"]
    assert opened["ended_at"] is None and opened["messages"] == []
    assert busy["started_at"].endswith("Z")


@pytest.mark.parametrize("id", ["0", "99999999999999999999", "1_0", "١٢", "%00", "..%2f", "True", "-1", "1.0", "x"])
@pytest.mark.parametrize("rest", ["", "attachments/"])
def test_an_id_that_is_none_is_not_found(api: Api, id: str, rest: str):
    answer = api.get(f"{api.url}{LIST}{id}/{rest}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("asked", ["nobody", "", " ", "x" * 300, "\x00", "a\nb"])
def test_a_look_up_of_nobody_is_not_found(api: Api, asked: str):
    answer = api.get(f"{LIST}lookup/", params={"conversation_id": asked})
    assert answer.status_code == 404 and isinstance(answer.json()["detail"], str)


def test_a_look_up_gives_both_ids(three: Api):
    id = three.conversation("busy")["id"]
    found = three.get(f"{LIST}lookup/", params={"conversation_id": "busy"})
    assert found.json() == {"id": id, "conversation_id": "busy"}


# -- changes ---------------------------------------------------------------------------------------------------------
def test_a_name_has_1_to_255_characters(three: Api):
    path = f"{LIST}{three.conversation('plain')['id']}/rename/"
    assert three.patch(path, json={"name": "x" * 255}).json()["name"] == "x" * 255
    for bad in ("x" * 256, "", "  ", None, 5.5e400, ["x"]):
        answer = three.patch(path, content=_json(bad))
        assert answer.status_code == 400 and answer.json()["fields"], answer.text
    assert three.conversation("plain")["name"] == "x" * 255


def _json(name: object) -> bytes:
    import json

    return json.dumps({"name": name}).encode()


@pytest.mark.parametrize("told", [None, "true", 1, 0, []])
def test_marking_needs_true_or_false(three: Api, told: object):
    path = f"{LIST}{three.conversation('plain')['id']}/mark/"
    answer = three.post(path, json={"is_marked": told})
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["is_marked"])
    for _ in range(2):
        assert three.post(path, json={"is_marked": True}).json()["is_marked"] is True
    assert three.ids(is_marked=True) == ["plain"]


def test_an_update_replaces_metadata_whole_and_never_the_ids(three: Api):
    id = three.conversation("busy")["id"]
    path = f"{LIST}{id}/update/"
    answer = three.patch(path, json={"metadata": {"new": 1}, "customer_id": "c-2", "id": 9, "conversation_id": "x"})
    assert answer.json() == {
        "id": id,
        "conversation_id": "busy",
        "updated_fields": ["customer_id", "metadata"],
        "customer_id": "c-2",
        "metadata": {"new": 1},
    }
    assert three.conversation("busy")["metadata"] == {"new": 1}
    assert three.patch(path, json={"metadata": {}}).json()["metadata"] == {}
    for nothing in ({}, {"id": 9}, {"unknown": 1}):
        assert three.patch(path, json=nothing).status_code == 400
    assert list(three.patch(path, json={"metadata": [1]}).json()["fields"]) == ["metadata"]


def test_what_people_set_by_hand_outlives_later_events(three: Api):
    path = f"{LIST}{three.conversation('busy')['id']}/update/"
    three.patch(path, json={"name": "By hand", "device": None, "metadata": {}})
    three.batch(event("conversation", "busy", name="By event", device="tablet", metadata={"x": 1}))
    now = three.conversation("busy")
    assert (now["name"], now["device"], now["metadata"]) == ("By hand", None, {})


def test_a_deleted_conversation_is_hidden_everywhere_until_asked_for(three: Api):
    id = three.conversation("busy")["id"]
    gone = three.delete(f"{LIST}{id}/delete/")
    assert (gone.status_code, gone.json()["is_deleted"]) == (200, True)
    assert three.delete(f"{LIST}{id}/delete/").status_code == 404
    assert three.ids() == ["plain", "opened"]
    assert three.ids(include_deleted=True) == EVERYTHING
    for path in (f"{LIST}{id}/", f"{LIST}{id}/attachments/", f"{LIST}lookup/?conversation_id=busy"):
        assert three.get(path).status_code == 404
    assert three.get(f"{LIST}{id}/", params={"include_deleted": "true"}).json()["deleted_at"].endswith("Z")
    for method, what in (("PATCH", "rename"), ("POST", "mark"), ("PATCH", "update")):
        body = {"name": "x", "is_marked": True}
        assert three.request(method, f"{LIST}{id}/{what}/", json=body).status_code == 404
    three.batch(message("busy", "anew"))
    assert [row["content"] for row in three.conversation("busy")["messages"]] == ["anew"]


def test_feedback_is_appended_by_either_id_and_its_source_is_the_key(three: Api):
    id = three.conversation("plain")["id"]
    given = {"sentiment": "neutral", "source": "platform", "metadata": {"stars": 3}, "timestamp": at(1)}
    first = three.post("/api/conversation-feedbacks/", json={"conversation_id": "plain", **given})
    second = three.post("/api/conversation-feedbacks/", json={"conversation": id, "sentiment": "positive"})
    assert (first.status_code, second.status_code) == (201, 201)
    assert (first.json()["source"], first.json()["metadata"]) == ("customer", {"stars": 3})
    kept = three.conversation("plain")["feedbacks"]
    assert [row["sentiment"] for row in kept] == ["neutral", "positive"]
    assert datetime.fromisoformat(kept[1]["created_at"]) > datetime.now(UTC) - timedelta(minutes=5)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"conversation_id": "plain", "sentiment": "good"}, 400, "sentiment"),
        ({"conversation_id": "plain"}, 400, "sentiment"),
        ({"conversation_id": "plain", "sentiment": "positive", "comment": "x" * 5_001}, 400, "comment"),
        ({"sentiment": "positive"}, 400, "conversation_id"),
        ({"conversation_id": "nobody", "sentiment": "positive"}, 404, None),
        ({"conversation": 999_999_999, "sentiment": "positive"}, 404, None),
        ({"conversation": "x", "sentiment": "positive"}, 404, None),
        ({"conversation_id": "plain", "sentiment": "positive", "comment": "x" * 5_000}, 201, None),
    ],
)
def test_feedback_that_cannot_be_stored_says_why(three: Api, body: dict, status: int, field: str | None):
    answer = three.post("/api/conversation-feedbacks/", json=body)
    assert answer.status_code == status, answer.text
    assert list(answer.json().get("fields", {})) == ([field] if field else [])


def test_a_ticket_lies_where_what_it_is_about_does_unless_told(api: Api):
    row = api.post("/api/conversations/", json={"conversation_id": "c", "environment": "development"}).json()["id"]
    said = api.post("/api/conversation-feedbacks/", json={"conversation": row, "sentiment": "negative"}).json()["id"]

    def filed(**about: object) -> str:
        answer = api.post("/api/tickets/", json={"title": "Look", **about})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["environment"])

    assert filed(conversation_id=row) == filed(feedback_id=said) == "development"
    assert filed() == filed(conversation_id=row, environment="production") == "production"
