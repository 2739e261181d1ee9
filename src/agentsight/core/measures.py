"""What a storage engine keeps for the numbers: whole sums by time, facet and key, and by conversation.

A *facet* is a conversation's (country, device, source, language). Sums are kept on *planes*, so that a question with any
of those filters or splits reads few rows: by quarter of an hour of everything and of all four dimensions together, by day
(UTC) of everything and of each dimension alone. A local day is a day here, its edges put right by quarters of an hour.

A *tally* is what one conversation adds, for questions with other filters; measures with the same keys share its rows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from itertools import chain
from operator import add, itemgetter
from typing import Final

BUCKET_US: Final = 900_000_000
DAY_BUCKETS: Final = 96
UNKNOWN: Final = "unknown"  # the key of what nobody told us; as a filter it finds exactly that

# Measures, by the numbers they are stored under: never renumber one, never reuse one.
CONVERSATIONS: Final = 1  # started and used
OPENED: Final = 2  # first sent as opened, not used
OPENED_USED: Final = 3  # of those: used later
ESCALATED: Final = 4  # used, and an escalation action ran
TIMED: Final = 5  # have an end
DURATION_US: Final = 6
FEEDBACK: Final = 7  # the latest customer feedback of a conversation; key: sentiment
MESSAGES: Final = 8
WAIT_US: Final = 9  # of answered turns, at the answer
WAIT_BINS: Final = 10  # key: histogram bin
TOOL_RUNS: Final = 11  # key: tool, here and below
TOOL_ERRORS: Final = 12
TOOL_US: Final = 13
TOOL_TIMED: Final = 14
PROMPT_TOKENS: Final = 15  # key: model, here and below
COMPLETION_TOKENS: Final = 16
EMBEDDING_TOKENS: Final = 17
TOTAL_TOKENS: Final = 18
COST_NANO_USD: Final = 19
UNPRICED_TOKENS: Final = 20
CLICKS: Final = 21  # key: button
FILES: Final = 22
USERS: Final = 23  # key: customer; kept apart, because it is counted by distinct key
WAITS: Final = 24  # answered turns: how many WAIT_BINS count, without reading them

DIMENSIONS: Final = ("country", "device", "source", "language")
ALL_PLANE: Final = 15  # bit n: dimension n is kept
DAILY: Final = 16  # this bit: by day
PLANES: Final = (0, ALL_PLANE, *(DAILY + kept for kept in (0, 1, 2, 4, 8)))

FAMILIES: Final = (  # measures that share the rows of a tally; never move one, add behind or as another family
    (CONVERSATIONS, OPENED, OPENED_USED, ESCALATED, TIMED, DURATION_US),
    (MESSAGES, WAIT_US, FILES, WAITS),
    (WAIT_BINS,),
    (TOOL_RUNS, TOOL_ERRORS, TOOL_US, TOOL_TIMED),
    (PROMPT_TOKENS, COMPLETION_TOKENS, EMBEDDING_TOKENS, TOTAL_TOKENS, COST_NANO_USD, UNPRICED_TOKENS),
    (CLICKS,),
    (FEEDBACK,),
)
TALLIED: Final = max(map(len, FAMILIES))  # sums in one row of a tally
_FAMILY: Final = {measure: (n, place) for n, family in enumerate(FAMILIES) for place, measure in enumerate(family)}

Facet = tuple[str, str, str, str]  # of the four dimensions, normal form; UNKNOWN where nobody told
Contribution = tuple[int, int, str, int]  # (when in microseconds, measure, key, how much)

_GAMMA: Final = 1.05 / 0.95  # bins this wide put the value reported within 5 % of every value inside
_LOG_GAMMA: Final = math.log(_GAMMA)
_UPPER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def lowered(text: str) -> str:
    """`text` with `A` to `Z` in lower case and nothing else, as every database's lower() has it."""
    return text.translate(_UPPER)


def normal(text: str | None) -> str:
    """`text` as a facet value: `A` to `Z` in lower case, as every database's lower() has it; UNKNOWN for nothing.

    >>> normal("WhatsApp"), normal(None)
    ('whatsapp', 'unknown')
    """
    return lowered(text) if text else UNKNOWN


def bin_of(us: int) -> str:
    """The histogram bin of a duration, as a key that sorts by size.

    >>> bin_of(0), bin_of(1_000_000)
    ('000', '140')
    """
    return f"{math.ceil(math.log(us) / _LOG_GAMMA) + 1:03d}" if us > 0 else "000"


def bin_value_us(bin: str) -> float:
    """The duration a bin stands for, within 5 % of everything in it.

    >>> abs(bin_value_us(bin_of(1_000_000)) - 1_000_000) < 50_000
    True
    """
    return 2 * _GAMMA ** (int(bin) - 1) / (_GAMMA + 1) if int(bin) else 0.0


@lru_cache(maxsize=65_536)
def customer_key(customer_id: str) -> int:
    """A customer as 64 bits, cheap to keep and to count: among a million, two meet once in 10^7 cases."""
    return int.from_bytes(blake2b(customer_id.encode(), digest_size=8).digest(), "big", signed=True)


@lru_cache(maxsize=65_536)
def facet_id(plane: int, facet: Facet) -> int:
    """The number a facet is stored under on a plane: 48 bits of a hash, so that no process has to ask another."""
    plane &= ALL_PLANE
    text = "\x00".join((str(plane), *on_plane(plane, facet)))
    return int.from_bytes(blake2b(text.encode(), digest_size=6).digest(), "big")


def on_plane(plane: int, facet: Facet) -> Facet:
    """`facet` without the dimensions the plane does not keep."""
    country, device, source, language = (value if plane >> place & 1 else "" for place, value in enumerate(facet))
    return country, device, source, language


def place_of(measure: int) -> tuple[int, int]:
    """The family of a measure, and which of its sums it is."""
    return _FAMILY[measure]


def families(measures: Iterable[int]) -> list[int]:
    """The families of a tally that hold these measures."""
    return sorted({_FAMILY[measure][0] for measure in measures})


@lru_cache(maxsize=65_536)
def facet_ids(facet: Facet) -> tuple[tuple[int, int], ...]:
    """(plane, facet number) of every plane."""
    return tuple((plane, facet_id(plane, facet)) for plane in PLANES)


@dataclass(frozen=True, slots=True)
class Fold:
    """How buckets become parts of an answer: (bucket + shift) / `step`, and of that the rest by `wrap`.

    `stretches` are (first bucket, bucket after the last, shift), in order, without gaps: the shift of a time zone changes.
    `step` 0: all of them are one part. `wrap` 0: parts are counted on.
    """

    stretches: tuple[tuple[int, int, int], ...]
    step: int = 0
    wrap: int = 0

    @property
    def first(self) -> int:
        return self.stretches[0][0]

    @property
    def until(self) -> int:
        return self.stretches[-1][1]

    def parted(self, at: int) -> tuple[Fold | None, Fold | None]:
        """What is before that bucket and what is after."""
        past = tuple((first, min(until, at), shift) for first, until, shift in self.stretches if first < at)
        present = tuple((max(first, at), until, shift) for first, until, shift in self.stretches if until > at)
        return (replace(self, stretches=past) if past else None), (
            replace(self, stretches=present) if present else None
        )


Cell = dict[tuple[int, str], list[int]]  # (family, key) -> its sums


class Deltas:
    """What a change adds to the sums of one agent; adding what another takes away leaves nothing.

    `sums`: (is production, bucket, facet, conversation) -> (family, key) -> sums of the family. `users`: (is production,
    bucket, facet, customer) -> messages. `facets`: those that may be new.
    """

    __slots__ = ("facets", "sums", "users")

    def __init__(self) -> None:
        self.sums: dict[tuple[bool, int, Facet, int], Cell] = {}
        self.users: defaultdict[tuple[bool, int, Facet, int], int] = defaultdict(int)
        self.facets: set[Facet] = set()

    def add(
        self, production: bool, facet: Facet, conversation: int, contributions: Iterable[Contribution], sign: int = 1
    ) -> None:
        """Fold contributions of one conversation in; `sign` -1 takes them away."""
        bucket = first_us = until_us = -1
        cell: Cell = {}
        for at_us, measure, key, value in contributions:
            if not first_us <= at_us < until_us:
                bucket = at_us // BUCKET_US
                first_us, until_us = bucket * BUCKET_US, (bucket + 1) * BUCKET_US
                cell = self.sums.setdefault((production, bucket, facet, conversation), {})
            if measure == USERS:
                self.users[production, bucket, facet, customer_key(key)] += sign * value
                continue
            family, place = _FAMILY[measure]
            row = cell.get((family, key))
            if row is None:
                row = cell[family, key] = [0] * TALLIED
            row[place] += sign * value

    def merge(self, other: Deltas) -> None:
        """Fold another change to the same agent in."""
        for place, cell in other.sums.items():
            mine = self.sums.setdefault(place, cell)
            if mine is not cell:
                _fold(mine, cell)
        for there, messages in other.users.items():
            self.users[there] += messages
        self.facets |= other.facets

    def since(self) -> int | None:
        """The first bucket anything is added to; None: nothing is."""
        return min((place[1] for place in chain(self.sums, self.users)), default=None)

    def rows(self) -> Iterator[tuple[int, int, int, int, int, str, int]]:
        """(is production, plane, measure, bucket or day, facet number, key, value), every plane, nothing that is zero."""
        together: defaultdict[tuple[bool, int, Facet], Cell] = defaultdict(dict)
        for (production, bucket, facet, _), cell in self.sums.items():
            _fold(together[production, bucket, facet], cell)
        planes: defaultdict[tuple[int, int, int, int, int, str], int] = defaultdict(int)
        for (production, bucket, facet), cell in together.items():
            own = [
                (measure, key, value)
                for (family, key), row in cell.items()
                for measure, value in zip(FAMILIES[family], row, strict=False)
                if value
            ]
            for plane, number in facet_ids(facet):
                at = bucket // DAY_BUCKETS if plane & DAILY else bucket
                for measure, key, value in own:
                    planes[production, plane, measure, at, number, key] += value
        for place, value in planes.items():
            if value:
                yield *place, value

    def user_rows(self) -> Iterator[tuple[int, int, int, int, int]]:
        """(is production, bucket, facet number, customer, messages), nothing that is zero."""
        for (production, bucket, facet, customer), value in self.users.items():
            if value:
                yield production, bucket, facet_id(ALL_PLANE, facet), customer, value

    def tally_rows(self) -> Iterator[tuple[int, int, int, str, list[int]]]:
        """(conversation, family, bucket, key, sums of the family), in one order always, nothing that is zero."""
        told: dict[tuple[int, int], Cell] = {}
        for (_, bucket, _, conversation), cell in self.sums.items():
            known = told.get(there := (conversation, bucket))
            if known is not None:  # it changed its place
                cell = _fold(known.copy(), cell)
            told[there] = cell
        for (conversation, bucket), cell in sorted(told.items(), key=_PLACE):
            for (family, key), row in sorted(cell.items()):
                if any(row):
                    yield conversation, family, bucket, key, row


_PLACE = itemgetter(0)


def _fold(into: Cell, cell: Cell) -> Cell:
    """Add what `cell` has; rows of neither change, for both may be told of elsewhere."""
    for slot, row in cell.items():
        mine = into.get(slot)
        into[slot] = row if mine is None else list(map(add, mine, row))
    return into
