"""Every filter and any mixture of them, on a crowd of conversations, judged by reading the events one by one."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentsight import wire
from agentsight.core import conversations
from agentsight.core.model import ESCALATION_ACTIONS, Agent, Filter
from agentsight.core.ports import Storage
from served import at, event, message

from .conftest import NOW_US, accepting, new_agent, scope_of

Row = dict[str, Any]
CROWD = 60


def crowd() -> list[list[Row]]:
    """The events of each conversation; always the same."""
    pick = random.Random(20261121)
    return [_one(pick, f"conv-{number}") for number in range(CROWD)]


def _one(pick: random.Random, id: str) -> list[Row]:
    start = pick.randrange(0, 400_000)

    def moment() -> str:
        return at(start + pick.randrange(0, 900))

    described = {
        "customer_id": pick.choice([None, "Ana", "ana", "bo%b", "x_y"]),
        "name": pick.choice([None, "Lost Parcel", "lost paRcel 100%", "Čaj"]),
        "language": pick.choice([None, "hr", "HR", "en"]),
        "device": pick.choice([None, "mobile", "Mobile", "desktop"]),
        "source": pick.choice([None, "web", "WhatsApp"]),
        "customer_ip_address": pick.choice([None, "8.8.8.8", "testclient"]),
        "environment": pick.choice([None, "production", "development"]),
        "is_used": pick.choice([True, False]),
        "metadata": pick.choice(
            [{}, {"tier": "gold"}, {"tier": "gold", "n": 5, "deep": {"er": True}}, {"tier": 5, "a.b": "c"}]
        ),
    }
    events = [event("conversation", id, occurred_at=moment(), **described)]
    for _ in range(pick.randrange(0, 3)):
        text = pick.choice(["Gdje je paket?", "PAKET 100%", "hello", "a_b"])
        events.append(message(id, text, pick.choice(wire.SENDERS), occurred_at=moment()))
    for _ in range(pick.randrange(0, 2)):
        name = pick.choice(["look", "ticket", "open_ticket", "Ticket"])
        failed = {"error_msg": "boom"} if pick.random() < 0.4 else {}
        events.append(event("action", id, occurred_at=moment(), action_name=name, **failed))
    for _ in range(pick.randrange(0, 3)):
        events.append(event("feedback", id, occurred_at=moment(), sentiment=pick.choice(wire.SENTIMENTS)))
    if pick.random() < 0.3:
        events.append(event("token_usage", id, occurred_at=moment(), prompt_tokens=3))
    return events


# -- the judge -------------------------------------------------------------------------------------------------------
def of(events: list[Row], kind: str) -> list[Row]:
    return [row for row in events if row["kind"] == kind]


def described(events: list[Row], field: str) -> Any:
    return of(events, "conversation")[0].get(field)


def says(events: list[Row], text: str) -> bool:
    return any(text.lower() in row["content"].lower() for row in of(events, "message"))


def folded(field: str) -> Callable[[list[Row], str], bool]:
    return lambda events, value: (described(events, field) or "").lower() == value.lower()


def contains(field: str) -> Callable[[list[Row], str], bool]:
    return lambda events, value: value.lower() in (described(events, field) or "").lower()


def started(events: list[Row]) -> str:
    return min(row["occurred_at"] for row in events)


def reads(value: Any) -> str:
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def holds(metadata: Row, key: str, value: str) -> bool:
    if key in metadata and reads(metadata[key]) == value:
        return True
    node: Any = metadata
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return reads(node) == value


def used(events: list[Row]) -> bool:
    return bool(described(events, "is_used")) or any(row["kind"] not in ("conversation", "feedback") for row in events)


def ran(events: list[Row], name: str) -> bool:
    if name == "token_usage":
        return bool(of(events, "token_usage"))
    return any(row["action_name"] == name for row in of(events, "action"))


JUDGE: dict[str, Callable[[list[Row], Any], bool]] = {
    "conversation_id": lambda events, value: events[0]["conversation_id"] == value,
    "customer_id": lambda events, value: described(events, "customer_id") == value,
    "conversation_id__icontains": lambda events, value: value.lower() in events[0]["conversation_id"].lower(),
    "customer_id__icontains": contains("customer_id"),
    "name": contains("name"),
    "language": folded("language"),
    "device": folded("device"),
    "source": folded("source"),
    "source__icontains": contains("source"),
    "country": lambda events, value: (described(events, "customer_ip_address") == "8.8.8.8") and value.upper() == "US",
    "customer_ip_address": lambda events, value: described(events, "customer_ip_address") == value,
    "environment": lambda events, value: (described(events, "environment") or "development") == value,
    "is_marked": lambda events, value: value is False,
    "is_used": lambda events, value: used(events) is value,
    "started_at_after": lambda events, value: started(events) >= value,
    "started_at_before": lambda events, value: started(events) <= value,
    "has_messages": lambda events, value: any(row["sender"] != "system" for row in of(events, "message")) is value,
    "has_feedback": lambda events, value: bool(of(events, "feedback")) is value,
    "message_contains": says,
    "search": lambda events, value: (
        says(events, value) or any(value.lower() in (text or "").lower() for text in _names(events))
    ),
    "action_name": ran,
    "action_name__icontains": lambda events, value: any(
        value.lower() in row["action_name"].lower() for row in of(events, "action")
    ),
    "has_action": lambda events, value: bool(of(events, "action")) is value,
    "has_error": lambda events, value: any("error_msg" in row for row in of(events, "action")) is value,
    "escalated": lambda events, value: any(ran(events, name) for name in ESCALATION_ACTIONS) is value,
    "feedback_sentiment": lambda events, value: any(row["sentiment"] == value for row in of(events, "feedback")),
    "feedback_source": lambda events, value: bool(of(events, "feedback")) and value == "customer",
    "metadata": lambda events, value: all(
        holds(described(events, "metadata"), *pair.split(":", 1)) for pair in value.split(",")
    ),
    "include_deleted": lambda events, value: True,
}


def opposite(name: str) -> Callable[[list[Row], Any], bool]:
    return lambda events, value: not JUDGE[name](events, value)


NEGATED = {name: name.removesuffix(wire.NOT) for name in wire.FILTERS if name.endswith(wire.NOT)}
JUDGE |= {name: opposite(plain) for name, plain in NEGATED.items()}


def _names(events: list[Row]) -> list[str | None]:
    return [events[0]["conversation_id"], described(events, "name"), described(events, "customer_id")]


FLAG = st.booleans()
MOMENT = st.integers(0, 400_000).map(at)
ASKED = {
    "conversation_id": st.sampled_from(["conv-1", "conv-", "CONV-1"]),
    "customer_id": st.sampled_from(["Ana", "ana", "an"]),
    "conversation_id__icontains": st.sampled_from(["CONV", "-1", "%", "x"]),
    "customer_id__icontains": st.sampled_from(["AN", "%", "_", "b"]),
    "name": st.sampled_from(["parcel", "100%", "čaj", "ČAJ", "_"]),
    "language": st.sampled_from(["hr", "EN", "de"]),
    "device": st.sampled_from(["mobile", "DESKTOP", "mob"]),
    "source": st.sampled_from(["web", "whatsapp"]),
    "source__icontains": st.sampled_from(["WEB", "app", "_"]),
    "country": st.sampled_from(["us", "HR"]),
    "customer_ip_address": st.sampled_from(["8.8.8.8", "testclient", "8"]),
    "environment": st.sampled_from(["production", "development"]),
    "started_at_after": MOMENT,
    "started_at_before": MOMENT,
    "message_contains": st.sampled_from(["paket", "100%", "l", "a_b", "nothing"]),
    "search": st.sampled_from(["paket", "conv-1", "ana", "parcel", "%"]),
    "action_name": st.sampled_from(["look", "ticket", "Ticket", "token_usage", "lo"]),
    "action_name__icontains": st.sampled_from(["LO", "tick", "usage"]),
    "feedback_sentiment": st.sampled_from(wire.SENTIMENTS),
    "metadata": st.sampled_from(
        ["tier:gold", "tier:5", "n:5", "deep.er:true", "a.b:c", "tier:gold,n:5", "deep:x", "tier:gol"]
    ),
} | dict.fromkeys(
    ("is_marked", "is_used", "has_messages", "has_feedback", "has_action", "has_error", "escalated"), FLAG
)
ASKED |= {name: ASKED[plain] for name, plain in NEGATED.items()}
ASKED |= {"feedback_source": st.sampled_from(wire.FEEDBACK_SOURCES), "include_deleted": FLAG}


@pytest.fixture(scope="module")
def filled(storage: Storage) -> tuple[Storage, Agent, list[list[Row]]]:
    agent, every = new_agent(storage), crowd()
    storage.write(accepting(agent, *(row for events in every for row in events))).result()
    return storage, agent, every


def found(storage: Storage, agent: Agent, asked: Row) -> set[str]:
    spelled = {name: [reads(value)] for name, value in asked.items()}
    where = conversations.parse_filter(spelled)
    heads, more = storage.read(lambda store: store.conversations.page(scope_of(agent), where, limit=1_000))
    assert not more
    assert storage.read(lambda store: store.conversations.count(scope_of(agent), where)) == len(heads)
    order = [(head.started_us, head.id) for head in heads]
    assert order == sorted(order, reverse=True)
    return {head.conversation_id for head in heads}


def wanted(every: list[list[Row]], asked: Row) -> set[str]:
    return {
        events[0]["conversation_id"]
        for events in every
        if all(JUDGE[name](events, value) for name, value in asked.items())
    }


quickly = settings(suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("name", sorted(JUDGE))
@settings(quickly, max_examples=12)
@given(data=st.data())
def test_every_filter_finds_what_the_judge_finds(filled: Any, name: str, data: Any):
    storage, agent, every = filled
    asked = {name: data.draw(ASKED[name])}
    assert found(storage, agent, asked) == wanted(every, asked)


@settings(quickly, max_examples=200)
@given(data=st.data())
def test_any_mixture_of_filters_finds_what_the_judge_finds(filled: Any, data: Any):
    storage, agent, every = filled
    names = data.draw(st.lists(st.sampled_from(sorted(ASKED)), min_size=2, max_size=4, unique=True))
    asked = {name: data.draw(ASKED[name]) for name in names}
    assert found(storage, agent, asked) == wanted(every, asked)


def test_what_must_not_be_so_may_be_said_several_times(filled: Any):
    storage, agent, every = filled
    where = conversations.parse_filter({"source__not": ["web", "whatsapp"], "language__not": ["hr"]})
    heads, _ = storage.read(lambda store: store.conversations.page(scope_of(agent), where, limit=1_000))
    told = [events for events in every if (described(events, "source") or "").lower() not in ("web", "whatsapp")]
    told = [events for events in told if (described(events, "language") or "").lower() != "hr"]
    assert {head.conversation_id for head in heads} == {events[0]["conversation_id"] for events in told} != set()


def test_sentiment_and_source_ask_about_one_and_the_same_feedback(storage: Storage):
    agent = new_agent(storage)
    storage.write(accepting(agent, event("feedback", "c", sentiment="positive"))).result()

    def by_platform(store: Any) -> None:
        (head,) = store.conversations.live(agent.id, ["c"]).values()
        fields = {"sentiment": "negative"}
        conversations.add_feedback(store, agent, head, fields, "platform-1", NOW_US, "platform")

    storage.write(by_platform).result()
    for sentiment, source, count in (
        ("positive", "customer", 1),
        ("negative", "platform", 1),
        ("negative", "customer", 0),
    ):
        asked = {"feedback_sentiment": sentiment, "feedback_source": source}
        assert len(found(storage, agent, asked)) == count


# -- pages -----------------------------------------------------------------------------------------------------------
@settings(quickly, max_examples=30)
@given(
    size=st.integers(1, 7),
    late=st.lists(st.integers(0, 60), max_size=12),
    starts=st.lists(st.integers(0, 9), min_size=1, max_size=30),
)
def test_walking_the_pages_meets_every_row_once_while_others_are_added(
    storage: Storage, size: int, late: list[int], starts: list[int]
):
    """By the place of the last row seen: rows added above the walker do not shift it, rows below are met."""
    agent = new_agent(storage)
    storage.write(
        accepting(agent, *(message(f"c-{n}", occurred_at=at(start)) for n, start in enumerate(starts)))
    ).result()
    seen: list[tuple[int, int]] = []
    names: list[str] = []
    before = None
    additions = iter(enumerate(late))
    while True:
        rows, more = storage.read(
            lambda store: store.conversations.page(scope_of(agent), Filter(), limit=size, before=before)  # noqa: B023
        )
        seen += [(row.started_us, row.id) for row in rows]
        names += [row.conversation_id for row in rows]
        if not more:
            break
        before = seen[-1]
        number, second = next(additions, (None, None))
        if number is not None:
            storage.write(accepting(agent, message(f"late-{number}", occurred_at=at(second)))).result()
    assert seen == sorted(seen, reverse=True) and len(set(seen)) == len(seen)
    assert {f"c-{n}" for n in range(len(starts))} <= set(names)
    back, upwards = [], seen[-1]
    while True:
        rows, more = storage.read(
            lambda store: store.conversations.page(scope_of(agent), Filter(), limit=size, after=upwards)  # noqa: B023
        )
        back = [(row.started_us, row.id) for row in rows] + back
        if not more:
            break
        upwards = back[0]
    assert set(seen[:-1]) <= set(back) and back == sorted(back, reverse=True)
