"""What a browser is told it may do, on every answer; and that the telling is heard."""

from __future__ import annotations

import re

import httpx
import pytest

from agentsight.server.ui.headers import POLICY

from .conftest import PAGES, Looking, Site

STRICT = POLICY.format(ancestors="'none'")


def test_every_answer_carries_the_policy(site: Site, web: httpx.Client):
    paths = [f"{site.base}/{path}" for path in PAGES]
    paths += [
        "/login",
        "/static/app.css",
        "/static/none.css",
        "/theme/-.0.css",
        "/nowhere",
        "/o/nowhere",
        "/healthz",
        "/api/metrics/",
    ]
    paths += [f"{site.base}/export/overview.csv", f"{site.base}/conversations/999999"]
    for path in paths:
        headers = web.get(path).headers
        assert headers["content-security-policy"] == STRICT, path
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["referrer-policy"] == "same-origin", path
        assert headers["cross-origin-opener-policy"] == "same-origin", path
    for path in PAGES:
        assert web.get(f"{site.base}/{path}").headers["cache-control"] == "no-store"


def test_no_page_has_inline_style_or_script(site: Site, web: httpx.Client):
    for path in PAGES:
        text = web.get(f"{site.base}/{path}").text
        bare = re.sub(r'"[^"]*"', '""', text)
        assert not re.findall(r"<[a-z][^>]* (?:style|on\w+)=|<style", bare, re.IGNORECASE), path
        assert text.count("<script") == 1, path


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
