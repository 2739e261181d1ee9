"""The product's numbers against the oracle's."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import oracle
from agentsight.core import analytics, counting, metrics

from . import histories
from .both import NOW_US, Both

pytestmark = pytest.mark.usefixtures("engine")

ZONES = ["Europe/Zagreb", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]
RANGE = ("2026-10-22", "2026-11-03")  # both clock changes are inside
FILTERS = {
    "none": ({}, lambda conversation, told: told["production"]),
    "development": ({"environment": "development"}, lambda conversation, told: not told["production"]),
    "country": ({"country": "hr"}, lambda conversation, told: told["production"] and told["country"] == "HR"),
    "device": ({"device": "MOBILE"}, lambda conversation, told: told["production"] and low(told, "device") == "mobile"),
    "nobody told": ({"source": "unknown"}, lambda conversation, told: told["production"] and not told.get("source")),
    "two facets": (
        {"language": "hr", "source": "whatsapp"},
        lambda conversation, told: (
            told["production"] and low(told, "language") == "hr" and low(told, "source") == "whatsapp"
        ),
    ),
    "customer": (
        {"customer_id": "user 3"},
        lambda conversation, told: told["production"] and told.get("customer_id") == "user 3",
    ),
    "neither nor": (
        {"source__not": "whatsapp", "customer_id__not": "user 3"},
        lambda conversation, told: (
            told["production"] and low(told, "source") != "whatsapp" and told.get("customer_id") != "user 3"
        ),
    ),
    "words and metadata": (
        {"message_contains": "PARCEL", "metadata": "tier:gold"},
        lambda conversation, told: (
            told["production"]
            and told["metadata"].get("tier") == "gold"
            and any("parcel" in event.get("content", "") for event in conversation["events"])
        ),
    ),
    "escalated": (
        {"escalated": "true", "is_used": "true"},
        lambda conversation, told: told["production"] and told["escalated"] and told["used"],
    ),
    "feedback": (
        {"has_feedback": "true", "country": "unknown"},
        lambda conversation, told: (
            told["production"]
            and not told["country"]
            and any(event["kind"] == "feedback" for event in conversation["events"])
        ),
    ),
}
BY = [None, *oracle.TIMES, *oracle.FACETS, *oracle.SPLITS]


def low(told, field):
    return (told.get(field) or "").lower()


@pytest.fixture(scope="module")
def busy(engine):
    """Ninety conversations, delivered late, twice and out of order, some deleted, some of those brought back."""
    both = Both()
    events = histories.seeded(90)
    chance = random.Random(5)
    late = [event for event in events if chance.random() < 0.15]
    on_time = [event for event in events if event not in late]
    chance.shuffle(late)
    for batch in batches([*on_time, *late, *chance.sample(events, 40)], chance):
        both.deliver(*batch)
    for number in (3, 17, 40, 41):
        both.delete(f"c{number}")
    both.restore([c["name"] for c in both.world.conversations].index("c17"))
    talked = [name for name in dict.fromkeys(event["conversation_id"] for event in events) if talks(both.world, name)]
    both.change(talked[0], customer_id="somebody else")
    both.change(talked[1], device="Tablet")
    both.change(talked[2], language="DE", metadata={"tier": "gold"})
    both.change(talked[3], name="renamed")
    return both


def talks(world, name):
    conversation = world.live(name)
    return conversation is not None and sum(event["kind"] == "message" for event in conversation["events"]) > 2


def batches(events, chance):
    while events:
        size = chance.choice([1, 5, 40])
        yield events[:size]
        events = events[size:]


def asked_of(by):
    return oracle.SPLITS.get(by, oracle.METRICS)


def compare(both, by, zone_name, params, wanted, start=RANGE[0], end=RANGE[1]):
    """Every metric that can be split this way, its total and its rows, from rollups or events as the planner likes."""
    zone = oracle.ZoneInfo(zone_name)
    first, until = oracle.bounds(start, end, zone)
    cells = both.world.cells(first, until, zone, by, wanted)
    asked = params | ({"by": by} if by else {})
    told = both.ask(asked_of(by), start=start, end=end, tz=zone_name, **asked)
    for series in told.series:
        total = oracle.number(series.name, cells[None])
        assert oracle.agrees(series.name, series.total, total), (series.name, series.total, total)
        rows = {row.key: row.value for row in series.rows}
        if by in oracle.TIMES:
            assert list(rows) == oracle.labels(first, until, zone, by), series.name
        for key in rows.keys() | (cells.keys() - {None}):
            value = oracle.number(series.name, cells.get(key, []))
            if key in rows or value:
                assert oracle.agrees(series.name, rows.get(key), value), (series.name, key, rows.get(key), value)
    return told


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("name", FILTERS)
def test_every_metric_by_everything_is_what_plain_loops_count(busy, name, by, zone):
    compare(busy, by, zone, *FILTERS[name])


@pytest.mark.parametrize("name", ["has_messages", "has_feedback", "has_action", "has_error", "escalated", "is_used"])
def test_a_filter_that_says_no_leaves_what_yes_does_not_find(busy, name):
    def told(**params):
        asked = busy.ask(oracle.ADDITIVE, start=RANGE[0], end=RANGE[1], tz="UTC", **params)
        return [series.total for series in asked.series]

    yes, no = told(**{name: "true"}), told(**{name: "false"})
    assert [sum(parts) for parts in zip(yes, no, strict=True)] == pytest.approx(told())
    assert any(yes)


@pytest.mark.parametrize("by", BY)
def test_events_answer_as_rollups_do(busy, by):
    asked = {"start": RANGE[0], "end": RANGE[1], "tz": "Europe/Zagreb", **({"by": by} if by else {})}
    for params in ({}, {"country": "HR"}, {"device": "mobile", "source": "web"}):
        fast = busy.ask(asked_of(by), **asked, **params)
        assert busy.ask(asked_of(by), from_events=True, **asked, **params) == fast


@pytest.mark.parametrize("by", ["hour", "day", "week", "month", "weekday_hour", "country", "language"])
def test_the_parts_of_an_additive_metric_sum_to_its_total(busy, by):
    told = busy.ask(oracle.ADDITIVE, start=RANGE[0], end=RANGE[1], tz="America/New_York", by=by)
    for series in told.series:
        assert sum(row.value for row in series.rows) == pytest.approx(series.total, abs=1e-9), series.name
        assert metrics.METRICS[series.name].sums


@pytest.mark.parametrize("by", [None, "day", *oracle.FACETS, *oracle.SPLITS])
def test_every_number_opens_the_conversations_behind_it(busy, by):
    zone = oracle.ZoneInfo("Europe/Zagreb")
    first, until = oracle.bounds(*RANGE, zone)
    cells = busy.world.cells(first, until, zone, by, FILTERS["none"][1])
    told = busy.ask(asked_of(by), start=RANGE[0], end=RANGE[1], tz="Europe/Zagreb", **({"by": by} if by else {}))
    for series in told.series:
        total = metrics.drill_down(series.name, None, None, first, until)
        expected = oracle.conversations(series.name, cells[None], metrics.METRICS[series.name].key)
        assert busy.listed({**total, "environment": "production"}) == expected, series.name
        for row in series.rows:
            narrowed = metrics.drill_down(series.name, by, row.key, row.first_us, row.until_us)
            behind = oracle.conversations(series.name, cells.get(row.key, []), row.key if by in oracle.SPLITS else None)
            assert busy.listed({**narrowed, "environment": "production"}) == behind, (series.name, row.key)
            if series.unit == "conversations" and by not in oracle.SPLITS:
                assert row.value == behind


def test_a_rebuild_after_all_of_it_finds_nothing_to_mend(busy):
    assert busy.rebuilt() == []


def test_a_rebuild_mends_what_was_spoiled_and_says_what(busy):
    before = busy.stored()

    def spoil(store):
        store.rollups._driver.run(
            f"UPDATE rollup SET value = value + 1 WHERE agent_id = {busy.agent.id} AND measure = 8"
        )
        store.rollups._driver.run(f"DELETE FROM presence WHERE agent_id = {busy.agent.id} AND slice = 3")

    busy.storage.write(spoil).result()
    told = busy.rebuilt()
    assert told and any("measure=8" in line for line in told) and any(line.startswith("presence") for line in told)
    assert busy.rebuilt() == [] and busy.stored() == before


def test_a_sample_of_days_finds_what_is_wrong_and_nothing_else(busy):
    def sampled():
        return busy.storage.read(lambda store: analytics.sample(store, busy.scope, NOW_US, days=89))

    assert sampled() == []
    own = f"agent_id = {busy.agent.id}"
    spoil = f"UPDATE rollup SET value = value + {{}} WHERE {own} AND plane IN (0, 16) AND measure = 8 AND value > 0"
    busy.storage.write(lambda store: store.rollups._driver.run(spoil.format(1))).result()
    assert any(line.startswith("total_messages on 2026-10-") for line in sampled())
    busy.storage.write(lambda store: store.rollups._driver.run(spoil.format(-1))).result()
    assert sampled() == []


def test_a_new_list_of_escalation_actions_judges_old_conversations_too():
    both = Both()
    both.deliver(*histories.seeded(60, seed=4))
    before = both.agent
    after = replace(before, settings={"escalation_actions": ["search", "ticket"]})
    both.storage.write(lambda store: counting.escalate_again(store, before, after)).result()
    oracle_was, oracle.ESCALATIONS = oracle.ESCALATIONS, {"search", "ticket"}
    try:
        compare(both, "day", "UTC", *FILTERS["none"])
        compare(both, None, "UTC", *FILTERS["escalated"])
    finally:
        oracle.ESCALATIONS = oracle_was
    assert both.rebuilt() == []


# -- histories Hypothesis makes --------------------------------------------------------------------------------------
QUIET = settings(max_examples=200, suppress_health_check=list(HealthCheck))


THOROUGH = settings(QUIET, max_examples=3_000)
ORDERS = given(events=histories.events(), order=st.randoms(use_true_random=False))
HAPPENINGS = given(
    events=histories.events(), happened=histories.operations(), zone=st.sampled_from(ZONES), by=st.sampled_from(BY)
)


@QUIET
@ORDERS
def test_any_order_and_number_of_deliveries_gives_the_same_numbers(events, order):
    same_in_any_order(events, order)


@QUIET
@HAPPENINGS
def test_whatever_happens_the_numbers_are_those_of_the_events(events, happened, zone, by):
    true_to_the_events(events, happened, zone, by)


@pytest.mark.exhaustive
@THOROUGH
@ORDERS
def test_thousands_of_orders_give_the_same_numbers(events, order):
    same_in_any_order(events, order)


@pytest.mark.exhaustive
@THOROUGH
@HAPPENINGS
def test_thousands_of_histories_have_the_numbers_of_their_events(events, happened, zone, by):
    true_to_the_events(events, happened, zone, by)


def same_in_any_order(events, order):
    straight, shuffled = Both(), Both()
    for event in sorted(events, key=lambda event: event["occurred_at"]):
        straight.deliver(event)
    again = [*events, *order.sample(events, len(events) // 2)]
    order.shuffle(again)
    for batch in batches(again, order):
        shuffled.deliver(*batch)
    assert shuffled.stored() == straight.stored()
    assert shuffled.rebuilt() == []


def test_a_feedback_older_than_all_events_counts_the_same_whenever_it_arrives():
    said = {"conversation_id": "c", "environment": "production"}
    events = [
        {"id": "1", "kind": "feedback", "sentiment": "positive", "occurred_at": "2026-10-24T10:00:00+00:00", **said},
        {"id": "2", "kind": "conversation", "occurred_at": "2026-10-24T11:00:00+00:00", **said},
        {
            "id": "3",
            "kind": "message",
            "sender": "agent",
            "content": "x",
            "occurred_at": "2026-10-24T12:00:00+00:00",
            **said,
        },
    ]
    stored = []
    for order in itertools.permutations(events):
        both = Both()
        for event in order:
            both.deliver(event)
        stored.append(both.stored())
        assert both.rebuilt() == []
    assert all(one == stored[0] for one in stored)


def true_to_the_events(events, happened, zone, by):
    both = Both()
    for verb, what in happened:
        if verb == "deliver":
            both.deliver(*(events[place] for place in what if place < len(events)))
        elif verb == "delete":
            both.delete(f"c{what}")
        elif verb == "restore" and what < len(both.world.conversations):
            both.restore(what)
        elif verb == "change":
            both.change(f"c{what[0]}", **{what[1]: "Changed"})
    for params, wanted in (FILTERS["none"], FILTERS["two facets"], FILTERS["words and metadata"]):
        compare(both, by, zone, params, wanted, "2026-10-24", "2026-10-26")
    assert both.rebuilt() == []
