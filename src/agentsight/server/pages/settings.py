"""Settings: what an organization is called and looks like, its keys, its people, its links."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from agentsight.core import settings as core
from agentsight.core import shares, sight
from agentsight.core.model import Agent
from agentsight.core.permissions import Needed
from agentsight.core.ports import Store
from agentsight.core.sight import Sight
from agentsight.errors import Invalid, NotFound, TooLarge

from ..http import now_us
from .layout import _N, SECTIONS
from .shell import act, page, text
from .visit import Visit

SECTIONS["settings"] = {
    "general": _N("General"),
    "branding": _N("Branding"),
    "keys": _N("API keys"),
    "team": _N("Team"),
    "shares": _N("Shared links"),
    "audit": _N("Audit log"),
}


NEEDED: dict[str, Needed] = {
    "general": "settings.manage",
    "branding": "brand.manage",
    "keys": "keys.manage",
    "team": "people.manage",
    "shares": "shares.manage",
}


@page("settings", "signed_in")
def settings(visit: Visit) -> Response:
    """To the first section this person may open; who may open none has their own profile."""
    opened = [name for name in SECTIONS["settings"] if visit.opens(f"settings/{name}")]
    return RedirectResponse(visit.link(f"settings/{opened[0]}") if opened else "/profile", 303)


for _name, _needed in NEEDED.items():
    page(f"settings/{_name}", _needed)(partial(lambda visit, section: shown(visit, section), section=_name))


def title(visit: Visit, section: str) -> str:
    """What a section is called."""
    name = SECTIONS["settings"][section]  # apart from `say`, where the catalogue would take the keys for texts
    return visit.voice.say(name)


def shown(visit: Visit, section: str, wrong: str = "", fresh: str = "", code: int = 200, **more: object) -> Response:
    """One section, with what went wrong or the secret just made; `more` wins over what the section says of itself."""
    facts = visit.read(lambda store: FACTS[section](store, visit))
    return visit.render(
        f"settings_{section}.html",
        code,
        page="settings",
        section=section,
        title=title(visit, section),
        owner=True,
        lock="",
        wrong=wrong,
        fresh=fresh,
        server=visit.server,
        **{**facts, **more},
    )


def _general(store: Store, visit: Visit) -> dict[str, Any]:
    every = store.tenants.agents(visit.organization.id)
    clients = sight.of("client", visit.organization.settings)
    archived = [agent for agent in every if agent.archived_us is not None]
    return {"archived": archived, "clients": clients, "agreed": core.agreed(visit.organization.settings)}


def _shares(store: Store, visit: Visit) -> dict[str, Any]:
    return {"shares": shares.every(store, visit.scope), "now_us": now_us(), "days": shares.LIFETIMES_DAYS}


FACTS: dict[str, Callable[[Store, Visit], dict[str, Any]]] = {
    "general": _general,
    "shares": _shares,
}


# -- changes: an owner's business ------------------------------------------------------------------------------------
def changed(
    visit: Visit, section: str, change: Callable[[Store], object], notice: str = "saved", what: str = ""
) -> Response:
    """Do it and come back; what the form got wrong is said on the same page. `what` changed stands in the audit log."""

    def noted(store: Store) -> None:
        change(store)
        if what:
            visit.note(store, "settings.changed", what)

    try:
        visit.write(noted)
    except (Invalid, TooLarge) as wrong:
        return shown(visit, section, wrong=wrong.message, code=400)
    return visit.redirect(visit.link(f"settings/{section}"), notice)


@act("settings/general", "settings.manage")
def save_general(visit: Visit, form: FormData) -> Response:
    name, zone = text(form, "name"), text(form, "timezone")
    clients = Sight(**{name: bool(text(form, f"clients_see_{name}")) for name in sight.NAMES})

    def change(store: Store) -> None:
        core.set_general(store, visit.organization, name, zone, clients, text(form, "agreed"))

    return changed(visit, "general", change, what="organization")


@act("settings/agent/{id:row}", "settings.manage")
def save_agent(visit: Visit, form: FormData) -> Response:
    name, actions = text(form, "name"), text(form, "escalation_actions")

    def change(store: Store) -> None:
        core.set_agent(store, _agent(store, visit), name, actions)

    return changed(visit, "general", change, what=f"agent {name}")


def _agent(store: Store, visit: Visit) -> Agent:
    """The agent the address names, archived or not. Raises NotFound."""
    found = store.tenants.agent(visit.request.path_params["id"])
    if found is None or found.organization_id != visit.organization.id:
        raise NotFound("no such agent")
    return found


@act("settings/agents", "settings.manage")
def add_agent(visit: Visit, form: FormData) -> Response:
    def change(store: Store) -> None:
        new = core.new_agent(store, visit.organization, text(form, "name"), now_us())
        visit.note(store, "agent.created", new.name)

    return changed(visit, "general", change, "added")


@act("settings/agent/{id:row}/archive", "settings.manage")
def archive_agent(visit: Visit, form: FormData) -> Response:
    """Put it away: nobody sees it, its keys are refused, what it said is kept. Or take it back."""
    back = bool(text(form, "back"))

    def change(store: Store) -> None:
        agent = _agent(store, visit)
        store.settings.archive_agent(visit.organization.id, agent.id, None if back else now_us())
        visit.note(store, "agent.restored" if back else "agent.archived", agent.name)

    visit.write(change)
    home = visit.link("settings/general", agent="all")
    return visit.redirect(home, "restored" if back else "archived")
