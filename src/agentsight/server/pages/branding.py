"""Settings, branding: how an organization looks, shown before it is kept, and the host names that are its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from agentsight.core import brands, hosts
from agentsight.core.ports import Store
from agentsight.errors import Invalid

from ..hosts import host_name
from ..http import house, now_us
from ..ui import theme
from ..ui.theme import Brand
from .addresses import query
from .settings import FACTS, changed, shown
from .shell import act, page, text
from .visit import Visit

FIELDS = ("name", "accent", "accent2", "radius", "font", "powered")
TRIED = ".try"  # the part of the page that wears the look before it is kept


def _facts(store: Store, visit: Visit) -> dict[str, Any]:
    return {
        **_looks(visit, visit.request.query_params),
        "fonts": brands.FONTS,
        "radii": brands.RADII,
        "files": brands.FILES,
        "names": [(hosts.readable(one.host), one) for one in store.hosts.of(visit.organization.id)],
    }


FACTS["branding"] = _facts


def _looks(visit: Visit, told: Mapping[str, Any]) -> dict[str, Any]:
    """The look the form holds, kept or not, and what becomes of its colours."""
    given = {name: str(told[name]) for name in FIELDS if name in told}
    kept = dict(visit.organization.settings.get("brand") or {})
    if given:
        given["powered"] = given.get("powered", "")
    tried = Brand.of(visit.organization.name, {**kept, **given}, visit.brand_root)
    sheet = visit.link("settings/branding/try.css") + query((name, given[name]) for name in FIELDS if name in given)
    return {"tried": tried, "sheet": sheet, "verdicts": theme.verdicts(tried.accent)}


@page("settings/branding/try.css", "brand.manage")
def sheet(visit: Visit) -> Response:
    """The style sheet of the preview, for a look nobody has kept yet."""
    tried: Brand = _looks(visit, visit.request.query_params)["tried"]
    return Response(theme.style(tried, TRIED), headers={"Cache-Control": "no-store"}, media_type="text/css")


@act("settings/branding", "brand.manage")
def save(visit: Visit, form: FormData) -> Response:
    """Keep the look; the button that only tries it shows it and keeps nothing."""
    told = {name: text(form, name) for name in FIELDS}
    if text(form, "try"):
        try:
            brands.read(visit.organization, told)
        except Invalid as wrong:
            return shown(visit, "branding", wrong=wrong.message, code=400)
        return shown(visit, "branding", **_looks(visit, told))

    def change(store: Store) -> None:
        brands.save(store, visit.organization, told)
        visit.note(store, "settings.changed", "brand", {name: told[name] for name in FIELDS})

    return _forgotten(visit, changed(visit, "branding", change))


@act("settings/branding/files", "brand.manage")
def save_file(visit: Visit, form: FormData) -> Response:
    file, which = form.get("file"), text(form, "which")
    chosen = isinstance(file, UploadFile) and file.size and not text(form, "remove")
    data = file.file.read(brands.MOST_KB * 1024 + 1) if isinstance(file, UploadFile) and chosen else None
    if data is None and not text(form, "remove"):
        return shown(visit, "branding", wrong=visit.voice.say("Choose a file first."), code=400)

    def change(store: Store) -> None:
        brands.keep_file(store, visit.request.app.state.blobs, visit.organization, which, data)
        visit.note(store, "settings.changed", which, {"bytes": len(data) if data else 0})

    return _forgotten(visit, changed(visit, "branding", change, "saved" if data else "removed"))


@act("settings/branding/hosts", "brand.manage")
def add_host(visit: Visit, form: FormData) -> Response:
    """A host name; the one the installation itself is reached by cannot be taken."""
    settings = visit.request.app.state.settings
    ours = {(urlsplit(settings.public_url or "").hostname or "").lower()}
    if house(visit.request) is None:
        ours.add(host_name(visit.request.scope))

    def change(store: Store) -> None:
        new = hosts.add(store, visit.organization, text(form, "host"), ours, now_us())
        visit.note(store, "settings.changed", "host", {"added": new.host})

    return _forgotten(visit, changed(visit, "branding", change, "added"))


@act("settings/branding/hosts/remove", "brand.manage")
def remove_host(visit: Visit, form: FormData) -> Response:
    host = text(form, "host")

    def change(store: Store) -> None:
        hosts.remove(store, visit.organization, host)
        visit.note(store, "settings.changed", "host", {"removed": host})

    return _forgotten(visit, changed(visit, "branding", change, "removed"))


def _forgotten(visit: Visit, answer: Response) -> Response:
    """The next request sees the change, in this process at once."""
    visit.request.app.state.houses.forget()
    return answer
