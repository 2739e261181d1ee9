"""The contract's short ways give what its long ones give."""

from __future__ import annotations

import string
import uuid
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as some

from agentsight import buffer, wire
from agentsight.errors import InvalidEvent

TEXT = some.text(max_size=300) | some.text(string.ascii_letters + "\x00\ud83d", max_size=5)
PLAIN = TEXT | some.none() | some.booleans() | some.integers(-(2**54), 2**54) | some.floats()
METADATA = some.dictionaries(TEXT, PLAIN | some.lists(PLAIN, max_size=3) | some.dictionaries(TEXT, PLAIN, max_size=3))


def outcome(read, *args, **limits):
    try:
        return read(*args, **limits)
    except InvalidEvent as wrong:
        return (wrong.field, wrong.reason)


@settings(max_examples=300)
@given(METADATA)
def test_metadata_read_the_short_way_are_those_of_the_long_way(value):
    limits = {"max_chars": wire.MAX_METADATA_CHARS, "max_depth": wire.MAX_METADATA_DEPTH}
    long = outcome(wire.read_json, value, "metadata", max_keys=wire.MAX_METADATA_KEYS, **limits)
    short = outcome(wire.read_metadata, value)
    assert repr(short) == repr(long)
    assert short is not value


def test_metadata_at_their_limits_are_read_alike():
    limits = {"max_chars": wire.MAX_METADATA_CHARS, "max_depth": wire.MAX_METADATA_DEPTH}
    for value in (
        {"k": "x" * (wire.MAX_METADATA_CHARS - 1)},
        {"k": "x" * wire.MAX_METADATA_CHARS},
        {"k" * 256: 1},
        {"k" * 257: 1},
        {str(number): number for number in range(wire.MAX_METADATA_KEYS)},
        {str(number): number for number in range(wire.MAX_METADATA_KEYS + 1)},
        {"k": wire.MAX_SAFE_INTEGER},
        {"k": wire.MAX_SAFE_INTEGER + 1},
    ):
        long = outcome(wire.read_json, value, "metadata", max_keys=wire.MAX_METADATA_KEYS, **limits)
        assert outcome(wire.read_metadata, value) == long


@given(some.integers(0, 4_102_444_799_999_999), some.integers(0, 2**40))
def test_times_and_ids_are_written_as_the_standards_say(occurred_us, seq):
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=occurred_us)
    assert wire.instant(occurred_us) == moment.isoformat(timespec="microseconds")[:-6] + "Z"
    made = uuid.UUID(buffer.event_id(occurred_us, seq))
    assert (made.version, made.variant, made.int >> 80) == (7, uuid.RFC_4122, occurred_us // 1000)
    assert str(made) == buffer.event_id(occurred_us, seq)
