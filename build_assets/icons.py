"""icons.json: the inner SVG of every icon the dashboard names, from the `lucide` package (icons: ISC)."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

_NAMES = """
arrow-left arrow-right arrow-up-right bot calendar chart-column check chevron-down chevron-left chevron-right chevron-up
circle-alert circle-check circle-question-mark clock code coins copy download ellipsis external-link eye eye-off file
file-clock file-text flag flask-conical folder funnel gauge globe hash history image import inbox info key-round
keyboard languages
life-buoy link list-filter lock log-out mail meh menu message-circle message-square messages-square minus monitor moon
mouse-pointer-click palette panel-left paperclip pencil plus printer radio refresh-cw rotate-ccw save search settings
share-2 shield-check smile frown smartphone sparkles star sun tag tablet thumbs-up timer trash-2 trending-down
trending-up triangle-alert undo-2 upload user users wrench x zap git-compare-arrows git-commit-horizontal layers
"""
USED = _NAMES.split()


def build(archive: Path, target: Path) -> None:
    """Write `target`. Raises KeyError when the package lacks an icon we name."""
    with zipfile.ZipFile(archive) as icons:
        drawn = {name: _inner(icons.read(f"{name}.svg").decode()) for name in sorted(USED)}
    target.write_text(json.dumps(drawn, separators=(",", ":")), encoding="utf-8")


def _inner(svg: str) -> str:
    body = re.search(r"<svg[^>]*>(.*)</svg>", svg, re.DOTALL)
    assert body
    return re.sub(r"\s+", " ", body[1]).replace("> <", "><").replace(" />", "/>").strip()
