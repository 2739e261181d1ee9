"""What a program knows from elsewhere: events with an id and a time of their own, trackers with a key of their own."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from recording import KEY, OTHER_KEY

from agentsight import exceptions
from agentsight.tracker import ConversationTracker

AT = "2026-02-03T04:05:06.000123Z"
CALLS = {
    "conversation": lambda t, **mark: t.get_or_create_conversation("c1", **mark),
    "human": lambda t, **mark: t.track_human_message("hi", **mark),
    "agent": lambda t, **mark: t.track_agent_message("ho", **mark),
    "question": lambda t, **mark: t.track_question("hi", **mark),
    "answer": lambda t, **mark: t.track_answer("ho", **mark),
    "action": lambda t, **mark: t.track_action("look_up", **mark),
    "button": lambda t, **mark: t.track_button("helpful", "Yes", "yes", **mark),
    "attachment": lambda t, **mark: t.track_attachments(
        [{"data": "aGk=", "filename": "a.txt", "mime_type": "text/plain"}], **mark
    ),
    "tokens": lambda t, **mark: t.track_token_usage(3, 2, 5, model="small", **mark),
}


@pytest.mark.parametrize("call", CALLS)
def test_every_call_takes_an_id_and_a_time(tracker, recorder, call):
    tracker.configure(conversation_id="c1")
    CALLS[call](tracker, event_id="run:7:é", occurred_at=AT)
    assert tracker.send_tracked_data()["summary"]["errors"] == 0
    (event,) = recorder.events
    assert (event["id"], event["occurred_at"], event["conversation_id"]) == ("run:7:é", AT, "c1")


@pytest.mark.parametrize("call", CALLS)
def test_told_again_it_is_the_same_event(tracker, recorder, call):
    tracker.configure(conversation_id="c1")
    for _ in range(2):
        CALLS[call](tracker, event_id="run:7", occurred_at=AT)
        tracker.send_tracked_data()
    assert len(recorder.stored) == 1 and recorder.order == ["run:7", "run:7"]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("mark", "field"),
    [
        ({"event_id": ""}, "event_id"), ({"event_id": "  "}, "event_id"), ({"event_id": 7}, "event_id"),
        ({"event_id": "x" * 129}, "event_id"), ({"occurred_at": "yesterday"}, "occurred_at"),
        ({"occurred_at": 1_700_000_000}, "occurred_at"), ({"occurred_at": "1969-12-31T23:59:59Z"}, "occurred_at"),
    ],
)  # fmt: skip
def test_what_the_contract_does_not_take_is_said_at_once(tracker, call, mark, field):
    with pytest.raises(exceptions.InvalidConversationDataException) as refused:
        CALLS[call](tracker, **mark)
    assert refused.value.field == field and tracker.get_tracked_data_summary()["items"] == []


@pytest.mark.parametrize(
    ("moment", "stored"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "2026-01-02T03:04:05.000006Z"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2))), "2026-01-02T01:04:05.000000Z"),
        (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05.000000Z"),  # without a zone it is UTC, as on the wire
        ("2026-01-02", "2026-01-02T00:00:00.000000Z"),
    ],
)
def test_a_time_may_be_a_datetime(tracker, recorder, moment, stored):
    tracker.track_human_message("hi", occurred_at=moment)
    tracker.send_tracked_data()
    assert recorder.events[0]["occurred_at"] == stored


def test_either_may_be_given_alone(tracker, recorder):
    tracker.configure(conversation_id="c1")
    tracker.track_human_message("first", occurred_at=AT)
    tracker.track_human_message("second", event_id="mine")
    tracker.send_tracked_data()
    first, second = recorder.events
    assert len(first["id"]) == 36 and first["occurred_at"] == AT
    assert second["id"] == "mine" and abs(datetime.fromisoformat(second["occurred_at"]).timestamp() - time.time()) < 60


def test_files_of_a_message_are_named_after_it(tracker, recorder):
    files = [{"data": "aGk=", "filename": f"{n}.txt", "mime_type": "text/plain"} for n in range(2)]
    for _ in range(2):
        tracker.track_human_message("see", attachments=files, event_id="m" * 128)
        tracker.send_tracked_data()
    assert len(recorder.stored) == 3 and all(len(name) <= 128 for name in recorder.stored)
    assert {event.get("message_event_id") for event in recorder.events} == {None, "m" * 128}


def test_the_environments_word_on_a_conversation_has_an_id_of_its_own(tracker, recorder):
    tracker.configure(environment="production", conversation_id="c9")
    tracker.track_human_message("hi", event_id="mine")
    tracker.send_tracked_data()
    kinds = {event["kind"]: event["id"] for event in recorder.events}
    assert kinds["message"] == "mine" and "mine" not in kinds["conversation"]


def test_tokens_with_an_id_are_no_part_of_the_sum(tracker, recorder):
    tracker.configure(conversation_id="c1")
    tracker.track_token_usage(10, 1, 11)
    tracker.track_token_usage(3, 2, 5, event_id="run:7:usage", model="small")
    assert tracker.get_token_usage()["total_tokens"] == 11
    tracker.send_tracked_data()
    totals = {event["id"]: event["total_tokens"] for event in recorder.events}
    assert totals.pop("run:7:usage") == 5 and list(totals.values()) == [11]


# -- a tracker beside the process's own --------------------------------------------------------------------------------
def test_a_separate_tracker_has_its_own_key_and_keeps_its_own_things(tracker, recorder):
    other = ConversationTracker.separate(OTHER_KEY, recorder.url)
    assert ConversationTracker() is tracker is not other
    with other.conversation("theirs", environment="production"):
        other.track_human_message("to the other agent")
    with tracker.conversation("ours", environment="production"):
        tracker.track_human_message("to this agent")
        tracker.send_tracked_data()
    assert recorder.contents() == ["to this agent"]
    other.send_tracked_data()
    keys = [request.headers["Authorization"] for request in recorder.batches]
    assert keys == [f"Api-Key {KEY}", f"Api-Key {OTHER_KEY}"]
    other.flush(0.5)


def test_a_separate_tracker_needs_a_key(tracker, environment):
    environment.delenv("AGENTSIGHT_API_KEY")
    with pytest.raises(exceptions.NoApiKeyException):
        ConversationTracker.separate(endpoint="http://127.0.0.1:9")


@pytest.mark.timed
def test_without_a_background_it_sends_when_asked_and_only_as_long_as_asked(tracker, recorder):
    recorder.always = (503, {"detail": "not now"})
    other = ConversationTracker.separate(KEY, recorder.url, spool="off", background=False)
    other.configure(conversation_id="c1")
    other.track_human_message("hi", event_id="mine")
    began = time.monotonic()
    (told,) = other.send_tracked_data(timeout_s=0.5)["items"]
    assert time.monotonic() - began < 2 and told["queued"] and other._delivery._thread is None
    asked = len(recorder.batches)
    time.sleep(0.6)
    assert len(recorder.batches) == asked
    recorder.always = None
    assert other.send_tracked_data()["items"][0]["success"] and list(recorder.stored) == ["mine"]


def test_what_somebody_else_keeps_can_be_forgotten(tracker, recorder):
    recorder.always = (503, {"detail": "not now"})
    other = ConversationTracker.separate(KEY, recorder.url, spool="off", background=False)
    for number in range(3):
        other.track_human_message("hi", event_id=f"mine:{number}")
    other.send_tracked_data(timeout_s=0.2)
    other.track_human_message("and one more")
    assert other.forget() == 4 and other.get_delivery_stats()["pending"] == other.get_delivery_stats()["queued"] == 0
    recorder.always = None
    with pytest.raises(exceptions.NoDataToSendException):
        other.send_tracked_data()
    assert recorder.stored == {} and other.dropped == {}
