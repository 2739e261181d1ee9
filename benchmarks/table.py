"""The one table: what was measured, beside what it is compared with, and whether the target holds."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

_BOUNDS = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True, slots=True)
class Row:
    """`ratio` is ours to theirs; `bound` such as ">= 200", or "" where there is no target. `note` says why a figure is missing."""

    target: str
    what: str
    ours: str = ""
    theirs: str = ""
    ratio: float | None = None
    bound: str = ""
    note: str = ""

    @property
    def verdict(self) -> str:
        if not self.bound:
            return ""
        if self.ratio is None:
            return "not run"
        sign, limit = self.bound.split()
        return "pass" if _BOUNDS[sign](self.ratio, float(limit)) else "MISS"


def give(rows: Iterable[Row]) -> None:
    """Show rows to people, and to `bench.py` when it asks."""
    listed = list(rows)
    if place := os.environ.get("AGENTSIGHT_BENCH_ROWS"):
        Path(place).write_text(json.dumps([asdict(row) for row in listed]))
    show(listed)


def taken(place: Path) -> list[Row]:
    return [Row(**row) for row in json.loads(place.read_text())] if place.exists() and place.stat().st_size else []


def show(rows: list[Row]) -> None:
    print("\n".join(lines(rows)))


def lines(rows: list[Row]) -> list[str]:
    cells = [("target", "what", "ours", "compared with", "ratio", "bound", "")]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.4g}"
        cells.append(
            (row.target, row.what, row.ours, row.theirs, ratio, row.bound, " ".join((row.verdict, row.note)).strip())
        )
    widths = [max(len(line[column]) for line in cells) for column in range(6)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, [*widths, 0], strict=True)).rstrip() for line in cells
    ]
