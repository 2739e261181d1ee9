"""A real server on sample data, a real browser in front of it; what a page says on its console fails its test."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentsight import demo
from agentsight.core import sessions, tenancy
from agentsight.core.ports import Storage, Store
from agentsight.server.pages.details import TOPICS
from agentsight.server.pages.layout import PLACES
from agentsight.server.settings import Settings
from agentsight.storage import open_storage
from agentsight.storage.migrate import migrate
from served import Server, database_of

CHROMIUM = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
COOKIE = "session"


def now_us() -> int:
    return time.time_ns() // 1000


@dataclass
class Site:
    """The server with sample data of 90 days, an owner, a member of one agent, and an empty agent beside."""

    server: Server
    storage: Storage
    owner: str  # session tokens
    client: str
    base: str = ""
    agents: dict[str, int] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.server.url

    def http(self, session: str | None = None) -> httpx.Client:
        """A browser without a screen: cookies, no scripts."""
        return httpx.Client(base_url=self.url, cookies={COOKIE: session or self.owner}, timeout=30)

    def link(self, email: str = "owner@example.com") -> str:
        """The path of a fresh one-time sign-in link."""

        def make(store: Store) -> str:
            user = store.tenants.user_by_email(email)
            assert user
            return tenancy.issue_link(store, user, now_us())

        return f"/login?token={self.storage.write(make).result()}"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    data = tmp_path_factory.mktemp("pages")
    settings = Settings.of(data)
    storage = open_storage(database_of(data))
    migrate(storage)
    demo.fill(storage, settings.files, now_us())

    def people(store: Store) -> tuple[str, str, str, dict[str, int]]:
        organization = store.tenants.organizations()[0]
        tenancy.ensure_agent(store, organization, "Silent agent", now_us())
        agents = {agent.slug: agent.id for agent in store.tenants.agents(organization.id)}
        busy = next(agent for agent in store.tenants.agents(organization.id) if agent.slug != "silent-agent")
        owner = tenancy.add_user(store, organization, "owner@example.com", "owner", (), now_us())
        client = tenancy.add_user(store, organization, "client@example.com", "client", (busy,), now_us())
        tokens = [sessions.start(store, user, now_us()) for user in (owner, client)]
        return tokens[0], tokens[1], f"/o/{organization.slug}/a/{busy.slug}", agents

    owner, client, base, agents = storage.write(people).result()
    server = Server(data)
    yield Site(server, storage, owner, client, base, agents)
    server.stop()
    storage.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One for each file: while it is open the thread counts as one with a running event loop, which other suites mind."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is not installed")
        pytest.skip("Chromium is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@dataclass
class Looking:
    """Opens pages as somebody, and remembers what their consoles said."""

    browser: Any
    site: Site
    said: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    contexts: list[Any] = field(default_factory=list)

    def page(self, path: str = "", *, theme: str = "light", session: str | None = "owner", **options: Any) -> Any:
        """A page in a context of its own; `path` below the busy agent, or from the root when it begins with a slash."""
        context = self.browser.new_context(**{"viewport": {"width": 1440, "height": 1000}, "locale": "en-GB"} | options)
        self.contexts.append(context)
        cookies = [{"name": "theme", "value": theme, "url": self.site.url}]
        if session:
            token = self.site.owner if session == "owner" else self.site.client if session == "client" else session
            cookies.append({"name": COOKIE, "value": token, "url": self.site.url})
        context.add_cookies(cookies)
        page = context.new_page()
        page.on("console", lambda message: self._note(message))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.on("request", lambda request: self.requests.append(request.url))
        if path:
            page.goto(self.address(path))
        return page

    def address(self, path: str) -> str:
        return self.site.url + (path if path.startswith("/") else f"{self.site.base}/{path}")

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.said.append(f"{message.type}: {message.text} {message.location.get('url', '')}")


@pytest.fixture
def look(browser: Any, site: Site) -> Iterator[Looking]:
    looking = Looking(browser, site)
    yield looking
    for context in looking.contexts:
        context.close()
    assert not looking.said, "a page complained on its console"
    outside = [url for url in looking.requests if not url.startswith((site.url, "data:", "blob:", "about:"))]
    assert not outside, "a page asked somebody else"


@pytest.fixture
def web(site: Site) -> Iterator[httpx.Client]:
    """The owner without a browser."""
    with site.http() as client:
        yield client


ELSEWHERE = {"chat", "reports/compare", "share/preview"}  # only with something beside or in the query
PAGES = (
    *(place for place in sorted(PLACES) if "{" not in place and place not in ELSEWHERE and "." not in place),
    *(f"analytics/{topic}" for topic in TOPICS),
    "conversations/5",
)
"""Every page below an agent, as the table of routes has them: a new one is in every test that walks them."""

Look = Callable[..., Any]
FOLDER = Path(__file__).parent
