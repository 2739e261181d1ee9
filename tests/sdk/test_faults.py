"""Whatever the network and the server do: no exception escapes, nothing is lost, nothing doubled."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest
from recording import OTHER_KEY, free_port

import agentsight.buffer as buffer_module
import agentsight.sender as sender_module
from agentsight.exceptions import NoApiKeyException, NoDataToSendException


def two(tracker):
    tracker.configure(conversation_id="c")
    tracker.track_human_message("one")
    tracker.track_agent_message("two")


def slow(handler, body):
    time.sleep(0.4)
    return "pass"


def endless(handler, body):
    handler.send_response(200)
    handler.send_header("Content-Length", str(10**9))
    handler.end_headers()
    with __import__("contextlib").suppress(OSError):
        for _ in range(3):
            handler.wfile.write(b" " * 1000)
            time.sleep(0.05)
    handler.close_connection = True


RETRIED = {
    "500": (500, {"detail": "broken"}),
    "503": (503, {"detail": "busy"}),
    "429": (429, {"detail": "slow down"}, {"Retry-After": "0"}),
    "408": (408, {}),
    "reset": "reset",
    "answer lost": "processed-but-cut",
    "not json": (200, b"<html>welcome to the hotel</html>"),
    "cut json": (200, b'{"accepted": 2, "resu'),
    "nothing": (200, b""),
    "204-like": (202, b""),
    "not an object": (200, []),
    "redirect elsewhere": (302, {}, {"Location": "http://192.0.2.1/"}),
    "redirect in circles": (307, {}, {"Location": "/api/batch/"}),
    "too long": endless,
}


@pytest.mark.parametrize("fault", RETRIED.values(), ids=RETRIED)
def test_a_fault_that_passes_is_retried_with_the_same_ids(tracker, recorder, fault, monkeypatch):
    monkeypatch.setattr(sender_module.random, "uniform", lambda low, high: 0.01)
    recorder.faults = [fault] * (5 if fault == RETRIED["redirect in circles"] else 1)
    two(tracker)
    sent = tracker.send_tracked_data()
    assert sent["summary"]["errors"] == 0, sent
    assert recorder.contents() == ["one", "two"]
    bodies = [[event["id"] for event in request.body["events"]] for request in recorder.batches]
    assert len(bodies) >= 2 and all(ids == bodies[0] for ids in bodies)


def test_items_that_fail_say_so_stay_queued_and_arrive_once_later(tracker, recorder, monkeypatch):
    monkeypatch.setattr(sender_module.random, "uniform", lambda low, high: 0.05)
    recorder.always = (500, {"detail": "broken"})
    two(tracker)
    started = time.monotonic()
    sent = tracker.send_tracked_data()
    assert time.monotonic() - started < 5
    assert sent["summary"] == {"questions": 0, "answers": 0, "attachments": 0, "actions": 0, "buttons": 0, "errors": 2}
    assert [(item["success"], item["queued"], item["error"]) for item in sent["items"]] == [(False, True, "broken")] * 2
    assert tracker.get_tracked_data_summary()["items"] == []
    recorder.always = None
    tracker.track_human_message("three")
    assert tracker.send_tracked_data()["summary"] == {
        "questions": 1, "answers": 0, "attachments": 0, "actions": 0, "buttons": 0, "errors": 0
    }  # fmt: skip
    recorder.wait(3)
    assert recorder.contents() == ["one", "two", "three"]
    assert len(recorder.order) == 3
    assert tracker.dropped == {}


def test_sending_again_reports_on_what_was_still_queued(tracker, recorder, monkeypatch):
    monkeypatch.setattr(sender_module.random, "uniform", lambda low, high: 30)
    recorder.always = (500, {"detail": "broken"})
    two(tracker)
    assert tracker.send_tracked_data()["summary"]["errors"] == 2
    recorder.always = None
    again = tracker.send_tracked_data()
    assert again["summary"]["errors"] == 0 and len(again["items"]) == 2
    with pytest.raises(NoDataToSendException):
        tracker.send_tracked_data()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_keeps_everything_and_a_better_one_delivers_it(tracker, recorder, status):
    recorder.always = (status, {"detail": "this key is revoked"})
    two(tracker)
    sent = tracker.send_tracked_data()
    assert sent["items"][0]["error"] == "this key is revoked" and sent["items"][0]["queued"]
    assert len(recorder.requests) == 1
    recorder.always = None
    tracker.configure(api_key=OTHER_KEY)
    recorder.wait(2)
    assert recorder.requests[-1].headers["Authorization"] == f"Api-Key {OTHER_KEY}"


@pytest.mark.parametrize("status", [400, 404, 405, 409, 415])
def test_other_refusals_are_final_and_counted(tracker, recorder, status):
    recorder.faults = [(status, {"detail": "no"})]
    two(tracker)
    sent = tracker.send_tracked_data()
    assert [(item["error"], "queued" in item) for item in sent["items"]] == [("no", False)] * 2
    assert len(recorder.requests) == 1
    assert tracker.dropped == {"rejected_4xx": 2}
    tracker.track_human_message("three")
    assert tracker.send_tracked_data()["summary"]["errors"] == 0
    assert recorder.batches[-1].body["dropped"] == {"rejected_4xx": 2}
    tracker.track_human_message("four")
    tracker.send_tracked_data()
    assert "dropped" not in recorder.batches[-1].body


def test_one_bad_event_never_costs_its_neighbours(tracker, recorder):
    def verdicts(handler, body):
        answer = recorder.accept(body["events"][1:])
        bad = {"index": 0, "id": body["events"][0]["id"], "verdict": "rejected", "field": "content", "reason": "is odd"}
        return (200, {**answer, "rejected": 1, "results": [bad, *answer["results"]]})

    recorder.faults = [verdicts]
    two(tracker)
    sent = tracker.send_tracked_data()
    assert [item["success"] for item in sent["items"]] == [False, True]
    assert sent["items"][0]["error"] == "content: is odd"
    assert sent["summary"]["errors"] == 1 and recorder.contents() == ["two"]


def test_a_batch_too_large_for_the_server_is_halved_until_it_fits(tracker, recorder):
    recorder.always = lambda handler, body: (413, {"detail": "too large"}) if len(body["events"]) > 10 else "pass"
    tracker.configure(conversation_id="c")
    for number in range(64):
        tracker.track_human_message(f"{number}")
    assert tracker.send_tracked_data()["summary"] == {
        "questions": 64, "answers": 0, "attachments": 0, "actions": 0, "buttons": 0, "errors": 0
    }  # fmt: skip
    assert recorder.contents("c") == [str(number) for number in range(64)]


def test_retry_after_is_honoured(tracker, recorder):
    recorder.faults = [(503, {"detail": "busy"}, {"Retry-After": "1"})]
    two(tracker)
    started = time.monotonic()
    assert tracker.send_tracked_data()["summary"]["errors"] == 0
    assert time.monotonic() - started >= 1


@pytest.mark.timed
def test_a_long_retry_after_is_not_waited_for(tracker, recorder):
    recorder.faults = [(429, {"detail": "busy"}, {"Retry-After": "120"})]
    two(tracker)
    started = time.monotonic()
    assert tracker.send_tracked_data()["items"][0]["queued"]
    tracker.track_human_message("three")
    tracker.send_tracked_data()
    assert time.monotonic() - started < 1
    assert len(recorder.requests) == 1


@pytest.mark.parametrize(
    "endpoint",
    ["http://127.0.0.1:{closed}", "http://no-such-host.invalid", "https://127.0.0.1:{open}", "not a url", "ftp://x"],
)
def test_an_endpoint_that_cannot_work_costs_neither_data_nor_exceptions(tracker, recorder, endpoint, monkeypatch):
    monkeypatch.setattr(sender_module.random, "uniform", lambda low, high: 0.01)
    tracker.configure(endpoint=endpoint.format(closed=free_port(), open=recorder.port))
    two(tracker)
    started = time.monotonic()
    assert tracker.send_tracked_data()["summary"]["errors"] == 2
    assert time.monotonic() - started < 15
    tracker.configure(endpoint=recorder.url)
    recorder.wait(2)
    assert recorder.contents() == ["one", "two"]


@pytest.mark.timed
def test_an_answer_that_trickles_is_cut_off(tracker, recorder, monkeypatch):
    monkeypatch.setattr(sender_module, "WAIT_S", 1.0)

    def trickle(handler, body):
        handler.close_connection = True
        with __import__("contextlib").suppress(OSError):
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 100:
                handler.wfile.write(bytes([byte]))
                time.sleep(0.1)

    recorder.faults = [trickle]
    two(tracker)
    started = time.monotonic()
    assert tracker.send_tracked_data(timeout_s=1)["items"][0]["queued"]
    assert time.monotonic() - started < 2
    recorder.wait(2)


@pytest.mark.timed
def test_sending_on_an_event_loop_returns_at_once_and_delivers(tracker, recorder):
    recorder.always = slow

    async def main():
        two(tracker)
        started = time.perf_counter()
        sent = tracker.send_tracked_data()
        return time.perf_counter() - started, sent

    took_s, sent = asyncio.run(main())
    assert took_s < 0.1
    assert sent["summary"]["questions"] == sent["summary"]["answers"] == 1 and sent["summary"]["errors"] == 0
    assert [item["response"] for item in sent["items"]] == [{"queued": True}] * 2
    recorder.wait(2)


def test_awaiting_the_send_keeps_the_loop_turning_and_gives_verdicts(tracker, recorder):
    recorder.always = slow

    async def main():
        two(tracker)
        turns = 0

        async def turning():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.01)

        task = asyncio.create_task(turning())
        sent = await tracker.asend_tracked_data()
        task.cancel()
        return turns, sent

    turns, sent = asyncio.run(main())
    assert turns > 15
    assert sent["items"][0]["response"]["verdict"] == "accepted"


def test_a_clock_set_back_reorders_nothing_and_one_set_forward_is_followed(tracker, recorder, monkeypatch):
    now = time.time_ns()
    tracker.configure(conversation_id="c")
    for number, step_s in enumerate((0, -3_600, -1, 7_200)):
        monkeypatch.setattr(buffer_module.time, "time_ns", lambda at=now + step_s * 10**9: at)
        tracker.track_human_message(f"{number}")
    monkeypatch.undo()
    items = tracker.get_tracked_data_summary()["items"]
    assert [item["timestamp"] for item in items] == sorted(item["timestamp"] for item in items)
    buffer_module._ahead_ns = time.time_ns() - time.monotonic_ns()


def test_memory_is_bounded_the_overflow_goes_to_disk_and_all_arrives(tracker, recorder, monkeypatch):
    monkeypatch.setattr(buffer_module, "MAX_ITEMS", 100)
    recorder.always = (503, {"detail": "down"}, {"Retry-After": "1"})
    tracker.configure(conversation_id="c")
    for number in range(400):
        tracker.track_human_message(f"{number}")
    stats = tracker.get_delivery_stats()
    assert tracker._buffer.count <= 100 and stats["spilled"] >= 300
    recorder.always = None
    with __import__("contextlib").suppress(NoDataToSendException):
        tracker.send_tracked_data()
    recorder.wait(400)
    assert recorder.contents("c") == [str(number) for number in range(400)]
    assert tracker.dropped == {}


def test_what_neither_memory_nor_disk_can_hold_is_counted_exactly(tracker, recorder, monkeypatch, environment):
    environment.setenv("AGENTSIGHT_SPOOL", "off")
    monkeypatch.setattr(buffer_module, "MAX_ITEMS", 100)
    recorder.always = (503, {"detail": "down"}, {"Retry-After": "2"})
    tracker.configure(conversation_id="c")
    for number in range(250):
        tracker.track_human_message(f"{number}")
    assert tracker.dropped == {"queue_full": 150}
    recorder.always = None
    recorder.wait(100)
    assert recorder.contents("c") == [str(number) for number in range(100)]


def test_without_a_key_tracking_works_sending_says_so_and_a_key_makes_up_for_it(tracker, recorder, environment):
    environment.delenv("AGENTSIGHT_API_KEY")
    two(tracker)
    with pytest.raises(NoApiKeyException):
        tracker.send_tracked_data()
    tracker.configure(api_key=OTHER_KEY)
    assert tracker.send_tracked_data()["summary"]["errors"] == 0
    assert recorder.contents() == ["one", "two"]


def test_sending_at_an_interval_needs_no_call(tracker, recorder, environment):
    environment.setenv("AGENTSIGHT_AUTO_SEND", "0.2")
    two(tracker)
    recorder.wait(2, timeout_s=5)


def test_a_proxy_of_the_environment_is_used_and_netrc_is_not(tracker, recorder, environment, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine api.example.test login somebody password secret\n")
    environment.setenv("NETRC", str(netrc))
    environment.setenv("http_proxy", f"http://user:pass@127.0.0.1:{recorder.port}")
    tracker.configure(endpoint="http://api.example.test/base")
    recorder.always = lambda handler, body: (200, recorder.accept(body["events"]))
    two(tracker)
    assert tracker.send_tracked_data()["summary"]["errors"] == 0
    request = recorder.requests[0]
    assert request.path == "http://api.example.test/base/api/batch/"
    assert request.headers["Authorization"].startswith("Api-Key ags_")
    assert request.headers["Proxy-Authorization"].startswith("Basic ")


def test_a_thousand_events_take_two_requests_over_one_connection(tracker, recorder):
    tracker.configure(conversation_id="c")
    for number in range(1000):
        (tracker.track_human_message if number % 2 else tracker.track_action)(f"{number}")
    sent = tracker.send_tracked_data()
    assert sent["summary"]["questions"] == sent["summary"]["actions"] == 500
    assert len(recorder.requests) == 2
    assert recorder.requests[0].headers["Content-Encoding"] == "gzip"
    names = [event.get("content") or event["action_name"] for event in recorder.events]
    assert names == [str(number) for number in range(1000)]


def test_large_events_are_split_by_size(tracker, recorder):
    tracker.configure(conversation_id="c")
    for _ in range(12):
        tracker.track_human_message("x" * 200_000)
    assert tracker.send_tracked_data()["summary"]["questions"] == 12
    assert all(len(request.raw) <= 1_050_000 for request in recorder.requests)


@pytest.mark.timed
def test_tracking_stays_quick_while_the_server_hangs(tracker, recorder):
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(1)
        tracker.configure(endpoint=f"http://127.0.0.1:{hole.getsockname()[1]}", conversation_id="c")
        tracker.track_human_message("first")
        sender = threading.Thread(target=tracker.send_tracked_data, daemon=True)
        sender.start()
        took = []
        for number in range(2000):
            started = time.perf_counter()
            tracker.track_human_message(f"{number}")
            took.append(time.perf_counter() - started)
        took.sort()
        assert took[int(len(took) * 0.99)] < 0.001
    tracker._delivery._closed = True


def test_where_threads_are_frozen_between_requests_sending_needs_none(tracker, recorder, environment):
    environment.setenv("AWS_LAMBDA_FUNCTION_NAME", "f")
    recorder.faults = [(503, {"detail": "busy"})]
    two(tracker)
    assert tracker.send_tracked_data()["summary"]["errors"] == 0
    assert tracker._delivery._thread is None


def test_initializing_on_an_event_loop_does_not_block_it_and_survives_a_fault(tracker, recorder, monkeypatch):
    monkeypatch.setattr("agentsight.transport.random.uniform", lambda low, high: 0)
    recorder.faults = [slow, *[(500, {"detail": "broken"})] * 3]

    async def main():
        started = time.perf_counter()
        tracker.initialize_conversation("first", environment="production")
        return time.perf_counter() - started

    assert asyncio.run(main()) < 0.1
    while len(recorder.requests) < 1:
        time.sleep(0.01)
    assert [request.path for request in recorder.requests] == ["/api/conversations/"]
    time.sleep(0.5)
    asyncio.run(main())
    recorder.wait(1)
    (event,) = recorder.events
    assert (event["kind"], event["conversation_id"], event["is_used"]) == ("conversation", "first", False)
