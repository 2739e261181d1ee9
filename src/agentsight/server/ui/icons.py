"""Line icons, inlined. The drawings are made at build time (`build_assets/icons.py`)."""

from __future__ import annotations

import json
from functools import cache

from markupsafe import Markup, escape

from .assets import STATIC


@cache
def _drawings() -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads((STATIC / "icons.json").read_text(encoding="utf-8"))
        return found
    except OSError:  # an odd installation: pages work, without pictures
        return {}


@cache
def icon(name: str, css: str = "") -> Markup:
    """The icon `name`, hidden from screen readers: words stand beside it. Empty when it was not drawn."""
    drawing = _drawings().get(name)
    if drawing is None:
        return Markup("")
    return Markup(f'<svg class="i {escape(css)}" viewBox="0 0 24 24" aria-hidden="true">{drawing}</svg>')
