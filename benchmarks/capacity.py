"""How many machines a number of messages a day takes: `python benchmarks/capacity.py --per-day 1000000000`.

Simulated: it multiplies what one machine was measured to do (the defaults; `docs/performance.md` says how) and adds nothing
for what nobody measured, such as networks between machines. A day is not even: `--peak` is its busiest hour to its mean one.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, field

GIB, TIB = 2**30, 2**40


@dataclass(frozen=True)
class Measured:
    """Of one event, on one core of the machine the documents name; a message comes with `events` of them."""

    events: float = field(default=1.35, metadata={"says": "events for each message: conversations, actions, tokens"})
    app_us: float = field(default=55.0, metadata={"says": "CPU of a worker, microseconds an event"})
    database_us: float = field(default=60.0, metadata={"says": "CPU of PostgreSQL, microseconds an event"})
    row_bytes: float = field(default=920.0, metadata={"says": "bytes an event on disk, indexes and sums included"})
    wire_bytes: float = field(default=350.0, metadata={"says": "bytes an event in a batch, before gzip"})
    busy: float = field(default=0.6, metadata={"says": "how much of a core may be used at the peak"})
    spread: float = field(
        default=1.5, metadata={"says": "what distribution costs a database: Citus beside one PostgreSQL"}
    )
    node_cores: float = field(default=32, metadata={"says": "cores of a database machine"})
    node_tib: float = field(default=15, metadata={"says": "usable disk of a database machine, TiB"})
    copies: float = field(default=2, metadata={"says": "copies of every row: the machine and its standby"})


def plan(per_day: float, days: float, peak: float, measured: Measured) -> list[tuple[str, str]]:
    """What it takes, line by line."""
    events = per_day * measured.events
    mean, most = events / 86_400, events / 86_400 * peak
    workers = math.ceil(most * measured.app_us / 1e6 / measured.busy)
    alone = most * measured.database_us / 1e6 / measured.busy
    kept = events * days * measured.row_bytes
    is_spread = alone > measured.node_cores or kept > measured.node_tib * TIB
    cores = math.ceil(alone * (measured.spread if is_spread else 1))
    nodes = max(1, math.ceil(cores / measured.node_cores), math.ceil(kept / TIB / measured.node_tib))
    return [
        ("messages a day", f"{per_day:,.0f}"),
        ("events a second, mean and peak", f"{mean:,.0f} and {most:,.0f}"),
        ("network in at the peak", f"{most * measured.wire_bytes * 8 / 1e9:.2f} Gbit/s before gzip"),
        ("cores for workers", f"{workers:,}"),
        ("cores for PostgreSQL", f"{cores:,}{' (distributed)' if is_spread else ''}"),
        ("rows a day", f"{events:,.0f}"),
        ("disk a day", f"{events * measured.row_bytes / GIB:,.1f} GiB"),
        (f"disk for {days:,.0f} days, one copy", f"{kept / TIB:,.2f} TiB"),
        ("disk in all", f"{kept * measured.copies / TIB:,.2f} TiB"),
        (
            "database machines",
            f"{nodes} of {measured.node_cores:.0f} cores and {measured.node_tib:.0f} TiB, and as many standbys",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--per-day", type=float, default=1e9, help="messages")
    parser.add_argument("--days", type=float, default=90, help="how long they are kept")
    parser.add_argument("--peak", type=float, default=3.0, help="the busiest hour to the mean one")
    for name, one in Measured.__dataclass_fields__.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=one.default, help=one.metadata["says"])
    given = vars(parser.parse_args())
    measured = Measured(**{name: given[name] for name in Measured.__dataclass_fields__})
    print("simulated from measured figures:")
    for what, figure in plan(given["per_day"], given["days"], given["peak"], measured):
        print(f"  {what:34} {figure}")


if __name__ == "__main__":
    main()
