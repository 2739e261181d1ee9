"""One writer that commits together what waits together; each change for itself, readers only ever see commits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from agentsight import wire
from agentsight.core import counting, ingest
from agentsight.core.model import Agent, Filter, Span
from agentsight.core.ports import Storage, Store
from agentsight.errors import ConfigError, InvalidEvent, NotFound, ServerFailed
from agentsight.storage import open_storage
from agentsight.storage.migrate import migrate
from agentsight.storage.sql.writer import WAITING
from agentsight.storage.sqlite import driver
from served import message

from .conftest import NOW_US, accepting, new_agent, scope_of


class Gate:
    """A change that keeps the writer busy until it is opened, so that others queue up behind it."""

    def __init__(self, storage: Storage):
        self._open, entered = threading.Event(), threading.Event()

        def wait(store: Store) -> None:
            entered.set()
            self._open.wait(20)

        self.done = storage.write(wait)
        assert entered.wait(20)

    def open(self) -> None:
        self._open.set()
        self.done.result(20)


def texts(storage: Storage, agent: Agent) -> list[str]:
    def ask(store: Store) -> list[str]:
        heads, _ = store.conversations.page(scope_of(agent), Filter(), limit=1_000)
        timelines = store.timeline.of(agent.id, [head.id for head in heads])
        return sorted(event.content or "" for events in timelines.values() for event in events)

    return storage.read(ask)


def failing(agent: Agent, text: str) -> Callable[[Store], Any]:
    """A change that writes and then finds it must not."""
    write = accepting(agent, message("c", text))

    def change(store: Store) -> None:
        write(store)
        raise NotFound("changed my mind")

    return change


def test_a_change_that_fails_costs_only_itself_however_many_commit_together(storage: Storage, agent: Agent):
    gate = Gate(storage)
    futures: list[Future[Any]] = []
    for number in range(30):
        change = failing(agent, f"{number}") if number % 3 == 0 else accepting(agent, message("c", f"{number}"))
        futures.append(storage.write(change))
    gate.open()
    for number, future in enumerate(futures):
        if number % 3 == 0:
            with pytest.raises(NotFound, match="changed my mind"):
                future.result(20)
        else:
            future.result(20)
    assert texts(storage, agent) == sorted(str(number) for number in range(30) if number % 3)


def test_an_error_nobody_expected_costs_only_its_own_change(storage: Storage, agent: Agent):
    gate = Gate(storage)
    broken = storage.write(lambda store: 1 / 0)
    sound = storage.write(accepting(agent, message("c", "kept")))
    gate.open()
    with pytest.raises(ZeroDivisionError):
        broken.result(20)
    sound.result(20)
    assert texts(storage, agent) == ["kept"]


def test_events_that_wait_together_are_stored_as_one_and_each_hears_of_its_own(
    storage: Storage, agent: Agent, monkeypatch: pytest.MonkeyPatch
):
    other, calls = new_agent(storage), []
    accept = ingest.accept
    monkeypatch.setattr(ingest, "accept", lambda *told, **more: calls.append(1) or accept(*told, **more))
    storage.write(accepting(agent, {**message("c", "known"), "id": "known"})).result(20)
    gate = Gate(storage)
    said = [
        accepting(agent, {**message("c", "one"), "id": "1"}, {**message("d", "two"), "id": "2"}),
        accepting(agent, {**message("c", "one"), "id": "1"}, {**message("c", "again"), "id": "known"}),
        ingest.Intake(agent, [InvalidEvent("id", "is required"), wire.parse(message("e", "three"))], NOW_US),
        accepting(other, {**message("c", "one"), "id": "1"}),
    ]
    calls.clear()
    futures = [storage.write(one) for one in said]
    gate.open()
    first, second, third, fourth = (future.result(20) for future in futures)
    assert len(calls) == 2, "one agent's, then the other's"
    told = [[verdict.verdict for verdict in verdicts] for verdicts in (first, second, third, fourth)]
    assert told == [["accepted"] * 2, ["duplicate"] * 2, ["rejected", "accepted"], ["accepted"]]
    assert (second[0].row, second[0].conversation) == (first[0].row, first[0].conversation)
    assert second[1].conversation == first[0].conversation != first[1].conversation
    assert texts(storage, agent) == ["known", "one", "three", "two"] and texts(storage, other) == ["one"]


def test_where_what_was_joined_fails_each_is_stored_by_itself(
    storage: Storage, agent: Agent, monkeypatch: pytest.MonkeyPatch
):
    accept = ingest.accept

    def picky(store: Store, agent: Agent, drafts: Any, *more: Any) -> Any:
        done = accept(store, agent, drafts, *more)
        if any(draft.fields["content"] == "poison" for draft in drafts):
            raise ZeroDivisionError("after it was written")
        return done

    monkeypatch.setattr(ingest, "accept", picky)
    gate = Gate(storage)
    futures = [storage.write(accepting(agent, message("c", text))) for text in ("a", "poison", "b")]
    gate.open()
    with pytest.raises(ZeroDivisionError):
        futures[1].result(20)
    assert [future.result(20)[0].verdict for future in (futures[0], futures[2])] == ["accepted"] * 2
    assert texts(storage, agent) == ["a", "b"]
    assert storage.write(lambda store: counting.rebuild(store, scope_of(agent))).result() == []


def test_changes_that_wait_together_share_a_commit(storage: Storage, agent: Agent, monkeypatch: pytest.MonkeyPatch):
    groups: list[int] = []
    commit = type(storage)._commit_together

    def counted(self: Any, connection: Any, changes: list[Any], *more: Any, **options: Any) -> Any:
        groups.append(len(changes))
        return commit(self, connection, changes, *more, **options)

    monkeypatch.setattr(type(storage), "_commit_together", counted)
    gate = Gate(storage)
    futures = [storage.write(accepting(agent, message(f"c-{number}"))) for number in range(200)]
    gate.open()
    for future in futures:
        future.result(20)
    assert sum(groups) == 201 and len(groups) <= 6
    assert len(texts(storage, agent)) == 200


def test_what_a_future_said_is_stored_is_seen_by_the_next_read_and_nothing_before(storage: Storage, agent: Agent):
    gate = Gate(storage)
    waiting = storage.write(accepting(agent, message("c", "one")))
    assert texts(storage, agent) == []
    gate.open()
    waiting.result(20)
    assert texts(storage, agent) == ["one"]


def test_a_reader_sees_one_state_from_its_first_look_to_its_last(storage: Storage, agent: Agent):
    """A head and its events are read in two questions; a commit between them must not show."""
    if "memory" in storage.facts()["where"]:
        pytest.skip("a database in memory has one snapshot for all")
    storage.write(accepting(agent, message("c", "one"))).result()

    def ask(store: Store) -> tuple[int, int]:
        (head,) = store.conversations.live(agent.id, ["c"]).values()
        storage.write(accepting(agent, message("c", "two"))).result(20)
        (again,) = store.conversations.live(agent.id, ["c"]).values()
        return head.message_count, again.message_count + len(store.timeline.of(agent.id, [head.id])[head.id])

    assert storage.read(ask) == (1, 2)
    assert texts(storage, agent) == ["one", "two"]


def test_readers_and_the_writer_go_on_side_by_side(storage: Storage, agent: Agent):
    """Whoever reads, at whatever moment, sees as many rows as their head says."""
    wrong: list[Any] = []
    stop = threading.Event()

    def read_on() -> None:
        def ask(store: Store) -> None:
            for head in store.conversations.live(agent.id, ["c"]).values():
                rows = store.timeline.of(agent.id, [head.id])[head.id]
                if len(rows) != head.message_count:
                    wrong.append((head.message_count, len(rows)))

        while not stop.is_set():
            storage.read(ask)

    if "memory" in storage.facts()["where"]:
        pytest.skip("a database in memory is one connection's at a time")
    readers = [threading.Thread(target=read_on) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(150):
        storage.write(accepting(agent, message("c", str(number)), message("c", f"{number}b"))).result(20)
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []


def test_a_change_cancelled_while_it_waits_never_happens(storage: Storage, agent: Agent):
    gate = Gate(storage)
    cancelled, kept = (storage.write(accepting(agent, message("c", text))) for text in ("cancelled", "kept"))
    assert cancelled.cancel()
    gate.open()
    kept.result(20)
    assert texts(storage, agent) == ["kept"]


def test_more_than_may_wait_is_refused_at_once_with_a_time_to_come_back(storage: Storage, agent: Agent):
    gate = Gate(storage)
    waiting: list[Future[Any]] = []
    with pytest.raises(ServerFailed) as refused:
        for number in range(WAITING + 1):
            waiting.append(storage.write(lambda store, number=number: number))
    assert refused.value.retry_after_s
    gate.open()
    assert [future.result(30) for future in waiting] == list(range(WAITING))


def test_concurrent_writers_of_one_event_store_it_once(storage: Storage, agent: Agent):
    one = message("c", "once")
    verdicts: list[str] = []

    def write() -> None:
        (verdict,) = storage.write(accepting(agent, one)).result(20)
        verdicts.append(verdict.verdict)

    threads = [threading.Thread(target=write) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(verdicts) == ["accepted", *["duplicate"] * 19]
    assert texts(storage, agent) == ["once"]


def test_closing_finishes_what_waits_and_refuses_what_comes(tmp_path: Path):
    opened = open_storage(f"sqlite:///{tmp_path / 'a.db'}")
    migrate(opened)
    agent = new_agent(opened)
    waiting = [opened.write(accepting(agent, message("c", str(number)))) for number in range(100)]
    opened.close()
    assert all(future.done() and future.exception() is None for future in waiting)
    with pytest.raises(ServerFailed):
        opened.write(lambda store: None)
    again = open_storage(f"sqlite:///{tmp_path / 'a.db'}")
    assert len(texts(again, agent)) == 100
    again.close()


def test_a_locked_database_fails_what_waits_and_works_again_when_it_is_free(tmp_path: Path):
    opened = open_storage(f"sqlite:///{tmp_path / 'a.db'}")
    migrate(opened)
    agent = new_agent(opened)
    other = driver().connect(str(tmp_path / "a.db"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = [opened.write(accepting(agent, message("c", str(number)))) for number in range(3)]
    for future in waiting:
        with pytest.raises(ServerFailed, match="busy"):
            future.result(20)
    other.execute("ROLLBACK")
    other.close()
    opened.write(accepting(agent, message("c", "after"))).result(20)
    assert texts(opened, agent) == ["after"]
    opened.close()


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "sqlit:///x"])
def test_an_engine_nobody_has_is_a_setting_to_mend(url: str):
    with pytest.raises(ConfigError, match="storage engine"):
        open_storage(url)


def test_a_request_may_bring_any_number_of_turns(storage: Storage):
    agent_id, turns = new_agent(storage).id, [f"turn {number}" for number in range(70_000)]
    tool = Span(1, agent_id, 1, "trace", "a", None, turns[-1], "tool", "look up", "ok", 1, None, None, None, "{}")

    def keep(store: Store) -> None:
        (tool.id,) = store.spans.next_ids(1)
        store.spans.add([tool])

    storage.write(keep).result()
    assert [span.span_id for span in storage.read(lambda store: store.spans.waiting(agent_id, ["trace"], turns))] == [
        "a"
    ]
    assert storage.read(lambda store: store.spans.waiting(agent_id, ["trace"], turns[:-1])) == []
    assert storage.read(lambda store: store.spans.outcomes(agent_id, turns)) == {}
