"""What a storage engine keeps for the numbers: whole sums by quarter of an hour, facet and key.

A *facet* is a conversation's (country, device, source, language). Sums are kept on six *planes*: of everything, of each
dimension alone, and of all four together, so that a question with any of those filters or splits reads few rows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import Final

BUCKET_US: Final = 900_000_000
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

DIMENSIONS: Final = ("country", "device", "source", "language")
PLANES: Final = (0, 1, 2, 4, 8, 15)  # bit n: dimension n is kept
ALL_PLANE: Final = 15

Facet = tuple[str, str, str, str]  # of the four dimensions, normal form; UNKNOWN where nobody told
Contribution = tuple[int, int, str, int]  # (when in microseconds, measure, key, how much)

_GAMMA: Final = 1.05 / 0.95  # bins this wide put the value reported within 5 % of every value inside
_LOG_GAMMA: Final = math.log(_GAMMA)
_UPPER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def normal(text: str | None) -> str:
    """`text` as a facet value: `A` to `Z` in lower case, as every database's lower() has it; UNKNOWN for nothing.

    >>> normal("WhatsApp"), normal(None)
    ('whatsapp', 'unknown')
    """
    return text.translate(_UPPER) if text else UNKNOWN


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
    text = "\x00".join((str(plane), *on_plane(plane, facet)))
    return int.from_bytes(blake2b(text.encode(), digest_size=6).digest(), "big")


def on_plane(plane: int, facet: Facet) -> Facet:
    """`facet` without the dimensions the plane does not keep."""
    country, device, source, language = (value if plane >> place & 1 else "" for place, value in enumerate(facet))
    return country, device, source, language


@lru_cache(maxsize=65_536)
def facet_ids(facet: Facet) -> tuple[tuple[int, int], ...]:
    """(plane, facet number) of every plane."""
    return tuple((plane, facet_id(plane, facet)) for plane in PLANES)


class Deltas:
    """What a change adds to the sums of one agent; adding what another takes away leaves nothing.

    `sums`: (is production, bucket, facet) -> (measure, key) -> value. `users`: (is production, bucket, facet, customer)
    -> messages. `facets`: those that may be new.
    """

    __slots__ = ("facets", "sums", "users")

    def __init__(self) -> None:
        self.sums: dict[tuple[bool, int, Facet], dict[tuple[int, str], int]] = {}
        self.users: defaultdict[tuple[bool, int, Facet, int], int] = defaultdict(int)
        self.facets: set[Facet] = set()

    def add(self, production: bool, facet: Facet, contributions: Iterable[Contribution], sign: int = 1) -> None:
        """Fold contributions of one conversation in; `sign` -1 takes them away."""
        sums, users = self.sums, self.users
        bucket, cell = -1, {}
        for at_us, measure, key, value in contributions:
            if at_us // BUCKET_US != bucket:
                bucket = at_us // BUCKET_US
                place = (production, bucket, facet)
                found = sums.get(place)
                cell = sums.setdefault(place, {}) if found is None else found
            if measure == USERS:
                users[production, bucket, facet, customer_key(key)] += sign * value
            else:
                slot = (measure, key)
                cell[slot] = cell.get(slot, 0) + sign * value

    def merge(self, other: Deltas) -> None:
        """Fold another change to the same agent in."""
        for place, cell in other.sums.items():
            mine = self.sums.setdefault(place, cell)
            if mine is not cell:
                for slot, value in cell.items():
                    mine[slot] = mine.get(slot, 0) + value
        for there, messages in other.users.items():
            self.users[there] += messages
        self.facets |= other.facets

    def rows(self) -> Iterator[tuple[int, int, int, int, int, str, int]]:
        """(is production, plane, measure, bucket, facet number, key, value), every plane, nothing that is zero."""
        planes: defaultdict[tuple[int, int, int, int, int, str], int] = defaultdict(int)
        for (production, bucket, facet), cell in self.sums.items():
            own = [(slot, value) for slot, value in cell.items() if value]
            for plane, number in facet_ids(facet):
                for (measure, key), value in own:
                    planes[production, plane, measure, bucket, number, key] += value
        for place, value in planes.items():
            if value:
                yield *place, value

    def user_rows(self) -> Iterator[tuple[int, int, int, int, int]]:
        """(is production, bucket, facet number, customer, messages), nothing that is zero."""
        for (production, bucket, facet, customer), value in self.users.items():
            if value:
                yield production, bucket, facet_id(ALL_PLANE, facet), customer, value
