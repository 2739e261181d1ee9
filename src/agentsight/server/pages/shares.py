"""Links and frames that show one thing without signing in: made here, and looked after; `guests.py` opens them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import FormData
from starlette.responses import Response

from agentsight.core import conversations, reports
from agentsight.core import shares as core
from agentsight.core.model import Share
from agentsight.core.ports import Store
from agentsight.errors import Invalid, NotFound

from ..http import now_us
from .addresses import query
from .board import Board, overview
from .period import period
from .reports import nowhere
from .shell import act, page
from .visit import Visit

WIDGETS = ("kpis", "time", "figures", "heatmap", "map", "devices", "sources", "languages", "tools", "feedback")
_OWN = ("kind", "target", "name", "days", "password", "hosts", "sight", "theme", "widgets", "csrf", "try")


@page("share", "shares.manage")
def offer(visit: Visit) -> Response:
    """The form that makes a link for what the address names."""
    return _form(visit)


def _form(visit: Visit, form: FormData | None = None, wrong: str = "", code: int = 200) -> Response:
    offered = _offered(visit)
    told: dict[str, Any] = {name: visit.request.query_params.get(name, "") for name in ("sight", "theme", "days")}
    told["widgets"] = visit.request.query_params.getlist("widgets")
    if form is not None:
        told = {name: str(form.get(name) or "") for name in ("sight", "theme", "days", "hosts")}
        told["widgets"] = form.getlist("widgets")
        offered["name"] = str(form.get("name") or "") or offered["name"]
    return _page(visit, code, **offered, told=told, wrong=wrong, made=None, preview=_preview(visit, told))


def _page(visit: Visit, code: int = 200, **values: object) -> Response:
    visit.request.state.frames = "'self'"  # the preview
    return visit.render("share.html", code, title=visit.voice.say("Share"), page="", **values)


def _offered(visit: Visit) -> dict[str, Any]:
    kind = visit.params.get("kind", "analytics")
    target = "" if kind == "analytics" else visit.params.get("target", "")
    if kind not in core.KINDS or (kind != "analytics" and not (target.isdecimal() and len(target) < 19)):
        raise NotFound("there is no such page")
    return {
        "kind": kind,
        "target": target,
        "name": visit.params.get("name") or visit.voice.say("Analytics"),
        "days": core.LIFETIMES_DAYS,
        "widgets": WIDGETS,
        "presets": core.presets(kind),
        "themes": core.THEMES,
    }


def _address(visit: Visit) -> str:
    """The query of the page that is shared: its filter and its period."""
    return query(pair for pair in visit.params.multi_items() if pair[0] not in _OWN)


def _preview(visit: Visit, told: dict[str, Any]) -> str:
    """Where the frame can be seen before there is one."""
    chosen = {"theme": told["theme"], "sight": told["sight"], "widgets": told["widgets"]}
    more = urlencode({name: value for name, value in chosen.items() if value}, doseq=True)
    address = _address(visit)
    return visit.root + "share/preview" + (f"{address}&{more}" if address and more else address or f"?{more}")


@page("share/preview", "shares.manage")
def preview(visit: Visit) -> Response:
    """What a frame would show; only our own page may frame it."""
    visit.request.state.ancestors = "'self'"
    visit.request.state.frame_theme = _one_of(visit.request.query_params.get("theme"), core.THEMES, "auto")
    asked = visit.request.query_params.getlist("widgets")
    sight = core.PRESETS.get(visit.request.query_params.get("sight", ""), core.PRESETS["numbers"])
    chosen, _ = period(visit)
    answers = visit.read(lambda store: overview(store, visit.scope, chosen))
    board = Board(visit.voice, chosen, answers, nowhere, now_us(), True, shows_tokens=sight.tokens)
    widgets = [name for name in WIDGETS if name in asked] or WIDGETS
    return visit.render("embed.html", title=visit.voice.say("Preview"), board=board, widgets=widgets)


def _one_of(told: str | None, known: tuple[str, ...], otherwise: str) -> str:
    return told if told in known else otherwise


@act("share", "shares.manage")
def create(visit: Visit, form: FormData) -> Response:
    """Make the link and show it, this once; the button that only tries it makes nothing."""
    if form.get("try"):
        return _form(visit, form)
    offered = _offered(visit)
    kind, target = offered["kind"], int(offered["target"] or 0) or None
    told = {field: str(form.get(field) or "") for field in ("name", "password", "hosts", "days", "sight", "theme")}
    asked = form.getlist("widgets")
    widgets = [name for name in WIDGETS if name in asked]

    def change(store: Store) -> tuple[str, Share]:
        if kind == "conversation":
            conversations.get(store, visit.scope, target or 0)
        if kind == "report":
            reports.get(store, visit.scope, target or 0)
        token, new = core.create(
            store,
            visit.principal,
            kind=kind,
            name=told["name"],
            address=_address(visit),
            target=target,
            days=_days(told["days"]),
            password=told["password"],
            hosts=told["hosts"].replace(",", " ").split() if kind == "analytics" else (),
            sight=told["sight"],
            theme=told["theme"] or "auto",
            widgets=() if len(widgets) == len(WIDGETS) else widgets,
            now_us=now_us(),
        )
        visit.note(store, "share.created", f"share {new.id}", _said(new))
        return token, new

    try:
        token, share = visit.write(change)
    except Invalid as wrong:
        return _form(visit, form, wrong.message, 400)
    base = visit.read(visit.base)
    offered |= {"made": share, "name": share.name, "url": f"{base}/s/{token}", "told": told, "wrong": "", "preview": ""}
    offered["frame"] = f"{base}/e/{token}" if kind == "analytics" and not share.password else ""
    return _page(visit, **offered)


def _days(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 10 else None


def _said(share: Share) -> dict[str, Any]:
    """What the log says of a share: never its name, which may be a customer's."""
    return {
        "kind": share.kind,
        "target": share.target,
        "sight": share.sight,
        "password": share.password is not None,
        "hosts": list(share.hosts),
        "expires_us": share.expires_us,
    }


# -- looked after ----------------------------------------------------------------------------------------------------
@act("shares/{id:row}/edit", "shares.manage")
def edit(visit: Visit, form: FormData) -> Response:
    """Another end, counted from now."""
    id, days = visit.request.path_params["id"], _days(str(form.get("days") or ""))

    def change(store: Store) -> None:
        core.extend(store, visit.scope, id, days, now_us())
        visit.note(store, "share.changed", f"share {id}", {"days": days})

    visit.write(change)
    return visit.redirect(visit.link("settings/shares"), "saved")


@act("shares/{id:row}/revoke", "shares.manage")
def revoke(visit: Visit, form: FormData) -> Response:
    id = visit.request.path_params["id"]

    def change(store: Store) -> None:
        core.revoke(store, visit.scope, id, now_us())
        visit.note(store, "share.revoked", f"share {id}")

    visit.write(change)
    return visit.redirect(visit.link("settings/shares"), "revoked")
