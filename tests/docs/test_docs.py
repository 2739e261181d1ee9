"""What README and docs/ show is run as it stands, one process a page, against a real server."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import agentsight
from served import Server

from . import tables

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
_WITH_EXAMPLES = [
    name
    for _, name, _ in pkgutil.walk_packages(agentsight.__path__, "agentsight.")
    if ".providers" not in name and ".integrations" not in name and ".migrations" not in name and "__main__" not in name
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_python_sample_of_a_page_runs_as_it_stands(page: Path, server: Server, tmp_path: Path) -> None:
    samples = _FENCE.findall(page.read_text())
    if not samples:
        return
    script = tmp_path / "page.py"
    script.write_text("\n".join(samples))
    with server.api() as api:
        told = {"AGENTSIGHT_API_KEY": api.key, "AGENTSIGHT_API_ENDPOINT": server.url, "HOME": str(tmp_path)}
        ran = subprocess.run(
            [sys.executable, str(script)],
            cwd=tmp_path,
            env={**os.environ, **told},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert ran.returncode == 0, ran.stderr[-3000:]


@pytest.mark.parametrize("name", _WITH_EXAMPLES)
def test_the_examples_of_a_docstring_are_true(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_tables_of_the_documentation_are_what_the_code_says() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    assert text == tables.printed(text), "write them anew: python tests/docs/tables.py"
