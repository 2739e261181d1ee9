"""Everything in one run and one table: `make bench`, or `python benchmarks/bench.py --quick` for a first look.

Each part starts what it compares, alternates rounds, and cleans up after itself; a part that cannot run says why in one
line and the rest goes on. What stays, in the user's cache folder, is for the next run: the peers' environments and the
made data.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import table
from table import Row

HERE = Path(__file__).parent
PATIENCE_S = 3_600


def part(name: str, *options: str) -> list[Row]:
    """One script's rows; a row that says why when it has none."""
    print(f"\n== {name} {' '.join(options)}", flush=True)
    began = time.perf_counter()
    with tempfile.NamedTemporaryFile() as place:
        env = os.environ | {"AGENTSIGHT_BENCH_ROWS": place.name}
        try:
            ran = subprocess.run(
                [sys.executable, HERE / f"{name}.py", *options], env=env, timeout=PATIENCE_S, check=False
            )
            why = f"ended with status {ran.returncode}; see above"
        except subprocess.TimeoutExpired:
            why = f"took over {PATIENCE_S} s"
        rows = table.taken(Path(place.name))
    print(f"({time.perf_counter() - began:.0f} s)", flush=True)
    return rows or [Row("", name, note=why)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller and fewer rounds")
    parser.add_argument("--million", action="store_true", help="reads beside Phoenix at 1,000,000 too")
    parser.add_argument(
        "--growth", action="store_true", help="analytics, lists and search at 10^5, 10^6 and 10^7 messages"
    )
    parser.add_argument(
        "--only", help="parts, separated by commas", default="ingest,decode,sdk,analytics,workers,servers,citus"
    )
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="put the table in the place of a document's first text block"
    )
    given = parser.parse_args()
    quick = ["--quick"] if given.quick else []
    sizes = (100_000, 1_000_000, 10_000_000) if given.growth else (1_000_000,)
    parts: dict[str, list[list[str]]] = {
        "ingest": [quick],
        "decode": [[]],
        "sdk": [["--events", "3000", "--rounds", "4"] if given.quick else []],
        "analytics": [[option for size in sizes for option in ("--messages", str(size))]],
        "workers": [quick],
        "citus": [quick],
        "servers": [quick, *([["--quick", "--reads", "1000000"]] if given.million else [])],
    }
    rows = [row for name in given.only.split(",") for options in parts[name] for row in part(name, *options)]
    rows.sort(key=lambda row: (not row.target, int(row.target[1:] or 0) if row.target else 0))
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        print(
            f"AgentSight {version('agentsight')}, Python {platform.python_version()}, {os.cpu_count()} cores, {_model()}"
        )
        print(
            ", ".join(f"{name} {version(name)}" for name in ("uvicorn", "sqlalchemy", "pydantic", "orjson", "psycopg"))
        )
        print(
            "beside: " + ", ".join(file.read_text().strip() for file in sorted((HERE / "peers").glob("*.txt"))) + "\n"
        )
        table.show(rows)
    verdicts = [row.verdict for row in rows]
    counts = (verdicts.count(verdict) for verdict in ("pass", "MISS", "not run"))
    print("\n{}\n{} targets hold, {} missed, {} not run".format(told.getvalue(), *counts))
    if given.write:
        write(given.write, told.getvalue())


def write(document: Path, told: str) -> None:
    """Put the table where the document's last one stands; the sentence above it is yours to bring up to date."""
    before, _, rest = document.read_text().partition("```text\n")
    document.write_text(f"{before}```text\n{told}{rest[rest.index('```') :]}")


def _model() -> str:
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
