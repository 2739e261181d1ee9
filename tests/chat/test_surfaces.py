"""The surfaces of seeds 000 and 004, and how a browser signs in to the page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from itertools import pairwise

import pytest

from agentsight.chat.words import SAID_BY_SCRIPT

from .conftest import Backend, httpx, running
from .scripted import Scripted


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with running(tmp_path_factory.mktemp("surfaces"), responder=Scripted()) as started:
        yield started


def test_seed_000_a_message_in_a_response_out(backend: Backend) -> None:
    ann = backend.person("seed000")
    first = ann.http.post("/chat", json={"message": "one", "conversation_id": "support-7", "customer_id": "seed000"})
    assert first.status_code == 200 and first.json() == {"response": "You said one.", "conversation_id": "support-7"}
    ann.http.post("/chat", json={"message": "two", "conversation_id": "support-7"})
    history = ann.http.post("/chat", json={"message": "history", "conversation_id": "support-7"}).json()["response"]
    assert [turn[0] for turn in json.loads(history)] == ["one", "two"]
    failed = ann.http.post("/chat", json={"message": "fail"})
    assert failed.status_code == 502 and failed.json()["code"] == "agent_error"


def test_seed_004_a_form_in_a_growing_answer_out(backend: Backend) -> None:
    ann = backend.person("seed004")
    lines = [json.loads(line) for line in ann.http.post("/chat/", data={"prompt": "slow 20"}).text.splitlines()]
    assert (lines[0]["role"], lines[0]["content"]) == ("user", "slow 20")
    answers = [line["content"] for line in lines[1:]]
    assert {line["role"] for line in lines[1:]} == {"model"} and len({line["timestamp"] for line in lines[1:]}) == 1
    assert len(answers) > 2 and all(b.startswith(a) for a, b in pairwise(answers))
    ann.http.post("/chat/", data={"prompt": "fail"})
    history = [json.loads(line) for line in ann.http.get("/chat/").text.splitlines()]
    assert [(line["role"], line["content"]) for line in history] == [
        ("user", "slow 20"), ("model", answers[-1]), ("user", "fail"), ("model", "Half an ans"),
    ]  # fmt: skip


def test_seed_004_a_failure_is_said_where_the_answer_would_stand(backend: Backend) -> None:
    last = backend.person("seed004b").http.post("/chat/", data={"prompt": "fail"}).text.splitlines()[-1]
    assert json.loads(last)["content"] == "Half an ans\n\nThe agent failed."


def test_a_browser_trades_its_token_for_a_cookie_no_script_can_read(backend: Backend) -> None:
    ann = backend.person("browser")
    traded = ann.http.post("/chat/session")
    assert traded.json()["user_id"] == "browser"
    cookie = traded.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie
    with httpx.Client(base_url=backend.address, cookies={"chat": ann.token}) as http:
        who = http.get("/chat/session").json()
        assert who == {"user_id": "browser", "provider": "scripted", "model": "script-1"}
        body = {"message": "hi"}
        ours = {"Sec-Fetch-Site": "same-origin"}
        assert http.post("/api/browser/chat", json=body, headers=ours).status_code == 200
        assert http.post("/api/browser/chat", json=body, headers={"Origin": backend.address}).status_code == 200
        for foreign in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
                        {"Origin": "https://evil.example"}, {"Origin": "null"}):  # fmt: skip
            for path, data in (("/api/browser/chat", {"json": body}), ("/chat/", {"data": {"prompt": "x"}})):
                refused = http.post(path, headers=foreign, **data)
                assert refused.status_code == 403 and refused.json()["code"] == "forbidden"
        assert http.request("DELETE", "/chat/session").status_code == 204


def test_the_page_comes_to_browsers_and_the_history_to_programs(backend: Backend) -> None:
    for path in ("/", "/chat", "/chat/"):
        page = httpx.get(backend.address + path, headers={"Accept": "text/html,*/*;q=0.8"})
        assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "require-trusted-types-for 'script'" in policy
        assert "unsafe" not in policy and "://" not in page.text.replace("http://www.w3.org/2000/svg", "")
    assert httpx.get(f"{backend.address}/chat/").status_code == 401
    for name in ("chat.js", "chat.css", "icon.svg"):
        asset = httpx.get(f"{backend.address}/chat/static/{name}")
        assert asset.status_code == 200 and "immutable" in asset.headers["cache-control"]
    assert httpx.head(f"{backend.address}/").status_code == httpx.head(f"{backend.address}/healthz").status_code == 200
    assert httpx.get(f"{backend.address}/chat/static/..%2fapp.py").status_code == 404


def test_the_api_describes_itself(backend: Backend) -> None:
    schema = httpx.get(f"{backend.address}/openapi.json").json()
    body = schema["paths"]["/api/{user_id}/chat"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"message", "conversation_id"} and body["required"] == ["message"]


def test_the_page_speaks_the_language_of_whoever_opens_it(backend: Backend) -> None:
    def opened(**headers: str) -> httpx.Response:
        return httpx.get(f"{backend.address}/chat/", headers={"Accept": "text/html", **headers})

    german, english = opened(**{"Accept-Language": "de-AT,de;q=0.9"}), opened(**{"Accept-Language": "fr"})
    assert '<html lang="de-AT" dir="ltr"' in german.text and '<html lang="en-GB"' in english.text
    assert "Nachrichten" in german.text and "Messages" in english.text
    assert '"Copied": "Kopiert"' in german.text  # one of the script's words
    assert '<html lang="de"' in opened(Cookie="language=de").text, "what was chosen on the dashboard"
    assert (
        'data-theme="dark"' in opened(Cookie="theme=dark").text
        and 'data-theme="auto"' in opened(Cookie="theme=<x>").text
    )


def test_every_text_of_the_script_is_one_the_page_can_translate() -> None:
    script = (files("agentsight.chat") / "page" / "chat.js").read_text()
    asked = set(re.findall(r"\b_\('([^']+)'\)", script))
    assert asked == set(SAID_BY_SCRIPT)


def test_nothing_of_the_page_names_its_maker(backend: Backend) -> None:
    page = httpx.get(f"{backend.address}/chat/", headers={"Accept": "text/html"})
    parts = [page.text, str(page.headers)]
    for address in re.findall(r'(?:href|src)="(/chat/static/[^"]+)"', page.text):
        answer = httpx.get(backend.address + address)
        parts += [answer.text, str(answer.headers)]
    assert len(parts) >= 8
    assert not [part[:200] for part in parts if "agentsight" in part.lower()]
