"""Who looks at a page: whose agents they see, in which words and colours, from which session."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import quote
from zoneinfo import ZoneInfo

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from agentsight.core import audit, hosts, sessions, sight, views
from agentsight.core.model import Agent, Organization, Principal, Scope, User
from agentsight.core.permissions import Needed
from agentsight.core.ports import Storage, Store
from agentsight.core.sight import Sight
from agentsight.core.views import View
from agentsight.errors import AgentSightError

from ..http import base_url, client_address, house, now_us, session_token, url_at
from ..ui.theme import MAKER, Brand
from ..ui.words import Voice, negotiate
from .addresses import query
from .layout import PLACES, SECTIONS, templates

T = TypeVar("T")

THEMES = ("light", "dark", "auto")
MIN_PACKED_BYTES = 600
NOBODY = Brand(MAKER, ours=True)


@dataclass
class Visitor:
    """A person with a browser; not yet anybody we know."""

    request: Request

    @property
    def storage(self) -> Storage:
        storage: Storage = self.request.app.state.storage
        return storage

    def read(self, ask: Callable[[Store], T], *, may_lag: bool = False) -> T:
        return self.storage.read(ask, may_lag=may_lag)

    def write(self, change: Callable[[Store], T]) -> T:
        """`change` in a transaction, waited for."""
        future: Future[T] = self.storage.write(change)
        return future.result(timeout=30)

    @property
    def params(self) -> QueryParams:
        """What the page is asked to show."""
        return self.request.query_params

    # -- how they like it
    @cached_property
    def voice(self) -> Voice:
        locale = negotiate(self.request.cookies.get("language"), self.request.headers.get("accept-language", ""))
        return Voice(locale, self.zone)

    @property
    def zone(self) -> ZoneInfo:
        return zone_named(self.params.get("tz"), "UTC")

    @property
    def theme(self) -> str:
        bound = getattr(self.request.state, "frame_theme", None)
        chosen = bound or self.request.query_params.get("theme") or self.request.cookies.get("theme")
        return chosen if chosen in THEMES else "auto"

    @cached_property
    def organization_shown(self) -> Organization | None:
        """Whose colours a page wears: those of the house, else of the person signed in; None: nobody's."""
        if (here := house(self.request)) is not None or not self.session:
            return here

        def ask(store: Store) -> Organization | None:
            user = sessions.user(store, self.session, now_us())
            return store.tenants.organization(user.organization_id) if user else None

        try:
            return self.read(ask)
        except AgentSightError:
            return None

    @property
    def brand_root(self) -> str:
        """What the addresses of a brand's files begin with; in its own house they need not say whose it is."""
        shown = self.organization_shown
        return f"/brand/{shown.slug if shown and house(self.request) is None else '-'}/"

    @cached_property
    def brand(self) -> Brand:
        shown = self.organization_shown
        return Brand.of(shown.name, shown.settings.get("brand") or {}, self.brand_root) if shown else NOBODY

    @property
    def brand_url(self) -> str:
        return f"{self.brand_root}{self.brand.version}.css"

    @property
    def icon_url(self) -> str:
        return self.brand.favicon or f"{self.brand_root}{self.brand.version}.svg"

    @property
    def path(self) -> str:
        """This page's address as people see it: without the organization in its own house."""
        here = house(self.request)
        path = self.request.url.path
        return path.removeprefix(f"/o/{here.slug}") if here else path

    # -- the session
    @cached_property
    def session(self) -> str:
        """The session's secret; empty without one."""
        return session_token(self.request)

    @cached_property
    def csrf(self) -> str:
        """What a form of this session must carry; another value on every page, so that compression tells nothing."""
        salt = secrets.token_hex(8)
        return salt + signed(self.session, salt)

    def proves(self, token: object) -> bool:
        """Whether a form came from one of our pages."""
        if not isinstance(token, str) or len(token) < 17:
            return False
        return hmac.compare_digest(token[16:], signed(self.session, token[:16]))

    # -- addresses
    def here(self, **changes: object) -> str:
        """This page's address with some of its query changed; None takes a parameter out."""
        kept = [(name, value) for name, value in self.request.query_params.multi_items() if name not in changes]
        return self.path + query(kept + list(changes.items()))

    # -- answers
    def render(self, template: str, code: int = 200, **values: Any) -> Response:
        """The page, in this visitor's words and colours, compressed when it is worth it."""
        notice = self.request.cookies.get("notice", "")
        values = {
            "visit": self,
            "v": self.voice,
            "_": self.voice.say,
            "count": self.voice.count,
            "request": self.request,
        } | values
        values["notice"] = notice
        body = templates.get_template(template).render(values).encode("utf-8", "replace")
        headers = {"Cache-Control": "no-store", "Vary": "Accept-Encoding, Cookie, X-Swap"}
        if len(body) > MIN_PACKED_BYTES and "gzip" in self.request.headers.get("accept-encoding", ""):
            body = gzip.compress(body, 5)
            headers["Content-Encoding"] = "gzip"
        answer = Response(body, code, headers, "text/html; charset=utf-8")
        if notice:
            answer.delete_cookie("notice")
        return answer

    def redirect(self, url: str, notice: str = "") -> Response:
        """Off to another of our pages; `notice` is said there once."""
        answer = RedirectResponse(url, 303)
        if notice:
            answer.set_cookie("notice", quote(notice), max_age=60, httponly=True, samesite="lax")
        return answer


@dataclass
class Visit(Visitor):
    """Somebody signed in, looking at one agent or at all they may see."""

    user: User
    organization: Organization
    agents: tuple[Agent, ...]
    agent: Agent | None = None
    since: str = ""  # the store's pulse before anything of the page was read

    @property
    def zone(self) -> ZoneInfo:
        return zone_named(self.params.get("tz"), self.organization.timezone)

    @cached_property
    def organization_shown(self) -> Organization | None:
        return self.organization

    @property
    def server(self) -> str:
        """What programs are told to send to."""
        return base_url(self.request)

    def base(self, store: Store) -> str:
        """What absolute links into this organization begin with."""
        return url_at(self.request, hosts.primary(store, self.organization.id))

    @property
    def scope(self) -> Scope:
        """What this page may show."""
        agents = (self.agent,) if self.agent else self.agents
        return Scope(self.organization.id, tuple(agent.id for agent in agents))

    @cached_property
    def sight(self) -> Sight:
        """How much of a conversation this person sees."""
        return sight.of(self.user.role, self.organization.settings)

    @property
    def principal(self) -> Principal:
        return Principal(self.scope, self.user.role, user_id=self.user.id, name=self.user.email, sight=self.sight)

    def may(self, needed: Needed) -> bool:
        """Whether this person is allowed to, by the one permission table."""
        return self.principal.may(needed)

    def opens(self, place: str) -> bool:
        """Whether the navigation offers a page, or a page with sections of which one opens."""
        if sections := SECTIONS.get(place):
            return any(self.opens(f"{place}/{name}") for name in sections)
        if place == "history" and not self.sight.metadata:  # it tells what metadata says
            return False
        return self.may(PLACES.get(place) or PLACES[place.partition("/")[0]])

    def views(self, place: str) -> list[View]:
        """The saved views of a page this person may open."""
        return [view for view in views.seen(self.organization, self.user.id) if view.place == place]

    @property
    def chat_open(self) -> bool:
        """Whether the chat backend runs beside us."""
        return getattr(self.request.app.state, "chat_link", None) is not None

    def note(self, store: Store, action: str, subject: str = "", detail: Mapping[str, Any] | None = None) -> None:
        """A line in the organization's audit log, in the transaction of the act."""
        ip = client_address(self.request)
        audit.note(store, self.principal, action, subject, detail, ip, now_us=now_us())

    @property
    def environment(self) -> str:
        asked = (self.params.get("environment") or self.params.get("env") or "").lower()
        return "development" if asked in ("development", "dev") else "production"

    @property
    def live_url(self) -> str:
        """Where the page hears that it is out of date."""
        return self.link("live", {"since": self.since})

    @property
    def shows_tokens(self) -> bool:
        return self.sight.tokens

    def agent_of(self, agent_id: int) -> Agent:
        return next(agent for agent in self.agents if agent.id == agent_id)

    @property
    def query_string(self) -> str:
        """The filter in force, for addresses that keep it."""
        return query(pair for pair in self.params.multi_items() if pair[0] not in ("before", "after"))

    @property
    def root(self) -> str:
        """What every address of this agent begins with."""
        return f"{self._top}/a/{self.agent.slug if self.agent else 'all'}/"

    @property
    def _top(self) -> str:
        return "" if house(self.request) else f"/o/{self.organization.slug}"

    def link(self, place: str = "", parameters: Mapping[str, object] | None = None, agent: str | None = None) -> str:
        """The address of a page of this agent; development stays development."""
        given = dict(parameters or {})
        if self.environment == "development":
            given.setdefault("environment", "development")
        root = f"{self._top}/a/{agent}/" if agent else self.root
        return root + place + query(given.items())


def zone_named(name: str | None, otherwise: str) -> ZoneInfo:
    """The time zone, or the other one when there is no such zone."""
    for candidate in (name, otherwise):
        if candidate and not candidate.startswith("/") and len(candidate) < 64:
            try:
                return ZoneInfo(candidate)
            except (KeyError, ValueError, OSError):
                continue
    return ZoneInfo("UTC")


def signed(session: str, salt: str) -> str:
    """What proves that who made a form knew the session."""
    return hmac.new(session.encode(), b"form" + salt.encode(), hashlib.sha256).hexdigest()[:32]
