"""Concurrent conversations never mix, whatever runs them, and every event arrives."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from fastapi import BackgroundTasks, FastAPI

from agentsight.exceptions import NoDataToSendException

REQUESTS = 100


def conversation(tracker, name):
    tracker.get_or_create_conversation(conversation_id=name)
    tracker.track_question(f"question of {name}")


def nothing_is_misplaced(recorder, names, messages_each):
    recorder.wait(len(names) * (messages_each + 1))
    for event in recorder.events:
        if event["kind"] != "conversation":
            told = event.get("content") or event["metadata"]["of"]
            assert told.endswith(f"of {event['conversation_id']}"), event
    for name in names:
        said = [event for event in recorder.events if event["conversation_id"] == name]
        assert len(said) == messages_each + 1, (name, said)


def test_interleaved_asyncio_tasks_keep_their_conversations(tracker, recorder):
    async def request(name):
        conversation(tracker, name)
        await asyncio.sleep(0.01)
        await asyncio.to_thread(tracker.track_action, "tool", metadata={"of": f"of {name}"})
        tracker.track_answer(f"answer of {name}")
        await asyncio.sleep(0)
        return await tracker.asend_tracked_data()

    async def main():
        return await asyncio.gather(*(request(f"t{number}") for number in range(REQUESTS)))

    results = asyncio.run(main())
    assert all(result["summary"]["errors"] == 0 and len(result["items"]) == 4 for result in results)
    nothing_is_misplaced(recorder, [f"t{number}" for number in range(REQUESTS)], 3)


def test_threads_keep_their_conversations(tracker, recorder):
    def request(name):
        conversation(tracker, name)
        time.sleep(0.002)
        context = contextvars.copy_context()
        tool = threading.Thread(
            target=context.run, args=(tracker.track_action, "tool"), kwargs={"metadata": {"of": f"of {name}"}}
        )
        tool.start()
        tool.join()
        tracker.track_answer(f"answer of {name}")
        return tracker.send_tracked_data()

    names = [f"p{number}" for number in range(REQUESTS)]
    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(request, names))
    assert all(len(result["items"]) == 4 and result["summary"]["errors"] == 0 for result in results)
    nothing_is_misplaced(recorder, names, 3)


def sender(tracker):
    """A send for a background task, and what it fails with: nobody waits for one."""
    failures = []

    def send():
        try:
            tracker.send_tracked_data()
        except Exception as error:
            failures.append(error)

    return send, failures


@pytest.mark.parametrize("endpoint", ["async", "sync"])
@pytest.mark.parametrize("background", ["async", "sync"])
def test_fastapi_requests_with_background_tasks_keep_their_conversations(tracker, recorder, endpoint, background):
    app = FastAPI()
    send, failures = sender(tracker)

    async def asend():
        send()

    later = asend if background == "async" else send

    @app.post("/async/{name}")
    async def asynchronous(name: str, tasks: BackgroundTasks):
        conversation(tracker, name)
        await asyncio.sleep(0.01)
        await asyncio.to_thread(tracker.track_action, "tool", metadata={"of": f"of {name}"})
        tracker.track_answer(f"answer of {name}")
        tasks.add_task(later)

    @app.post("/sync/{name}")
    def synchronous(name: str, tasks: BackgroundTasks):
        conversation(tracker, name)
        time.sleep(0.005)
        tracker.track_action("tool", metadata={"of": f"of {name}"})
        tracker.track_answer(f"answer of {name}")
        tasks.add_task(later)

    names = [f"{endpoint}{number}" for number in range(REQUESTS)]

    async def main():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            answers = await asyncio.gather(*(client.post(f"/{endpoint}/{name}") for name in names))
        assert all(answer.status_code == 200 for answer in answers)

    asyncio.run(main())
    nothing_is_misplaced(recorder, names, 3)
    assert failures == []


def test_a_script_switches_conversations_and_sends_one_of_them(tracker, recorder):
    for name, text in (("A", "one"), ("B", "two"), ("A", "three")):
        tracker.configure(conversation_id=name)
        tracker.track_human_message(text)
    assert [item["data"]["content"] for item in tracker.get_tracked_data_summary()["items"]] == ["one", "three"]
    assert len(tracker.send_tracked_data()["items"]) == 2
    assert recorder.contents("A") == ["one", "three"]
    tracker.configure(conversation_id="B")
    assert tracker.get_tracked_data_summary()["summary"]["total"] == 1
    assert len(tracker.send_tracked_data()["items"]) == 1
    assert recorder.contents("B") == ["two"]


def test_what_a_script_set_last_holds_in_its_threads(tracker):
    tracker.configure(conversation_id="whole-script")
    seen = []
    thread = threading.Thread(target=lambda: seen.append(tracker.config.conversation_id))
    thread.start()
    thread.join()
    assert seen == ["whole-script"]


def test_a_thread_given_the_scripts_context_keeps_its_conversation_when_the_script_goes_on(tracker):
    tracker.configure(conversation_id="first")
    context = contextvars.copy_context()
    tracker.configure(conversation_id="second")
    seen = []
    thread = threading.Thread(target=context.run, args=(lambda: seen.append(tracker.config.conversation_id),))
    thread.start()
    thread.join()
    assert seen == ["first"]


def test_without_a_conversation_one_is_made_and_delivered(tracker, recorder):
    tracker.track_human_message("Hello")
    tracker.track_agent_message("Hi")
    assert tracker.send_tracked_data()["summary"]["errors"] == 0
    (name,) = {event["conversation_id"] for event in recorder.events}
    assert name.startswith("conv_") and len(name) == 17
    assert tracker.config.conversation_id == name


def test_a_block_holds_its_conversation_and_gives_the_former_back(tracker):
    tracker.configure(conversation_id="outer")
    with tracker.conversation("inner", customer_id="u"):
        assert tracker.config.conversation_id == "inner"
    assert tracker.config.conversation_id == "outer"

    async def main():
        async with tracker.conversation("async-inner"):
            return tracker.config.conversation_id

    assert asyncio.run(main()) == "async-inner"


def test_concurrent_sends_of_one_conversation_deliver_each_event_once(tracker, recorder):
    tracker.configure(conversation_id="one")
    for number in range(50):
        tracker.track_human_message(f"{number}")
    outcomes = []

    def send():
        try:
            outcomes.append(len(tracker.send_tracked_data()["items"]))
        except NoDataToSendException:
            outcomes.append(0)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [0] * 7 + [50]
    assert len(recorder.order) == len(set(recorder.order)) == 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_children_send_their_own_events_only_and_once(script, recorder):
    done = script(
        """
import os, threading, time
from agentsight import conversation_tracker as tracker
tracker.configure(conversation_id="parent")
stop = threading.Event()
def busy():
    number = 0
    while not stop.is_set():
        tracker.track_human_message(f"parent {number}"); number += 1
        time.sleep(0.0005)
    print(number)
thread = threading.Thread(target=busy); thread.start()
tracker.send_tracked_data() if tracker.get_tracked_data_summary()["items"] else None
children = []
for child in range(30):
    pid = os.fork()
    if pid == 0:
        tracker.get_or_create_conversation(f"child{child}")
        tracker.track_human_message(f"child {child}")
        result = tracker.send_tracked_data()
        tracker.flush()
        os._exit(0 if result["summary"]["errors"] == 0 and len(result["items"]) == 2 else 1)
    children.append(pid)
codes = [os.waitpid(pid, 0)[1] for pid in children]
stop.set(); thread.join()
assert codes == [0] * 30, codes
"""
    )
    assert done.returncode == 0, done.err
    tracked = int(done.out.split()[-1])
    said = recorder.contents()
    assert sorted(text for text in said if text.startswith("child")) == sorted(f"child {n}" for n in range(30))
    assert sum(text.startswith("parent") for text in said) == tracked
    assert len(recorder.order) == len(set(recorder.order))


def test_children_of_multiprocessing_flush_when_they_end(script, recorder):
    done = script(
        """
import multiprocessing
from agentsight import conversation_tracker as tracker
def work(number):
    tracker.get_or_create_conversation(f"w{number}")
    tracker.track_human_message("from a worker")
if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=(number,)) for number in range(4)]
    for worker in workers: worker.start()
    for worker in workers: worker.join()
"""
    )
    assert done.returncode == 0, done.err
    assert len(recorder.contents()) == 4


def test_children_of_a_parent_that_only_imported_it_give_ids_of_their_own(script):
    """Of what two of them track at the same microsecond, too: the server would take one for the other told twice."""
    done = script(
        """
import os
from agentsight import buffer, conversation_tracker
def told():
    readable, writable = os.pipe()
    if os.fork() == 0:
        os.write(writable, buffer.event_id(1, 1).encode())
        os._exit(0)
    os.wait()
    return os.read(readable, 100)
assert len({told() for _ in range(4)} | {buffer.event_id(1, 1).encode()}) == 5
"""
    )
    assert done.returncode == 0, done.err


def test_a_background_task_after_a_sync_endpoint_sends_even_where_the_module_has_a_conversation(tracker, recorder):
    tracker.configure(conversation_id="set-at-import")
    app = FastAPI()
    send, failures = sender(tracker)

    @app.post("/{name}")
    def synchronous(name: str, tasks: BackgroundTasks):
        conversation(tracker, name)
        tasks.add_task(send)

    names = [f"s{number}" for number in range(20)]

    async def main():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            for name in names:
                await client.post(f"/{name}")

    asyncio.run(main())
    nothing_is_misplaced(recorder, names, 1)
    assert failures == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_while_a_request_is_on_its_way_sends_nothing_twice(script, recorder):
    recorder.faults = [lambda handler, body: time.sleep(0.5) or "pass"]
    done = script(
        """
import os, threading, time
from agentsight import conversation_tracker as tracker
tracker.configure(conversation_id="parent")
tracker.track_human_message("of parent")
results = []
sending = threading.Thread(target=lambda: results.append(tracker.send_tracked_data()))
sending.start(); time.sleep(0.2)
pid = os.fork()
if pid == 0:
    tracker.get_or_create_conversation("child")
    tracker.track_human_message("of child")
    result = tracker.send_tracked_data()
    os._exit(result["summary"]["errors"])
assert os.waitpid(pid, 0)[1] == 0
sending.join()
assert results[0]["summary"]["errors"] == 0, results
"""
    )
    assert done.returncode == 0, done.err
    assert sorted(recorder.contents()) == ["of child", "of parent"]
    assert len(recorder.order) == len(set(recorder.order)) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_while_a_thread_loads_the_network_leaves_the_child_whole_modules(script, recorder):
    done = script(
        """
import importlib, os, threading, time
from agentsight import conversation_tracker as tracker, transport
loading, load = threading.Event(), importlib.import_module
def slow(name):
    loading.set(); time.sleep(0.2)
    return load(name)
transport.import_module = slow
tracker.configure(conversation_id="parent")
tracker.track_human_message("of parent")
sending = threading.Thread(target=tracker.send_tracked_data)
sending.start(); loading.wait()
pid = os.fork()
if pid == 0:
    import sys
    os._exit("http.client" not in sys.modules)
assert os.waitpid(pid, 0)[1] == 0, "the fork waited until everything was there"
sending.join()
"""
    )
    assert done.returncode == 0, done.err
    assert recorder.contents() == ["of parent"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_does_not_talk_on_its_parents_connection(script, recorder):
    done = script(
        """
import os
from agentsight import agentsight_api as api
api.fetch_conversations()
((_, _, mine),) = api._http._idle
pid = os.fork()
if pid == 0:
    api.fetch_conversations()
    os._exit(0 if api._http._idle[-1][2] is not mine else 1)
assert os.waitpid(pid, 0)[1] == 0
api.fetch_conversations()
"""
    )
    assert done.returncode == 0, done.err
    assert len(recorder.requests) == 3


def test_events_written_to_disk_first_may_be_sent_by_another_thread_meanwhile(tracker, recorder, environment):
    environment.setenv("AGENTSIGHT_SPOOL", "always")
    tracker.configure(conversation_id="one")
    failures = []

    def track(which):
        try:
            for number in range(100):
                tracker.track_human_message(f"{which}-{number}")
        except Exception as error:
            failures.append(error)

    def send():
        for _ in range(20):
            try:
                tracker.send_tracked_data()
            except NoDataToSendException:
                time.sleep(0.005)

    threads = [threading.Thread(target=track, args=(which,)) for which in range(3)] + [threading.Thread(target=send)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tracker.flush()
    assert failures == []
    assert len(recorder.contents("one")) == 300
    assert tracker.dropped == {}


def test_tokens_of_conversations_nobody_sends_are_bounded_and_arrive(tracker, recorder, monkeypatch):
    monkeypatch.setattr("agentsight.tokens.MAX_CONVERSATIONS", 3)
    for number in range(10):
        with tracker.conversation(f"t{number}"):
            tracker.track_token_usage(1, 2, 3)
    assert len(list(tracker._tokens)) == 3
    tracker.flush()
    assert sorted(event["conversation_id"] for event in recorder.events) == [f"t{number}" for number in range(10)]
