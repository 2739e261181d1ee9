"""Oneself: name, password, and where one is signed in."""

from __future__ import annotations

from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from agentsight.core import people, sessions, tenancy
from agentsight.core.ports import Store
from agentsight.errors import Invalid, RateLimited, Unauthorized

from ..http import client_address, now_us
from .door import by_password, drop_session, set_session
from .shell import allowed, proven, put, read_form
from .visit import Visit

Do = Callable[[Visit, FormData], Response]


def own_page(path: str) -> Callable[[Callable[[Visit], Response]], Callable[[Visit], Response]]:
    """Put a page about oneself at `path`: everybody signed in has one."""

    def placed(show: Callable[[Visit], Response]) -> Callable[[Visit], Response]:
        async def answer(request: Request) -> Response:
            return await run_in_threadpool(lambda: show(allowed(request, "signed_in")))

        put(path, answer, "signed_in")
        return show

    return placed


def own_act(path: str) -> Callable[[Do], Do]:
    """Take a form about oneself."""

    def placed(do: Do) -> Do:
        async def answer(request: Request) -> Response:
            form = await read_form(request)
            return await run_in_threadpool(lambda: do(proven(allowed(request, "signed_in"), form), form))

        put(path, answer, "signed_in", "POST")
        return do

    return placed


@own_page("/profile")
def profile(visit: Visit) -> Response:
    return _shown(visit)


def _shown(visit: Visit, wrong: str = "", code: int = 200) -> Response:
    found = visit.read(lambda store: sessions.of(store, visit.user.id, now_us()))
    current = tenancy.digest(visit.session)
    return visit.render(
        "profile.html",
        code,
        page="profile",
        title=visit.voice.say("Your profile"),
        sessions=found,
        current=current,
        wrong=wrong,
    )


@own_act("/profile/name")
def rename(visit: Visit, form: FormData) -> Response:
    try:
        visit.write(lambda store: people.rename(store, visit.user, str(form.get("name") or "")))
    except Invalid as wrong:
        return _shown(visit, wrong.message, 400)
    return visit.redirect("/profile", "saved")


@own_act("/profile/password")
def change_password(visit: Visit, form: FormData) -> Response:
    """A new one, if the old one is known; every other session ends, this one goes on under another token."""
    old, new = str(form.get("current") or ""), str(form.get("password") or "")
    try:
        kept = people.new_password(new, visit.user.email, visit.organization.name)
        if visit.user.has_password:
            by_password(visit, visit.user.email, old)
    except Unauthorized:
        return _shown(visit, visit.voice.say("That is not your present password."), 403)
    except (Invalid, RateLimited) as wrong:
        return _shown(visit, wrong.message, wrong.status_code)

    def change(store: Store) -> str:
        people.set_password(store, visit.user, kept, now_us())
        visit.note(store, "password.changed", visit.user.email)
        return _again(store, visit)

    answer = visit.redirect("/profile", "saved")
    set_session(visit, answer, visit.write(change))
    return answer


def _again(store: Store, visit: Visit) -> str:
    request = visit.request
    device = request.headers.get("user-agent", "")
    return sessions.start(store, visit.user, now_us(), client_address(request), device)


@own_act("/profile/sessions/{handle}/end")
def end_session(visit: Visit, form: FormData) -> Response:
    handle = visit.request.path_params["handle"]

    def change(store: Store) -> None:
        sessions.end_one(store, visit.user.id, handle)
        visit.note(store, "session.ended", handle)

    visit.write(change)
    return visit.redirect("/profile", "ended")


@own_act("/profile/sign-out")
def sign_out_everywhere(visit: Visit, form: FormData) -> Response:
    def change(store: Store) -> None:
        sessions.end_all(store, visit.user.id, now_us())
        visit.note(store, "sign_out_everywhere", visit.user.email)

    visit.write(change)
    answer = RedirectResponse("/login", 303)
    drop_session(visit, answer)
    return answer
