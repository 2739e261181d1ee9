"""Whatever somebody types as a brand, a share's name or a message: on every page that shows it, it stays text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from agentsight.core import brands, shares
from agentsight.core.model import Principal, Scope
from agentsight.errors import Invalid
from agentsight.server.ui import theme
from agentsight.server.ui.theme import Brand

from .conftest import Looking, Site, now_us
from .test_branding import PLAIN
from .test_conversations import HOSTILE, talk
from .test_shares import post

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not HOSTILE.is_file(), reason="the sample data is not beside the checkout"),
]
WATCH = """window.__hits = []; window.__xss = n => window.__hits.push(n);
addEventListener('securitypolicyviolation', event => console.error('CSP', event.violatedDirective));"""
POKE = """() => { for (const each of document.querySelectorAll('main *, header *, aside *'))
  for (const kind of ['mouseover', 'pointerover', 'focus', 'toggle']) each.dispatchEvent(new Event(kind, { bubbles: true })); }"""


@pytest.fixture(scope="module")
def corpus() -> list[str]:
    told = []
    for one in json.loads(HOSTILE.read_text())["payloads"]:
        text = one["payload"] if isinstance(one["payload"], str) else json.dumps(one["payload"])
        told.append(text.replace("{{JS}}", f"__xss({one['n']})").replace("{{B}}", f"http://beacon.test/{one['n']}"))
    return told


@pytest.fixture(scope="module")
def names(corpus: list[str]) -> list[str]:
    """Those of them that can be a name at all."""
    return [text for text in corpus if text.strip() and len(" ".join(text.split())) <= 200 and "\0" not in text]


@pytest.fixture
def branded(site: Site) -> Iterator[Any]:
    """Gives the organization a name; afterwards it has its own again."""

    def named(name: str, powered: str = "1") -> None:
        def change(store: Any) -> None:
            brands.save(store, store.tenants.organizations()[0], {**PLAIN, "name": name, "powered": powered})

        site.storage.write(change).result()

    yield named
    named(PLAIN["name"], "")


def shared(site: Site, name: str, **told: Any) -> str:
    """A link of this name; its token."""

    def change(store: Any) -> str:
        organization = store.tenants.organizations()[0]
        agent = site.agents[site.base.rpartition("/")[2]]
        who = Principal(Scope(organization.id, (agent,)), "owner", name=name[:200])
        return shares.create(store, who, **{"kind": "analytics", "name": name, "now_us": now_us()} | told)[0]

    token: str = site.storage.write(change).result()
    return token


def calm(page: Any) -> None:
    """Poke everything on the page; nothing that was smuggled in may have run."""
    page.evaluate(POKE)
    for frame in page.frames:
        assert frame.evaluate("window.__hits || []") == [], page.url


def test_a_hostile_share_is_a_name_in_the_list_and_a_title_to_its_guests(look: Looking, names: list[str]):
    site = look.site
    tokens = [shared(site, name, address="?range=7d", hosts=["*"], sight="full") for name in names]
    page = look.page(bypass_csp=False)
    page.add_init_script(WATCH)
    page.goto(look.address("settings/shares"))
    calm(page)
    listed = page.locator("tbody th bdi").all_inner_texts()
    assert len(listed) >= len(names)
    for place in range(0, len(names), 12):
        for door in ("s", "e"):
            page.goto(f"{site.url}/{door}/{tokens[place]}")
            calm(page)
            assert page.locator(".kpis").is_visible()


def test_a_hostile_brand_is_a_name_on_every_page(look: Looking, branded: Any, names: list[str]):
    site = look.site
    token = shared(site, "Plain", hosts=["*"])
    locked = shared(site, "Plain", password="a long enough one")
    page = look.page()
    page.add_init_script(WATCH)
    for place, name in enumerate(names[::12]):
        branded(name)
        for address in (f"{site.base}/settings/branding", f"/s/{token}", f"/s/{locked}", f"/e/{token}"):
            page.goto(site.url + address)
            calm(page)
        if place == 0:
            page.goto(look.address("settings/branding"))
            page.get_by_label("Name shown").fill(names[20])
            page.wait_for_timeout(500)
            calm(page)


def test_a_hostile_conversation_is_text_to_a_guest(look: Looking, corpus: list[str]):
    events: list[tuple[str, float, dict[str, Any]]] = [("conversation", 0, {"customer_id": corpus[3][:200], "name": corpus[7][:200],
               "source": corpus[9][:200], "metadata": {corpus[5][:100] or "x": corpus[6]}})]  # fmt: skip
    for place, text in enumerate(corpus):
        events.append(("message", place + 1, {"sender": "agent" if place % 2 else "end_user", "content": text}))
        if place % 10 == 0:
            events.append(
                ("action", place + 1, {"action_name": text[:200] or "x", "tools_used": {"in": text}, "error_msg": text})
            )
    id = talk(look.site, "hostile-guest", *events)
    token = shared(look.site, "Hostile", kind="conversation", target=id, sight="full")
    page = look.page()
    page.add_init_script(WATCH)
    page.goto(f"{look.site.url}/s/{token}")
    for summary in page.locator(".act summary").all():
        summary.click()
    calm(page)
    assert page.locator(".thread > li").count() > len(corpus)
    assert page.locator(".md img, .md svg, .md iframe, .md form, .md style, .md script").count() == 0
    schemes = page.locator(".md a[href]").evaluate_all("all => all.map(each => each.protocol)")
    assert set(schemes) <= {"http:", "https:", "mailto:"}


def test_colours_corners_fonts_hosts_and_frames_take_nothing_hostile(site: Site, web: httpx.Client, corpus: list[str]):
    at = f"{site.base}/settings/branding"
    for text in corpus:
        for field in ("accent", "accent2", "radius", "font"):
            with pytest.raises(Invalid, match=field):
                site.storage.read(
                    lambda store, told={**PLAIN, field: text}: brands.read(store.tenants.organizations()[0], told)
                )
        with pytest.raises(Invalid):
            shared(site, "x", hosts=[text if text.strip() not in ("", "*") else "x"])
        brand = Brand("Acme", accent="#123456", radius="soft", font="inter")
        told = Brand.of(text, {"name": text, "accent": text, "radius": text, "font": text, "logo": text}, "/brand/x/")
        assert re.fullmatch(r":root\{(--[\w-]+:[^;{}<>\\]+;?)+\}", theme.style(told))
        assert theme.style(brand) and len(re.findall("<", theme.icon(told))) == 5, theme.icon(told)
    for text in corpus[::15]:
        assert post(web, at, f"{at}/hosts", host=text).status_code == 400
        answer = web.get(f"{at}/try.css", params={"accent": text, "radius": text, "font": text, "name": text})
        assert answer.headers["content-type"].startswith("text/css") and "<" not in answer.text
