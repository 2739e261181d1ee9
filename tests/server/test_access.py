"""The access matrix: every route of the server x everybody who may ask x own and other people's things."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentsight.core import people, reports, sessions, shares, tenancy
from agentsight.core.model import Organization, Principal, Scope
from agentsight.core.permissions import Needed, Role, may
from agentsight.core.ports import Storage, Store
from agentsight.server.app import open_app
from agentsight.server.http import SESSION_COOKIE, every_route
from agentsight.server.pages.visit import signed
from agentsight.server.settings import Settings
from agentsight.storage import open_storage
from served import Api, Server, event, message
from spanned import send, turn

PERSONS: tuple[Role, ...] = ("client", "member", "owner")
CALLERS = ("anonymous", "garbage", "read", "write", *PERSONS)
NOBODY = 888_888_888
OPEN = {  # what anybody may ask for: a new route stands here on purpose, or names a permission
    *("GET /", "GET /login", "POST /login", "POST /logout", "POST /preferences", "GET /forgot", "POST /forgot"),
    *("GET /invite/{token}", "POST /invite/{token}", "GET /reset/{token}", "POST /reset/{token}"),
    *(
        "GET /s/{token}",
        "POST /s/{token}",
        "GET /s/{token}/{below:path}",
        "GET /e/{token}",
        "GET /files/{token}/{name}",
    ),
    *("GET /static/{name}", "GET /favicon.ico"),
    *("GET /brand/{slug}/{version}.{kind}", "GET /brand/{slug}/{which}/{sha256}"),
    *("GET /o/{rest:path}", "POST /o/{rest:path}", "POST /api/auth/token/"),
    *("GET /healthz", "GET /readyz", "GET /docs", "GET /metrics", "GET /openapi.json"),
}
FOR_KEYS = {"/api/me/"}  # whose key this is: nothing a person could be told
LOUD = re.compile(r"canary[-_ ]beta", re.IGNORECASE)
_ids = itertools.count(1)


@dataclass
class House:
    """An organization with one of everything, and somebody of each role."""

    slug: str
    ids: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)  # caller -> key or session
    users: dict[str, int] = field(default_factory=dict)


@dataclass
class Town:
    server: Server
    storage: Storage
    alpha: House
    beta: House
    table: list[tuple[str, str, Needed]]


def furnish(server: Server, storage: Storage, slug: str) -> House:
    """One of everything; every text in it says whose it is."""
    house, mark = House(slug), f"canary-{slug}"
    with server.api(f"{mark} agent", slug) as api:
        api.batch(
            event(
                "conversation", f"{mark}-1", name=f"{mark} name", customer_id=f"{mark}-customer", metadata={"m": mark}
            ),
            message(f"{mark}-1", f"{mark} said the walrus", environment="production"),
            event("action", f"{mark}-1", action_name=f"{mark}_tool", error_msg=f"{mark} went wrong"),
            event("feedback", f"{mark}-1", sentiment="negative", comment=f"{mark} walrus"),
            event("attachment", f"{mark}-1", filename=f"{mark}.txt", data="Y2FuYXJ5"),
        )
        one = turn(("end_user", f"{mark} spoke in a span"), name=f"{mark} span")
        send(api, f"{mark}-1", one)
        house.secrets["write"] = api.key
        head = api.conversation(f"{mark}-1")
        house.ids |= {"conversation": head["id"], "message": head["messages"][0]["id"], "trace_id": one["trace_id"]}
        house.ids["span"] = api.get("/api/spans/").json()["results"][0]["id"]
        house.ids["feedback"] = api.get("/api/feedbacks/").json()["results"][0]["id"]
        house.ids["action"] = api.get("/api/actions/").json()["results"][0]["id"]
        ticket = {"title": f"{mark} ticket", "conversation_id": head["id"], "feedback_id": house.ids["feedback"]}
        house.ids["ticket"] = api.post("/api/tickets/", json=ticket).json()["id"]
        api.post(f"/api/tickets/{house.ids['ticket']}/comments/", json={"body": f"{mark} word"})
    house.secrets["read"] = server.key(f"{mark} agent", slug, role="read")

    def make(store: Store) -> None:
        now_us = time.time_ns() // 1000
        owner = store.tenants.organization_named(slug)
        assert owner
        agent = store.tenants.agents(owner.id)[0]
        who = Principal(Scope(owner.id, (agent.id,)), "owner", user_id=1, name=f"{mark}@example.com")
        house.ids["agent"] = agent.id
        house.ids["report"] = reports.save(store, who, f"{mark} report", "", {}, {}, now_us).id
        what = {"kind": "conversation", "target": house.ids["conversation"], "name": f"{mark} share"}
        token, share = shares.create(store, who, **what, now_us=now_us)
        house.ids["share"], house.secrets["share"] = share.id, token
        house.ids["key"] = store.settings.keys(owner.id)[0].id
        invited, invitation = people.invite(store, who, owner, f"{mark}-new@example.com", "client", (), 7, now_us)
        house.ids["invitation"], house.secrets["invitation"] = invitation.id, invited
        for role in PERSONS:
            user = tenancy.add_user(store, owner, f"{mark}-{role}@example.com", role, (), now_us)
            house.users[role] = user.id
            house.secrets[role] = sessions.start(store, user, now_us)
        victim = tenancy.add_user(store, owner, f"{mark}-victim@example.com", "member", (), now_us)
        house.ids["user"] = victim.id
        sessions.start(store, victim, now_us)
        house.ids["handle"] = store.people.sessions(victim.id)[0].handle

    storage.write(make).result()
    return house


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    data = tmp_path_factory.mktemp("town")
    server = Server(data)
    storage = open_storage(server.database)
    yield Town(
        server, storage, furnish(server, storage, "alpha"), furnish(server, storage, "beta"), routes(data / "routes")
    )
    assert "crashed" not in server.log() and "page failed" not in server.log(), server.log()[-3000:]
    storage.close()
    server.stop()


def routes(folder: Path) -> list[tuple[str, str, Needed]]:
    """Method, path and what it needs, of everything the app serves; the batches are taken past the routes."""
    app = open_app(Settings.of(folder))
    app.state.storage.close()
    found = [
        (method, path, getattr(endpoint, "needs", "anybody"))
        for method, path, endpoint in every_route(app.routes)
        if method != "HEAD"
    ]
    return [*found, ("POST", "/api/batch/", "events.write")]


# -- asking ----------------------------------------------------------------------------------------------------------
def filled(path: str, house: House, org: str, ids: dict[str, Any]) -> str:
    """The path with something at each of its places: `org`'s address, and these ids."""
    kinds = {"conversations": "conversation", "reports": "report", "shares": "share", "keys": "key", "team": "user",
             "agent": "agent", "invitations": "invitation", "tickets": "ticket", "spans": "span", "track": "message",
             "feedbacks": "feedback", "actions": "action"}  # fmt: skip

    def value(found: re.Match[str]) -> str:
        name = found[1].partition(":")[0]
        if name == "id":
            before = path[: found.start()].rstrip("/").rpartition("/")[2]
            return str(ids.get(kinds[before], NOBODY))
        fixed = {
            "org": org,
            "agent": "all",
            "what": "conversations",
            "kind": "csv",
            "topic": "tools",
            "rest": "nowhere",
        }
        token = {"s": "share", "e": "share", "invite": "invitation"}.get(path.split("/")[1])
        if name == "token" and token:
            return house.secrets[token]
        return str(fixed.get(name) or ids.get(name) or "none")

    return re.sub(r"\{([^}]*)\}", value, path)


class Asking:
    """Sends requests as one of the callers, and remembers what came back."""

    def __init__(self, town: Town, house: House, caller: str):
        self.town, self.house, self.caller = town, house, caller
        self.http = httpx.Client(base_url=town.server.url, timeout=30)
        self.session = ""
        if caller == "garbage":
            self.http.headers["Authorization"] = f"Api-Key ags_{'0' * 32}_000000"
        elif caller in ("read", "write"):
            self.http.headers["Authorization"] = f"Api-Key {house.secrets[caller]}"
        elif caller in PERSONS:
            self.session = house.secrets[caller]

    def send(self, method: str, path: str) -> httpx.Response:
        options: dict[str, Any] = {"cookies": {SESSION_COOKIE: self.session}} if self.session else {}
        if method == "GET":
            options["params"] = {
                "search": "walrus",
                "message_contains": "walrus",
                "range": "12m",
                "metric": "total_messages",
            }
        elif path.startswith(("/api/", "/v1/")):
            options["json"] = {}
        else:
            options["data"] = {"csrf": "0123456789abcdef" + signed(self.session, "0123456789abcdef"), "try": "1"}
        with self.http.stream(method, path, **options) as answer:
            live = answer.headers.get("content-type", "").startswith("text/event-stream")
            body = next(answer.iter_text(), "") if live else answer.read().decode("utf-8", "replace")
        self.http.cookies.clear()
        if path in ("/profile/sign-out", "/logout") and self.session:
            self.session = self.house.secrets[self.caller] = fresh(self.town, self.house, self.caller)
        answer.said = body  # type: ignore[attr-defined]
        return answer


def fresh(town: Town, house: House, role: str) -> str:
    def make(store: Store) -> str:
        user = store.tenants.user(house.users[role])
        assert user
        return sessions.start(store, user, time.time_ns() // 1000)

    return town.storage.write(make).result()


def is_api(path: str) -> bool:
    return path.startswith(("/api/", "/v1/"))


def outcome(path: str, answer: httpx.Response) -> str:
    """refused (401, or sent to the sign-in page), forbidden, missing, broken, or let through."""
    to_login = answer.status_code == 303 and answer.headers.get("location", "").startswith("/login")
    if answer.status_code == 401 or (
        to_login and (path != "/profile/sign-out" or answer.headers["location"] != "/login")
    ):
        return "refused"
    if answer.status_code >= 500:
        return f"broken {answer.status_code}"
    return {403: "forbidden", 404: "missing"}.get(answer.status_code, "let through")


def expected(caller: str, needed: Needed, path: str) -> str:
    if caller in ("anonymous", "garbage") or (caller in ("read", "write") and not is_api(path)):
        return "refused"
    role: Any = caller
    return "let through" if may(role, needed) and not (role in PERSONS and path in FOR_KEYS) else "forbidden"


# -- the matrix ------------------------------------------------------------------------------------------------------
def test_what_is_open_to_anybody_is_open_on_purpose(town: Town):
    assert {f"{method} {path}" for method, path, needed in town.table if needed == "anybody"} == OPEN


def test_what_a_client_may_send_is_about_themselves_alone(town: Town):
    """A permission named wrongly on a route shows here: whoever only looks changes nothing, and opens no settings."""
    sent = {
        path for method, path, needed in town.table if method != "GET" and needed != "anybody" and may("client", needed)
    }
    own = {path for path in sent if path.startswith("/profile/") or "/views/" in path}
    assert sent == own
    opened = {path for _, path, needed in town.table if "/settings/" in path and may("client", needed)}
    assert opened == set()
    kept = {
        path
        for _, path, needed in town.table
        if re.search(r"/(keys|team|audit|invitations|erase)", path) and may("member", needed)
    }
    assert kept == set()


@pytest.mark.parametrize("caller", CALLERS)
def test_every_route_lets_through_whom_the_permission_table_says(town: Town, caller: str):
    """Ids nobody has: so whoever may is let through to hear that there is no such thing, and nothing is changed."""
    wrong, asking = [], Asking(town, town.alpha, caller)
    for method, path, needed in town.table:
        answer = asking.send(method, filled(path, town.alpha, "alpha", {}))
        found = outcome(path, answer)
        if LOUD.search(answer.said):  # type: ignore[attr-defined]
            wrong.append(f"{method} {path}: shows another organization")
        if needed == "anybody":
            fine = not found.startswith("broken")
        else:
            wanted = expected(caller, needed, path)
            fine = found == wanted or (wanted == "let through" and found == "missing")
        if not fine:
            wrong.append(f"{method} {path} ({needed}): {found}, {answer.status_code}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("caller", PERSONS)
def test_every_page_of_another_organization_is_not_found(town: Town, caller: str):
    asking, wrong = Asking(town, town.alpha, caller), []
    asked = [(method, path) for method, path, _ in town.table if path.startswith("/o/{org}")]
    assert len(asked) > 50
    for method, path in asked:
        answer = asking.send(method, filled(path, town.beta, "beta", town.beta.ids))
        if answer.status_code != 404 or LOUD.search(answer.said):  # type: ignore[attr-defined]
            wrong.append(f"{method} {path}: {answer.status_code}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("caller", ["read", "write", *PERSONS])
def test_an_id_of_another_organization_is_as_unknown_as_one_nobody_has(town: Town, caller: str):
    asking, wrong = Asking(town, town.alpha, caller), []
    role: Any = caller
    for method, path, needed in town.table:
        own = "{id" in path or "{handle}" in path or "{trace_id}" in path
        if not own or (caller in ("read", "write") and not is_api(path)):
            continue
        foreign, unknown = (
            asking.send(method, filled(path, town.alpha, "alpha", ids)) for ids in (town.beta.ids, {"handle": "f" * 16})
        )
        wanted = 404 if may(role, needed) else 403
        if foreign.status_code != wanted or unknown.status_code != wanted or LOUD.search(foreign.said):  # type: ignore[attr-defined]
            wrong.append(f"{method} {path}: {foreign.status_code}, unknown {unknown.status_code}, wanted {wanted}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("caller", PERSONS)
def test_a_token_is_let_through_where_the_session_is(town: Town, caller: str):
    with httpx.Client(base_url=town.server.url, cookies={SESSION_COOKIE: town.alpha.secrets[caller]}) as web:
        token = web.post("/api/auth/token/").json()["token"]
    asking, wrong = Asking(town, town.alpha, caller), []
    asking.session = ""
    asking.http.headers["Authorization"] = f"Bearer {token}"
    for method, path, needed in town.table:
        if is_api(path) and needed != "anybody":
            found = outcome(path, asking.send(method, filled(path, town.alpha, "alpha", {})))
            wanted = expected(caller, needed, path)
            if found != wanted and not (wanted == "let through" and found == "missing"):
                wrong.append(f"{method} {path}: {found}, wanted {wanted}")
    assert not wrong, "\n".join(wrong)


def test_beta_still_has_everything_alpha_asked_for(town: Town):
    with Api(town.server.url, town.beta.secrets["write"]) as api:
        one = api.conversation("canary-beta-1")
        assert (one["name"], one["is_deleted"], one["is_marked"]) == ("canary-beta name", False, False)
        (ticket,) = one["tickets"]
        assert (ticket["title"], ticket["status"], ticket["comments_count"]) == ("canary-beta ticket", "open", 1)
        assert ticket["feedback"]["id"] == town.beta.ids["feedback"]

    def look(store: Store) -> tuple[Organization | None, int, int, int]:
        own = store.tenants.organization_named("beta")
        assert own
        live = [key for key in store.settings.keys(own.id) if key.revoked_us is None]
        return own, len(live), len(store.settings.users(own.id)), len(store.reports.all(own.id))

    own, keys, users, kept = town.storage.read(look)
    assert own and (keys, users, kept) == (2, 4, 1)


def test_a_route_that_names_no_permission_keeps_the_server_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from starlette.requests import Request
    from starlette.responses import Response

    from agentsight.errors import ConfigError
    from agentsight.server import analytics

    async def forgotten(request: Request) -> Response:
        return Response("all of it")

    monkeypatch.setattr(analytics.router, "routes", list(analytics.router.routes))
    analytics.router.add_api_route("/api/forgotten/", forgotten)
    with pytest.raises(ConfigError, match="names no permission"):
        open_app(Settings.of(tmp_path))
