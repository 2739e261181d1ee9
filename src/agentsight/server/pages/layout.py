"""What stands around every page: the templates, and the navigation they show."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from agentsight.core.permissions import Needed

from ..ui.assets import asset_url
from ..ui.charts import bar, html
from ..ui.icons import icon
from ..ui.markdown import markdown
from ..ui.text import initials, visible
from ..ui.theme import MAKER
from ..ui.words import LANGUAGES


def _N(text: str) -> str:
    """Marks a text for translation where it is said later."""
    return text


_VALUES = (  # of fields, said by their own names
    _N("positive"), _N("neutral"), _N("negative"), _N("production"), _N("development"),
    _N("owner"), _N("member"), _N("client"),
)  # fmt: skip
NAVIGATION = (
    ("analytics", _N("Analytics"), "chart-column"),
    ("conversations", _N("Conversations"), "messages-square"),
    ("reports", _N("Report history"), "history"),
    ("history", _N("Agent history"), "file-clock"),
    ("migrate", _N("Migrate"), "import"),
    ("usage", _N("Usage and limits"), "gauge"),
    ("settings", _N("Settings"), "settings"),
)
SECTIONS: dict[str, dict[str, str]] = {}
"""Pages below a page of the navigation: page -> address -> name; each room enters its own."""
PLACES: dict[str, Needed] = {}
"""What every page needs, by its address below an agent."""


templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent.parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
    extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"],
)
templates.globals.update(bar=bar, icon=icon, asset=asset_url)
templates.globals.update(maker=MAKER, languages=LANGUAGES, navigation=NAVIGATION, sections=SECTIONS)
templates.filters.update(href=lambda address: html(' href="{address}"', address=address) if address else "")
templates.filters.update(visible=visible, initials=initials, markdown=markdown)
