"""Tables of the documentation that are printed from the code. `python tests/docs/tables.py` writes them anew."""

from __future__ import annotations

import re
from pathlib import Path

from agentsight import wire

DOCS = Path(__file__).resolve().parents[2] / "docs"
_MARKED = re.compile(r"(<!-- (\w+): printed from [\w.]+ -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def events() -> str:
    rows = [f"| `{kind}` | {', '.join(f'`{name}`' for name in fields)} |\n" for kind, fields in wire.EVENTS.items()]
    return "| kind | fields |\n|---|---|\n" + "".join(rows)


def filters() -> str:
    rows = [f"| `{name}` | {says} |\n" for name, says in wire.FILTERS.items()]
    return "| filter | finds conversations |\n|---|---|\n" + "".join(rows)


TABLES = {"events": events, "filters": filters}


def printed(text: str) -> str:
    """`text` with every marked table as the code has it today."""
    return _MARKED.sub(lambda found: found[1] + TABLES[found[2]]() + found[4], text)


if __name__ == "__main__":
    page = DOCS / "api.md"
    page.write_text(printed(page.read_text()))
