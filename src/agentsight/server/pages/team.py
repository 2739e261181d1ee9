"""Settings, team: who signs in, as what, and who is invited to."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import FormData
from starlette.responses import Response

from agentsight.core import people, sessions, tenancy
from agentsight.core.model import Agent, Invitation, User
from agentsight.core.permissions import PEOPLE
from agentsight.core.ports import Store
from agentsight.errors import Invalid, NotFound

from ..http import now_us
from .settings import FACTS, changed, shown
from .shell import act, text
from .visit import Visit


def _team(store: Store, visit: Visit) -> dict[str, Any]:
    open_ones = [one for one in store.people.invitations(visit.organization.id) if one.is_open(now_us())]
    return {
        "people": store.settings.users(visit.organization.id),
        "invitations": open_ones,
        "roles": PEOPLE,
        "days": people.DAYS,
        "by_mail": visit.request.app.state.mailer is not None,
        "fresh_kind": "",
    }


FACTS["team"] = _team


# -- invitations -----------------------------------------------------------------------------------------------------
@act("settings/team", "people.manage")
def invite(visit: Visit, form: FormData) -> Response:
    """An invitation, mailed where mail goes out; else its link is shown to whoever invites, this once."""
    email, role, days = text(form, "email"), text(form, "role"), text(form, "days")

    def change(store: Store) -> tuple[str, Invitation]:
        agents = _chosen(visit, form)
        lasts = int(days) if days.isdecimal() and len(days) < 6 else 0
        token, new = people.invite(store, visit.principal, visit.organization, email, role, agents, lasts, now_us())
        visit.note(store, "person.invited", new.email, {"role": new.role, "agents": list(new.agent_ids)})
        return token, new

    try:
        token, invitation = visit.write(change)
    except Invalid as wrong:
        return shown(visit, "team", wrong=wrong.message, code=400)
    link = f"{visit.read(visit.base)}/invite/{token}"
    if _mailed(visit, invitation, link):
        return visit.redirect(visit.link("settings/team"), "mailed")
    return shown(visit, "team", fresh=link, fresh_kind="invitation")


def _mailed(visit: Visit, invitation: Invitation, link: str) -> bool:
    mailer = visit.request.app.state.mailer
    if mailer is None:
        return False
    say, names = visit.voice.say, {"brand": visit.brand.name, "who": visit.user.name or visit.user.email, "link": link}
    words = say("{who} invites you to {brand}. Choose your password here:\n\n{link}\n\nThe link works once.")
    sent: bool = mailer.send(
        invitation.email, say("Your invitation to {brand}", brand=visit.brand.name), words.format(**names)
    )
    return sent


def _chosen(visit: Visit, form: FormData) -> tuple[Agent, ...]:
    return tuple(one for one in visit.agents if str(one.id) in form.getlist("agent"))


@act("settings/invitations/{id:row}/revoke", "people.manage")
def revoke(visit: Visit, form: FormData) -> Response:
    id = visit.request.path_params["id"]

    def change(store: Store) -> None:
        if not store.people.revoke_invitation(visit.organization.id, id, now_us()):
            raise NotFound("no such invitation")
        visit.note(store, "invitation.revoked", str(id))

    return changed(visit, "team", change, "revoked")


# -- people ----------------------------------------------------------------------------------------------------------
def _person(store: Store, visit: Visit) -> User:
    return people.member(store, visit.organization.id, visit.request.path_params["id"])


@act("settings/team/{id:row}", "people.manage")
def change_person(visit: Visit, form: FormData) -> Response:
    """Another role, other agents."""
    role, agents = text(form, "role"), tuple(agent.id for agent in _chosen(visit, form))

    def change(store: Store) -> None:
        before = _person(store, visit)
        after = people.change(store, before, role, agents, now_us())
        detail = {"from": before.role, "to": after.role, "agents": list(agents)}
        visit.note(store, "person.changed", before.email, detail)

    return changed(visit, "team", change)


@act("settings/team/{id:row}/remove", "people.manage")
def remove_person(visit: Visit, form: FormData) -> Response:
    def change(store: Store) -> None:
        person = _person(store, visit)
        if person.id == visit.user.id:
            raise Invalid.of("id", "is your own; somebody else has to remove you")
        people.remove(store, person)
        visit.note(store, "person.removed", person.email, {"role": person.role})

    return changed(visit, "team", change, "removed")


@act("settings/team/{id:row}/link", "people.manage")
def new_link(visit: Visit, form: FormData) -> Response:
    """A one-time link for somebody who cannot get in: they choose a new password with it."""

    def change(store: Store) -> str:
        person = _person(store, visit)
        visit.note(store, "person.link_made", person.email)
        return tenancy.issue_link(store, person, now_us())

    token = visit.write(change)
    return shown(visit, "team", fresh=f"{visit.read(visit.base)}/reset/{token}", fresh_kind="link")


@act("settings/team/{id:row}/sign-out", "people.manage")
def sign_out(visit: Visit, form: FormData) -> Response:
    def change(store: Store) -> None:
        person = _person(store, visit)
        sessions.end_all(store, person.id, now_us())
        visit.note(store, "person.signed_out", person.email)

    return changed(visit, "team", change, "ended")
