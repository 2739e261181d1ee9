"""What a browser is told it may do, on every answer; and that the telling is heard."""

from __future__ import annotations

import re

import httpx
import pytest

from agentsight.server.ui.headers import POLICY

from .conftest import PAGES, Looking, Site

STRICT = POLICY.format(ancestors="'none'")


def policy(path: str) -> str:
    """The strict one everywhere; the page that makes frames shows one of ours, which only we may frame."""
    if path.endswith("/share/preview"):
        return POLICY.format(ancestors="'self'")
    return f"{STRICT}; frame-src 'self'" if path.endswith("/share") else STRICT


def test_every_answer_carries_the_policy(site: Site, web: httpx.Client):
    paths = [f"{site.base}/{path}" for path in PAGES]
    paths += [
        "/login",
        "/static/app.css",
        "/static/none.css",
        "/brand/-/0.css",
        "/brand/nobody/0.css",
        "/nowhere",
        "/o/nowhere",
        "/healthz",
        "/api/metrics/",
    ]
    paths += [f"{site.base}/export/overview.csv", f"{site.base}/conversations/999999"]
    for path in paths:
        headers = web.get(path).headers
        assert headers["content-security-policy"] == policy(path), path
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["referrer-policy"] == "same-origin", path
        assert headers["cross-origin-opener-policy"] == "same-origin", path
    for path in PAGES:
        answer = web.get(f"{site.base}/{path}")
        assert answer.is_redirect or answer.headers["cache-control"] == "no-store", path


def test_no_page_has_inline_style_or_script(site: Site, web: httpx.Client):
    for path in PAGES:
        text = web.get(f"{site.base}/{path}").text
        bare = re.sub(r'"[^"]*"', '""', text)
        assert not re.findall(r"<[a-z][^>]* (?:style|on\w+)=|<style", bare, re.IGNORECASE), path
        assert text.count("<script") == (2 if path == "share/preview" else 0 if path == "settings" else 1), path


def test_the_policy_would_notice(look: Looking):
    """The suite's own alarm works: a page that breaks the policy is heard of."""
    page = look.page("analytics")
    page.locator("body").evaluate("body => { body.setAttribute('style', 'color: red'); }")
    page.wait_for_timeout(100)
    assert any("style" in said for said in look.said)
    look.said.clear()
    with pytest.raises(Exception, match="TrustedHTML"):
        page.locator("body").evaluate("body => { body.innerHTML = '<b>x</b>'; }")
    look.said.clear()


def test_no_site_frames_the_dashboard(look: Looking):
    page = look.page()
    frame = f'<iframe src="{look.address("analytics")}" width="600" height="400"></iframe>'
    page.route("http://framer.test/", lambda route: route.fulfill(body=frame, content_type="text/html"))
    page.goto("http://framer.test/")
    page.wait_for_timeout(300)
    assert all("Total messages" not in each.content() for each in page.frames)
    look.requests.remove("http://framer.test/")
    look.said.clear()


def test_head_is_answered_like_get(site: Site, web: httpx.Client):
    for path in (f"{site.base}/analytics", f"{site.base}/reports", "/static/app.css"):
        answer = web.head(path)
        assert answer.status_code == 200 and not answer.content
