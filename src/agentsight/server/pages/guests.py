"""What a shared link shows to whoever holds it, at /s/, and in somebody else's frame, at /e/. Nothing leads further."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from starlette.datastructures import FormData, QueryParams
from starlette.responses import RedirectResponse, Response

from agentsight.core import conversations, hours, reports, sight
from agentsight.core import shares as core
from agentsight.core.analytics import Row
from agentsight.core.measures import DIMENSIONS
from agentsight.core.model import Conversation, Filter, Share, Transcript, User
from agentsight.core.ports import Store
from agentsight.core.sight import NAMES, Sight
from agentsight.errors import NotFound, RateLimited, Unauthorized

from .. import render
from ..http import at_home, client_address, is_https, now_us
from ..ui.words import Voice, negotiate
from . import filters, thread
from .addresses import query
from .analytics import behind
from .board import Board, Drill, overview
from .period import Period, period
from .reports import nowhere, thawed
from .shares import WIDGETS
from .shell import door
from .visit import THEMES, Visit, Visitor

SHOWN_EVENTS = 1_000
SHOWN_ROWS = 200
LEADS = frozenset((*filters.COUNTED, *DIMENSIONS))
"""What the address of a page below a share may say: which number one came from. It narrows what is shared, never more."""


@dataclass
class Guest(Visit):
    """Somebody who holds a link: sees what the share names, at most as well as a client of the organization."""

    share: Share | None = None
    framed: bool = False

    @property
    def told(self) -> Share:
        if self.share is None:
            raise NotFound("this link does not work, or no longer")
        return self.share

    @cached_property
    def params(self) -> QueryParams:
        """What was shared. A page below it adds which number one came from, where the share does not say otherwise."""
        fixed = QueryParams(self.told.address.lstrip("?")).multi_items()
        names = {name for name, _ in fixed}
        asked = self.request.query_params.multi_items() if self.request.path_params.get("below") else ()
        return QueryParams([*fixed, *(pair for pair in asked if pair[0] in LEADS and pair[0] not in names)])

    @cached_property
    def sight(self) -> Sight:
        granted, own = core.PRESETS[self.told.sight], sight.of("client", self.organization.settings)
        return Sight(**{name: getattr(granted, name) and getattr(own, name) for name in NAMES})

    @property
    def theme(self) -> str:
        """A frame wears the theme it was made with; where that leaves the choice, the page around it may choose."""
        if not self.framed:
            return super().theme
        asked = self.request.query_params.get("theme")
        return asked if self.told.theme == "auto" and asked in THEMES else self.told.theme

    @cached_property
    def voice(self) -> Voice:
        cookie = None if self.framed else self.request.cookies.get("language")
        return Voice(negotiate(cookie, self.request.headers.get("accept-language", "")), self.zone)

    @property
    def session(self) -> str:
        return ""  # whoever they may be elsewhere, here they hold a link

    def link(self, place: str = "", parameters: object = None, agent: str | None = None) -> str:
        return ""

    def may(self, needed: object) -> bool:
        return False

    @property
    def top(self) -> str:
        return f"/s/{self.request.path_params['token']}"

    @property
    def leads(self) -> bool:
        """Whether its numbers lead to their conversations."""
        return self.told.kind == "analytics" and self.told.sight != "numbers"


def _guest(visitor: Visitor, framed: bool = False) -> Guest:
    """Who holds this token. Raises NotFound."""

    def ask(store: Store) -> Guest:
        share = core.find(store, visitor.request.path_params["token"])
        organization = store.tenants.organization(share.organization_id)
        if organization is None or not at_home(visitor.request, organization.id):
            raise NotFound("this link does not work, or no longer")
        agents = tuple(agent for agent in store.tenants.agents(organization.id) if agent.id in share.agent_ids)
        nobody = User(0, organization.id, "", "client", share.agent_ids)
        one = agents[0] if len(agents) == 1 else None
        return Guest(visitor.request, nobody, organization, agents, one, share=share, framed=framed)

    return visitor.read(ask)


# -- the door --------------------------------------------------------------------------------------------------------
@door("/s/{token}")
def shared(visitor: Visitor) -> Response:
    """What the link shows, after its password if it has one."""
    guest = _guest(visitor)
    if turned_away := _turned_away(guest):
        return _private(turned_away)
    answer = _found(guest, _show)
    if answer.status_code == 200 and guest.request.method == "GET":
        guest.storage.write(lambda store: store.shares.viewed(guest.told.id, now_us()))
    return _private(answer)


@door("/s/{token}", "POST")
def unlock(visitor: Visitor, form: FormData) -> Response:
    guest = _guest(visitor)
    if core.has_ended(guest.told, now_us()):
        return _private(_ended(guest))
    request = guest.request
    try:
        password = str(form.get("password") or "")
        core.unlock(guest.storage, guest.told, password, client_address(request), now_us())
    except Unauthorized:
        return _private(_locked(guest, 403, failed=True))
    except RateLimited as limited:
        return _private(_locked(guest, 429, failed=True, wait_s=int(limited.retry_after_s or 1)))
    answer = RedirectResponse(guest.top, 303)
    proof, secure = _proof(guest.told), is_https(request)
    answer.set_cookie("opened", proof, path=guest.top, httponly=True, secure=secure, samesite="lax")
    return _private(answer)


def _turned_away(guest: Guest) -> Response | None:
    if core.has_ended(guest.told, now_us()):
        return _ended(guest)
    return None if _proved(guest, guest.told) else _locked(guest, 200, failed=False)


def _ended(guest: Guest) -> Response:
    when = guest.voice.date(guest.told.expires_us or 0)
    return guest.render("ended.html", 410, title=guest.voice.say("This link has ended"), when=when)


def _locked(guest: Guest, code: int, failed: bool, wait_s: int = 0) -> Response:
    title = guest.voice.say("A password is needed")
    answer = guest.render("locked.html", code, title=title, failed=failed, wait_s=wait_s)
    if wait_s:
        answer.headers["Retry-After"] = str(wait_s)
    return answer


def _proof(share: Share) -> str:
    return hmac.new((share.password or "").encode(), str(share.id).encode(), hashlib.sha256).hexdigest()


def _proved(guest: Guest, share: Share) -> bool:
    return share.password is None or hmac.compare_digest(guest.request.cookies.get("opened", ""), _proof(share))


def _private(answer: Response) -> Response:
    """No search engine keeps it, no other site learns the address."""
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["X-Robots-Tag"] = "noindex, nofollow"
    answer.headers["Cache-Control"] = "private, no-store"
    return answer


# -- what is behind it -----------------------------------------------------------------------------------------------
def _found(guest: Guest, show: Callable[[Guest], Response]) -> Response:
    """What was shared, or, in the same brand, that it is gone."""
    try:
        return show(guest)
    except NotFound:
        return guest.render("error.html", 404, status=404, detail="", home="")


def _show(guest: Guest) -> Response:
    share = guest.told
    if share.kind == "conversation":
        return _conversation(guest, share.target or 0, share.name)
    if share.kind == "report":
        report = guest.read(lambda store: reports.get(store, guest.scope, share.target or 0))
        return guest.render("shared.html", title=share.name, board=thawed(guest, report), report=report)
    return guest.render("shared.html", title=share.name, board=_board(guest), report=None)


def _board(guest: Guest, inline_map: bool = False) -> Board:
    chosen, _ = period(guest)
    answers = guest.read(lambda store: overview(store, guest.scope, chosen))
    drill = _drill(guest, chosen) if guest.leads and not guest.framed else nowhere
    return Board(guest.voice, chosen, answers, drill, now_us(), inline_map, shows_tokens=guest.shows_tokens)


def _conversation(guest: Guest, id: int, title: str, back: str = "") -> Response:
    def ask(store: Store) -> Transcript:
        return conversations.transcript(store, guest.scope, id)

    found = guest.sight.whole(guest.read(ask))
    agent = guest.agent_of(found.conversation.agent_id)
    signer = guest.request.app.state.signer
    return guest.render(
        "shared_conversation.html",
        title=title,
        head=found.conversation,
        agent=agent,
        back=back,
        shown=min(SHOWN_EVENTS, len(found.events)),
        total=len(found.events),
        lines=thread.lines(guest.voice, found.events[:SHOWN_EVENTS], found.attachments, found.feedbacks, found.buttons),
        anchor=lambda event: f"#m{event.id}",
        escalations=agent.escalation_actions,
        pictures=thread.PICTURES,
        payload=thread.payload,
        file_url=lambda file: render.file_url(file, signer),
    )


# -- from a number to its conversations, inside what is shared -------------------------------------------------------
def _drill(guest: Guest, chosen: Period) -> Drill:
    def address(name: str, by: str | None = None, row: Row | None = None) -> str:
        return f"{guest.top}/conversations" + query(behind(chosen, name, by, row).items())

    return address


def _narrowed(guest: Guest) -> Filter:
    """The conversations behind a number of this share: its filter, and no moment outside its period."""
    where, _ = filters.asked(guest)
    first_us, until_us = period(guest)[0].bounds_us
    start = max(first_us, where.counted_from if where.counted_from is not None else first_us)
    end = min(until_us, where.counted_to if where.counted_to is not None else until_us)
    return replace(
        where, counted_by=where.counted_by or "conversations", counted_from=start, counted_to=max(start, end)
    )


def _behind(store: Store, guest: Guest, where: Filter) -> tuple[list[Conversation], bool]:
    hour = hours.behind(store, guest.scope, where, guest.params.get("counted_hour", ""), guest.zone)
    if hour is not None:
        return hour[:SHOWN_ROWS], len(hour) > SHOWN_ROWS
    return store.conversations.page(guest.scope, where, limit=SHOWN_ROWS)


@door("/s/{token}/{below:path}")
def below(visitor: Visitor) -> Response:
    """`conversations`: those behind a number of a shared page; `conversations/{id}`: one of them."""
    guest = _guest(visitor)
    if turned_away := _turned_away(guest):
        return _private(turned_away)
    return _private(_found(guest, _below))


def _below(guest: Guest) -> Response:
    place, _, id = guest.request.path_params["below"].partition("/")
    if place != "conversations" or not guest.leads or (id and not (id.isdecimal() and len(id) < 19)):
        raise NotFound("there is no such page")
    where = _narrowed(guest)
    asked = query(pair for pair in guest.request.query_params.multi_items() if pair[0] in LEADS)
    back = f"{guest.top}/conversations{asked}"
    if not id:
        rows, more = guest.read(lambda store: _behind(store, guest, where))
        return guest.render(
            "shared_list.html",
            title=guest.told.name,
            rows=[guest.sight.head(row) for row in rows],
            more=more,
            to=lambda head: f"{guest.top}/conversations/{head.id}{asked}",
        )

    def ask(store: Store) -> Conversation:
        one = conversations.get(store, guest.scope, int(id))
        among, _ = _behind(store, guest, replace(where, conversation_id=one.conversation_id))
        if one.id not in {row.id for row in among}:
            raise NotFound("no such conversation")
        return one

    head = guest.read(ask)
    return _conversation(guest, head.id, head.name or head.conversation_id, back)


# -- in a frame ------------------------------------------------------------------------------------------------------
@door("/e/{token}")
def embed(visitor: Visitor) -> Response:
    """The numbers in somebody else's frame, on the sites the share names. No cookie is read; the address only narrows."""
    guest = _guest(visitor, framed=True)
    share = guest.told
    if share.kind != "analytics" or share.password is not None:
        raise NotFound("this link cannot be framed")
    guest.request.state.ancestors = " ".join(share.hosts) or "'none'"
    if core.has_ended(share, now_us()):
        return _framed(_ended(guest))
    granted = [name for name in WIDGETS if name in (share.widgets or WIDGETS)]
    asked = guest.request.query_params.get("widgets", "").split(",")
    answer = guest.render(
        "embed.html",
        title=share.name,
        board=_board(guest, True),
        widgets=[name for name in granted if name in asked] or granted,
    )
    if guest.request.method == "GET":
        guest.storage.write(lambda store: store.shares.viewed(share.id, now_us()))
    return _framed(answer)


def _framed(answer: Response) -> Response:
    answer.headers["Cross-Origin-Opener-Policy"] = "unsafe-none"
    return _private(answer)
