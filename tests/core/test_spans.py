"""The tree of a trace stands, whatever parents its spans name."""

from __future__ import annotations

import time
from typing import Any

import pytest

from agentsight.core.model import Span
from agentsight.core.spans import DEEPEST, tree


def grown(parents: dict[str, str | None]) -> list[dict[str, Any]]:
    """The tree of spans that name these parents, in this order."""
    rows = []
    for place, (name, parent) in enumerate(parents.items()):
        span = Span(place, 1, 1, "t", name, parent, None, "tool", name, "ok", place, None, None, None, "{}")
        rows.append((span, {"name": name}))
    return tree(rows)


def named(roots: list[dict[str, Any]]) -> Any:
    return [(row["name"], named(row["children"])) for row in roots]


def count(roots: list[dict[str, Any]]) -> int:
    total, waiting = 0, list(roots)
    while waiting:
        total += 1
        waiting += waiting.pop()["children"]
    return total


def test_children_stand_below_their_parent_whichever_came_first():
    assert named(grown({"b": "a", "a": None, "c": "b", "d": "gone"})) == [("a", [("b", [("c", [])])]), ("d", [])]


def test_a_circle_is_cut_where_it_first_shows():
    assert named(grown({"a": "c", "b": "a", "c": "b", "own": "own"})) == [("a", [("b", [("c", [])])]), ("own", [])]


@pytest.mark.timed
def test_a_chain_without_end_is_lifted_and_takes_no_time():
    began = time.perf_counter()
    roots = grown({f"s{place}": f"s{place - 1}" for place in range(5_000)})
    assert time.perf_counter() - began < 2
    depth, row = 1, roots[0]
    while row["children"]:
        depth, row = depth + 1, row["children"][0]
    assert depth == DEEPEST + 1 and count(roots) == 5_000
    assert count(grown({f"s{place}": f"s{(place + 1) % 500}" for place in range(500)})) == 500
