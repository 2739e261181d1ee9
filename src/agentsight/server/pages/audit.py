"""Settings, audit log: who did what, newest first, filtered, taken along as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

import orjson
from starlette.responses import Response, StreamingResponse

from agentsight.core import audit as core
from agentsight.core.model import AuditLine
from agentsight.core.ports import Store

from ..render import audit_line
from ..ui.tables import csv_lines
from .settings import title
from .shell import page
from .visit import Visit

ROWS = 50
COLUMNS = ("number", "at", "actor", "role", "action", "subject", "detail", "ip", "result", "seal")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address narrows the log to."""

    where: dict[str, str | int | None]
    before: int | None


def asked(visit: Visit) -> Asked:
    params = visit.params
    where: dict[str, str | int | None] = {name: params.get(name, "").strip()[:255] for name in ("action", "actor")}
    where["from_us"] = _midnight(visit, params.get("from"), 0)
    where["to_us"] = _midnight(visit, params.get("to"), 1)
    before = params.get("before", "")
    return Asked(where, int(before) if before.isdecimal() and len(before) < 19 else None)


def _midnight(visit: Visit, text: str | None, days: int) -> int | None:
    """The beginning of a day (or of the one after it) where the organization is; None for what is no day."""
    try:
        day = date.fromisoformat(text or "") + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return int(datetime.combine(day, time(), visit.zone).timestamp()) * 1_000_000


@page("settings/audit", "audit.read")
def audit(visit: Visit) -> Response:
    told = asked(visit)
    own = visit.organization.id
    rows = visit.read(lambda store: store.audit.page(own, before=told.before, limit=ROWS + 1, **told.where))
    older = visit.here(before=rows[ROWS - 1].number) if len(rows) > ROWS else ""
    return visit.render(
        "settings_audit.html",
        page="settings",
        section="audit",
        title=title(visit, "audit"),
        wrong="",
        lines=rows[:ROWS],
        older=older,
        newest=visit.here(before=None) if told.before else "",
        actions=core.ACTIONS,
        told=lambda line: _told(visit, line),
        csv=visit.link(
            "settings/audit.csv", {name: visit.params.get(name) for name in ("action", "actor", "from", "to")}
        ),
    )


def _told(visit: Visit, line: AuditLine) -> str:
    """What else a line says, for people: without what is not set, moments as moments."""
    said = [
        f"{name.removesuffix('_us')}: {visit.voice.when(value) if name.endswith('_us') else _said(value)}"
        for name, value in line.detail.items()
        if value not in (None, "", [], False)
    ]
    return ", ".join(said)


def _said(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()


@page("settings/audit.csv", "audit.read")
def take_along(visit: Visit) -> Response:
    """The log as the page filters it, whole."""
    visit.write(lambda store: visit.note(store, "export", "audit.csv"))
    lines = csv_lines(list(COLUMNS), _rows(visit, asked(visit)))
    headers = {"Content-Disposition": 'attachment; filename="audit.csv"', "Cache-Control": "no-store"}
    return StreamingResponse(lines, headers=headers, media_type="text/csv; charset=utf-8")


def _rows(visit: Visit, told: Asked) -> Iterator[dict[str, Any]]:
    before: int | None = None
    while True:

        def ask(store: Store, before: int | None = before) -> list[AuditLine]:
            return store.audit.page(visit.organization.id, before=before, limit=500, **told.where)

        some = visit.read(ask)
        yield from (audit_line(line) for line in some)
        if len(some) < 500:
            return
        before = some[-1].number
