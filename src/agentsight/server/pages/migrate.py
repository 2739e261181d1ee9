"""Migrate: a file of history comes in by three steps: choose it, see what would come of it, run it and watch.

The state of a run is a small file beside the uploaded one, so that every worker of a server can show it.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from agentsight import wire
from agentsight.core import exchange, foreign
from agentsight.core.exchange import Imported, Tally
from agentsight.core.model import Agent
from agentsight.core.ports import Blobs, Storage
from agentsight.errors import AgentSightError, Invalid, InvalidEvent, NotFound

from ..hosted import Hosted
from ..http import now_us
from ..ui.tables import csv_lines
from .shell import act, page
from .visit import Visit

TOGETHER = 50  # conversations of one transaction
KEPT_S = 24 * 3600  # how long an uploaded file waits to be run
_TOKEN = re.compile(r"[0-9a-f]{32}")
_log = logging.getLogger("agentsight.pages")


@dataclass(slots=True)
class Run:
    """`state` is fetching, waiting, checking, checked, running, done or failed; `lines` those read so far of `of`.

    `url` is that of a hosted server, `page` the next of its pages; waiting: it stopped answering, and may be asked on.
    """

    token: str
    organization_id: int
    agent_id: int
    name: str
    environment: str
    state: str = "checking"
    lines: int = 0
    of: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    url: str = ""
    page: int = 1


@page("migrate", "data.import")
def migrate(visit: Visit) -> Response:
    return visit.render("migrate.html", page="migrate", title=visit.voice.say("Migrate"), run=None, wrong="")


@act("migrate", "data.import")
def upload(visit: Visit, form: FormData) -> Response:
    """Take the file, and see at once what would come of it."""
    file = form.get("file")
    agent, environment = _into(visit, form)
    if not isinstance(file, UploadFile) or not file.size:
        return _refused(visit, visit.voice.say("Choose a file first."))
    run = Run(secrets.token_hex(16), visit.organization.id, agent.id, (file.filename or "file")[:200], environment)
    folder = _folder(visit)
    with (folder / f"{run.token}.jsonl").open("wb") as kept:
        if run.name.lower().endswith(".csv"):
            try:
                for record in foreign.of_table(io.TextIOWrapper(file.file, "utf-8", "replace", newline="")):
                    kept.write(orjson.dumps(record) + b"\n")
            except (InvalidEvent, csv.Error) as wrong:
                return _refused(visit, f"{run.name}: {wrong}")
        else:
            shutil.copyfileobj(file.file, kept)
    _write(folder, run)
    _begin(visit, run, agent, dry=True)
    return visit.redirect(visit.link(f"migrate/{run.token}"))


def _into(visit: Visit, form: FormData) -> tuple[Agent, str]:
    """The agent and the environment a form names. Raises Invalid."""
    agent = next((one for one in visit.agents if str(one.id) == form.get("agent")), None)
    environment = str(form.get("environment") or "")
    if agent is None or environment not in wire.ENVIRONMENTS:
        raise Invalid.of("agent", "choose an agent and an environment")
    return agent, environment


def _refused(visit: Visit, wrong: str) -> Response:
    return visit.render("migrate.html", 400, page="migrate", title=visit.voice.say("Migrate"), run=None, wrong=wrong)


@act("migrate/hosted", "data.import")
def pull(visit: Visit, form: FormData) -> Response:
    """Fetch what a hosted server has, page by page, and see what would come of it."""
    agent, environment = _into(visit, form)
    url = str(form.get("url") or "").strip()
    try:
        hosted = Hosted.of(url, str(form.get("key") or ""))
    except Invalid as wrong:
        return _refused(visit, str(wrong))
    run = Run(secrets.token_hex(16), visit.organization.id, agent.id, hosted.host, environment, "fetching", url=url)
    _write(_folder(visit), run)
    _fetch(visit, run, agent, hosted)
    return visit.redirect(visit.link(f"migrate/{run.token}"))


@act("migrate/{token}/more", "data.import")
def more(visit: Visit, form: FormData) -> Response:
    """Ask on where a hosted server stopped answering; the key is given again, for it was not kept."""
    run = _run(visit)
    if run.state == "waiting":
        hosted = Hosted.of(run.url, str(form.get("key") or ""))
        run.state, run.problems = "fetching", []
        _write(_folder(visit), run)
        _fetch(visit, run, visit.agent_of(run.agent_id), hosted)
    return visit.redirect(visit.link(f"migrate/{run.token}"))


@page("migrate/{token}", "data.import")
def watch(visit: Visit) -> Response:
    """How far a run is; the page asks again by itself while it goes on."""
    run = _run(visit)
    answer = visit.render("migrate.html", page="migrate", title=visit.voice.say("Migrate"), run=run, wrong="")
    if run.state in ("fetching", "checking", "running"):
        answer.headers["Refresh"] = "1"
    return answer


@act("migrate/{token}/run", "data.import")
def start(visit: Visit, form: FormData) -> Response:
    run = _run(visit)
    agent = visit.agent_of(run.agent_id)
    if run.state == "checked":
        run.state, run.lines, run.problems = "running", 0, []
        _write(_folder(visit), run)
        _begin(visit, run, agent, dry=False)
    return visit.redirect(visit.link(f"migrate/{run.token}"))


@page("migrate/{token}/problems.csv", "data.import")
def problems(visit: Visit) -> Response:
    """What could not be read, line by line."""
    rows = [dict(zip(("where", "why"), each.split(": ", 1), strict=False)) for each in _run(visit).problems]
    headers = {"Content-Disposition": 'attachment; filename="problems.csv"', "Cache-Control": "no-store"}
    return Response("".join(csv_lines(["where", "why"], rows)), headers=headers, media_type="text/csv")


# -- from elsewhere --------------------------------------------------------------------------------------------------
def _fetch(visit: Visit, run: Run, agent: Agent, hosted: Hosted) -> None:
    storage, folder = visit.storage, _folder(visit)

    def work() -> None:
        if fetched(folder, run, hosted.page):
            _work(storage, folder, run, agent, None, dry=True)

    threading.Thread(target=work, daemon=True).start()


def fetched(folder: Path, run: Run, ask: Callable[[int], dict[str, Any]]) -> bool:
    """Whether all pages are here now; what is not can be asked for later, from the page that failed."""
    try:
        with (folder / f"{run.token}.jsonl").open("ab") as kept:
            while True:
                told = ask(run.page)
                for row in told["results"]:
                    if isinstance(row, dict):
                        kept.write(orjson.dumps(foreign.of_hosted(row, run.environment)) + b"\n")
                        run.lines += 1
                kept.flush()
                run.of = max(int(told.get("count") or 0), run.lines)
                if not told.get("next") or not told["results"]:
                    break
                run.page += 1
                _write(folder, run)
    except (AgentSightError, OSError) as wrong:
        run.state, run.problems = "waiting", [f"page {run.page}: {wrong}"]
        _write(folder, run)
        return False
    run.state, run.lines = "checking", 0
    _write(folder, run)
    return True


# -- the run itself --------------------------------------------------------------------------------------------------
def _begin(visit: Visit, run: Run, agent: Agent, *, dry: bool) -> None:
    state, folder = visit.request.app.state, _folder(visit)
    blobs: Blobs | None = None if dry else state.blobs
    threading.Thread(target=_work, args=(state.storage, folder, run, agent, blobs, dry), daemon=True).start()


def _work(storage: Storage, folder: Path, run: Run, agent: Agent, blobs: Blobs | None, dry: bool) -> None:
    tally = Tally()
    path = folder / f"{run.token}.jsonl"
    try:
        with path.open("rb") as file:
            run.of = sum(1 for line in file if line.strip())
        for part in _parts(path, run, tally, blobs):
            tally.add(exchange.take_in(storage, lambda store: agent, part, now_us(), dry=dry))
            _told(folder, run, tally)
        run.state = "checked" if dry else "done"
    except (AgentSightError, OSError) as wrong:
        _log.exception("import %s failed", run.name)
        run.state = "failed"
        tally.reject(f"line {run.lines}", exchange.why(wrong))
    _told(folder, run, tally)
    if run.state == "done":
        path.unlink(missing_ok=True)


def _parts(path: Path, run: Run, tally: Tally, blobs: Blobs | None) -> Iterator[list[Imported]]:
    """The file's conversations, some at a time; lines that are none are told in `tally`."""
    part: list[Imported] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            run.lines += 1
            try:
                part.append(exchange.read_line(line, "auto", run.environment, now_us(), blobs))
            except InvalidEvent as wrong:
                tally.reject(f"line {number}", exchange.why(wrong))
            if len(part) == TOGETHER:
                yield part
                part = []
    yield part


def _told(folder: Path, run: Run, tally: Tally) -> None:
    run.counts, run.problems = tally.counts(), tally.problems
    _write(folder, run)


# -- its state -------------------------------------------------------------------------------------------------------
def _folder(visit: Visit) -> Path:
    return uploads(visit.request.app.state.settings.data)


def uploads(data: Path) -> Path:
    """Where files wait to be run, without those that waited too long."""
    folder = data / "uploads"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # runs that go on put files in place and take them away meanwhile
            if old.stat().st_mtime * 1e6 < now_us() - KEPT_S * 1e6:
                old.unlink()
    return folder


def _write(folder: Path, run: Run) -> None:
    fresh = folder / f"{run.token}.{secrets.token_hex(4)}.new"  # the page and the run may write at the same moment
    fresh.write_text(json.dumps(asdict(run)), encoding="utf-8")
    fresh.replace(folder / f"{run.token}.json")


def _run(visit: Visit) -> Run:
    """The run the address names, if it is this organization's. Raises NotFound."""
    token = visit.request.path_params["token"]
    path = _folder(visit) / f"{token}.json"
    if not _TOKEN.fullmatch(token) or not path.is_file():
        raise NotFound("no such import")
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    run = Run(**told)
    if run.organization_id != visit.organization.id or run.agent_id not in {one.id for one in visit.agents}:
        raise NotFound("no such import")
    return run
