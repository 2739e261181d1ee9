"""Host names: which are taken, what the header may say, and that it decides whose house one is in and nothing else."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from agentsight.core import hosts, tenancy
from agentsight.core.sessions import start
from agentsight.errors import Invalid
from agentsight.server.hosts import Proxied
from agentsight.storage import open_storage
from served import Server, message

AURORA, BALTIC = "stats.aurora.test", "numbers.baltic.test"


@dataclass
class Street:
    """Two organizations, each in a house of its own, on one server."""

    server: Server
    sessions: dict[str, str]
    ids: dict[str, int]
    files: dict[str, str]

    def at(self, host: str | None = None, who: str | None = None) -> httpx.Client:
        name = f"{host}:{self.server.port}" if host else f"127.0.0.1:{self.server.port}"
        cookies = {"session": self.sessions[who]} if who else {}
        return httpx.Client(base_url=self.server.url, headers={"Host": name}, cookies=cookies, timeout=30)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    server = Server(tmp_path_factory.mktemp("street"))
    ids, files = {}, {}
    for name in ("aurora", "baltic"):
        with server.api("Helper", name) as api:
            api.batch(message(f"{name}-talk", f"canary {name}", environment="production"))
            found = api.conversation(f"{name}-talk")["id"]
            sent = {"conversation_id": f"{name}-talk", "mode": "form_data", "sender": "end_user"}
            answer = api.post("/api/attachments/", data=sent, files={"attachments": (f"{name}.txt", b"canary")})
            assert answer.status_code in (200, 201), answer.text
            url = api.get(f"/api/conversations/{found}/attachments/").json()
            ids[name], files[name] = found, str(url)
    storage = open_storage(server.database)

    def people(store: Any) -> dict[str, str]:
        now_us, sessions = time.time_ns() // 1000, {}
        for name, host in (("aurora", AURORA), ("baltic", BALTIC)):
            organization = store.tenants.organization_at(name)
            hosts.add(store, organization, host, (), now_us)
            owner = tenancy.add_user(store, organization, f"owner@{name}.example", "owner", (), now_us)
            sessions[name] = start(store, owner, now_us)
        return sessions

    yield Street(server, storage.write(people).result(), ids, files)
    server.stop()
    storage.close()


# -- names -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("Analytics.Example.COM.", "analytics.example.com"),
        ("https://analytics.example.com/", "analytics.example.com"),
        ("statistik.müller.example", "statistik.xn--mller-kva.example"),
        ("ａｃｍｅ.example", "acme.example"),
        ("acme.localhost", "acme.localhost"),
    ],
)
def test_a_name_is_kept_as_browsers_send_it(told: str, kept: str):
    assert hosts.normal(told) == kept


@pytest.mark.parametrize(
    "told",
    ["", " ", "localhost", "127.0.0.1", "10.1", "[::1]", "::1", "0x7f.1", "a b.example", "a..example", "-a.example",
     "a_b.example", "a.example/path", "a.example:80", "a.example?x", "user@a.example", "*.example.com", "intranet",
     "x" * 64 + ".example", ".".join(["a" * 60] * 6), "a\u202eb.example", "a\x00b.example", "a'b.example"],
)  # fmt: skip
def test_what_is_no_name_of_ones_own_is_refused(told: str):
    with pytest.raises(Invalid, match="host"):
        hosts.normal(told)


def test_a_name_belongs_to_one_organization_and_the_installations_own_to_none(street: Street):
    at = "/o/baltic/a/all/settings/branding"
    with street.at(None, "baltic") as web:
        csrf = web.get(at).text.split('name="csrf" value="')[1].split('"')[0]
        for host, why in ((AURORA, "is taken"), ("127.0.0.1", "address"), (AURORA.upper() + ".", "is taken")):
            answer = web.post(f"{at}/hosts", data={"csrf": csrf, "host": host})
            assert answer.status_code == 400 and why in answer.text
        answer = web.post(f"{at}/hosts", data={"csrf": csrf, "host": "second.baltic.test"})
        assert answer.status_code == 303
    with street.at("main.test", "baltic") as web:
        csrf = web.get(at).text.split('name="csrf" value="')[1].split('"')[0]
        answer = web.post(f"{at}/hosts", data={"csrf": csrf, "host": "main.test"})
        assert answer.status_code == 400, "the address everybody comes by is nobody's"
    with street.at("second.baltic.test", "baltic") as web:
        assert web.get("/a/all/analytics").status_code == 200, "known at once"
        assert web.post(f"{at}/hosts/remove", data={"csrf": csrf, "host": "second.baltic.test"}).status_code == 303
        assert web.get("/a/all/analytics").status_code == 404, "and forgotten at once"


# -- the header ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "head",
    [b"Host: evil/?x=", b"Host: a b", b"Host: a@b", b"Host: ", b"Host: a\r\nHost: b", b"Host: x:99999999",
     b"Host: <script>", b"Host: " + b"a" * 300, b"X-Nothing: 1", b"Host: \xc3\xa4.example", b"Host: a,b"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/login", "/healthz", "/api/conversations/", "/api/batch/"])
def test_a_host_header_that_is_none_is_refused(street: Street, head: bytes, path: str):
    with socket.create_connection(("127.0.0.1", street.server.port), timeout=10) as connection:
        connection.sendall(b"GET " + path.encode() + b" HTTP/1.1\r\n" + head + b"\r\nConnection: close\r\n\r\n")
        answer = b""
        while more := connection.recv(65_536):
            answer += more
    assert answer.startswith(b"HTTP/1.1 400 "), answer[:200]


def test_an_unknown_host_is_the_installation_itself(street: Street):
    with street.at("who.knows.test") as web:
        assert "AgentSight" in web.get("/login").text
        assert web.get("/healthz").json() == {"status": "ok"}


def test_the_path_of_an_absolute_target_counts_not_its_host(street: Street):
    with socket.create_connection(("127.0.0.1", street.server.port), timeout=10) as connection:
        connection.sendall(
            f"GET http://{AURORA}/login HTTP/1.1\r\nHost: main.test\r\nConnection: close\r\n\r\n".encode()
        )
        answer = b""
        while more := connection.recv(65_536):
            answer += more
    assert b"aurora" not in answer.lower()


@pytest.mark.parametrize("name", ["X-Forwarded-Host", "Forwarded", "X-Host", "X-Original-Host"])
def test_nobody_forwards_a_host_unless_trusted(street: Street, name: str):
    with street.at(None, "aurora") as web:
        told = f"host={BALTIC}" if name == "Forwarded" else BALTIC
        answer = web.get("/o/aurora/a/all/settings/keys", headers={name: told})
        assert answer.status_code == 200 and BALTIC not in answer.text


@pytest.mark.parametrize(
    ("trusted", "peer", "seen"),
    [("", "127.0.0.1", "direct"), ("10.0.0.0/8", "10.2.3.4", "told.test"), ("10.0.0.0/8", "11.2.3.4", "direct"),
     ("*", "9.9.9.9", "told.test"), ("10.0.0.1, ::1", "::1", "told.test"), ("10.0.0.1", "nonsense", "direct")],
)  # fmt: skip
def test_only_a_trusted_proxy_says_which_host_was_asked_for(trusted: str, peer: str, seen: str):
    import asyncio

    heard = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        heard.append(dict(scope["headers"])[b"host"].decode())

    scope = {
        "type": "http",
        "client": (peer, 1),
        "headers": [(b"host", b"direct"), (b"x-forwarded-host", b"evil, told.test")],
    }
    asyncio.run(Proxied(app, trusted)(scope, None, None))  # type: ignore[arg-type]
    assert heard == [seen]


# -- in the house ----------------------------------------------------------------------------------------------------
def test_in_its_house_no_address_says_whose_it_is(street: Street):
    with street.at(AURORA, "aurora") as web:
        answer = web.get("/")
        assert answer.headers["location"] == "/a/helper/analytics"
        for path in (
            "analytics",
            "conversations",
            f"conversations/{street.ids['aurora']}",
            "settings/branding",
            "usage",
        ):
            text = web.get(f"/a/all/{path}").text
            assert "/o/aurora" not in text and 'href="/a/' in text, path
        assert web.get("/a/all/settings").headers["location"].startswith("/a/all/settings/")
        assert web.get("/a/all/export/overview.csv").status_code == 200
        old = web.get("/o/aurora/a/all/conversations?source=a%20b")
        assert (old.status_code, old.headers["location"]) == (308, "/a/all/conversations?source=a%20b")
    with street.at(AURORA) as web:
        assert web.get("/a/all/usage?x=1").headers["location"] == "/login?next=%2Fa%2Fall%2Fusage%3Fx%3D1"


def test_a_person_of_another_organization_is_nobody_here(street: Street):
    with street.at(AURORA, "baltic") as web:
        for path in ("/a/all/analytics", "/o/baltic/a/all/analytics", "/"):
            assert web.get(path).headers.get("location", "").startswith("/login"), path
        assert web.get("/api/conversations/").status_code == 401
        assert web.get("/api/analytics/?metric=total_messages").status_code == 401
        assert "aurora" in web.get("/login").text.lower(), "the page is not redirected as if they were in"
    with street.at(BALTIC, "baltic") as web:
        assert web.get("/api/conversations/").status_code == 200


def test_a_sign_in_link_of_another_organization_is_refused_and_not_used_up(street: Street):
    storage = open_storage(street.server.database)

    def link(store: Any) -> str:
        user = store.tenants.user_by_email("owner@baltic.example")
        return tenancy.issue_link(store, user, time.time_ns() // 1000)

    token = storage.write(link).result()
    storage.close()
    with street.at(AURORA) as web:
        refused = web.post("/login", data={"token": token})
        never = web.post("/login", data={"token": "x" * 43})
        assert refused.status_code == never.status_code == 403 and "session" not in refused.cookies
    with street.at(BALTIC) as web:
        assert web.post("/login", data={"token": token}).status_code == 303


def test_other_organizations_things_are_not_found_in_a_house(street: Street):
    with street.at(AURORA, "aurora") as web:
        mine = web.get(f"/a/all/conversations/{street.ids['aurora']}")
        assert mine.status_code == 200
        for path in (
            f"/a/all/conversations/{street.ids['baltic']}",
            "/o/baltic/a/all/analytics",
            "/brand/baltic/x.css",
        ):
            assert web.get(path).status_code == 404, path
        theirs = street.files["baltic"].split("/files/")[1].split("'")[0]
        assert web.get(f"/files/{theirs}").status_code == 404
        ours = street.files["aurora"].split("/files/")[1].split("'")[0]
        assert web.get(f"/files/{ours}").status_code == 200


def test_what_is_about_the_installation_is_not_in_a_house(street: Street):
    with street.at(AURORA) as web:
        for path in ("/docs", "/openapi.json", "/metrics"):
            answer = web.get(path, headers={"Accept": "text/html"})
            assert answer.status_code == 404 and "agentsight" not in answer.text.lower(), path


def test_a_link_to_a_house_is_made_with_its_name_once_somebody_used_it(street: Street):
    with street.at(AURORA) as web:
        assert web.get("/login").status_code == 200
    at, text = "/o/aurora/a/all/share", ""
    with street.at(None, "aurora") as web:
        for _ in range(40):
            csrf = web.get(at).text.split('name="csrf" value="')[1].split('"')[0]
            text = web.post(at, data={"csrf": csrf, "name": "x", "days": "1", "password": "", "hosts": ""}).text
            if f"http://{AURORA}:{street.server.port}/s/" in text:
                return
            time.sleep(0.25)
    raise AssertionError(text)
