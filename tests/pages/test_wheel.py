"""What is built carries what the pages need. A wheel without its map and icons once happened to others."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from agentsight.server.ui.assets import STATIC
from agentsight.server.ui.icons import icon

pytestmark = pytest.mark.drawn

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_built_wheel_holds_map_icons_templates_and_notices(tmp_path: Path):
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "-q", "-w", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = wheel.namelist()
        shapes = wheel.read("agentsight/server/static/world.svg").decode().count("<path ")
        icons = json.loads(wheel.read("agentsight/server/static/icons.json"))
        notice = next(name for name in names if name.endswith("NOTICE"))
        assert "Natural Earth" in wheel.read(notice).decode() and "Lucide" in wheel.read(notice).decode()
    assert shapes >= 200
    for needed in ("templates/base.html", "static/app.css", "static/app.js", "static/world.json", "locales/de.po"):
        assert f"agentsight/server/{needed}" in names, needed
    assert {"search", "bot", "wrench", "star"} <= set(icons)


def test_every_icon_a_page_names_was_drawn():
    import re

    folder = ROOT / "src" / "agentsight" / "server"
    text = "".join(path.read_text(encoding="utf-8") for path in folder.glob("templates/*.html"))
    named = set(re.findall(r"icon\('([a-z0-9-]+)'", text))
    assert len(named) > 30
    assert not [name for name in named if not icon(name)]


def test_every_country_the_address_book_can_give_is_on_the_map():
    from babel import Locale

    places = json.loads((STATIC / "world.json").read_text())["countries"]
    real = {code for code in Locale.parse("en").territories if len(code) == 2 and code.isalpha()}
    unreal = {"AC", "CP", "CQ", "DG", "EA", "EU", "EZ", "IC", "QO", "TA", "UN", "XA", "XB", "ZZ", "AQ"}
    assert not sorted(real - unreal - set(places))
