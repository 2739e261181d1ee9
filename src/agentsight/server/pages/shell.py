"""How a function becomes a route, and whatever it raises a page.

A page is a plain function from a `Visit` to a response; it runs in a thread. `page` and `act` put it at its address.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from agentsight.core import sessions, tenancy
from agentsight.core.permissions import Needed
from agentsight.core.ports import Store
from agentsight.errors import Forbidden, InvalidEvent, NotFound, Refused

from ..http import at_home, needs, note_session, now_us, require_own_page
from .addresses import local, query
from .layout import PLACES
from .visit import Visit, Visitor

log = logging.getLogger("agentsight.pages")

MAX_FORM_FIELDS = 200
PLACE = "/o/{org}/a/{agent}"
routes: list[Route] = []
"""Every page, in the order of its definition; `app.py` serves them."""


class _Row(IntegerConvertor):
    """An id of ours in a path; a number no row can have leads nowhere."""

    regex = "[0-9]{1,18}"


register_url_convertor("row", _Row())


class SignInNeeded(Exception):
    """Nobody we know is asking."""


class Elsewhere(Exception):
    """The page stands at another address of ours, the only argument."""


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
        except InvalidEvent as wrong:
            return await run_in_threadpool(error_page, request, wrong.status, str(wrong))
        except Exception:
            log.exception("page failed: %s", request.url.path)
            return await run_in_threadpool(error_page, request, 500, "")

    return careful


def error_page(request: Request, status: int, detail: str) -> Response:
    """What went wrong, for people. `app.py` uses it too, for browsers that ask for an address nobody serves."""
    return Visitor(request).render("error.html", status, status=status, detail=detail, home="/")


async def _no_such_page(request: Request) -> Response:
    raise NotFound("there is no such page")


nowhere = Route("/o/{rest:path}", needs("anybody")(caught(_no_such_page)), methods=["GET", "POST"])
"""Everything below an organization that nobody serves; it comes last."""


def pulse(store: Store) -> str:
    """A word that changes when anything is stored."""
    return store.timeline.newest()
