"""What was said goes when its time has come, the numbers when theirs has; both stay true to one another."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agentsight import wire
from agentsight.core import (
    analytics,
    attachments,
    audit,
    conversations,
    counting,
    erasing,
    ingest,
    metrics,
    reports,
    retention,
    spans,
    tenancy,
    tickets,
)
from agentsight.core.model import Agent, Conversation, Filter, Organization, Principal, Scope, Span
from agentsight.core.ports import Storage, Store
from agentsight.core.retention import Outcome, Rules
from agentsight.errors import Invalid
from agentsight.storage import open_storage
from agentsight.storage.blobs import FileBlobs
from agentsight.storage.migrate import migrate
from served import event, message

NOW = datetime.now(UTC)
NOW_US = time.time_ns() // 1000


class House:
    """An organization with one agent, on a real database."""

    def __init__(self, folder: Path, url: str):
        self.storage: Storage = open_storage(url)
        migrate(self.storage)
        self.blobs = FileBlobs(folder / "files")
        self.owner = self.write(lambda store: tenancy.ensure_organization(store, "acme", NOW_US))
        self.agent: Agent = self.write(lambda store: tenancy.ensure_agent(store, self.owner, "a", NOW_US))
        self.scope = Scope(self.owner.id, (self.agent.id,))
        self.who = Principal(self.scope, "owner", name="me")

    def write(self, change: Any) -> Any:
        return self.storage.write(change).result()

    def tell(self, days_ago: float, *events: dict[str, Any]) -> None:
        """Store events so long ago, a second apart."""
        drafts = []
        for place, told in enumerate(events):
            when = NOW - timedelta(days=days_ago) + timedelta(seconds=place)
            draft = wire.parse({**told, "occurred_at": when.isoformat()})
            if draft.kind == "attachment":
                draft.fields = attachments.kept(self.blobs, draft.fields)
            drafts.append(draft)
        verdicts = self.write(lambda store: ingest.accept(store, self.agent, drafts, NOW_US))
        assert {verdict.verdict for verdict in verdicts} == {"accepted"}, verdicts

    def talk(self, days_ago: float, key: str, customer: str = "bob", **more: Any) -> None:
        """A conversation with one of everything."""
        self.tell(
            days_ago,
            event(
                "conversation",
                key,
                customer_id=customer,
                customer_ip_address="8.8.8.8",
                name=f"about {key}",
                language="en",
                environment="production",
                metadata={"agent_version": "2", "secret": "of metadata"},
            ),
            message(key, f"secret question in {key} Straße"),
            event(
                "action", key, action_name="lookup", tools_used={"q": "secret"}, response="secret", error_msg="secret"
            ),
            message(key, f"secret answer in {key}", sender="agent"),
            event("button", key, button_event="choose", label="secret", value="secret"),
            event("token_usage", key, prompt_tokens=3, completion_tokens=4, model="gpt-4o"),
            event(
                "attachment",
                key,
                sender="end_user",
                filename="secret.txt",
                mime_type="text/plain",
                data="c2VjcmV0" + key[-4:],
            ),
            event("feedback", key, sentiment="positive", comment="secret"),
        )

    def run(self, **rules: int | None) -> Outcome:
        owner = self.write(lambda store: retention.set_rules(store, self.who, Rules(**rules), NOW_US))
        return retention.Run(self.storage, self.blobs, owner, NOW_US)()

    def head(self, key: str) -> Conversation:
        return self.storage.read(lambda store: conversations.lookup(store, self.agent, key))

    def numbers(self, where: Filter = Filter(), from_events: bool = False) -> dict[str, Any]:  # noqa: B008 -- frozen
        first, last = ((NOW - timedelta(days=1_200)).date().isoformat(), NOW.date().isoformat())
        told: dict[str, Any] = {}
        for by in (None, "month", "country", "tool", "sentiment", "model", "button"):
            names = tuple(name for name, one in metrics.METRICS.items() if by is None or by in one.by)
            asked = analytics.Question(names, first, last, by=by, where=where)
            ask = lambda store, asked=asked: analytics.answer(store, self.scope, asked, from_events=from_events)  # noqa: E731
            told[by or ""] = [
                (one.name, one.total, [(row.key, row.value) for row in one.rows])
                for one in self.storage.read(ask).series
            ]
        return told

    def found(self, text: str) -> list[str]:
        heads, _ = self.storage.read(lambda store: store.conversations.page(self.scope, Filter(search=text), limit=50))
        return sorted(head.conversation_id for head in heads)


@pytest.fixture(params=["sqlite", "postgresql"])
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], House]]:
    """Builds houses on an engine."""
    made: list[House] = []

    def building() -> House:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        sqlite = request.param == "sqlite"
        url = f"sqlite:///{folder / 'a.db'}" if sqlite else request.getfixturevalue("postgresql").fresh()
        made.append(House(folder, url))
        return made[-1]

    yield building
    for house in made:
        house.storage.close()


@pytest.fixture
def house(build: Callable[[], House]) -> House:
    return build()


def test_content_goes_and_every_number_stays(house: House):
    house.talk(100, "old-aaaa")
    house.talk(10, "new-bbbb", customer="eve")
    house.tell(120, message("long-thread", "secret from long ago"))
    house.tell(1, message("long-thread", "said yesterday", sender="agent"))
    marked = house.head("old-aaaa")
    house.write(
        lambda store: conversations.update(store, house.scope, marked.id, {"is_marked": True, "name": "secret by hand"})
    )
    by_hand = Filter(is_marked=True)
    before = [house.numbers(), house.numbers(from_events=True), house.numbers(by_hand)]
    outcome = house.run(content_days=90)
    assert (outcome.stripped, outcome.expired, outcome.purged, outcome.files) == (2, 0, 0, 1)
    assert [house.numbers(), house.numbers(from_events=True), house.numbers(by_hand)] == before
    assert not house.write(lambda store: counting.rebuild(store, house.scope))

    old = house.storage.read(lambda store: conversations.transcript(store, house.scope, house.head("old-aaaa").id))
    assert old.buttons == {"choose": [("secret", "secret")]}, "others still press it"
    old = replace(old, buttons={})
    assert "secret" not in repr(old) and "about" not in repr(old) and "8.8.8.8" not in repr(old)
    assert (old.conversation.customer_id, old.conversation.country, old.conversation.metadata) == (
        "bob",
        "US",
        {"agent_version": "2"},
    )
    assert [event.content for event in old.events if event.kind == "message"] == [None, None]
    thread = house.storage.read(
        lambda store: conversations.transcript(store, house.scope, house.head("long-thread").id)
    )
    assert [event.content for event in thread.events] == [None, "said yesterday"]
    assert house.found("secret") == ["new-bbbb"], "what is gone is not found, what is here is"
    assert house.run(content_days=90) == Outcome(), "a second run has nothing to do"


def test_spans_and_tickets_go_with_what_was_said(house: House):
    for days_ago, key in ((100, "old-aaaa"), (10, "new-bbbb")):
        house.talk(days_ago, key)
        began_us = NOW_US - days_ago * retention.DAY_US
        span = Span(
            0, 0, 0, "trace", key, None, None, "turn", "ask", "ok", began_us, None, None, None, '{"said":"secret"}'
        )
        ticket = {"title": f"secret of {key}", "conversation_id": house.head(key).id}

        def bring(store: Any, key: str = key, span: Any = span, ticket: Any = ticket, began_us: int = began_us) -> None:
            spans.keep(store, house.agent, {key: [span]})
            made = tickets.create(store, house.who, house.agent, ticket, began_us)
            tickets.comment(store, house.who, made.id, "a secret word", began_us)

        house.write(bring)
    house.run(content_days=90)

    def left(store: Any) -> tuple[list[str], list[str]]:
        kept = [span.span_id for span, _ in store.spans.trace(house.scope, "trace", 10)]
        return kept, [one.title for one in store.tickets.page(house.scope, {}, "id", 10, 0)]

    assert house.storage.read(left) == (["new-bbbb"], ["secret of new-bbbb"])
    late = Span(
        0, 0, 0, "trace", "late", None, None, "tool", "t", "ok", NOW_US - 95 * retention.DAY_US, None, None, None, "{}"
    )
    house.write(lambda store: spans.keep(store, house.agent, {"old-aaaa": [late]}))
    house.run(content_days=90)
    assert house.storage.read(left)[0] == ["new-bbbb"], "what comes late goes with the next run"


def test_a_preview_says_what_a_run_then_does(house: House):
    house.talk(100, "old-aaaa")
    house.talk(1_000, "ancient-bbbb")
    house.talk(200, "deleted-cccc")
    gone = house.head("deleted-cccc")
    house.write(lambda store: conversations.delete(store, house.scope, gone.id, NOW_US - 40 * retention.DAY_US))
    rules = Rules(90, 25)
    told = house.storage.read(lambda store: retention.preview(store, house.owner, rules, NOW_US))
    assert (told.stripped, told.expired, told.purged) == (1, 1, 1)
    assert house.found("secret") == ["ancient-bbbb", "old-aaaa"], "looking removed nothing"
    done = house.run(content_days=90, numbers_months=25)
    assert (done.stripped, done.expired, done.purged) == (1, 1, 1)
    line = house.storage.read(lambda store: list(audit.lines(store, house.owner.id)))[-1]
    assert (line.action, line.detail["expired"]) == ("retention.applied", 1)


def test_numbers_that_had_their_time_go_exactly(build: Callable[[], House]):
    house, other = build(), build()
    for one in (house, other):
        one.talk(10, "new-bbbb")
        one.talk(700, "spared-cccc")
    house.talk(1_000, "ancient-aaaa", customer="eve")
    assert house.numbers() != other.numbers()
    house.run(content_days=90, numbers_months=25)
    other.run(content_days=90)
    assert house.numbers() == other.numbers()
    assert not house.write(lambda store: counting.rebuild(store, house.scope))


def test_what_erased_people_had_added_goes_with_the_numbers_of_its_time(house: House):
    from agentsight.core import erasing

    house.talk(1_000, "ancient-aaaa", customer="eve")
    house.talk(10, "new-bbbb", customer="eve")
    before = house.numbers()
    erasing.erase(house.storage, house.blobs, house.who, house.owner, house.agent, "evelyn", lambda: NOW_US)
    assert house.numbers() == before == house.numbers(from_events=True)
    house.run(content_days=90, numbers_months=25)
    after = {name: total for name, total, _ in house.numbers()[""]}
    assert (after["total_messages"], after["individual_users"]) == (2, 1)
    assert not house.write(lambda store: counting.rebuild(store, house.scope))


def test_late_words_on_an_old_conversation_go_with_the_next_run(house: House):
    house.talk(100, "old-aaaa")
    house.run(content_days=90)
    before = house.numbers()
    house.tell(99, message("old-aaaa", "secret that came late"))
    house.tell(95, event("feedback", "old-aaaa", sentiment="negative", comment="late secret"))
    assert house.found("came late") == ["old-aaaa"]
    house.run(content_days=90)
    assert house.found("came late") == []
    transcript = house.storage.read(
        lambda store: conversations.transcript(store, house.scope, house.head("old-aaaa").id)
    )
    assert "secret" not in repr(transcript)
    assert transcript.conversation.country == "US", "what followed from the address stays"
    assert house.numbers() != before, "late words count"


def test_young_feedback_on_an_old_conversation_waits_for_its_own_time(house: House):
    house.talk(100, "old-aaaa")
    house.tell(5, event("feedback", "old-aaaa", sentiment="negative", comment="said last week"))
    house.run(content_days=90)
    given = house.storage.read(
        lambda store: conversations.transcript(store, house.scope, house.head("old-aaaa").id)
    ).feedbacks
    assert [one.comment for one in given] == [None, "said last week"]
    house.run(content_days=2)
    given = house.storage.read(
        lambda store: conversations.transcript(store, house.scope, house.head("old-aaaa").id)
    ).feedbacks
    assert [one.comment for one in given] == [None, None]


def test_a_very_long_conversation_goes_in_small_steps(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retention, "ROWS", 7)
    house.tell(100, *(message("long", f"secret {number}") for number in range(30)))
    rests: list[int] = []
    owner = house.write(lambda store: retention.set_rules(store, house.who, Rules(90), NOW_US))
    retention.Run(house.storage, house.blobs, owner, NOW_US, lambda: rests.append(1))()
    assert house.found("secret") == []
    assert len(rests) >= 4


class Again(Exception):
    """The engine could not finish a transaction."""


class Doubtful:
    """A storage whose every transaction has to be done again from its start."""

    def __init__(self, storage: Storage):
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def write(self, change: Callable[[Store], Any]) -> Any:
        def in_vain(store: Store) -> None:
            change(store)
            raise Again

        with pytest.raises(Again):
            self._storage.write(in_vain).result()
        return self._storage.write(change)


def test_what_the_engine_does_again_is_counted_once(build: Callable[[], House]):
    told = []
    for house in (plain := build(), doubtful := build()):
        house.talk(500, "gone-aaaa")
        house.talk(400, "old-bbbb")
        house.talk(3, "young-cccc", customer="evelyn")
        house.write(lambda store, who=house.who: reports.save(store, who, "About evelyn", "", {}, {}, NOW_US))
    doubtful.storage = Doubtful(doubtful.storage)  # type: ignore[assignment]
    for house in (plain, doubtful):
        outcome = house.run(content_days=30, numbers_months=15)
        gone = erasing.erase(house.storage, house.blobs, house.who, house.owner, house.agent, "evelyn", lambda: NOW_US)[
            "removed"
        ]
        buttons = house.storage.read(lambda store, id=house.agent.id: store.timeline.offered(id, ["choose"]))
        told.append((outcome, gone, buttons))
    assert told[0] == told[1] and told[0][0].expired == told[0][0].stripped == 1 and told[0][1]["reports"] == 1


def test_a_run_that_is_stopped_leaves_the_rest_for_the_next(house: House):
    for number in range(3):
        house.talk(100, f"old-{number}aaa")
    owner = house.write(lambda store: retention.set_rules(store, house.who, Rules(90), NOW_US))
    assert retention.Run(house.storage, house.blobs, owner, NOW_US, stopped=lambda: True)() == Outcome()
    assert retention.Run(house.storage, house.blobs, owner, NOW_US)().stripped == 3


def test_files_nothing_names_are_swept_once_they_are_old(house: House):
    house.talk(10, "new-bbbb")
    orphan = house.blobs.put(b"its row never came")
    assert attachments.sweep(house.storage, house.blobs, NOW_US - retention.DAY_US) == 0, "a row may be on its way"
    assert attachments.sweep(house.storage, house.blobs, NOW_US + retention.DAY_US) == 1
    assert orphan not in set(house.blobs.each())
    assert len(list(house.blobs.each())) == 1


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({"content_days": "0"}, "content_days"),
        ({"content_days": "-3"}, "content_days"),
        ({"content_days": "٣"}, "content_days"),
        ({"content_days": "99999999999999999999"}, "content_days"),
        ({"numbers_months": "12"}, "numbers_months"),
        ({"content_days": "400", "numbers_months": "12"}, "numbers_months"),
    ],
)
def test_rules_that_cannot_be_are_refused_by_name(told: dict[str, str], field: str):
    with pytest.raises(Invalid) as wrong:
        retention.read(told)
    assert field in wrong.value.fields


def test_nothing_goes_where_nothing_was_set(house: House):
    house.talk(3_000, "ancient-aaaa")
    assert retention.Run(house.storage, house.blobs, replace(house.owner, settings={}), NOW_US)() == Outcome()
    assert isinstance(house.owner, Organization)
