"""Settings: what an organization is called and looks like, its keys, its people, its links."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from agentsight.core import branding, shares, tenancy
from agentsight.core.model import ApiKey, User
from agentsight.core.permissions import Needed
from agentsight.core.ports import Store
from agentsight.errors import Forbidden, Invalid, NotFound, TooLarge

from ..http import base_url, now_us
from .shell import _N, SECTIONS, Visit, act, page

SECTIONS["settings"] = {
    "general": _N("General"),
    "branding": _N("Branding"),
    "keys": _N("API keys"),
    "team": _N("Team"),
    "shares": _N("Shared links"),
}
ROLES = ("owner", "member", "client")


NEEDED: dict[str, Needed] = {
    "general": "settings.manage",
    "branding": "brand.manage",
    "keys": "keys.manage",
    "team": "people.manage",
    "shares": "shares.manage",
}


@page("settings", "signed_in")
def settings(visit: Visit) -> Response:
    """To the first section this person may open."""
    opened = [name for name in SECTIONS["settings"] if visit.opens(f"settings/{name}")]
    if not opened:
        raise Forbidden("there is no setting your role may see")
    return RedirectResponse(visit.link(f"settings/{opened[0]}"), 303)


for _name, _needed in NEEDED.items():
    page(f"settings/{_name}", _needed)(partial(lambda visit, section: _shown(visit, section), section=_name))


def _shown(visit: Visit, section: str, wrong: str = "", fresh: str = "", code: int = 200, **more: object) -> Response:
    """One section, with what went wrong or the secret just made; `more` wins over what the section says of itself."""
    facts = visit.read(lambda store: _FACTS[section](store, visit))
    return visit.render(
        f"settings_{section}.html",
        code,
        page="settings",
        section=section,
        title=visit.voice.say(SECTIONS["settings"][section]),
        owner=True,
        lock="",
        wrong=wrong,
        fresh=fresh,
        server=base_url(visit.request),
        **{**facts, **more},
    )


def _general(store: Store, visit: Visit) -> dict[str, Any]:
    return {}


def _keys(store: Store, visit: Visit) -> dict[str, Any]:
    seen = {agent.id for agent in visit.agents}
    found: list[ApiKey] = [key for key in store.settings.keys(visit.organization.id) if key.agent_id in seen]
    return {"keys": found, "now_us": now_us()}


def _team(store: Store, visit: Visit) -> dict[str, Any]:
    people: list[User] = branding.people(store, visit.organization) if visit.user.role == "owner" else [visit.user]
    return {"people": people, "roles": ROLES}


def _shares(store: Store, visit: Visit) -> dict[str, Any]:
    return {"shares": shares.every(store, visit.scope), "now_us": now_us(), "days": shares.LIFETIMES_DAYS}


_FACTS: dict[str, Callable[[Store, Visit], dict[str, Any]]] = {
    "general": _general,
    "keys": _keys,
    "team": _team,
    "shares": _shares,
}


# -- changes: an owner's business ------------------------------------------------------------------------------------
def _change(visit: Visit, section: str, change: Callable[[Store], object], notice: str = "saved") -> Response:
    """Do it and come back; what the form got wrong is said on the same page."""
    try:
        visit.write(change)
    except (Invalid, TooLarge) as wrong:
        return _shown(visit, section, wrong=wrong.message, code=400)
    return visit.redirect(visit.link(f"settings/{section}"), notice)


@act("settings/general", "settings.manage")
def save_general(visit: Visit, form: FormData) -> Response:
    name, zone, seen = _text(form, "name"), _text(form, "timezone"), bool(_text(form, "clients_see_tokens"))
    return _change(visit, "general", lambda store: branding.set_general(store, visit.organization, name, zone, seen))


@act("settings/agent/{id:int}", "settings.manage")
def save_agent(visit: Visit, form: FormData) -> Response:
    agent = next((one for one in visit.agents if one.id == visit.request.path_params["id"]), None)
    if agent is None:
        raise NotFound("no such agent")
    name, actions = _text(form, "name"), _text(form, "escalation_actions")
    return _change(visit, "general", lambda store: branding.set_agent(store, agent, name, actions))


@act("settings/keys", "keys.manage")
def make_key(visit: Visit, form: FormData) -> Response:
    """A new key, whole for this one time."""
    agent = next((one for one in visit.agents if str(one.id) == form.get("agent")), None)
    if agent is None:
        raise NotFound("no such agent")
    key, _ = visit.write(lambda store: tenancy.issue_key(store, agent, _text(form, "role"), now_us()))
    return _shown(visit, "keys", fresh=key)


@act("settings/keys/{id:int}/revoke", "keys.manage")
def revoke_key(visit: Visit, form: FormData) -> Response:
    id = visit.request.path_params["id"]
    return _change(visit, "keys", lambda store: branding.revoke_key(store, visit.principal, id, now_us()), "revoked")


@act("settings/team", "people.manage")
def invite(visit: Visit, form: FormData) -> Response:
    """A person and their sign-in link, shown this once; for one who is there already, a new link."""
    email, role = _text(form, "email"), _text(form, "role")
    agents = tuple(one for one in visit.agents if str(one.id) in form.getlist("agent"))

    def change(store: Store) -> str:
        user = tenancy.add_user(store, visit.organization, email, role, agents, now_us())
        return tenancy.issue_link(store, user, now_us())

    try:
        token = visit.write(change)
    except Invalid as wrong:
        return _shown(visit, "team", wrong=wrong.message, code=400)
    return _shown(visit, "team", fresh=f"{base_url(visit.request)}/login?token={token}")


@act("settings/team/{id:int}/remove", "people.manage")
def remove_person(visit: Visit, form: FormData) -> Response:
    id = visit.request.path_params["id"]
    return _change(visit, "team", lambda store: branding.remove_person(store, visit.principal, id), "removed")


def _text(form: FormData, name: str) -> str:
    value = form.get(name)
    return value if isinstance(value, str) else ""
