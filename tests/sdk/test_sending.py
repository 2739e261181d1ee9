"""Sending: one request, honest results, nothing lost, nothing doubled."""

from __future__ import annotations

import pytest

from agentsight.exceptions import NoDataToSendException


def test_a_conversation_travels_in_one_request_and_the_summary_counts_it(tracker, recorder):
    tracker.get_or_create_conversation("c1", customer_id="u1", name="Help")
    tracker.track_human_message("Hello")
    tracker.track_action("search", duration_ms=5)
    tracker.track_button("helpful", "👍", "yes")
    tracker.track_agent_message("Hi", metadata={"model": "m"})
    tracker.track_token_usage(1, 2, 3)
    sent = tracker.send_tracked_data()
    assert sent["summary"] == {"questions": 1, "answers": 1, "attachments": 0, "actions": 2, "buttons": 1, "errors": 0}
    assert [item["type"] for item in sent["items"]] == [
        "conversation", "question", "action", "button", "answer", "action"
    ]  # fmt: skip
    assert all(item["success"] and item["response"]["verdict"] == "accepted" for item in sent["items"])
    assert len(recorder.requests) == 1
    assert [event["kind"] for event in recorder.events] == [
        "conversation", "message", "action", "button", "message", "token_usage"
    ]  # fmt: skip
    assert recorder.requests[0].body["sdk"]["name"] == "python"
    with pytest.raises(NoDataToSendException):
        tracker.send_tracked_data()
