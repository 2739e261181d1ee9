"""Unmodified releases of the package as the index has them, each in an environment of its own, made once a machine."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
import textwrap
import venv
from pathlib import Path
from typing import Any

import platformdirs

from served import Api, environment

_PRELUDE = """\
import json, os
from datetime import datetime, timezone
given = json.loads(os.environ["GIVEN"])
globals().update(given)
"""
_EPILOGUE = """
print("\\nRESULT " + json.dumps(result, default=str))
"""


class Unavailable(Exception):
    """The package index cannot be reached from here."""


class OldClient:
    """One old release. `run` executes a script with it and gives back the script's `result`."""

    def __init__(self, version: str, packages: tuple[str, ...] = ()):
        self.version = version
        wanted = packages or (f"agentsight=={version}", "requests")
        self._python = _environment_of(version, wanted) / "bin" / "python"

    def run(self, api: Api, script: str, *, url: str | None = None, key: str | None = None, **given: Any) -> Any:
        env = environment(
            AGENTSIGHT_API_KEY=key or api.key,
            AGENTSIGHT_API_ENDPOINT=url or api.url,
            AGENTSIGHT_LOG_LEVEL="ERROR",
            GIVEN=json.dumps(given),
        )
        code = _PRELUDE + textwrap.dedent(script) + _EPILOGUE
        done = subprocess.run([self._python, "-I", "-c", code], env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.rpartition("\nRESULT ")[2])


def _environment_of(version: str, wanted: tuple[str, ...]) -> Path:
    python = f"py{sys.version_info.major}.{sys.version_info.minor}"
    folder = platformdirs.user_cache_path("agentsight-tests") / f"client-{version}-{python}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _install(folder, wanted)
    return folder


def _install(folder: Path, wanted: tuple[str, ...]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    command = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise Unavailable(done.stderr.strip()[-300:])
    (folder / "complete").touch()
