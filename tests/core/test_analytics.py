"""Questions, calendars and comparisons; what no rollup holds; customers over long ranges."""

from __future__ import annotations

import contextlib
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
from agentsight.core import analytics, measures
from agentsight.core.analytics import earlier, parse_question
from agentsight.core.calendars import cut, midnight_us
from agentsight.core.model import Filter, Scope
from agentsight.errors import Invalid

from .both import NOW_US, Both, at

pytestmark = pytest.mark.usefixtures("engine")

HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000


def question(**params):
    given = {"metric": ["total_messages"]} | {
        name.strip("_"): value if isinstance(value, list) else [value] for name, value in params.items()
    }
    return parse_question(given, Filter(), "UTC", NOW_US)


# -- bad questions ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "params, field",
    [
        ({"metric": []}, "metric"),
        ({"metric": ["nonsense"]}, "metric"),
        ({"metric": ["total_messages,nonsense"]}, "metric"),
        ({"by": "year"}, "by"),
        ({"by": "tool"}, "by"),
        ({"metric": ["tool_runs", "cost_usd"], "by": "tool"}, "by"),
        ({"tz": "Mars/Olympus"}, "tz"),
        ({"tz": "../../etc/passwd"}, "tz"),
        ({"tz": "europe/zagreb"}, "tz"),
        ({"tz": "localtime"}, "tz"),
        ({"compare": "yesterday"}, "compare"),
        ({"from_": "yesterday"}, "from"),
        ({"from_": "2026-02-30"}, "from"),
        ({"from_": "0001-01-01"}, "from"),
        ({"to": "9999-12-31"}, "to"),
        ({"to": "2100-01-01"}, "to"),
        ({"from_": "0001-01-01T00:00:00Z"}, "from"),
        ({"to": "9999-12-31T23:59:59Z"}, "to"),
        ({"to": "2026-W10"}, "to"),
        ({"to": "20261101"}, "to"),
        ({"to": "\x00"}, "to"),
        ({"from_": "2026-11-02", "to": "2026-11-01"}, "to"),
        ({"from_": "2026-11-02T00:00:00Z", "to": "2026-11-02T00:00:00Z"}, "to"),
        ({"from_": "1970-01-01", "to": "2069-12-31", "by": "hour"}, "by"),
        ({"from_": "1970-01-01", "to": "2069-12-31", "by": "weekday_hour"}, "by"),
        ({"from_": "1970-01-01", "to": "2069-12-31", "by": "day"}, "by"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_and_says_what_is_wrong(params, field):
    with pytest.raises(Invalid) as refused:
        question(**params)
    assert list(refused.value.fields) == [field]


def test_a_refusal_names_what_would_be_allowed():
    with pytest.raises(Invalid, match="average_response_ms"):
        question(metric=["nonsense"])
    with pytest.raises(Invalid, match=r"total_messages can be split by hour, day, .*; not by tool"):
        question(by="tool")


@given(start=st.text(max_size=30), end=st.text(max_size=30), tz=st.text(max_size=12), by=st.text(max_size=8))
def test_no_question_breaks_the_parser(start, end, tz, by):
    with contextlib.suppress(Invalid):
        question(from_=start, to=end, tz=tz, by=by)


# -- ranges ----------------------------------------------------------------------------------------------------------
def test_without_a_range_the_last_thirty_days_are_meant():
    asked = question()
    assert (asked.start, asked.end) == ("2026-10-23", "2026-11-21")


def test_today_is_today_in_the_zone_asked_for():
    assert question(tz="Pacific/Auckland").end == "2026-11-21" and question(tz="Pacific/Honolulu").end == "2026-11-20"


def test_one_end_of_a_range_is_enough():
    assert question(from_="2026-11-01").end == "2026-11-21" and question(to="2026-11-10").start == "2026-10-12"
    assert question(from_="2030-01-01").end == "2030-01-01" and question(to="1970-01-05").start == "1970-01-01"


def test_dates_are_both_included_and_instants_end_before():
    zagreb = question(from_="2026-10-25", to="2026-10-25", tz="Europe/Zagreb").bounds_us
    assert zagreb == (oracle.us("2026-10-24T22:00:00+00:00"), oracle.us("2026-10-25T23:00:00+00:00"))
    exact = question(from_="2026-10-25T00:00:01Z", to="2026-10-25T02:00:02 02:00").bounds_us
    assert exact == (oracle.us("2026-10-25T00:00:01+00:00"), oracle.us("2026-10-25T00:00:02+00:00"))


# -- calendars -------------------------------------------------------------------------------------------------------
def test_the_hour_that_comes_twice_has_two_keys_and_the_one_that_never_comes_has_none():
    zone = ZoneInfo("Europe/Zagreb")
    autumn = [span.key for span in cut(*oracle.bounds("2026-10-25", "2026-10-25", zone), "hour", zone)]
    spring = [span.key for span in cut(*oracle.bounds("2026-03-29", "2026-03-29", zone), "hour", zone)]
    assert autumn[2:4] == ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"] and len(autumn) == 25
    assert spring[1:3] == ["2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00"] and len(spring) == 23


def test_clocks_may_change_by_half_an_hour():
    zone = ZoneInfo("Australia/Lord_Howe")
    hours = cut(*oracle.bounds("2026-04-05", "2026-04-05", zone), "hour", zone)
    assert [span.key[11:] for span in hours[:4]] == ["00:00+11:00", "01:00+11:00", "01:00+10:30", "02:00+10:30"]
    assert (hours[2].until_us - hours[2].first_us) == HOUR_US // 2


def test_a_day_the_calendar_skips_is_there_and_empty():
    zone = ZoneInfo("Pacific/Apia")
    days = cut(*oracle.bounds("2011-12-29", "2011-12-31", zone), "day", zone)
    assert [span.key for span in days] == ["2011-12-29", "2011-12-30", "2011-12-31"]
    assert [(span.until_us - span.first_us) // HOUR_US for span in days] == [24, 0, 24]


def test_weeks_start_on_monday_and_months_on_the_first():
    zone = ZoneInfo("UTC")
    bounds = oracle.bounds("2026-10-30", "2026-11-03", zone)
    assert [span.key for span in cut(*bounds, "week", zone)] == ["2026-10-26", "2026-11-02"]
    assert [span.key for span in cut(*bounds, "month", zone)] == ["2026-10", "2026-11"]


@pytest.mark.parametrize("by", ["hour", "day", "week", "month", "weekday_hour", None])
@given(
    zone=st.sampled_from(sorted(available_timezones())),
    day=st.dates(date(2020, 1, 1), date(2090, 1, 1)),
    days=st.integers(1, 40),
)
def test_every_range_is_cut_without_gap_or_overlap(by, zone, day, days):
    first, until = midnight_us(day, ZoneInfo(zone)), midnight_us(day + timedelta(days=days), ZoneInfo(zone))
    spans = cut(first, until, by, ZoneInfo(zone))
    if first < until:
        assert spans[0].first_us == first and spans[-1].until_us == until
    assert all(one.until_us == other.first_us for one, other in pairwise(spans))
    assert all(span.first_us % measures.BUCKET_US == 0 for span in spans), "rollups can answer it"
    if by == "hour":
        assert len({span.key for span in spans}) == len(spans)


# -- comparing -------------------------------------------------------------------------------------------------------
def days(bounds):
    return tuple((datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)).date().isoformat() for us in bounds)


@pytest.mark.parametrize(
    "compare, start, end, compared",
    [
        ("previous", "2026-11-01", "2026-11-30", ("2026-10-02", "2026-11-01")),
        ("year", "2026-11-01", "2026-11-30", ("2025-11-01", "2025-12-01")),
        ("year", "2028-02-29", "2028-02-29", ("2027-02-28", "2027-03-01")),
        ("weekday", "2026-11-02", "2026-11-08", ("2026-10-26", "2026-11-02")),
        ("weekday", "2026-11-01", "2026-11-30", ("2026-09-27", "2026-10-27")),
    ],
)
def test_a_range_is_compared_with_an_earlier_one(compare, start, end, compared):
    assert days(earlier(question(from_=start, to=end, compare=compare))) == compared


def test_previous_days_are_whole_local_days_across_a_clock_change():
    asked = question(from_="2026-10-26", to="2026-10-26", tz="Europe/Zagreb", compare="previous")
    first, until = earlier(asked)
    assert until - first == 25 * HOUR_US


def test_instants_are_compared_with_as_long_a_time_before():
    asked = question(from_="2026-11-02T06:00:00Z", to="2026-11-02T12:00:00Z", compare="previous")
    assert earlier(asked) == (asked.bounds_us[0] - 6 * HOUR_US, asked.bounds_us[0])


def test_the_answer_carries_what_it_was_compared_with():
    both = Both()
    for number, moment in enumerate(["2026-11-01T10:00:00", "2026-11-02T10:00:00", "2026-11-02T11:00:00"]):
        both.deliver(conversation("a"), message(number, f"{moment}+00:00"))
    told = both.ask(["total_messages"], start="2026-11-02", end="2026-11-02", by="hour", compare="previous").as_json()
    series = told["metrics"][0]
    assert (series["total"], series["previous"]) == (2, 1)
    assert len(series["rows"]) == len(series["previous_rows"]) == 24
    assert series["previous_rows"][10] == {"key": "2026-11-01T10:00+00:00", "value": 1}


def conversation(name, **fields):
    when = "2026-11-01T09:00:00+00:00"
    said = {"id": f"{name} opens", "kind": "conversation", "conversation_id": name, "occurred_at": when}
    return said | {"environment": "production"} | fields


def message(number, when, name="a", **fields):
    said = {"id": f"m{number}", "kind": "message", "conversation_id": name, "occurred_at": when}
    return said | {"sender": "end_user", "content": "hello"} | fields


# -- what rollups cannot tell ----------------------------------------------------------------------------------------
def test_bounds_off_the_quarter_of_an_hour_count_to_the_microsecond():
    both = Both()
    both.deliver(conversation("a"), *(message(n, at("2026-11-01T10:07:00+00:00", microseconds=n)) for n in range(3)))
    bounds = {"start": "2026-11-01T10:07:00.000001Z", "end": "2026-11-01T10:07:00.000002Z"}
    assert both.ask(["total_messages"], **bounds).series[0].total == 1


def test_deleted_conversations_never_count_whatever_is_asked():
    both = Both()
    both.deliver(conversation("a"), message(1, "2026-11-01T10:00:00+00:00"))
    both.delete("a")
    for params in ({}, {"include_deleted": "true"}, {"include_deleted": "true", "customer_id": "x"}):
        assert both.ask(["total_messages"], start="2026-11-01", end="2026-11-01", **params).series[0].total == 0


def test_nothing_is_zero_for_counts_and_null_for_averages():
    told = {series.name: series.total for series in Both().ask(oracle.METRICS, by="day").series}
    empty = {*oracle.MEANS, *oracle.SHARES, *oracle.QUANTILES}
    assert {name for name, total in told.items() if total is None} == empty
    assert all(told[name] == 0 for name in told.keys() - empty)


def test_several_agents_are_counted_together_and_a_customer_of_both_once():
    one, other = Both(), Both()
    for both in (one, other):
        both.deliver(conversation("a", customer_id="same"), message(1, "2026-11-01T10:00:00+00:00"))
    scope = Scope(one.agent.organization_id, (one.agent.id, other.agent.id))
    asked = parse_question({"metric": ["total_messages,individual_users"]}, Filter(), "UTC", NOW_US)
    for from_events in (False, True):
        told = one.storage.read(lambda s, e=from_events: analytics.answer(s, scope, asked, from_events=e))
        assert [series.total for series in told.series] == [2, 1]


def test_a_stranger_sees_nothing_of_it():
    one, other = Both(), Both()
    one.deliver(conversation("a"), message(1, "2026-11-01T10:00:00+00:00"))
    assert other.ask(["total_messages", "total_conversations"]).series[0].total == 0


# -- customers over long ranges --------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def crowd(engine):
    """Two hundred thousand customers over sixty days, most of them twice."""
    both, many = Both(), measures.Deltas()
    facet = ("HR", "mobile", "web", "hr")
    many.facets.add(facet)
    first = oracle.us("2026-09-01T00:00:00+00:00") // measures.BUCKET_US
    for number in range(200_000):
        key = measures.customer_key(f"customer {number}")
        many.users[True, first + number * 7 % 5_760, facet, key] += 1
        many.users[True, first + number * 11 % 5_760, facet, key] += 1
    both.storage.write(lambda store: store.rollups.apply(both.agent.id, many)).result()
    return both


def users(both, start, end, **params):
    return both.ask(["individual_users"], start=start, end=end, **params).series[0]


@pytest.mark.slow
def test_many_customers_over_a_long_range_are_told_within_one_percent(crowd):
    told = users(crowd, "2026-09-01", "2026-10-30").total
    assert told == pytest.approx(200_000, rel=0.01) and told != 200_000, "and not by counting all of them"


@pytest.mark.slow
def test_customers_of_short_ranges_and_of_each_part_are_counted_one_by_one(crowd):
    present = {number for number in range(200_000) for at in (number * 7 % 5_760, number * 11 % 5_760) if at < 96}
    assert users(crowd, "2026-09-01", "2026-09-01").total == len(present)
    assert users(crowd, "2026-09-01", "2026-10-30", by="country").rows[0].value == 200_000


@pytest.mark.parametrize("customers", [0, 1, 7, 1_000])
def test_few_customers_are_counted_exactly_over_any_range(customers):
    both, some = Both(), measures.Deltas()
    facet = ("HR", "mobile", "web", "hr")
    for number in range(customers):
        some.users[True, 1_990_000, facet, measures.customer_key(f"customer {number}")] += 1
    both.storage.write(lambda store: store.rollups.apply(both.agent.id, some)).result()
    assert users(both, "2020-01-01", "2030-01-01").total == customers
