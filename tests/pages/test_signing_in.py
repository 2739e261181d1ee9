"""Who gets in, how, and what they may do there."""

from __future__ import annotations

import re

import httpx
import pytest

from .conftest import COOKIE, Looking, Site


def csrf(text: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', text)
    assert found
    return found[1]


def test_a_one_time_link_signs_in_once(site: Site):
    path = site.link()
    token = path.partition("token=")[2]
    with httpx.Client(base_url=site.url) as first, httpx.Client(base_url=site.url) as second:
        assert first.get(path).status_code == 200, "looking at the link does not use it up"
        answer = first.post("/login", data={"token": token})
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=lax" in cookie
        assert first.get(f"{site.base}/analytics").status_code == 200
        assert second.post("/login", data={"token": token}).status_code == 403, "the second use is refused"


def test_a_link_from_a_terminal_signs_in_by_itself(look: Looking):
    page = look.page(look.site.link(), session=None)
    page.wait_for_url("**/analytics")
    assert page.locator(".top h1").inner_text() == "Analytics"


def test_a_link_works_without_a_script(look: Looking):
    page = look.page(look.site.link(), session=None, java_script_enabled=False)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/analytics")


def test_a_stranger_is_asked_to_sign_in_and_comes_back_to_where_they_wanted(site: Site):
    with httpx.Client(base_url=site.url) as web:
        answer = web.get(f"{site.base}/conversations?source=web")
        assert answer.status_code == 303 and answer.headers["location"].startswith("/login?next=")
        token = site.link().partition("token=")[2]
        wanted = httpx.URL(answer.headers["location"]).params["next"]
        back = web.post("/login", data={"token": token, "next": wanted}).headers["location"]
        assert back == f"{site.base}/conversations?source=web"


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_nobody_is_sent_to_another_site(site: Site, elsewhere: str):
    token = site.link().partition("token=")[2]
    answer = httpx.post(f"{site.url}/login", data={"token": token, "next": elsewhere})
    assert answer.headers["location"] == "/"


def test_signing_out_ends_the_session(site: Site):
    token = site.link().partition("token=")[2]
    with httpx.Client(base_url=site.url) as web:
        web.post("/login", data={"token": token})
        session = web.cookies[COOKIE]
        form = csrf(web.get(f"{site.base}/usage").text)
        assert web.post("/logout", data={"csrf": form}).status_code == 303
        again = httpx.get(f"{site.url}{site.base}/usage", cookies={COOKIE: session})
        assert again.status_code == 303, "the old cookie opens nothing"


@pytest.mark.parametrize(
    ("headers", "good_token"),
    [
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": "same-site"}, True),
        ({"origin": "https://evil.example"}, True),
        ({"origin": "null"}, True),
        ({}, False),
    ],
)
def test_another_site_changes_nothing(site: Site, web: httpx.Client, headers: dict[str, str], good_token: bool):
    page = web.get(f"{site.base}/conversations/6").text
    form = {"name": "stolen", "csrf": csrf(page) if good_token else "0" * 48}
    answer = web.post(f"{site.base}/conversations/6/rename", data=form, headers=headers)
    assert answer.status_code == 403
    assert "stolen" not in web.get(f"{site.base}/conversations/6").text


def test_a_form_carries_another_token_on_every_page(web: httpx.Client, site: Site):
    assert csrf(web.get(f"{site.base}/usage").text) != csrf(web.get(f"{site.base}/usage").text)


def test_a_client_looks_and_changes_nothing(site: Site):
    with site.http(site.client) as web:
        page = web.get(f"{site.base}/conversations/6")
        assert page.status_code == 200 and "Delete" not in page.text
        form = {"csrf": csrf(page.text), "marked": "true"}
        assert web.post(f"{site.base}/conversations/6/mark", data=form).status_code == 403
        assert web.get(f"{site.base}/migrate").status_code == 403
        made = web.post(f"{site.base}/settings/keys", data={"csrf": form["csrf"], "agent": "1", "role": "write"})
        assert made.status_code == 403


def test_an_owner_decides_whether_clients_see_what_was_spent(site: Site, web: httpx.Client):
    at = f"{site.base}/settings/general"

    def decide(**seen: str) -> None:
        form = {"csrf": csrf(web.get(at).text), "name": "Demo", "timezone": "UTC", **seen}
        assert web.post(at, data=form).status_code == 303

    with site.http(site.client) as client:
        assert "Tokens used" in client.get(f"{site.base}/analytics").text
        decide()
        try:
            for path in ("analytics", "conversations/5", "usage", "export/overview.csv"):
                text = client.get(f"{site.base}/{path}").text
                assert "Token usage" not in text and "Tokens used" not in text and "total_tokens" not in text, path
            assert client.get(f"{site.base}/analytics/tokens").status_code == 404
            assert client.get(f"{site.base}/export/tokens.csv").status_code == 404
            assert "Tokens used" in web.get(f"{site.base}/analytics").text, "the owner still sees it"
        finally:
            decide(**{f"clients_see_{name}": "1" for name in ("costs", "tokens", "metadata", "customer")})


def test_another_organization_and_another_agent_are_not_found(site: Site):
    with site.http(site.client) as web:
        for path in ("/o/acme/a/all/analytics", site.base.rpartition("/")[0] + "/silent-agent/analytics", "/o/x/y"):
            answer = web.get(path)
            assert answer.status_code == 404 and "belongs to somebody else" in answer.text


def test_an_error_page_says_what_to_do_in_html(web: httpx.Client, site: Site):
    answer = web.get(f"{site.base}/conversations/999999")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html") and "To the dashboard" in answer.text
