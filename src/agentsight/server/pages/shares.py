"""Links that show one thing without signing in: made here, opened at /s/, framed at /e/."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from starlette.datastructures import FormData, QueryParams
from starlette.responses import RedirectResponse, Response

from agentsight.core import conversations, reports
from agentsight.core import shares as core
from agentsight.core.model import Share, Transcript, User
from agentsight.core.permissions import Needed
from agentsight.core.ports import Store
from agentsight.errors import NotFound

from .. import render
from ..http import at_home, now_us
from . import thread
from .board import Board, overview
from .period import period
from .reports import nowhere, thawed
from .shell import Visit, Visitor, act, door, page

WIDGETS = ("kpis", "time", "figures", "hours", "map", "devices", "sources", "languages", "tools", "feedback")
SHOWN_MESSAGES = 1_000


# -- made ------------------------------------------------------------------------------------------------------------
@page("share", "shares.manage")
def offer(visit: Visit) -> Response:
    """The form that makes a link for what the address names."""
    return visit.render("share.html", title=visit.voice.say("Share"), page="", **_offered(visit))


def _offered(visit: Visit) -> dict[str, Any]:
    kind = visit.params.get("kind", "analytics")
    target = visit.params.get("target", "")
    name = visit.params.get("name") or visit.voice.say("Analytics")
    if kind not in core.KINDS or (kind != "analytics" and not target.isdecimal()):
        raise NotFound("there is no such page")
    return {"kind": kind, "target": target, "name": name, "days": core.LIFETIMES_DAYS, "widgets": WIDGETS, "made": None}


@act("share", "shares.manage")
def create(visit: Visit, form: FormData) -> Response:
    """Make the link and show it, this once."""
    offered = _offered(visit)
    kind, target = offered["kind"], int(offered["target"] or 0) or None
    told = {field: str(form.get(field) or "") for field in ("name", "password", "hosts", "days")}
    address = "?" + "&".join(part for part in visit.query_string[1:].split("&") if not part.startswith(_OWN))

    def change(store: Store) -> tuple[str, Share]:
        if kind == "conversation":
            conversations.get(store, visit.scope, target or 0)
        if kind == "report":
            reports.get(store, visit.scope, target or 0)
        return core.create(
            store,
            visit.principal,
            kind=kind,
            name=told["name"],
            address=address if len(address) > 1 else "",
            target=target,
            days=int(told["days"]) if told["days"].isdecimal() else None,
            password=told["password"],
            hosts=told["hosts"].split(),
            now_us=now_us(),
        )

    token, share = visit.write(change)
    base = visit.read(visit.base)
    offered |= {"made": share, "name": share.name, "url": f"{base}/s/{token}"}
    offered["frame"] = f"{base}/e/{token}" if kind == "analytics" else ""
    return visit.render("share.html", title=visit.voice.say("Share"), page="", **offered)


_OWN = ("kind=", "target=", "name=")


@act("shares/{id:int}/revoke", "shares.manage")
def revoke(visit: Visit, form: FormData) -> Response:
    visit.write(lambda store: core.revoke(store, visit.scope, visit.request.path_params["id"], now_us()))
    return visit.redirect(visit.link("settings/shares"), "revoked")


# -- opened ----------------------------------------------------------------------------------------------------------
@dataclass
class Guest(Visit):
    """Somebody who holds a link: sees what the share names, and nothing leads further."""

    share: Share | None = None

    @cached_property
    def params(self) -> QueryParams:
        return QueryParams((self.share.address if self.share else "").lstrip("?"))

    def link(self, place: str = "", parameters: object = None, agent: str | None = None) -> str:
        return ""

    def may(self, needed: Needed) -> bool:
        return False


def _guest(visitor: Visitor) -> Guest:
    """Who holds this token. Raises NotFound."""

    def ask(store: Store) -> Guest:
        share = core.find(store, visitor.request.path_params["token"], now_us())
        organization = store.tenants.organization(share.organization_id)
        if organization is None or not at_home(visitor.request, organization.id):
            raise NotFound("this link does not work, or no longer")
        agents = tuple(agent for agent in store.tenants.agents(organization.id) if agent.id in share.agent_ids)
        nobody = User(0, organization.id, "", "client", share.agent_ids)
        one = agents[0] if len(agents) == 1 else None
        return Guest(visitor.request, nobody, organization, agents, one, share=share)

    return visitor.read(ask)


@door("/s/{token}")
def shared(visitor: Visitor) -> Response:
    """What the link shows, after its password if it has one."""
    guest = _guest(visitor)
    share = guest.share
    if share is None or not _proved(guest, share):
        return _private(guest.render("locked.html", 200, title=guest.voice.say("A password is needed"), failed=False))
    guest.storage.write(lambda store: store.shares.viewed(share.id, now_us()))
    return _private(_show(guest, share))


@door("/s/{token}", "POST")
def unlock(visitor: Visitor, form: FormData) -> Response:
    guest = _guest(visitor)
    share = guest.share
    if share is None or not core.opens(share, str(form.get("password") or "")):
        return _private(guest.render("locked.html", 403, title=guest.voice.say("A password is needed"), failed=True))
    path = guest.request.url.path
    answer = RedirectResponse(path, 303)
    secure = guest.request.url.scheme == "https"
    answer.set_cookie("opened", _proof(share), path=path, httponly=True, secure=secure, samesite="lax")
    return _private(answer)


def _proof(share: Share) -> str:
    return hmac.new((share.password or "").encode(), str(share.id).encode(), hashlib.sha256).hexdigest()


def _proved(guest: Guest, share: Share) -> bool:
    return share.password is None or hmac.compare_digest(guest.request.cookies.get("opened", ""), _proof(share))


def _show(guest: Guest, share: Share) -> Response:
    if share.kind == "conversation":
        return _conversation(guest, share)
    if share.kind == "report":
        report = guest.read(lambda store: reports.get(store, guest.scope, share.target or 0))
        return guest.render("shared.html", title=share.name, board=thawed(guest, report), report=report)
    return guest.render("shared.html", title=share.name, board=_board(guest), report=None)


def _board(guest: Guest, inline_map: bool = False) -> Board:
    chosen, _ = period(guest)
    answers = guest.read(lambda store: overview(store, guest.scope, chosen))
    return Board(guest.voice, chosen, answers, nowhere, now_us(), inline_map, shows_tokens=guest.shows_tokens)


def _conversation(guest: Guest, share: Share) -> Response:
    def ask(store: Store) -> Transcript:
        return conversations.transcript(store, guest.scope, share.target or 0)

    found = guest.read(ask)
    agent = guest.agent_of(found.conversation.agent_id)
    signer = guest.request.app.state.signer
    return guest.render(
        "shared_conversation.html",
        title=share.name,
        head=found.conversation,
        agent=agent,
        lines=thread.lines(
            guest.voice, found.events[:SHOWN_MESSAGES], found.attachments, found.feedbacks, found.buttons
        ),
        anchor=lambda event: f"#m{event.id}",
        escalations=agent.escalation_actions,
        pictures=thread.PICTURES,
        payload=thread.payload,
        file_url=lambda file: render.file_url(file, signer),
    )


@door("/e/{token}")
def embed(visitor: Visitor) -> Response:
    """The same in somebody else's frame, on the sites the share names."""
    guest = _guest(visitor)
    share = guest.share
    if share is None or share.kind != "analytics" or share.password is not None:
        raise NotFound("this link cannot be framed")
    guest.request.state.ancestors = " ".join(share.hosts) or "'none'"
    asked = [name for name in guest.request.query_params.get("widgets", "").split(",") if name in WIDGETS]
    guest.storage.write(lambda store: store.shares.viewed(share.id, now_us()))
    answer = guest.render("embed.html", title=share.name, board=_board(guest, True), widgets=asked or WIDGETS)
    answer.headers["Cross-Origin-Opener-Policy"] = "unsafe-none"
    return _private(answer)


def _private(answer: Response) -> Response:
    """No search engine keeps it, no other site learns the address."""
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["X-Robots-Tag"] = "noindex, nofollow"
    answer.headers["Cache-Control"] = "private, no-store"
    return answer
