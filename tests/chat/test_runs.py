"""A run is a task of the server with a row: it outlives requests, keeps what was written, and happens once."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from agentsight.chat.responder import Text, ToolCall, ToolResult

from .conftest import Start, running, wait_until
from .scripted import Scripted


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def test_seed_003s_client_gets_its_three_fields_first(start: Start, url: str) -> None:
    with start(url=url) as backend:
        answer = backend.person("user123").say("Add a task to buy groceries")
        assert answer.status_code == 200 and list(answer.json())[:3] == ["conversation_id", "response", "tool_calls"]


def test_a_conversation_goes_on_and_its_history_is_known(start: Start, url: str) -> None:
    with start(url=url) as backend:
        ann = backend.person()
        first = ann.said("one")
        second = ann.said("history", first["conversation_id"])
        assert second["conversation_id"] == first["conversation_id"]
        assert json.loads(second["response"]) == [["one", "You said one."]]


def test_leaving_is_not_stopping_and_coming_back_misses_and_repeats_nothing(start: Start, url: str) -> None:
    with start(url=url) as backend:
        ann = backend.person()
        seen = []
        with ann.stream("slow 30") as lines:
            for line in lines:
                seen.append(line)
                if len(seen) == 5:
                    break
        run_id, last = seen[0]["run_id"], seen[-1]["seq"]
        rest = ann.events(run_id, after=last)
        assert [event["seq"] for event in seen + rest] == list(range(1, 33))
        text = "".join(event.get("delta", "") for event in seen + rest)
        assert text == ann.run(run_id)["response"] == "".join(f"w{number} " for number in range(30))


def test_server_sent_events_resume_by_last_event_id(start: Start) -> None:
    with start() as backend:
        ann = backend.person()
        run_id = ann.said("slow 5")["run_id"]
        headers = {"Accept": "text/event-stream", "Last-Event-ID": "4"}
        answer = ann.http.get(f"{ann.base}/runs/{run_id}/events", headers=headers)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no" and "no-transform" in answer.headers["cache-control"]
        ids = [line for line in answer.text.splitlines() if line.startswith("id: ")]
        assert ids == ["id: 5", "id: 6", "id: 7"]


def test_two_tabs_follow_one_run(start: Start) -> None:
    with start() as backend:
        ann = backend.person()
        with ann.stream("slow 20") as lines:
            run_id = next(lines)["run_id"]
            with ThreadPoolExecutor(3) as pool:
                others = [pool.submit(ann.events, run_id) for _ in range(3)]
                mine = list(lines)
        for other in others:
            assert other.result()[1:] == mine


def test_a_run_that_ended_long_ago_is_told_as_a_snapshot(start: Start, url: str) -> None:
    with start(url=url) as backend:
        ann = backend.person()
        run = ann.said("tool")
        backend.app.state.chat.runs._live.clear()  # as after a minute, or a restart
        snapshot, done = ann.events(run["run_id"])
        assert (snapshot["type"], done["type"]) == ("snapshot", "done") and snapshot["seq"] < done["seq"]
        assert snapshot["response"] == "Looking.\n\nFound." and snapshot["tool_calls"][0]["result"] == {"found": True}
        assert ann.events(run["run_id"], after=run["last_seq"]) == []


def test_stop_waits_for_the_save_and_stopping_twice_is_no_mistake(start: Start, url: str) -> None:
    responder = Scripted()
    with start(url=url, responder=responder) as backend:
        ann = backend.person()
        with ann.stream("slow 500") as lines:
            run_id = next(lines)["run_id"]
            next(lines)
            stopped = ann.http.post(f"{ann.base}/runs/{run_id}/stop").json()
            tail = list(lines)
        assert stopped["status"] == "stopped" and stopped["response"].startswith("w0 ") and responder.closed == 1
        assert kinds(tail)[-1] == "done" and tail[-1]["status"] == "stopped"
        assert ann.http.post(f"{ann.base}/runs/{run_id}/stop").json() == stopped
        answer = ann.messages(stopped["conversation_id"])[-1]
        assert answer["partial"] and answer["content"] == stopped["response"]
        history = json.loads(ann.said("history", stopped["conversation_id"])["response"])
        assert history == [["slow 500", stopped["response"]]]


def test_a_stopped_tool_call_is_closed(start: Start, url: str) -> None:
    with start(url=url) as backend:
        ann = backend.person()
        with ann.stream("hang in tool") as lines:
            run_id = next(event for event in lines if event["type"] == "started")["run_id"]
            next(event for event in lines if event["type"] == "tool_call")
            stopped = ann.http.post(f"{ann.base}/runs/{run_id}/stop").json()
        assert [call["status"] for call in stopped["tool_calls"]] == ["interrupted"]
        assert ann.said("hello", stopped["conversation_id"])["status"] == "completed"


def test_one_reply_at_a_time(start: Start, url: str) -> None:
    with start(url=url) as backend:
        ann = backend.person()
        with ann.stream("slow 30") as lines:
            begun = next(lines)
            busy = ann.say("me too", begun["conversation_id"])
            assert busy.status_code == 409 and busy.json()["code"] == "conversation_busy"
            assert busy.json()["run_id"] == begun["run_id"]
        assert ann.said("elsewhere")["status"] == "completed"


def test_two_servers_one_conversation_one_winner(tmp_path: Path, url: str) -> None:
    with running(tmp_path, url, responder=Scripted()) as one, running(tmp_path, url, responder=Scripted()) as two:
        ann, again = one.person(), two.person()
        conversation = ann.said("hello")["conversation_id"]
        for _ in range(10):
            barrier = threading.Barrier(4)

            def ask(person: Any, barrier: threading.Barrier = barrier) -> int:
                barrier.wait()
                return int(person.say("slow 15", conversation).status_code)

            with ThreadPoolExecutor(4) as pool:
                codes = sorted(pool.map(ask, [ann, again, ann, again]))
            assert codes == [200, 409, 409, 409]


def test_a_run_on_another_server_can_be_followed_and_stopped(tmp_path: Path, url: str) -> None:
    with running(tmp_path, url, responder=Scripted()) as one, running(tmp_path, url, responder=Scripted()) as two:
        ann, again = one.person(), two.person()
        with ann.stream("slow 20") as lines:
            run_id = next(lines)["run_id"]
            snapshot, done = again.events(run_id)
        assert snapshot["response"].endswith("w19 ") and done["status"] == "completed"
        with ann.stream("slow 2000") as lines:
            run_id = next(lines)["run_id"]
            next(lines)
            stopped = again.http.post(f"{again.base}/runs/{run_id}/stop").json()
        assert stopped["status"] == "stopped" and stopped["response"].startswith("w0 ")


def test_the_same_key_is_the_same_run(start: Start, url: str) -> None:
    with start(url=url) as backend:
        ann = backend.person()
        with ThreadPoolExecutor(6) as pool:
            answers = [answer.json() for answer in pool.map(lambda _: ann.say("slow 5", key="k1"), range(6))]
        assert len({answer["run_id"] for answer in answers}) == 1 and answers[0]["status"] == "completed"
        assert len(ann.messages(answers[0]["conversation_id"])) == 2
        other = ann.say("something else", key="k1")
        assert other.status_code == 422 and other.json()["code"] == "idempotency_key_reused"
        assert backend.person("bob").say("slow 5", key="k1").json()["run_id"] != answers[0]["run_id"]


def regenerate(ann: Any, conversation: int) -> list[dict[str, Any]]:
    answer = ann.http.post(f"{ann.base}/conversations/{conversation}/regenerate")
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def test_regenerate_replaces_the_answer_only_when_the_new_one_is_complete(start: Start, url: str) -> None:
    with start(url=url) as backend:
        ann = backend.person()
        conversation = ann.said("slow 3")["conversation_id"]
        first = ann.messages(conversation)
        done = regenerate(ann, conversation)[-1]
        second = ann.messages(conversation)
        assert [message["content"] for message in second] == [message["content"] for message in first]
        assert second[1]["id"] == done["message_id"] != first[1]["id"]
        run_id = ann.http.post(f"{ann.base}/conversations/{conversation}/regenerate").text
        assert json.loads(run_id.splitlines()[0])["user_message_id"] == first[0]["id"]


def test_a_regenerate_that_is_stopped_leaves_the_old_answer_standing(start: Start, url: str) -> None:
    with start(url=url) as backend:
        ann = backend.person()
        conversation = ann.said("slow 40")["conversation_id"]
        before = ann.messages(conversation)[1]
        with ann.http.stream("POST", f"{ann.base}/conversations/{conversation}/regenerate") as answer:
            lines = answer.iter_lines()
            run_id = json.loads(next(lines))["run_id"]
            next(lines)
            stopped = ann.http.post(f"{ann.base}/runs/{run_id}/stop").json()
        assert stopped["status"] == "stopped" and stopped["response"]
        assert [message["id"] for message in ann.messages(conversation)][1:] == [before["id"]]
        assert json.loads(ann.said("history", conversation)["response"]) == [["slow 40", before["content"]]]


def test_regenerate_after_a_failure_answers_the_same_question(start: Start, url: str) -> None:
    with start(url=url) as backend:
        ann = backend.person()
        failed = ann.say("fail").json()
        assert (failed["code"], failed["status"], failed["response"]) == ("agent_error", "failed", "Half an ans")
        assert "secret-path" not in json.dumps(failed)
        regenerate(ann, failed["conversation_id"])
        roles = [message["role"] for message in ann.messages(failed["conversation_id"])]
        assert roles.count("user") == 1


def test_a_user_may_not_say_more_than_allowed(start: Start, url: str) -> None:
    with start(url=url, runs_per_minute=3) as backend:
        ann = backend.person()
        codes = [ann.say("hello").status_code for _ in range(4)]
        assert codes == [200, 200, 200, 429]
        refused = ann.say("hello")
        assert refused.json()["code"] == "rate_limited" and 1 <= int(refused.headers["retry-after"]) <= 60
        assert backend.person("bob").say("hello").status_code == 200


def test_a_user_may_not_have_more_replies_written_at_a_time_than_allowed(start: Start) -> None:
    with start(live_runs=2) as backend:
        ann = backend.person()
        with ann.stream("slow 50") as one, ann.stream("slow 50") as two:
            next(one), next(two)
            assert ann.say("hello").status_code == 429
            assert backend.person("bob").said("hello")["status"] == "completed"


def test_titles_are_first_lines_and_can_be_changed(start: Start, url: str) -> None:
    with start(url=url) as backend:
        ann = backend.person()
        conversation = ann.said("  Plan   my week\nMonday: nothing")["conversation_id"]
        path = f"{ann.base}/conversations/{conversation}"
        assert ann.http.get(path).json()["title"] == "Plan my week"
        assert ann.http.patch(path, json={"title": " A  plan "}).json()["title"] == "A plan"
        assert ann.http.patch(path, json={"title": " "}).status_code == 422


def test_history_comes_in_pages_that_do_not_overlap(start: Start, url: str) -> None:
    with start(url=url) as backend:
        ann = backend.person()
        conversations = [ann.said("one")["conversation_id"] for _ in range(5)]
        for number in range(3):
            ann.said(f"more {number}", conversations[0])

        def pages(path: str, limit: int) -> list[int]:
            found, before = [], None
            while True:
                params = {"limit": limit} | ({"before": before} if before else {})
                page = ann.http.get(path, params=params).json()
                assert len(page["items"]) <= limit
                found += [item["id"] for item in page["items"]]
                before = page["next_before"]
                if before is None:
                    return found

        assert pages(f"{ann.base}/conversations", 2) == conversations[::-1]
        messages = pages(f"{ann.base}/conversations/{conversations[0]}/messages", 3)
        assert len(messages) == 8 and messages == sorted(messages, reverse=True)


def test_deleted_is_gone_and_what_was_written_in_it_stops(start: Start, url: str) -> None:
    with start(url=url) as backend:
        ann = backend.person()
        with ann.stream("slow 500") as lines:
            begun = next(lines)
            path = f"{ann.base}/conversations/{begun['conversation_id']}"
            assert ann.http.delete(path).status_code == 204
            assert list(lines)[-1]["status"] == "stopped"
        for gone in (path, f"{path}/messages", f"{ann.base}/runs/{begun['run_id']}"):
            assert ann.http.get(gone).status_code == 404
        assert ann.http.get(f"{ann.base}/conversations").json()["items"] == []
        assert ann.say("hello", begun["conversation_id"]).status_code == 404


def test_deleted_conversations_leave_no_rows(start: Start, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with start(url=url) as backend:
        ann = backend.person()
        conversation = ann.said("tool")["conversation_id"]
        ann.http.delete(f"{ann.base}/conversations/{conversation}")
        monkeypatch.setattr("agentsight.chat.store.MINUTE_US", 0)
        store = backend.app.state.chat.store
        wait_until(lambda: store.purge(tracked_only=False) or not _rows(store))
        assert _rows(store) == 0


def _rows(store: Any) -> int:
    with store.db.engine.connect() as connection:
        tables = ("chat_conversations", "chat_messages", "chat_runs", "chat_tool_calls")
        return sum(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() for table in tables)


def test_a_quiet_run_sends_signs_of_life(start: Start) -> None:
    with start(ping_s=0.1) as backend:
        ann = backend.person()
        with ann.stream("hang in tool") as lines:
            run_id = next(lines)["run_id"]
            assert "ping" in [next(lines)["type"] for _ in range(4)]
            ann.http.post(f"{ann.base}/runs/{run_id}/stop")


def test_a_model_may_not_be_silent_for_long_but_a_tool_may(start: Start) -> None:
    with start(silence_s=0.3) as backend:
        ann = backend.person()
        silent = ann.say("hang")
        assert (silent.status_code, silent.json()["code"], silent.json()["response"]) == (504, "timeout", "Half")
        assert ann.messages(silent.json()["conversation_id"])[-1]["partial"]
        with ann.stream("hang in tool") as lines:
            run_id = next(lines)["run_id"]
            time.sleep(0.8)
            assert ann.run(run_id)["status"] == "running"
            ann.http.post(f"{ann.base}/runs/{run_id}/stop")


def test_no_database_connection_is_held_while_streaming(start: Start, url: str) -> None:
    with start(url=url) as backend:
        ann = backend.person()
        pool = backend.app.state.chat.db.engine.pool
        with ann.stream("slow 2000") as lines:
            run_id = next(lines)["run_id"]
            next(lines)
            wait_until(lambda: pool.checkedout() == 0)  # a heartbeat may be under way
            assert ann.run(run_id)["status"] == "running"
            ann.http.post(f"{ann.base}/runs/{run_id}/stop")


def test_stopping_the_server_keeps_what_was_written(tmp_path: Path, url: str) -> None:
    with running(tmp_path, url, responder=Scripted()) as backend:
        ann = backend.person()
        with ann.stream("slow 2000") as lines:
            begun = next(lines)
            next(lines), next(lines)
    with running(tmp_path, url, responder=Scripted()) as backend:
        ann = backend.person()
        run = ann.run(begun["run_id"])
        assert run["status"] == "interrupted" and run["response"].startswith("w0 ")
        assert run["error"]["code"] == "interrupted" and run["error"]["retryable"]
        assert ann.said("hello", begun["conversation_id"])["status"] == "completed"


def test_thirty_people_at_once(start: Start, url: str) -> None:
    with start(url=url) as backend:
        people = [backend.person(f"user{number}") for number in range(30)]
        with ThreadPoolExecutor(30) as pool:
            for person, answer in zip(people, pool.map(lambda who: who.said(f"I am {who.name}"), people), strict=True):
                assert answer["response"] == f"You said I am {person.name}."


def test_a_database_that_is_away_when_a_run_ends_costs_nothing(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with start() as backend:
        store = backend.app.state.chat.store
        finish, failures = store.finish, iter([1, 1])

        def shaky(*args: Any) -> Any:
            if next(failures, None):
                raise OperationalError("COMMIT", None, Exception("disk full"))
            return finish(*args)

        monkeypatch.setattr(store, "finish", shaky)
        assert backend.person().said("hello")["response"] == "You said hello."


def test_a_run_whose_end_could_not_be_saved_does_not_block_its_conversation(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentsight.chat.turn.SAVE_AGAIN_S", ())
    with start(stale_s=0.5) as backend:
        ann, store = backend.person(), backend.app.state.chat.store

        def broken(*args: Any) -> Any:
            raise OperationalError("COMMIT", None, Exception("disk full"))

        with monkeypatch.context() as patch:
            patch.setattr(store, "finish", broken)
            with ann.stream("slow 20") as lines:
                events = list(lines)
        assert events[-1]["type"] == "error" and "disk full" not in str(events)
        run = wait_until(lambda: (run := ann.run(events[0]["run_id"]))["status"] == "interrupted" and run)
        assert run["response"].startswith("w0 ")
        assert ann.said("hello", run["conversation_id"])["status"] == "completed"


def test_a_database_that_is_away_is_said_as_503(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with start() as backend:
        ann, chat = backend.person(), backend.app.state.chat
        assert ann.http.get("/readyz").status_code == 200

        def broken(*args: Any, **kwargs: Any) -> Any:
            raise OperationalError("BEGIN", None, Exception("secret path"))

        monkeypatch.setattr(chat.db, "write", broken)
        for answer in (ann.http.get("/readyz"), ann.say("hello")):
            assert answer.status_code == 503 and answer.headers["retry-after"] and "secret" not in answer.text


def test_what_finished_runs_said_is_kept_in_memory_up_to_a_limit(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentsight.chat.turn.KEEP_BYTES", 2000)
    with start() as backend:
        ann = backend.person()
        runs = [ann.said("slow 10")["run_id"] for _ in range(5)]
        kept = backend.app.state.chat.runs._live
        assert runs[-1] in kept and len(kept) < 5
        assert ann.events(runs[0])[-1]["type"] == "done"


def test_tool_results_of_every_kind_are_kept(start: Start, url: str) -> None:
    odd = {"nul": "a\0b", "half": "\ud800", "nan": float("nan"), "when": datetime(2026, 1, 2), "big": "x" * 100_000}

    class Odd(Scripted):
        async def _play(self, turn: Any) -> Any:
            for _ in range(2):  # and two at once by one id, as some servers number them
                yield ToolCall("", "odd", odd)
            for _ in range(2):
                yield ToolResult("", odd)
            yield ToolResult("nobody called", 1)
            yield Text("done\0")

    with start(url=url, responder=Odd()) as backend:
        run = backend.person().said("go")
        assert [call["status"] for call in run["tool_calls"]] == ["ok", "ok"] and run["response"] == "done␀"
        assert run["tool_calls"][0]["result"]["truncated"] is True
        assert run["tool_calls"][0]["result"]["beginning"].startswith('{"nul": "a␀b", "half": "\ufffd", "nan": NaN')
