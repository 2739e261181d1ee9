"""Histories for the numbers: seeded ones with everything in them, and strategies for Hypothesis."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

import oracle

START = datetime(2026, 10, 20, tzinfo=UTC)  # clocks change on 25 October in Europe, on 1 November in America
DAYS = 16
_AGENTS = list(oracle.DEVICE)


def seeded(count, seed=1, start=START, days=DAYS):
    """Events of `count` conversations, in the order they happened."""
    chance = random.Random(seed)
    events = [event for number in range(count) for event in conversation(chance, number, start, days)]
    return sorted(events, key=lambda event: event["occurred_at"])


def conversation(chance, number, start, days):
    moment = start + timedelta(seconds=chance.random() * days * 86_400)
    name, made = f"c{number}", []

    def add(kind, **fields):
        nonlocal moment
        made.append(
            {
                "id": f"{name}-{len(made)}",
                "kind": kind,
                "conversation_id": name,
                "occurred_at": moment.isoformat(),
                "seq": len(made),
                **fields,
            }
        )
        moment += timedelta(seconds=chance.expovariate(1 / 40))

    described = {
        "customer_id": chance.choice([None, *(f"user {n}" for n in range(12))]),
        "customer_ip_address": chance.choice([None, *oracle.COUNTRY]),
        "device": chance.choice([None, None, "Mobile", "desktop", "kiosk"]),
        "source": chance.choice([None, "web", "WhatsApp"]),
        "language": chance.choice([None, "en", "HR"]),
        "environment": chance.choice(["production"] * 6 + ["development", None]),
        "metadata": {"tier": chance.choice(["gold", "free"])},
    }
    if chance.random() < 0.3:
        described["metadata"]["user_agent"] = chance.choice(_AGENTS)
    if chance.random() < 0.25:
        add("conversation", is_used=False, **described)
        if chance.random() < 0.4:
            return made
    if chance.random() < 0.95:
        add("conversation", **described)
    for _ in range(chance.randint(0, 9)):
        roll = chance.random()
        if roll < 0.30:
            add("message", sender="end_user", content=chance.choice(["hello", "where is my parcel?", "thank you"]))
        elif roll < 0.55:
            add("message", sender="agent", content=chance.choice(["of course", "your parcel is late"]))
        elif roll < 0.60:
            add("message", sender="system", content="handed over")
        elif roll < 0.75:
            add("action", **action(chance, moment))
        elif roll < 0.85:
            add("token_usage", **usage(chance))
        elif roll < 0.92:
            add("button", button_event=chance.choice(["helpful", "next"]), label="Yes", value="yes")
        elif roll < 0.96:
            add("attachment")
        else:
            moment += timedelta(hours=chance.choice([1, 20]))
    for _ in range(chance.choice([0, 0, 0, 1, 2])):
        moment += timedelta(minutes=chance.choice([0, 90, 3000]))
        add("feedback", sentiment=chance.choice(["positive", "neutral", "negative"]))
    return made


def action(chance, moment):
    fields = {"action_name": chance.choice(["search", "parcel_lookup", "open_ticket", "token_usage", "Ticket_x"])}
    if chance.random() < 0.6:
        fields["duration_ms"] = chance.choice([0, 3, 250.125, 90_000])
    elif chance.random() < 0.5:
        fields["started_at"] = moment.isoformat()
        fields["ended_at"] = (moment + timedelta(milliseconds=chance.choice([-5, 0, 1234]))).isoformat()
    if chance.random() < 0.2:
        fields["error_msg"] = "timeout"
    return fields


def usage(chance):
    fields = {
        "prompt_tokens": chance.randint(0, 5_000),
        "completion_tokens": chance.randint(0, 900),
        "embedding_tokens": chance.choice([0, 0, 64]),
    }
    if chance.random() < 0.7:
        fields["model"] = chance.choice(["gpt-4o-mini", "gpt-4o", "nobody-knows-1"])
    if chance.random() < 0.5:
        fields["total_tokens"] = fields["prompt_tokens"] + fields["completion_tokens"] + chance.choice([0, 0, 7])
    return fields


@st.composite
def events(draw, most=14):
    """A few events of a few conversations, close together, around the hour that comes twice."""
    made = []
    who, when, what = st.integers(0, 2), st.integers(0, 40), st.integers(0, 10**6)
    for place, (name, quarter, seed) in enumerate(
        draw(st.lists(st.tuples(who, when, what), min_size=5, max_size=most))
    ):
        chance = random.Random(seed)
        moment = datetime(2026, 10, 24, 22, tzinfo=UTC) + timedelta(minutes=7 * quarter)
        some = conversation(chance, name, moment, 0.001)
        if some:
            event = dict(chance.choice(some[:2] + some))
            made.append(event | {"id": f"e{place}", "seq": place})
    return made


def operations():
    """What may happen: batches in any order with repeats, deletions, returns, changes by hand."""
    deliver = st.tuples(st.just("deliver"), st.lists(st.integers(0, 13), min_size=1, max_size=8))
    change = st.tuples(st.integers(0, 2), st.sampled_from(["device", "customer_id", "language"]))
    return st.lists(
        st.one_of(
            deliver,
            deliver,
            st.tuples(st.just("delete"), st.integers(0, 2)),
            st.tuples(st.just("restore"), st.integers(0, 5)),
            st.tuples(st.just("change"), change),
        ),
        min_size=3,
        max_size=14,
    )
