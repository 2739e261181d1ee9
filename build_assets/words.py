"""agentsight.pot: every text the dashboard says, out of its templates, its code and the metric catalogue.

Run it after a text changed: `python -m build_assets.words`; the test of the German catalogue names what is missing.
"""

from __future__ import annotations

from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import write_po

from agentsight.core.metrics import METRICS

ROOT = Path(__file__).parent.parent / "src" / "agentsight"
SERVER, CHAT = ROOT / "server", ROOT / "chat"
PLACES = (
    (SERVER / "templates", "**.html", "jinja2"),
    (SERVER / "pages", "**.py", "python"),
    (SERVER / "ui", "**.py", "python"),
    (CHAT / "page", "**.html", "jinja2"),
    (CHAT, "words.py", "python"),
)
KEYWORDS = {"_": None, "_N": None, "say": None, "count": (1, 2)}


def extract() -> Catalog:
    """The catalogue of everything said, in a stable order and without line numbers."""
    catalog = Catalog(project="AgentSight", charset="utf-8")
    for folder, pattern, method in PLACES:
        options = {pattern: {"trimmed": "true"}}
        found = extract_from_dir(folder, [(pattern, method)], options, keywords=KEYWORDS)
        for name, _, message, *_ in sorted(found, key=lambda each: (each[0], each[1])):
            if message:
                catalog.add(message, locations=[(f"{folder.name}/{name}", 0)])
    for metric in METRICS.values():
        catalog.add(metric.says, locations=[("core/metrics.py", 0)])
    return catalog


if __name__ == "__main__":
    with (SERVER / "locales" / "agentsight.pot").open("wb") as file:
        write_po(file, extract(), sort_by_file=True, include_lineno=False, omit_header=False)
