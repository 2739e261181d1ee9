"""In and out: password, one-time link, invitation, forgotten password, signing out; and how somebody likes to see things."""

from __future__ import annotations

from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from agentsight.core import audit, hosts, people, sessions, signing, tenancy, throttle
from agentsight.core.model import Invitation, Organization, User
from agentsight.core.ports import Store
from agentsight.errors import Invalid, NotFound, RateLimited, Unauthorized

from ..http import at_home, client_address, is_https, now_us, session_cookie, url_at
from ..ui.words import LANGUAGES
from .addresses import local
from .shell import SignInNeeded, door, enter, text
from .visit import THEMES, Visit, Visitor

YEAR_S = 365 * 24 * 3600


@door("/")
def home(visitor: Visitor) -> Response:
    """To the place somebody is most likely to want."""
    visit = enter(visitor.request)
    alone = visit.agents[0].slug if len(visit.agents) == 1 else "all"
    return RedirectResponse(visit.link("analytics", agent=alone), 303)


# -- signing in ------------------------------------------------------------------------------------------------------
@door("/login")
def sign_in(visitor: Visitor) -> Response:
    """Asks for a click before it uses a link up: mail scanners open links, they do not press buttons."""
    token = visitor.request.query_params.get("token", "")
    back = local(visitor.request.query_params.get("next"), "")
    if not token and _signed_in(visitor):
        return RedirectResponse(back or "/", 303)
    typed = visitor.request.headers.get("sec-fetch-site") in (None, "none", "same-origin")
    return _asked(visitor, token=token, back=back, at_once=typed)


def _asked(
    visitor: Visitor,
    code: int = 200,
    *,
    token: str = "",
    back: str = "",
    at_once: bool = False,
    failed: str = "",
    email: str = "",
    wait_s: int = 0,
) -> Response:
    answer = visitor.render(
        "login.html", code, token=token, back=back, at_once=at_once, failed=failed, email=email, wait_s=wait_s
    )
    if wait_s:
        answer.headers["Retry-After"] = str(wait_s)
    return answer


@door("/login", "POST")
def enter_by(visitor: Visitor, form: FormData) -> Response:
    """By the token of a one-time link, else by e-mail address and password."""
    token, back = text(form, "token"), local(form.get("next"), "/")
    if token:
        try:
            return welcome(visitor, visitor.write(lambda store: _used(store, visitor, token)), back, "link")
        except NotFound:
            return _asked(visitor, 403, failed="link")
    email = text(form, "email")
    try:
        user = by_password(visitor, email, text(form, "password"))
    except Unauthorized:
        return _asked(visitor, 403, failed="password", back=local(form.get("next"), ""), email=email)
    except RateLimited as limited:
        wait_s = int(limited.retry_after_s or 1)
        return _asked(visitor, 429, failed="wait", back=local(form.get("next"), ""), email=email, wait_s=wait_s)
    return welcome(visitor, user, back, "password")


def _used(store: Store, visitor: Visitor, token: str) -> User:
    """Whom a one-time link signs in; in somebody else's house nobody, and the link is not used up. Raises NotFound."""
    user = tenancy.use_link(store, token, now_us())
    if user is None or not at_home(visitor.request, user.organization_id):
        raise NotFound("this link does not work, or no longer")
    return user


def by_password(visitor: Visitor, email: str, password: str) -> User:
    """Raises Unauthorized, RateLimited; in an organization's own house its people alone are known."""
    user = signing.authenticate(visitor.storage, email, password, client_address(visitor.request), now_us())
    if not at_home(visitor.request, user.organization_id):
        raise Unauthorized("not in this house")
    return user


def welcome(visitor: Visitor, user: User, back: str, way: str) -> Response:
    """Off to `back` with a new session; the one this browser had, if any, ends."""
    request, ip = visitor.request, client_address(visitor.request)

    def change(store: Store) -> str:
        if visitor.session:
            sessions.end(store, visitor.session)
        audit.note(store, sessions.principal(store, user), "sign_in", detail={"by": way}, ip=ip, now_us=now_us())
        return sessions.start(store, user, now_us(), ip, request.headers.get("user-agent", ""))

    answer = RedirectResponse(back, 303)
    set_session(visitor, answer, visitor.write(change))
    return answer


def set_session(visitor: Visitor, answer: Response, token: str) -> None:
    """The cookie of a session: for us alone, by https only where there is https."""
    answer.set_cookie(
        session_cookie(visitor.request),
        token,
        max_age=sessions.LIFETIME_US // 1_000_000,
        httponly=True,
        secure=is_https(visitor.request),
        samesite="lax",
    )


@door("/logout", "POST")
def sign_out(visitor: Visitor, form: FormData) -> Response:
    if visitor.session and visitor.proves(form.get("csrf")):
        visitor.write(lambda store: sessions.end(store, visitor.session))
    answer = RedirectResponse("/login", 303)
    drop_session(visitor, answer)
    return answer


def drop_session(visitor: Visitor, answer: Response) -> None:
    name, secure = session_cookie(visitor.request), is_https(visitor.request)
    answer.delete_cookie(name, secure=secure, httponly=True, samesite="lax")


# -- invited ---------------------------------------------------------------------------------------------------------
@door("/invite/{token}")
def invited(visitor: Visitor) -> Response:
    return _invited(visitor)


def _open(store: Store, visitor: Visitor) -> Invitation:
    """The invitation of the address. Raises NotFound, also in somebody else's house."""
    found = people.invitation(store, visitor.request.path_params["token"], now_us())
    if not at_home(visitor.request, found.organization_id):
        raise NotFound("this invitation does not work, or no longer")
    return found


def _invited(visitor: Visitor, wrong: str = "", name: str = "", code: int = 200) -> Response:
    def ask(store: Store) -> tuple[Invitation, Organization | None]:
        found = _open(store, visitor)
        return found, store.tenants.organization(found.organization_id)

    invitation, visitor.organization_shown = visitor.read(ask)
    return private(
        visitor.render(
            "invite.html", code, invitation=invitation, organization=visitor.organization_shown, wrong=wrong, name=name
        )
    )


@door("/invite/{token}", "POST")
def accept(visitor: Visitor, form: FormData) -> Response:
    token, name, password = visitor.request.path_params["token"], text(form, "name"), text(form, "password")
    found = visitor.read(lambda store: _open(store, visitor))
    try:
        if not name.strip():
            raise Invalid.of("name", "must not be blank")
        kept = people.new_password(password, found.email)

        def change(store: Store) -> User:
            user = people.accept(store, token, name, kept, now_us())
            who = sessions.principal(store, user)
            ip = client_address(visitor.request)
            audit.note(store, who, "person.joined", user.email, {"role": user.role}, ip, now_us=now_us())
            return user

        user = visitor.write(change)
    except Invalid as wrong:
        return _invited(visitor, wrong.message, name, 400)
    return welcome(visitor, user, "/", "invitation")


# -- forgotten -------------------------------------------------------------------------------------------------------
@door("/forgot")
def forgot(visitor: Visitor) -> Response:
    return visitor.render("forgot.html", by_mail=visitor.request.app.state.mailer is not None, done=False)


@door("/forgot", "POST")
def send_link(visitor: Visitor, form: FormData) -> Response:
    """The same answer for everybody, at once, whether there is such a person or not."""
    mailer, email = visitor.request.app.state.mailer, text(form, "email").strip().lower()[:255]
    if mailer is None:
        return visitor.render("forgot.html", 400, by_mail=False, done=False)
    whose = throttle.names(f"forgot {email}", client_address(visitor.request))

    def change(store: Store) -> tuple[User, str] | None:
        throttle.require(store, whose, now_us())
        throttle.failed(store, whose, now_us())
        return people.link_to(store, email, now_us())

    found = visitor.write(change)
    if found:
        user, token = found
        say = visitor.voice.say
        at = visitor.read(lambda store: url_at(visitor.request, hosts.primary(store, user.organization_id)))
        link = f"{at}/reset/{token}"
        letter = say("Choose a new password here, within a day:\n\n{link}\n\nIf you did not ask for this, do nothing.")
        mailer.send_later(
            user.email, say("A new password for {brand}", brand=visitor.brand.name), letter.format(link=link)
        )
    return visitor.render("forgot.html", by_mail=True, done=True)


@door("/reset/{token}")
def reset(visitor: Visitor) -> Response:
    return _reset(visitor)


def _whose(visitor: Visitor) -> User:
    """Whom the link in the address signs in. Raises NotFound."""
    token = tenancy.digest(visitor.request.path_params["token"])
    found = visitor.read(lambda store: store.people.link_user(token, now_us()))
    if found is None or not at_home(visitor.request, found.organization_id):
        raise NotFound("this link does not work, or no longer")
    return found


def _reset(visitor: Visitor, wrong: str = "", code: int = 200) -> Response:
    person = _whose(visitor)
    visitor.organization_shown = visitor.read(lambda store: store.tenants.organization(person.organization_id))
    return private(visitor.render("reset.html", code, person=person, wrong=wrong))


@door("/reset/{token}", "POST")
def set_new(visitor: Visitor, form: FormData) -> Response:
    person = _whose(visitor)
    try:
        kept = people.new_password(text(form, "password"), person.email)
    except Invalid as wrong:
        return _reset(visitor, wrong.message, 400)

    def change(store: Store) -> User:
        user = _used(store, visitor, visitor.request.path_params["token"])
        people.set_password(store, user, kept, now_us())
        throttle.succeeded(store, user.email)
        who, ip = sessions.principal(store, user), client_address(visitor.request)
        audit.note(store, who, "password.changed", user.email, {"by": "link"}, ip, now_us=now_us())
        return user

    return welcome(visitor, visitor.write(change), "/", "link")


def private(answer: Response) -> Response:
    """A page whose address is a secret: it is told to nobody."""
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["X-Robots-Tag"] = "noindex, nofollow"
    return answer


# -- how somebody likes it -------------------------------------------------------------------------------------------
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
