"""Migrate: a file of history comes in by three steps: choose it, see what would come of it, run it and watch."""

from __future__ import annotations

import csv
import io
import re
import secrets
from collections.abc import Iterable
from functools import partial

import orjson
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from agentsight import wire
from agentsight.core import foreign
from agentsight.core.model import Agent, ImportRun
from agentsight.core.ports import Blobs
from agentsight.errors import Invalid, InvalidEvent, NotFound

from .. import imports
from ..hosted import Hosted
from ..ui.tables import csv_lines
from .shell import act, page
from .visit import Visit

MOST_BYTES = 64 * 2**20  # of one line
_TOKEN = re.compile(r"[0-9a-f]{32}")


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
    run = _new(visit, agent, (file.filename or "file")[:200], environment)
    lines: Iterable[bytes] = iter(partial(file.file.readline, MOST_BYTES), b"")
    if run.name.lower().endswith(".csv"):
        table = foreign.of_table(io.TextIOWrapper(file.file, "utf-8", "replace", newline=""))
        lines = (orjson.dumps(record) for record in table)
    try:
        imports.upload(visit.storage, _blobs(visit), run, agent, lines)
    except (InvalidEvent, csv.Error) as wrong:
        return _refused(visit, f"{run.name}: {wrong}")
    return visit.redirect(visit.link(f"migrate/{run.token}"))


def _new(visit: Visit, agent: Agent, name: str, environment: str, url: str = "") -> ImportRun:
    state = "fetching" if url else "checking"
    whose = (secrets.token_hex(16), visit.organization.id, agent.id)
    return ImportRun(*whose, wire.storable(name), environment, state, url=wire.storable(url))


def _blobs(visit: Visit) -> Blobs:
    blobs: Blobs = visit.request.app.state.blobs
    return blobs


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
    run = _new(visit, agent, hosted.host, environment, url)
    imports.fetch(visit.storage, _blobs(visit), run, agent, hosted.page)
    return visit.redirect(visit.link(f"migrate/{run.token}"))


@act("migrate/{token}/more", "data.import")
def more(visit: Visit, form: FormData) -> Response:
    """Ask on where a hosted server stopped answering; the key is given again, for it was not kept."""
    run = _run(visit)
    if run.state == "waiting":
        hosted = Hosted.of(run.url, str(form.get("key") or ""))
        imports.fetch(visit.storage, _blobs(visit), run, visit.agent_of(run.agent_id), hosted.page)
    return visit.redirect(visit.link(f"migrate/{run.token}"))


@page("migrate/{token}", "data.import")
def watch(visit: Visit) -> Response:
    """How far a run is; the page asks again by itself while it goes on."""
    run = _run(visit)
    run = imports.looked_after(visit.storage, _blobs(visit), run, visit.agent_of(run.agent_id))
    answer = visit.render("migrate.html", page="migrate", title=visit.voice.say("Migrate"), run=run, wrong="")
    if run.state in imports.GOING_ON:
        answer.headers["Refresh"] = "1"
    return answer


@act("migrate/{token}/run", "data.import")
def start(visit: Visit, form: FormData) -> Response:
    run = _run(visit)
    imports.start(visit.storage, _blobs(visit), run, visit.agent_of(run.agent_id))
    return visit.redirect(visit.link(f"migrate/{run.token}"))


@page("migrate/{token}/problems.csv", "data.import")
def problems(visit: Visit) -> Response:
    """What could not be read, line by line."""
    rows = [dict(zip(("where", "why"), each.split(": ", 1), strict=False)) for each in _run(visit).problems]
    headers = {"Content-Disposition": 'attachment; filename="problems.csv"', "Cache-Control": "no-store"}
    return Response("".join(csv_lines(["where", "why"], rows)), headers=headers, media_type="text/csv")


def _run(visit: Visit) -> ImportRun:
    """The run the address names, if it is this organization's. Raises NotFound."""
    token = visit.request.path_params["token"]
    found = _TOKEN.fullmatch(token) and visit.read(lambda store: store.imports.get(visit.organization.id, token))
    if not found or found.agent_id not in {one.id for one in visit.agents}:
        raise NotFound("no such import")
    return found
