"""The rules of the house that a machine can keep."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from agentsight import wire
from agentsight.core.model import Filter
from agentsight.storage.sql.filters import PREDICATES
from served import environment

ROOT = Path(__file__).resolve().parents[2]
BESIDE = {"include_deleted", "feedback_sentiment", "feedback_source"}
COUNTED = {name for name in wire.FILTERS if name.startswith("counted_")}  # four names, one predicate
HEAVY = ("ssl", "http", "http.client", "asyncio", "socket", "email", "urllib.request", "sqlite3", "concurrent.futures")


def tracked() -> Iterator[Path]:
    """Every text file of the repository."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file() and b"\0" not in path.read_bytes()[:4_096]:
            yield path


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- imports ---------------------------------------------------------------------------------------------------------
def test_imports_point_one_way():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text()).get("tool", {}).get("importlinter")
    if contracts is None and not (ROOT / ".importlinter").exists():
        pytest.skip("the import contracts are not in pyproject.toml yet")
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4_000:]


def test_importing_the_package_loads_nothing_heavy_and_reads_no_environment():
    loaded = python(
        "import sys, os\n"
        "class Silent(dict):\n"
        "    def __getitem__(self, name): raise AssertionError(f'read {name}')\n"
        "    get = __contains__ = __getitem__\n"
        "before = set(sys.modules)\n"
        "os.environ = Silent()\n"
        "import agentsight\n"
        "print('\\n'.join(set(sys.modules) - before))"
    ).split()
    assert not set(HEAVY) & set(loaded), set(HEAVY) & set(loaded)
    outside = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names) - {"agentsight"}
    assert not outside, f"the SDK has no third-party dependency, yet loads {outside}"


def test_importing_the_package_costs_less_than_five_times_importing_json():
    """By the time the interpreter itself measures, the best of a few runs each."""

    def best(module: str) -> float:
        code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
        return min(float(python(code)) for _ in range(7))

    assert best("agentsight") < 5 * best("json"), (best("agentsight"), best("json"))


@pytest.mark.parametrize(
    "statement",
    [
        "import agentsight.enums, agentsight.exceptions, agentsight.helpers, agentsight.types, agentsight.config",
        "from agentsight import ConversationTracker, conversation_tracker, AgentSightAPI, agentsight_api",
        "from agentsight import ConversationManager, conversation_manager",
        "from agentsight.client.client import ConversationTracker",
        "from agentsight.client.main_client import conversation_tracker",
        "from agentsight.client.api_client import agentsight_api",
        "from agentsight.client.conversation_manager_client import conversation_manager",
        "from agentsight.helpers import generate_conversation_id, get_iso_timestamp, get_mime_type",
        "from agentsight.http.client import HTTPClient",
        "from agentsight.validators import validate_conversation_data",
        "from agentsight.token_handlers import set_llamaindex_token_handler",
        "from agentsight.logging import logger, configure_logging",
    ],
)
def test_every_name_older_releases_had_imports_without_a_key(statement: str):
    python(statement)


# -- one contract, two ends ------------------------------------------------------------------------------------------
def test_every_filter_has_a_name_a_field_and_a_predicate():
    negated = {name.removesuffix(wire.NOT) for name in wire.FILTERS if name.endswith(wire.NOT)}
    plain = {name for name in wire.FILTERS if not name.endswith(wire.NOT)}
    assert plain == set(PREDICATES) | BESIDE | COUNTED
    assert plain == {field.name for field in fields(Filter)} - {"unless"}
    assert negated and negated <= plain - COUNTED


# -- what a repository must not say ----------------------------------------------------------------------------------
def test_no_tracked_file_names_a_machine_or_a_package_registry():
    forbidden = re.compile(
        r"(?<![\w./-])/(?:work|opt|root|tmp/pytest-of)/[\w.-]+|/home/(?!\w*\$)[\w.-]+/|/Users/[\w.-]+/|"
        + "|".join(("files.pythonhosted" + r"\.org", "pypi" + r"\.org/simple", "--(?:extra-)?index-" + "url[ =]"))
    )
    wrong = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in tracked()
        if path != Path(__file__)
        for match in [forbidden.search(path.read_text(encoding="utf-8", errors="replace"))]
        if match
    ]
    assert wrong == []


def test_no_shared_data_was_copied_into_the_repository():
    names = {path.name for path in tracked()}
    assert not names & {"airline_conversations.jsonl", "assistant_dialogues.jsonl", "hostile_strings.json"}


def test_old_names_for_messages_stay_in_the_tracker_and_at_the_door():
    """Question and answer are words of older clients; elsewhere the word is message."""
    allowed = {"tracker.py", "buffer.py", "exceptions.py", "translate.py", "wire.py", "transport.py"}
    old = re.compile(r"\btrack_(?:question|answer)\b")
    source = ROOT / "src" / "agentsight"
    wrong = [path.name for path in source.rglob("*.py") if path.name not in allowed and old.search(path.read_text())]
    assert wrong == []
