"""The parts numbers are made of: turns, addresses, devices, prices, bins, facets."""

from __future__ import annotations

import math
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentsight.core import device, geo, measures, metrics, prices
from agentsight.core.model import Event
from agentsight.core.turns import follow
from agentsight.errors import ConfigError

DAY_US = 86_400_000_000
IN_2025 = 20_200 * DAY_US


def said(*timeline):
    return [
        Event(n, 1, 1, str(n), "message" if who else "action", at_us, sender=who)
        for n, (who, at_us) in enumerate(timeline)
    ]


# -- turns -----------------------------------------------------------------------------------------------------------
def test_the_clock_of_a_turn_starts_at_the_first_unanswered_message():
    turns, waiting = follow(said(("end_user", 0), ("end_user", 2), ("agent", 5), ("agent", 6), ("end_user", 9)))
    assert turns == [(0, 5)] and waiting == 9


def test_actions_and_system_messages_answer_nothing():
    turns, waiting = follow(said(("end_user", 0), (None, 1), ("system", 2), ("agent", 3)))
    assert turns == [(0, 3)] and waiting is None


def test_an_agent_that_speaks_first_ends_no_turn():
    assert follow(said(("agent", 0), ("agent", 1))) == ([], None)


@given(st.lists(st.sampled_from(["end_user", "agent", "system", None])), st.integers(0, 30))
def test_a_timeline_cut_anywhere_has_the_turns_of_the_whole(who, place):
    events = said(*((sender, at) for at, sender in enumerate(who)))
    first, waiting = follow(events[:place])
    rest, at_the_end = follow(events[place:], waiting)
    assert ([*first, *rest], at_the_end) == follow(events)


# -- addresses -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "address, country",
    [
        ("8.8.8.8", "US"),
        (" 8.8.8.8 ", "US"),
        ("::ffff:8.8.8.8", "US"),
        ("2a00:1450:4001:80b::200e", "IE"),
        ("93.142.1.1", "HR"),
        ("127.0.0.1", None),
        ("192.168.1.7", None),
        ("100.64.0.1", None),
        ("fe80::1%eth0", None),
        ("224.0.0.1", None),
        ("203.0.113.9", None),
        ("testclient", None),
        ("8.8.8.8:443", None),
        ("", None),
        (None, None),
        ("9" * 255, None),
    ],
)
def test_a_public_address_has_a_country_and_nothing_else_has(address, country):
    assert geo.country(address) == country
    assert (geo.location(address) or {}).get("country") == country


@given(st.text(max_size=40))
def test_no_text_makes_the_address_lookup_fail(text):
    geo.country(text)


def test_the_packaged_data_knows_countries_but_no_cities():
    assert geo.location("8.8.8.8") == {"ip_address": "8.8.8.8", "city": None, "country": "US", "timezone_name": None}


def test_a_file_that_is_no_mmdb_is_refused_in_one_line(tmp_path):
    (tmp_path / "geo.mmdb").write_bytes(b"not one")
    with pytest.raises(ConfigError, match="is not an MMDB file"):
        geo.use(tmp_path / "geo.mmdb")
    assert geo.country("8.8.8.8") == "US"


def test_an_mmdb_file_is_asked_first_and_alone_knows_cities(monkeypatch):
    entry = {
        "country": {"iso_code": "HR"},
        "city": {"names": {"en": "Zagreb"}},
        "location": {"time_zone": "Europe/Zagreb"},
    }
    monkeypatch.setattr(geo, "_files", [{geo._public("8.8.4.4"): entry}])
    geo.country.cache_clear()
    told = {"ip_address": "8.8.4.4", "city": "Zagreb", "country": "HR", "timezone_name": "Europe/Zagreb"}
    assert geo.location("8.8.4.4") == told
    assert geo.country("8.8.8.8") == "US", "what the file does not know, the package does"
    geo.country.cache_clear()


# -- devices ---------------------------------------------------------------------------------------------------------
CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0"


@pytest.mark.parametrize(
    "user_agent, kind",
    [
        (f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {CHROME} Mobile Safari/537.36", "mobile"),
        (f"Mozilla/5.0 (Linux; Android 14; SM-X910) {CHROME} Safari/537.36", "tablet"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Safari/537.36", "desktop"),
        (f"Mozilla/5.0 (X11; Linux x86_64) {CHROME} Safari/537.36", "desktop"),
        (f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {CHROME} Safari/537.36", "desktop"),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18.0 Safari/605.1.15",
            "desktop",
        ),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148", "mobile"),
        ("Mozilla/5.0 (iPad; CPU OS 16_0 like Mac OS X) AppleWebKit/605.1.15", "tablet"),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", None),
        ("python-requests/2.32", None),
        ("", None),
    ],
)
def test_a_user_agent_tells_the_kind_of_device(user_agent, kind):
    assert device.kind(None, {"user_agent": user_agent}) == kind


def test_a_device_that_was_sent_wins_over_the_user_agent():
    assert device.kind("Kiosk", {"user_agent": "Mozilla/5.0 (iPad; CPU OS 16_0 like Mac OS X)"}) == "kiosk"


@pytest.mark.parametrize("metadata", [{}, {"user_agent": None}, {"user_agent": 7}, {"user_agent": ["x"]}])
def test_metadata_without_a_user_agent_tells_nothing(metadata):
    assert device.kind(None, metadata) is None


# -- prices ----------------------------------------------------------------------------------------------------------
def test_tokens_cost_the_list_price_of_their_model():
    assert prices.cost("gpt-4o-mini", 1_000_000, 1_000_000, 0, IN_2025) == (750_000_000, 2_000_000)


@pytest.mark.parametrize("name", ["gpt-4o", "openai/gpt-4o", "gpt-4o-2024-08-06", "GPT-4o"])
def test_a_model_is_known_by_the_names_vendors_and_routers_use(name):
    assert prices.cost(name, 1_000, 0, 0, IN_2025) == (2_500_000, 1_000)


def test_an_unknown_model_is_never_free():
    assert prices.cost("nobody-knows-1", 1_000, 1_000, 10, IN_2025) == (0, 0)
    assert prices.cost(None, 1_000, 1_000, 10, IN_2025) == (0, 0)


def test_embedding_tokens_are_priced_for_models_that_embed_alone():
    assert prices.cost("text-embedding-3-small", 0, 0, 1_000_000, IN_2025) == (20_000_000, 1_000_000)
    assert prices.cost("gpt-4o-mini", 0, 0, 1_000, IN_2025) == (0, 0)


def test_a_price_is_that_of_the_day():
    cheaper, dearer = (prices.cost("deepseek-v4-flash", 1_000, 0, 0, day * DAY_US)[0] for day in (20_600, 20_685))
    assert 0 < cheaper < dearer, "its price rose on 17 August 2026"


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_money_is_whole_billionths_rounded_once(prompt, completion):
    nano, priced = prices.cost("gpt-4o-mini", prompt, completion, 0, IN_2025)
    exact = Decimal(prompt) * 150 + Decimal(completion) * 600
    assert priced == prompt + completion and abs(nano - exact) <= Decimal("0.5")


# -- bins and facets -------------------------------------------------------------------------------------------------
@given(st.integers(0, 4_102_444_800_000_000))
def test_a_bin_stands_for_every_duration_in_it_within_five_percent(us):
    assert math.isclose(measures.bin_value_us(measures.bin_of(us)), us, rel_tol=0.0500001)


@given(st.integers(0, 10**15), st.integers(0, 10**15))
def test_bins_sort_as_their_durations_do(one, other):
    if one <= other:
        assert measures.bin_of(one) <= measures.bin_of(other)


def test_facets_that_differ_have_different_numbers():
    facets = {(c, d, s, x) for c in ("HR", "US", "") for d in ("a", "") for s in ("b", "") for x in ("", "b", "a")}
    numbers = {(plane, measures.facet_id(plane, facet)) for facet in facets for plane in (0, 1, 2, 4, 8, 15)}
    told = {(plane, measures.on_plane(plane, facet)) for facet in facets for plane in (0, 1, 2, 4, 8, 15)}
    assert len(numbers) == len(told)


def test_what_is_added_and_taken_away_leaves_nothing_to_write():
    deltas, facet = measures.Deltas(), ("HR", "mobile", "web", "hr")
    some = [(10**15, measures.MESSAGES, "", 1), (10**15, measures.USERS, "u", 1), (10**15, measures.TOOL_RUNS, "x", 2)]
    deltas.add(True, facet, 1, some)
    deltas.add(True, facet, 1, some, -1)
    assert [*deltas.rows(), *deltas.user_rows(), *deltas.tally_rows()] == []


# -- the catalogue ---------------------------------------------------------------------------------------------------
def test_every_metric_says_what_it_is():
    for metric in metrics.METRICS.values():
        assert metric.says.endswith(".") and metric.better in ("more", "less", "either") and metric.unit


def test_stored_numbers_of_measures_are_told_apart():
    named = {name: value for name, value in vars(measures).items() if name.isupper() and isinstance(value, int)}
    stored = [
        value
        for name, value in named.items()
        if name not in ("BUCKET_US", "DAY_BUCKETS", "ALL_PLANE", "DAILY", "TALLIED")
    ]
    assert len(stored) == len(set(stored))


def test_the_documentation_has_the_catalogue_as_it_is():
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    assert metrics.table() in page, "print it anew: python -m agentsight.core.metrics"
