"""What every page stands on: who looks, at whose agents, in which words; and how a function becomes a route.

A page is a plain function from a `Visit` to a response; it runs in a thread. `page` and `act` put it at its address.
Whatever it raises becomes a page too.
"""

from __future__ import annotations

import gzip
import hashlib
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from agentsight.core import audit, hosts, sessions, sight, tenancy, views
from agentsight.core.model import Agent, Organization, Principal, Scope, User
from agentsight.core.permissions import Needed
from agentsight.core.ports import Storage, Store
from agentsight.core.sight import Sight
from agentsight.core.views import View
from agentsight.errors import AgentSightError, Forbidden, NotFound, Refused

from ..http import at_home, client_address, house, needs, note_session, now_us, require_own_page, session_token, url_at
from ..ui.assets import asset_url
from ..ui.charts import bar, html
from ..ui.icons import icon
from ..ui.markdown import markdown
from ..ui.text import initials, visible
from ..ui.theme import MAKER, Brand
from ..ui.words import LANGUAGES, Voice, negotiate

T = TypeVar("T")
log = logging.getLogger("agentsight.pages")

THEMES = ("light", "dark", "auto")
MAX_FORM_FIELDS = 200
MIN_PACKED_BYTES = 600
_DAY_S = 24 * 3600
PLACE = "/o/{org}/a/{agent}"
NOBODY = Brand(MAKER, ours=True)


def _N(text: str) -> str:
    """Marks a text for translation where it is said later."""
    return text


routes: list[Route] = []
"""Every page, in the order of its definition; `app.py` serves them."""

_env = Environment(
    loader=FileSystemLoader(Path(__file__).parent.parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
    extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"],
)
_VALUES = (
    _N("positive"),
    _N("neutral"),
    _N("negative"),
    _N("production"),
    _N("development"),
    _N("owner"),
    _N("member"),
    _N("client"),
)  # values of fields, said by their own names
NAVIGATION = (
    ("analytics", _N("Analytics"), "chart-column"),
    ("conversations", _N("Conversations"), "messages-square"),
    ("reports", _N("Report history"), "history"),
    ("history", _N("Agent history"), "file-clock"),
    ("migrate", _N("Migrate"), "import"),
    ("usage", _N("Usage and limits"), "gauge"),
    ("settings", _N("Settings"), "settings"),
)
SECTIONS: dict[str, dict[str, str]] = {}
"""Pages below a page of the navigation: page -> address -> name; each room enters its own."""
PLACES: dict[str, Needed] = {}
"""What every page needs, by its address below an agent."""

_env.globals.update(maker=MAKER)
_env.globals.update(bar=bar, icon=icon, asset=asset_url, languages=LANGUAGES, navigation=NAVIGATION, sections=SECTIONS)
_env.filters.update(href=lambda address: html(' href="{address}"', address=address) if address else "")
_env.filters.update(visible=visible, initials=initials, markdown=markdown)


class SignInNeeded(Exception):
    """Nobody we know is asking."""


class Elsewhere(Exception):
    """The page stands at another address of ours, the only argument."""


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
        return salt + _signed(self.session, salt)

    def proves(self, token: object) -> bool:
        """Whether a form came from one of our pages."""
        if not isinstance(token, str) or len(token) < 17:
            return False
        return hmac.compare_digest(token[16:], _signed(self.session, token[:16]))

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
        body = _env.get_template(template).render(values).encode("utf-8", "replace")
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


# -- routes ----------------------------------------------------------------------------------------------------------
def put(path: str, answer: Callable[[Request], Awaitable[Response]], needed: Needed, method: str = "GET") -> None:
    """Serve `answer` at `path`; what it needs stands on its endpoint, where tests and the start of the server look."""
    routes.append(Route(path, needs(needed)(caught(answer)), methods=[method]))


def page(place: str, needed: Needed) -> Callable[[Callable[[Visit], Response]], Callable[[Visit], Response]]:
    """Put a page at `place` below an agent's address, for those who may do what it needs."""

    def placed(show: Callable[[Visit], Response]) -> Callable[[Visit], Response]:
        async def answer(request: Request) -> Response:
            return await run_in_threadpool(lambda: show(allowed(request, needed)))

        put(f"{PLACE}/{place}", answer, needed)
        PLACES[place] = needed
        return show

    return placed


def act(
    place: str, needed: Needed
) -> Callable[[Callable[[Visit, FormData], Response]], Callable[[Visit, FormData], Response]]:
    """Take a form at `place` below an agent's address, if our own page sent it and the person may do what it needs."""

    def placed(do: Callable[[Visit, FormData], Response]) -> Callable[[Visit, FormData], Response]:
        async def answer(request: Request) -> Response:
            form = await read_form(request)
            return await run_in_threadpool(lambda: do(proven(allowed(request, needed), form), form))

        put(f"{PLACE}/{place}", answer, needed, "POST")
        return do

    return placed


def allowed(request: Request, needed: Needed) -> Visit:
    """Who is signed in, if they may do it. Raises SignInNeeded, NotFound, Forbidden."""
    visit = enter(request)
    visit.principal.require(needed)
    return visit


def proven(visit: Visit, form: FormData) -> Visit:
    if not visit.proves(form.get("csrf")):
        raise Forbidden("this form is too old; go back, load the page again and repeat it")
    return visit


def door(path: str, method: str = "GET") -> Callable[[Callable[..., Response]], Callable[..., Response]]:
    """Put a page at `path` that anybody may open. A POST gets its form as second argument."""

    def placed(show: Callable[..., Response]) -> Callable[..., Response]:
        async def answer(request: Request) -> Response:
            form = [await read_form(request)] if method == "POST" else []
            return await run_in_threadpool(lambda: show(Visitor(request), *form))

        put(path, answer, "anybody", method)
        return show

    return placed


async def read_form(request: Request) -> FormData:
    """The form of a POST. Raises Forbidden when another site sent it."""
    require_own_page(request)
    return await request.form(max_files=1, max_fields=MAX_FORM_FIELDS, max_part_size=2**26)


def text(form: FormData, name: str) -> str:
    """What a form says under this name; "" where it says nothing, or sends a file."""
    value = form.get(name)
    return value if isinstance(value, str) else ""


def enter(request: Request) -> Visit:
    """Who is signed in, at the agent the address names. Raises SignInNeeded, NotFound."""
    visitor = Visitor(request)
    organization_slug = request.path_params.get("org")
    agent_slug = request.path_params.get("agent", "all")

    def ask(store: Store) -> Visit:
        found = sessions.find(store, visitor.session, now_us()) if visitor.session else None
        if found is None or not at_home(request, found[1].organization_id):
            raise SignInNeeded
        session, user = found
        organization = store.tenants.organization(user.organization_id)
        if organization is None:
            raise SignInNeeded
        note_session(request, session)
        seen = tenancy.visible_agents(store, user)
        chosen = next((agent for agent in seen if agent.slug == agent_slug), None)
        if organization_slug not in (None, organization.slug) or (chosen is None and agent_slug != "all"):
            raise NotFound("there is no such page")
        return Visit(request, user, organization, seen, chosen, pulse(store))

    return visitor.read(ask)


def caught(answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """`answer`, with a page for whatever goes wrong."""

    async def careful(request: Request) -> Response:
        try:
            return await answer(request)
        except SignInNeeded:
            back = Visitor(request).path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse("/login" + query([("next", back)]), 303)
        except Elsewhere as there:
            return RedirectResponse(local(there.args[0], "/"), 303)
        except Refused as refused:
            return await run_in_threadpool(error_page, request, refused.status_code, refused.message)
        except Exception:
            log.exception("page failed: %s", request.url.path)
            return await run_in_threadpool(error_page, request, 500, "")

    return careful


def error_page(request: Request, status: int, detail: str) -> Response:
    """What went wrong, for people. `app.py` uses it too, for browsers that ask for an address nobody serves."""
    visitor = Visitor(request)
    home = "/"
    return visitor.render("error.html", status, status=status, detail=detail, home=home)


async def _no_such_page(request: Request) -> Response:
    raise NotFound("there is no such page")


nowhere = Route("/o/{rest:path}", needs("anybody")(caught(_no_such_page)), methods=["GET", "POST"])
"""Everything below an organization that nobody serves; it comes last."""


def pulse(store: Store) -> str:
    """A word that changes when anything is stored."""
    return store.timeline.newest()


# -- small things ----------------------------------------------------------------------------------------------------
def query(pairs: Iterable[tuple[str, object]]) -> str:
    """A query string with its `?`; empty when there is nothing to say. A list says its name once for each value."""
    every = ((name, one) for name, value in pairs for one in (value if isinstance(value, list) else (value,)))
    given = [f"{_quoted(name)}={_quoted(str(value))}" for name, value in every if value is not None and value != ""]
    return "?" + "&".join(given) if given else ""


_quoted = lru_cache(maxsize=4_096)(quote_plus)  # what a page's many links say differs in a word or two


def zone_named(name: str | None, otherwise: str) -> ZoneInfo:
    """The time zone, or the other one when there is no such zone."""
    for candidate in (name, otherwise):
        if candidate and not candidate.startswith("/") and len(candidate) < 64:
            try:
                return ZoneInfo(candidate)
            except (KeyError, ValueError, OSError):
                continue
    return ZoneInfo("UTC")


def local(url: object, otherwise: str) -> str:
    """`url` if it stays on this server."""
    fine = isinstance(url, str) and url.startswith("/") and not url.startswith(("//", "/\\")) and url.isprintable()
    return str(url) if fine else otherwise


def _signed(session: str, salt: str) -> str:
    return hmac.new(session.encode(), b"form" + salt.encode(), hashlib.sha256).hexdigest()[:32]
