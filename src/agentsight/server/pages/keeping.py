"""Settings: how long data is kept, a person taken out of everything, everything taken along."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from functools import partial
from typing import Any

from starlette.background import BackgroundTask
from starlette.datastructures import FormData
from starlette.responses import Response, StreamingResponse

from agentsight.core import archive, moving, retention
from agentsight.core.retention import Outcome, Rules
from agentsight.errors import Invalid, NotFound

from ..http import client_address, now_us
from ..keeping import certificate
from . import settings
from .layout import _N, SECTIONS
from .shell import act, page
from .visit import Visit

SECTIONS["settings"]["retention"] = _N("Keeping data")
settings.NEEDED["retention"] = "retention.manage"
FIELDS = ("content_days", "numbers_months", "deleted_days")


@page("settings/retention", "retention.manage")
def show(visit: Visit) -> Response:
    return _shown(visit)


def _shown(visit: Visit, tried: Rules | None = None, wrong: str = "", told: Any = None, code: int = 200) -> Response:
    """The section as it is; `tried` shows what rules nobody kept yet would take out, `told` what a form said."""
    kept = retention.rules(visit.organization)
    rules = tried or kept

    def ask(store: Any) -> Outcome:
        return retention.preview(store, visit.organization, rules, now_us())

    return visit.render(
        "settings_retention.html",
        code,
        page="settings",
        section="retention",
        title=settings.title(visit, "retention"),
        owner=True,
        lock="",
        wrong=wrong,
        rules=told or {name: "" if value is None else value for name, value in asdict(rules).items()},
        tried=tried is not None,
        kept=kept,
        due=visit.read(ask),
    )


@act("settings/retention", "retention.manage")
def save(visit: Visit, form: FormData) -> Response:
    told = {name: str(form.get(name) or "") for name in FIELDS}
    try:
        rules = retention.read(told)
    except Invalid as refused:
        return _shown(visit, wrong=str(refused), told=told, code=400)
    if form.get("do") == "try":
        return _shown(visit, tried=rules)
    ip = client_address(visit.request)
    visit.write(lambda store: retention.set_rules(store, visit.principal, rules, now_us(), ip))
    return visit.redirect(visit.link("settings/retention"), "saved")


@act("settings/archive", "settings.manage")
def take_along(visit: Visit, form: FormData) -> Response:
    """Everything of the organization in one archive, made first and sent then, so that a slow line holds nobody up."""
    state, slug = visit.request.app.state, visit.organization.slug
    file = tempfile.TemporaryFile(dir=state.settings.data)  # noqa: SIM115 -- closed when it was sent
    try:
        manifest = moving.export(state.storage, state.blobs, visit.organization, file, state.schema, now_us())
        told = {"archive": manifest["id"], "conversations": manifest["counts"]["conversation"]}
        visit.write(lambda store: visit.note(store, "export", "organization", told))
    except BaseException:
        file.close()
        raise
    size = file.tell()
    file.seek(0)
    headers = {
        "Content-Disposition": f'attachment; filename="{slug}-{manifest["made_at"][:10]}.zip"',
        "Content-Length": str(size),
        "Cache-Control": "no-store",
    }
    sent = iter(partial(file.read, archive.CHUNK), b"")
    return StreamingResponse(sent, 200, headers, "application/zip", BackgroundTask(file.close))


@act("settings/erase", "customers.erase")
def erase(visit: Visit, form: FormData) -> Response:
    """Take a person out of everything; what comes back is the certificate, as a file."""
    agent = next((one for one in visit.agents if str(one.id) == form.get("agent")), None)
    if agent is None:
        raise NotFound("no such agent")
    customer_id = str(form.get("customer_id") or "")
    try:
        if form.get("confirm") != customer_id:
            raise Invalid.of("confirm", "must repeat the customer's id exactly")
        told = certificate(visit.request.app, visit.principal, agent, customer_id, client_address(visit.request))
    except Invalid as refused:
        return _shown(visit, wrong=str(refused), code=400)
    body = json.dumps(told, ensure_ascii=False, indent=2)
    headers = {
        "Content-Disposition": f'attachment; filename="erasure-{told["id"]}.json"',
        "Cache-Control": "no-store",
    }
    return Response(body, 200, headers, "application/json")
