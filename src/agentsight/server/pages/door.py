"""In and out: the one-time link, the sign-in page, signing out, and how somebody likes to see things."""

from __future__ import annotations

from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from agentsight.core import tenancy
from agentsight.core.model import User
from agentsight.core.ports import Store
from agentsight.errors import NotFound

from ..http import SESSION_COOKIE, at_home, now_us
from ..ui.words import LANGUAGES
from .shell import THEMES, SignInNeeded, Visit, Visitor, door, enter, local

SESSION_S = 14 * 24 * 3600
YEAR_S = 365 * 24 * 3600


@door("/")
def home(visitor: Visitor) -> Response:
    """To the place somebody is most likely to want."""
    visit = enter(visitor.request)
    alone = visit.agents[0].slug if len(visit.agents) == 1 else "all"
    return RedirectResponse(visit.link("analytics", agent=alone), 303)


@door("/login")
def sign_in(visitor: Visitor) -> Response:
    """Asks for a click before it uses a link up: mail scanners open links, they do not press buttons."""
    token = visitor.request.query_params.get("token", "")
    back = local(visitor.request.query_params.get("next"), "")
    if not token and _signed_in(visitor):
        return RedirectResponse(back or "/", 303)
    typed = visitor.request.headers.get("sec-fetch-site") in (None, "none", "same-origin")
    return visitor.render("login.html", token=token, back=back, at_once=typed, failed=False)


@door("/login", "POST")
def use_link(visitor: Visitor, form: FormData) -> Response:
    token, back = str(form.get("token") or ""), local(form.get("next"), "/")

    def change(store: Store) -> str | None:
        user = tenancy.use_link(store, token, now_us())
        if user is not None and not at_home(visitor.request, user.organization_id):
            raise NotFound("not in this house")  # and, undone with all of this, not used up
        return tenancy.start_session(store, user, now_us()) if user else None

    try:
        session = visitor.write(change) if token else None
    except NotFound:
        session = None
    if session is None:
        return visitor.render("login.html", 403, token="", back="", at_once=False, failed=True)
    answer = RedirectResponse(back, 303)
    secure = visitor.request.url.scheme == "https"
    answer.set_cookie(SESSION_COOKIE, session, max_age=SESSION_S, httponly=True, secure=secure, samesite="lax")
    return answer


@door("/logout", "POST")
def sign_out(visitor: Visitor, form: FormData) -> Response:
    if visitor.session and visitor.proves(form.get("csrf")):
        visitor.write(lambda store: tenancy.end_session(store, visitor.session))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(SESSION_COOKIE, secure=visitor.request.url.scheme == "https", httponly=True)
    return answer


@door("/preferences", "POST")
def prefer(visitor: Visitor, form: FormData) -> Response:
    """Theme and language: a cookie each, so the next page comes right at once."""
    answer = RedirectResponse(local(form.get("back"), "/"), 303)
    for name, allowed in (("theme", THEMES), ("language", tuple(LANGUAGES))):
        chosen = form.get(name)
        if chosen in allowed:
            answer.set_cookie(name, str(chosen), max_age=YEAR_S, samesite="lax", httponly=True)
    return answer


def _signed_in(visitor: Visitor) -> User | None:
    try:
        visit: Visit = enter(visitor.request)
    except SignInNeeded:
        return None
    return visit.user
