"""People: invited, signing in, guessing, forgotten passwords, sessions and tokens; and that no secret lies in clear."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import re
import socketserver
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from agentsight.core import audit, people, sessions, tenancy
from agentsight.core.model import AuditLine, User
from agentsight.core.ports import Storage, Store
from agentsight.server.http import SESSION_COOKIE
from agentsight.server.pages.visit import signed
from agentsight.server.settings import Settings
from agentsight.server.tokens import Tokens
from agentsight.storage import open_storage
from served import Server, environment, event, kept_by, message

GOOD = "a quiet little word"
PUBLIC = "http://agents.example"


class Post(socketserver.StreamRequestHandler):
    """Enough of SMTP to take a mail."""

    def handle(self) -> None:
        said, taking = [], False
        self.wfile.write(b"220 here\r\n")
        for raw in self.rfile:
            line = raw.decode().rstrip("\r\n")
            if taking:
                said.append(line)
                if line == ".":
                    taking = False
                    self.server.mails.append("\n".join(said))  # type: ignore[attr-defined]
                    self.wfile.write(b"250 taken\r\n")
            elif line.upper().startswith("DATA"):
                taking = True
                self.wfile.write(b"354 go on\r\n")
            elif line.upper().startswith("QUIT"):
                self.wfile.write(b"221 bye\r\n")
                return
            else:
                self.wfile.write(b"250 fine\r\n")


@dataclass
class Place:
    """A server with an organization, its owner, and a mail box."""

    server: Server
    storage: Storage
    mails: list[str]
    owner: User
    secrets: set[str] = field(default_factory=set)

    def write(self, change: Callable[[Store], Any]) -> Any:
        return self.storage.write(change).result()

    def person(self, name: str, role: str = "member", password: str = "") -> User:
        def make(store: Store) -> User:
            organization = store.tenants.organization(self.owner.organization_id)
            assert organization
            user = tenancy.add_user(store, organization, f"{name}@example.com", role, (), now_us())
            if password:
                people.set_password(store, user, people.new_password(password, user.email), now_us())
            return user

        if password:
            self.secrets.add(password)
        made: User = self.write(make)
        return made

    def browser(self, user: User | None = None) -> httpx.Client:
        client = httpx.Client(base_url=self.server.url, timeout=30)
        if user is not None:
            token = self.write(lambda store: sessions.start(store, user, now_us()))
            self.secrets.add(token)
            client.cookies.set(SESSION_COOKIE, token, domain="127.0.0.1")
        return client

    def log(self) -> list[AuditLine]:
        return self.storage.read(lambda store: store.audit.page(self.owner.organization_id, limit=500))

    def mailed(self, to: str) -> str:
        """The last mail to somebody, once it is there."""
        for _ in range(100):
            for mail in reversed(self.mails):
                if f"To: {to}" in mail:
                    return mail
            time.sleep(0.05)
        raise AssertionError(f"no mail to {to}")


def now_us() -> int:
    return time.time_ns() // 1000


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    data = tmp_path_factory.mktemp("people")
    post = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Post)
    post.daemon_threads = True
    post.mails = []  # type: ignore[attr-defined]
    threading.Thread(target=post.serve_forever, daemon=True).start()
    server = Server(
        data,
        AGENTSIGHT_SMTP_URL=f"smtp://127.0.0.1:{post.server_address[1]}",
        AGENTSIGHT_MAIL_FROM="agents@example.com",
        AGENTSIGHT_PUBLIC_URL=PUBLIC,
        AGENTSIGHT_TRUSTED_PROXIES="127.0.0.1",
    )
    storage = open_storage(server.database)

    def make(store: Store) -> User:
        organization = tenancy.ensure_organization(store, "Acme", now_us())
        tenancy.ensure_agent(store, organization, "Support", now_us())
        return tenancy.add_user(store, organization, "owner@example.com", "owner", (), now_us())

    yield Place(server, storage, post.mails, storage.write(make).result())  # type: ignore[attr-defined]
    log = server.log()
    storage.close()
    server.stop()
    post.shutdown()
    assert "crashed" not in log and "page failed" not in log, log[-3000:]


def form(web: httpx.Client, **fields: Any) -> dict[str, Any]:
    """Fields with the proof that a page of this session sent them."""
    salt = "0123456789abcdef"
    return {"csrf": salt + signed(web.cookies.get(SESSION_COOKIE, ""), salt), **fields}


def from_address(number: int) -> dict[str, str]:
    """As from a client of its own, so that tests do not slow each other down."""
    return {"X-Forwarded-For": f"198.51.{number // 250}.{number % 250 + 1}"}


TEAM = "/o/acme/a/all/settings/team"


# -- invited ---------------------------------------------------------------------------------------------------------
def test_an_invitation_goes_out_by_mail_and_makes_a_person_once(place: Place):
    with place.browser(place.owner) as owner, place.browser() as guest:
        told = {"email": "New.Person@Example.com", "role": "client", "days": "7"}
        assert owner.post(TEAM, data=form(owner, **told)).status_code == 303
        mail = place.mailed("new.person@example.com")
        found = re.search(rf"{PUBLIC}(/invite/[\w-]+)", mail)
        assert found
        page = guest.get(found[1])
        assert "Welcome to Acme" in page.text and page.headers["referrer-policy"] == "no-referrer"
        weak = guest.post(found[1], data={"name": "New", "password": "password123"})
        assert weak.status_code == 400 and "guessed first" in weak.text
        place.secrets |= {found[1].rpartition("/")[2], "seven quiet harbours"}
        done = guest.post(found[1], data={"name": "New", "password": "seven quiet harbours"})
        assert done.status_code == 303
        cookie = done.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=lax" in cookie
        assert guest.get("/o/acme/a/all/analytics").status_code == 200
        assert guest.get(TEAM).status_code == 403 and guest.get("/profile").status_code == 200
        assert guest.get(found[1]).status_code == 404, "it works once"
        known = owner.post(TEAM, data=form(owner, **told))
        assert known.status_code == 400 and "already" in known.text


def test_an_invitation_taken_back_or_too_old_opens_nothing(place: Place):
    def make(store: Store, age_us: int) -> tuple[str, int]:
        organization = store.tenants.organization(place.owner.organization_id)
        assert organization
        who = sessions.principal(store, place.owner)
        email = f"late{age_us}@example.com"
        token, row = people.invite(store, who, organization, email, "member", (), 1, now_us() - age_us)
        return token, row.id

    old, _ = place.write(lambda store: make(store, 25 * 3600 * 1_000_000))
    new, id = place.write(lambda store: make(store, 0))
    with place.browser(place.owner) as owner:
        assert owner.get(f"/invite/{old}").status_code == 404
        assert owner.get(f"/invite/{new}").status_code == 200
        assert owner.post(f"/o/acme/a/all/settings/invitations/{id}/revoke", data=form(owner)).status_code == 303
        assert owner.get(f"/invite/{new}").status_code == 404


# -- passwords -------------------------------------------------------------------------------------------------------
def test_a_password_signs_in_and_a_new_session_takes_the_place_of_the_old_one(place: Place):
    user = place.person("walter", password=GOOD)
    with place.browser(user) as web:
        before = web.cookies[SESSION_COOKIE]
        told = {"email": " Walter@Example.com ", "password": GOOD, "next": "/o/acme/a/all/usage"}
        answer = web.post("/login", data=told, headers=from_address(1))
        assert (answer.status_code, answer.headers["location"]) == (303, "/o/acme/a/all/usage")
        assert web.cookies[SESSION_COOKIE] != before
        old = httpx.get(f"{place.server.url}/profile", cookies={SESSION_COOKIE: before})
        assert old.status_code == 303, "signing in anew ends the session there was"


def test_a_wrong_password_and_an_unknown_address_read_the_same(place: Place):
    place.person("ines", password=GOOD)
    with place.browser() as web:
        answers = [
            web.post("/login", data={"email": f"{who}@example.com", "password": "wrong"}, headers=from_address(2))
            for who in ("ines", "nobody")
        ]
    texts = [re.sub(r"(ines|nobody)@|version|[0-9a-f]{48}", "", answer.text) for answer in answers]
    assert [answer.status_code for answer in answers] == [403, 403] and texts[0] == texts[1]
    assert [line.action for line in place.log() if line.actor == "ines@example.com"] == ["sign_in_failed"]


def test_changing_the_password_asks_for_the_old_one_and_ends_every_other_session(place: Place):
    user = place.person("petra", password=GOOD)
    place.secrets.add("nine slow rivers home")
    with place.browser(user) as here, place.browser(user) as there:
        wrong = here.post("/profile/password", data=form(here, current="not it", password="nine slow rivers home"))
        assert wrong.status_code == 403
        short = here.post("/profile/password", data=form(here, current=GOOD, password="short"))
        assert short.status_code == 400 and "at least 10" in short.text
        done = here.post("/profile/password", data=form(here, current=GOOD, password="nine slow rivers home"))
        assert done.status_code == 303
        assert here.get("/profile").status_code == 200 and there.get("/profile").status_code == 303


def test_a_forgotten_password_is_set_by_a_link_that_works_once(place: Place):
    place.person("oskar", password=GOOD)
    place.secrets.add("brown bread at dawn")
    with place.browser() as web:
        answers = [
            web.post("/forgot", data={"email": f"{who}@example.com"}, headers=from_address(3))
            for who in ("oskar", "no")
        ]
        assert answers[0].text == answers[1].text, "nobody learns who is here"
        found = re.search(rf"{PUBLIC}(/reset/[\w-]+)", place.mailed("oskar@example.com"))
        assert found
        place.secrets.add(found[1].rpartition("/")[2])
        assert web.get(found[1]).status_code == 200
        assert web.post(found[1], data={"password": "brown bread at dawn"}).status_code == 303
        assert web.get("/profile").status_code == 200
        assert web.get(found[1]).status_code == 404
        told = {"email": "oskar@example.com", "password": "brown bread at dawn"}
        assert web.post("/login", data=told, headers=from_address(3)).status_code == 303


def test_mail_whose_links_a_request_could_bend_keeps_the_server_from_starting(tmp_path: Path):
    env = environment(AGENTSIGHT_SMTP_URL="smtps://u:p@mail.example.com", AGENTSIGHT_MAIL_FROM="a@example.com")
    command = [sys.executable, "-m", "agentsight.cli", "serve", "--port", "0", "--data", str(tmp_path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "AGENTSIGHT_PUBLIC_URL" in done.stderr


# -- guessing --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("guesses", [40, pytest.param(1_000, marks=pytest.mark.exhaustive)])
def test_guessing_one_account_is_slowed_and_its_owner_goes_on(place: Place, guesses: int):
    user = place.person(f"greta-{guesses}", password=GOOD)
    with place.browser(user) as live, place.browser() as web:
        codes = [
            web.post("/login", data={"email": user.email, "password": f"guess {n}"}, headers=from_address(100 + n))
            for n in range(guesses)
        ]
        tried = sum(answer.status_code == 403 for answer in codes)
        assert tried <= 10 and codes[-1].status_code == 429 and int(codes[-1].headers["retry-after"]) >= 1
        assert live.get("/profile").status_code == 200, "who is signed in stays so"
        link = place.write(lambda store: tenancy.issue_link(store, user, now_us()))
        assert web.post("/login", data={"token": link}).status_code == 303, "and a link still works"


@pytest.mark.parametrize(("accounts", "where"), [(30, 200), pytest.param(1_000, 5_000, marks=pytest.mark.exhaustive)])
def test_one_address_that_guesses_at_many_accounts_is_slowed(place: Place, accounts: int, where: int):
    begun = time.monotonic()
    with place.browser() as web:
        codes = [
            web.post(
                "/login", data={"email": f"u{n}@example.com", "password": "x"}, headers=from_address(where)
            ).status_code
            for n in range(accounts)
        ]
        waited = math.ceil(math.log2(2 + time.monotonic() - begun))  # each wait is twice the one before
        assert codes.count(403) <= 10 + waited and codes[-1] == 429
        other = web.post("/login", data={"email": "u0@example.com", "password": "x"}, headers=from_address(where + 1))
        assert other.status_code == 403, "others go on"


@pytest.mark.timed
@pytest.mark.slow
@pytest.mark.parametrize("times_each", [60, pytest.param(500, marks=pytest.mark.exhaustive)])
def test_how_long_it_takes_tells_nobody_whether_an_account_exists(place: Place, times_each: int):
    """The quickest tenth, which other work on the machine slows least: within 5 ms. Every attempt comes from an address of
    its own, and failures are forgotten."""
    user = place.person(f"timo-{times_each}", password=GOOD)
    took: dict[str, list[float]] = {user.email: [], "nobody-at-all@example.com": []}
    numbers = iter(range(1_000, 3_000))
    with place.browser() as web:
        for _ in range(times_each):
            for email, times in took.items():
                place.write(lambda store: store.people.forget_attempts_before(now_us() + 10**12))
                told, headers = {"email": email, "password": "wrong"}, from_address(next(numbers))
                start = time.perf_counter()
                assert web.post("/login", data=told, headers=headers).status_code == 403
                times.append(time.perf_counter() - start)
    known, unknown = (statistics.quantiles(times, n=10)[0] * 1000 for times in took.values())
    assert abs(known - unknown) < 5, (known, unknown)


# -- sessions --------------------------------------------------------------------------------------------------------
def test_sessions_are_listed_and_each_can_be_ended(place: Place):
    user = place.person("lena")
    with place.browser(user) as here, place.browser(user) as there:
        there.headers["user-agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
        ends = re.findall(r'action="(/profile/sessions/[0-9a-f]{16}/end)"', here.get("/profile").text)
        assert len(ends) == 1, "this one and the other"
        assert here.post(ends[0], data=form(here)).status_code == 303
        assert there.get("/profile").status_code == 303 and here.get("/profile").status_code == 200


def test_signing_out_everywhere_ends_sessions_and_tokens(place: Place):
    user = place.person("karl", password=GOOD)
    with place.browser(user) as here, place.browser(user) as there:
        told = {"email": user.email, "password": GOOD}
        token = here.post("/api/auth/token/", json=told, headers=from_address(4)).json()["token"]
        bearer = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{place.server.url}/api/auth/me/", headers=bearer).json()["email"] == user.email
        assert here.post("/profile/sign-out", data=form(here)).status_code == 303
        assert there.get("/profile").status_code == 303
        assert httpx.get(f"{place.server.url}/api/auth/me/", headers=bearer).status_code == 401


def test_a_session_ends_when_idle_and_in_the_end_anyway(place: Place):
    user = place.person("emil")

    def age(seen_h: float, expires_h: float) -> str:
        def make(store: Store) -> str:
            token = sessions.start(store, user, now_us())
            found = store.people.session(tenancy.digest(token))
            assert found
            store.people.end_session(found.digest)
            aged = {"seen_us": now_us() - int(seen_h * 3.6e9), "expires_us": now_us() + int(expires_h * 3.6e9)}
            store.people.add_session(type(found)(**{**{n: getattr(found, n) for n in found.__slots__}, **aged}))
            return token

        return str(place.write(make))

    for seen_h, expires_h, status in ((11.9, 1, 200), (12.1, 1, 303), (0, -0.1, 303)):
        answer = httpx.get(f"{place.server.url}/profile", cookies={SESSION_COOKIE: age(seen_h, expires_h)})
        assert answer.status_code == status, (seen_h, expires_h)


def test_by_https_the_cookie_is_one_no_other_host_can_set(place: Place):
    user = place.person("vera")
    token = place.write(lambda store: tenancy.issue_link(store, user, now_us()))
    headers = {"X-Forwarded-Proto": "https"}
    cookie = httpx.post(f"{place.server.url}/login", data={"token": token}, headers=headers).headers["set-cookie"]
    assert cookie.startswith(f"__Host-{SESSION_COOKIE}=")
    assert "Secure" in cookie and "Path=/" in cookie and "Domain" not in cookie and "HttpOnly" in cookie


# -- roles -----------------------------------------------------------------------------------------------------------
def test_another_role_ends_the_sessions_and_the_last_owner_stays(place: Place):
    user = place.person("rita")
    with place.browser(place.owner) as owner, place.browser(user) as rita:
        assert owner.post(f"{TEAM}/{user.id}", data=form(owner, role="client")).status_code == 303
        assert rita.get("/profile").status_code == 303
        own = owner.post(f"{TEAM}/{place.owner.id}", data=form(owner, role="client"))
        assert own.status_code == 400 and "only owner" in own.text
        gone = owner.post(f"{TEAM}/{place.owner.id}/remove", data=form(owner))
        assert gone.status_code == 400
        assert owner.post(f"{TEAM}/{user.id}/remove", data=form(owner)).status_code == 303
    actions = [line.action for line in place.log() if line.subject == user.email]
    assert actions == ["person.removed", "person.changed"]


def test_a_client_sees_only_its_agents_and_only_what_it_may(place: Place):
    secret = {"customer_id": "cust-77", "customer_ip_address": "203.0.113.9", "metadata": {"plan": "hush"}}
    with place.server.api("Shown", "Acme") as shown, place.server.api("Hidden", "Acme") as hidden:
        place.secrets |= {shown.key, hidden.key}
        for api in (shown, hidden):
            api.batch(
                event("conversation", "c1", environment="production", **secret),
                message("c1", "hello there", environment="production", metadata={"plan": "hush"}),
                event("token_usage", "c1", prompt_tokens=5, completion_tokens=5, model="gpt-4o-mini"),
            )
        id = shown.conversation("c1")["id"]

    def make(store: Store) -> User:
        organization = store.tenants.organization(place.owner.organization_id)
        assert organization
        agent = store.tenants.agent_named(organization.id, "Shown")
        assert agent
        return tenancy.add_user(store, organization, "cleo@example.com", "client", (agent,), now_us())

    user = place.write(make)
    general = {"name": "Acme", "timezone": "UTC"}
    with place.browser(place.owner) as owner, place.browser(user) as web:
        assert web.get("/o/acme/a/hidden/analytics").status_code == 404
        assert web.get(f"/api/conversations/{id}/").json()["customer_id"] == "cust-77"
        assert web.get("/api/conversations/").json()["count"] == 1
        at = "/o/acme/a/all/settings/general"
        assert owner.post(at, data=form(owner, **general)).status_code == 303
        try:
            places = ("conversations", f"conversations/{id}", "analytics", "export/conversations.csv", "usage")
            texts = [web.get(f"/o/acme/a/all/{place}?range=12m").text for place in places]
            texts += [web.get(f"/api/conversations/{at}").text for at in ("", "?full=false", f"{id}/")]
            for text in texts:
                assert not re.search(r"cust-77|203\.0\.113\.9|hush|Tokens used", text)
            assert "hello there" in texts[1] and "hello there" in texts[-1]
            for asked in ("customer_id=cust-77", "metadata=plan:hush", "customer_ip_address=203.0.113.9"):
                assert web.get(f"/api/conversations/?{asked}").status_code == 403, asked
            assert web.get("/api/conversations/?search=cust-77").json()["count"] == 0
            assert web.get("/api/analytics/?metric=cost_usd").status_code == 403
            assert "cost_usd" not in web.get("/api/metrics/").text
            assert web.get("/o/acme/a/all/history").status_code == 403
            assert owner.get(f"/api/conversations/{id}/").json()["customer_id"] == "cust-77"
        finally:
            seen = {f"clients_see_{name}": "1" for name in ("costs", "tokens", "metadata", "customer")}
            owner.post(at, data=form(owner, **general, **seen))


def test_an_archived_agent_is_gone_for_everybody_and_comes_back(place: Place):
    with place.server.api("Passing", "Acme") as api, place.browser(place.owner) as owner:
        place.secrets.add(api.key)
        api.batch(message("c", "x"))

        def find(store: Store) -> int:
            found = store.tenants.agent_named(place.owner.organization_id, "Passing")
            assert found
            return found.id

        id = place.storage.read(find)
        at = f"/o/acme/a/all/settings/agent/{id}/archive"
        assert owner.post(at, data=form(owner)).status_code == 303
        time.sleep(1)
        assert api.get("/api/conversations/").status_code == 401
        assert owner.get("/o/acme/a/passing/analytics").status_code == 404
        assert owner.post(at, data=form(owner, back="1")).status_code == 303
        assert api.get("/api/conversations/").json()["count"] == 1


# -- tokens ----------------------------------------------------------------------------------------------------------
def test_feedback_with_a_token_is_the_teams(place: Place):
    user = place.person("frida", password=GOOD)
    with place.server.api("Support", "Acme") as api, place.browser() as web:
        place.secrets.add(api.key)
        api.batch(message("judged", "hello"))
        told = {"email": user.email, "password": GOOD}
        token = web.post("/api/auth/token/", json=told, headers=from_address(5)).json()["token"]
        bearer = {"Authorization": f"Bearer {token}"}
        body = {"conversation_id": "judged", "sentiment": "negative", "source": "customer"}
        given = web.post("/api/conversation-feedbacks/", json=body, headers=bearer)
        assert (given.status_code, given.json()["source"]) == (201, "platform")
        by_key = api.post("/api/conversation-feedbacks/", json=body)
        assert by_key.json()["source"] == "customer"


def part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def forged(secret: str, other: int, own: int) -> Iterator[str]:
    """Tokens nobody of ours made; `secret` is another installation's."""
    now = int(time.time())
    fine = {
        "iss": "agentsight",
        "aud": "agentsight-api",
        "sub": str(own),
        "iat": now,
        "exp": now + 600,
        "jti": "a" * 32,
    }
    real = hmac.new(secret.encode(), b"api tokens", hashlib.sha256).hexdigest()
    good = jwt.encode(fine, real, algorithm="HS256")
    head, body, seal = good.split(".")
    for name in ("none", "None", "NONE", "nOnE", ""):
        for end in ("", seal):
            yield f"{part({'alg': name, 'typ': 'JWT'})}.{body}.{end}"
    for name in ("HS384", "HS512", "RS256", "ES256", "PS256", "EdDSA", "hs256", "HS256 "):
        yield f"{part({'alg': name, 'typ': 'JWT'})}.{body}.{seal}"
    for key in ("", "secret", "a" * 32, "agentsight", secret[::-1], "0" * 64):
        digest = hmac.new(key.encode(), f"{head}.{body}".encode(), hashlib.sha256).digest()
        yield f"{head}.{body}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
    for extra in ({"kid": "../../dev/null"}, {"kid": "' OR 1=1 --"}, {"crit": ["exp"]}, {"jku": "https://evil.example"},
                  {"jwk": {"kty": "oct", "k": "AA"}}, {"x5u": "https://evil.example"}, {"typ": "JWS"}, {"cty": "JWT"},
                  {"b64": False, "crit": ["b64"]}, {"zip": "DEF"}):  # fmt: skip
        header = part({"alg": "HS256", "typ": "JWT", **extra})
        digest = hmac.new(real.encode(), f"{header}.{body}".encode(), hashlib.sha256).digest()
        yield f"{header}.{body}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
    for wrong in ({"exp": now - 31}, {"exp": now - 86_400}, {"exp": "soon"}, {"exp": None}, {"nbf": now + 600}, {"aud": "other"},
                  {"aud": None}, {"iss": "other"}, {"iss": None}, {"sub": None}, {"sub": "0"}, {"sub": "abc"},
                  {"sub": "999999"}, {"sub": ["1"]}, {"jti": None}, {"iat": now + 3_600}, {"iat": "x"}, {"iat": None},
                  {"exp": 1e400}, {"sid": "f" * 16}):  # fmt: skip
        changed = {name: value for name, value in {**fine, **wrong}.items() if value is not None}
        body_ = base64.urlsafe_b64encode(json.dumps(changed).encode()).rstrip(b"=").decode()
        digest = hmac.new(real.encode(), f"{head}.{body_}".encode(), hashlib.sha256).digest()
        yield f"{head}.{body_}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
    yield f"{head}.{part({**fine, 'sub': str(other)})}.{seal}"
    yield from (
        f"{head}.{body}",
        f"{head}.{body}.{seal}.x",
        "",
        ".",
        "..",
        "a.b.c",
        good[:-2],
        good + "A",
        good * 2_000,
    )
    yield f"{head}.{body}.{seal}"[:-1] + ("A" if seal[-1] != "A" else "B")


def test_no_forged_token_is_let_through(place: Place):
    """With the installation's own secret, so that it is the claims and the header that are refused, not the seal alone."""
    secret = Settings.of(place.server.data).secret()
    tried = list(forged(secret, place.owner.id, place.person("falk").id))
    assert len(tried) >= 60
    with place.browser() as web:
        for token in tried:
            answer = web.get("/api/auth/me/", headers={"Authorization": f"Bearer {token}".strip()})
            assert answer.status_code in (401, 400, 431), token[:200]
        fine = Tokens(secret).issue(place.owner.id, now_us())
        assert web.get("/api/auth/me/", headers={"Authorization": f"Bearer {fine}"}).status_code == 200
        other = Tokens("another installation's secret").issue(place.owner.id, now_us())
        assert web.get("/api/auth/me/", headers={"Authorization": f"Bearer {other}"}).status_code == 401


def test_a_token_of_an_ended_session_and_of_somebody_removed_opens_nothing(place: Place):
    user = place.person("nils")
    with place.browser(user) as web:
        token = web.post("/api/auth/token/").json()["token"]
        bearer = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{place.server.url}/api/auth/me/", headers=bearer).status_code == 200
        web.post("/logout", data=form(web))
        assert httpx.get(f"{place.server.url}/api/auth/me/", headers=bearer).status_code == 401
    fine = Tokens(Settings.of(place.server.data).secret()).issue(user.id, now_us())
    place.write(lambda store: people.remove(store, user))
    answer = httpx.get(f"{place.server.url}/api/auth/me/", headers={"Authorization": f"Bearer {fine}"})
    assert answer.status_code == 401


# -- other sites -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
def test_another_site_changes_nothing_with_our_cookie(place: Place, headers: dict[str, str]):
    """Even where the browser sends the cookie along: forms, JSON, plain text."""
    with place.server.api("Support", "Acme") as api, place.browser(place.owner) as web:
        api.batch(message("steady", "hello"))
        one = api.conversation("steady")
        at = f"/api/conversations/{one['id']}/"
        for method, path, body in (
            ("PATCH", f"{at}rename/", {"json": {"name": "stolen"}}),
            ("POST", f"{at}mark/", {"content": '{"is_marked": true}', "headers": {"content-type": "text/plain"}}),
            ("DELETE", f"{at}delete/", {}),
            ("POST", "/api/auth/token/", {}),
            ("POST", "/profile/name", {"data": form(web, name="stolen")}),
            ("POST", "/profile/sign-out", {"data": form(web)}),
            ("POST", "/o/acme/a/all/settings/team", {"data": form(web, email="x@example.com", role="owner", days="7")}),
            ("POST", "/login", {"data": {"email": "owner@example.com", "password": GOOD}}),
        ):
            sent = {**body, "headers": {**body.get("headers", {}), **headers}}
            assert web.request(method, path, **sent).status_code == 403, path
        assert api.conversation("steady")["name"] is None and web.get("/profile").status_code == 200


# -- at rest ---------------------------------------------------------------------------------------------------------
def test_no_secret_lies_in_clear_in_the_database_the_log_or_the_metrics(place: Place):
    """Last in this file: after all that was signed in, invited, guessed and shared above."""
    with place.server.api("Support", "Acme") as api, place.browser(place.owner) as web:
        place.secrets.add(api.key)
        made = web.post(
            "/o/acme/a/all/share", data=form(web, name="x", days="7", password="the share's own word", hosts="")
        )
        found = re.search(r"/s/([\w-]{40,})", made.text)
        assert found
        place.secrets |= {found[1], "the share's own word", web.cookies[SESSION_COOKIE]}
        web.get(f"/s/{found[1]}")
        token = web.post("/api/auth/token/").json()["token"]
        place.secrets |= {token, Settings.of(place.server.data).secret()}
        metrics = web.get("/metrics").content
    assert len(place.secrets) >= 20
    kept = [
        path
        for folder in kept_by(place.server)
        for path in folder.rglob("*")
        if path.is_file() and path.name != "secret"
    ]
    assert len(kept) > 1 and place.server.process.poll() is None, "the server is still running"
    for path in kept:
        data = path.read_bytes()
        for secret in place.secrets:
            assert secret.encode() not in data, f"{secret[:12]}... in {path.name}"
    assert not any(secret.encode() in metrics for secret in place.secrets)


def test_the_log_of_all_this_holds_and_names_who_and_from_where(place: Place):
    lines = place.log()
    assert place.storage.read(lambda store: audit.broken(store, place.owner.organization_id)) == ""
    actions = {line.action for line in lines}
    assert {
        "sign_in",
        "sign_in_failed",
        "person.invited",
        "person.joined",
        "password.changed",
        "share.created",
    } <= actions
    assert all(line.actor and line.at_us and line.result in ("done", "refused") for line in lines)
    assert all(line.ip for line in lines if line.action == "sign_in")
    with place.browser(place.owner) as web:
        page = web.get("/o/acme/a/all/settings/audit?action=person.")
        assert "person.invited" in page.text and "<code>sign_in</code>" not in page.text
        csv = web.get("/o/acme/a/all/settings/audit.csv?action=person.").text
        assert csv.count("person.") >= 4 and "sign_in" not in csv
        told = web.get("/api/audit/?limit=2").json()
        assert len(told["results"]) == 2 and told["results"][0]["number"] == told["before"] + 1
        older = web.get(f"/api/audit/?limit=2&before={told['before']}").json()
        assert older["results"][0]["number"] == told["before"] - 1
