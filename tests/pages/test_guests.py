"""What somebody holding a link gets to see, and what no address makes it show."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from .conftest import Looking, Site, now_us
from .test_shares import post, share


@pytest.fixture(scope="module")
def guest(site: Site) -> Iterator[httpx.Client]:
    """A browser nobody signed in with."""
    with httpx.Client(base_url=site.url, timeout=30) as client:
        yield client


def plain(text: str) -> str:
    """A page without what differs between two looks at it."""
    return re.sub(r"\s+", " ", re.sub(r'name="csrf" value="[^"]+"', "", text))


def expire(site: Site, name: str) -> None:
    def change(store: Any) -> None:
        organization = store.tenants.organizations()[0]
        mine = next(one for one in store.shares.all(organization.id) if one.name == name)
        store.shares.expire(organization.id, mine.id, now_us() - 1)

    site.storage.write(change).result()


# -- bound -----------------------------------------------------------------------------------------------------------
WIDER = [
    "range=12m", "from=2020-01-01&to=2030-01-01", "source=",
    "source=web", "source=viber", "country=US", "language=de", "device=mobile",
    "environment=development", "env=development", "agent=all", "tz=Asia/Tokyo", "compare=year", "by=month", "search=a",
    "customer_id=x", "counted_by=messages&counted_from=2020-01-01T00:00:00Z", "include_deleted=true", "is_used=false",
    "kind=conversation&target=5", "org=demo", "organization_id=2", "agent_ids=2", "sight=full", "hosts=*", "token=x",
    "theme=dark", "widgets=time,heatmap,map,tools", "widgets=", "share=1", "metadata=a:b",
]  # fmt: skip


def test_no_address_widens_a_frame(site: Site, web: httpx.Client, guest: httpx.Client):
    path = share(web, site, "?range=30d&source=whatsapp", hosts="*", theme="light", widgets=["kpis", "sources"])
    path = path.replace("/s/", "/e/")
    bound = plain(guest.get(path).text)
    assert 'class="kpis"' in bound and 'class="heat"' not in bound and 'data-theme="light"' in bound
    for asked in WIDER:
        assert plain(guest.get(f"{path}?{asked}", headers={"Cookie": "theme=dark; language=de"}).text) == bound, asked
    everything = "&".join(WIDER)
    assert plain(guest.get(f"{path}?{everything}").text) == bound
    assert guest.post(path).status_code == 405
    narrower = guest.get(f"{path}?widgets=kpis").text
    assert 'class="kpis"' in narrower and "b-source" not in narrower, "to show less is free"


def test_a_frame_that_leaves_the_theme_open_may_be_told_it(site: Site, web: httpx.Client, guest: httpx.Client):
    path = share(web, site, hosts="*").replace("/s/", "/e/")
    for asked, shown in (("", "auto"), ("?theme=dark", "dark"), ("?theme=x", "auto")):
        assert f'data-theme="{shown}"' in guest.get(path + asked).text


def test_no_address_widens_a_shared_page(site: Site, web: httpx.Client, guest: httpx.Client):
    path = share(web, site, "?range=30d&source=whatsapp", sight="numbers")
    guest.cookies.clear()
    bound = re.findall(r"<b>[^<]*</b>|<b class=\"num\">[^<]*</b>", guest.get(path).text)
    for asked in WIDER:
        shown = re.findall(r"<b>[^<]*</b>|<b class=\"num\">[^<]*</b>", guest.get(f"{path}?{asked}").text)
        assert shown == bound, asked
    for below in ("conversations", "conversations/5", "export/overview.csv", "conversations/5/delete", "../login"):
        assert guest.get(f"{path}/{below}").status_code in (404, 405), below


def test_a_token_that_is_not_whole_or_not_ours_opens_nothing(site: Site, web: httpx.Client, guest: httpx.Client):
    path = share(web, site, hosts="*")
    assert guest.get(path).status_code == guest.get(path.replace("/s/", "/e/")).status_code == 200
    token = path.removeprefix("/s/")
    for bad in (
        token[:-1],
        token + "A",
        token.swapcase(),
        token[1:] + token[0],
        "x" * 43,
        "%00",
        "..%2F",
        "' OR 1=1--",
    ):
        for door in ("/s/", "/e/"):
            assert guest.get(door + bad).status_code == 404, bad


@pytest.mark.parametrize("door", ["/s/", "/e/"])
def test_a_link_that_ended_says_so_and_shows_nothing_until_it_is_opened_again(
    site: Site, web: httpx.Client, guest: httpx.Client, door: str
):
    name = f"Ends {door}"
    path = share(web, site, name=name, hosts="*").replace("/s/", door)
    expire(site, name)
    ended = guest.get(path)
    assert ended.status_code == 410 and "This link has ended" in ended.text and "Total messages" not in ended.text
    assert name not in ended.text
    if door == "/e/":
        assert "frame-ancestors *;" in ended.headers["content-security-policy"]
    at = f"{site.base}/settings/shares"
    edit = next(
        match[1]
        for match in re.finditer(r'action="([^"]+/shares/\d+/edit[^"]*)"', web.get(at).text)
        if "Open again" in web.get(at).text.split(match[0])[1].split("</form>")[0]
    )
    assert post(web, at, html.unescape(edit), days="7").status_code == 303
    assert guest.get(path).status_code == 200
    revoke = html.unescape(edit).replace("/edit", "/revoke")
    assert post(web, at, revoke).status_code == 303
    assert guest.get(path).status_code == 404
    assert post(web, at, html.unescape(edit), days="7").status_code == 404, "revoked is revoked"


def test_views_are_counted_and_the_log_knows_who_shared_what(site: Site, web: httpx.Client, guest: httpx.Client):
    path = share(web, site, name="Counted", password="open sesame now")
    for _ in range(3):
        guest.get(path)
    assert guest.post(path, data={"password": "open sesame now"}).status_code == 303
    for _ in range(2):
        assert guest.get(path).status_code == 200
    guest.head(path)

    def ask(store: Any) -> tuple[int, list[Any]]:
        organization = store.tenants.organizations()[0]
        mine = next(one for one in store.shares.all(organization.id) if one.name == "Counted")
        return mine.views, store.audit.after(organization.id, 0, 1_000)

    until = time.monotonic() + 10
    while site.storage.read(ask)[0] < 2 and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(0.2)  # for one too many
    views, lines = site.storage.read(ask)
    assert views == 2, "only what was seen counts"
    made = [line for line in lines if line.action == "share.created"]
    assert made and made[-1].detail["password"] is True and "Counted" not in str(made[-1])
    guest.cookies.clear()


def test_guessing_a_links_password_gets_slower_and_locks_nobody_out(site: Site, web: httpx.Client):
    path, other = share(web, site, password="open sesame now"), share(web, site, password="open sesame too")
    with httpx.Client(base_url=site.url, timeout=30) as guesser:
        codes = [guesser.post(path, data={"password": f"guess {number}"}).status_code for number in range(7)]
        assert codes[0] == 403 and codes[-1] == 429, codes
        waits = guesser.post(path, data={"password": "open sesame now"})
        assert waits.status_code == 429 and int(waits.headers["retry-after"]) >= 1
        below = guesser.get(f"{path}/conversations?counted_by=messages")
        assert below.status_code == 200 and f'action="{path}"' in below.text, "the question can still be seen, and sent"

    def forget(store: Any) -> None:
        store.people.forget_attempts_before(now_us() + 1)

    site.storage.write(forget).result()
    with httpx.Client(base_url=site.url, timeout=30) as guest:
        answer = guest.post(path, data={"password": "open sesame now"})
        assert answer.status_code == 303 and "HttpOnly" in answer.headers["set-cookie"]
        assert "Total messages" in guest.get(path).text
        guest.cookies.set("opened", guest.cookies["opened"], path=other)
        assert "Total messages" not in guest.get(other).text, "one proof opens one link"


# -- how much is shown -----------------------------------------------------------------------------------------------
def test_each_preset_hides_what_it_says(site: Site, web: httpx.Client, guest: httpx.Client):
    shown = {}
    for sight in ("full", "no_customer", "no_costs"):
        path = share(web, site, "?kind=conversation&target=6", sight=sight)
        shown[sight] = guest.get(path).text
    mine = web.get(f"{site.base}/conversations/6").text
    customer = re.search(r"cust-\d+", mine)
    assert customer and customer[0] in shown["full"]
    for sight, hidden in (("no_customer", (customer[0],)), ("no_costs", (customer[0], "agent_version", "tokens"))):
        for word in hidden:
            assert word not in shown[sight], (sight, word)
    assert "agent_version" in shown["no_customer"]
    assert post(web, f"{site.base}/share", f"{site.base}/share", name="x", sight="x").status_code == 400


@pytest.mark.slow
def test_numbers_lead_to_their_conversations_and_no_further(look: Looking, web: httpx.Client):
    site = look.site
    path = share(web, site, "?range=30d&source=whatsapp", sight="no_customer")
    page = look.page(path, session=None)
    number = page.locator(".kpi").nth(1).locator("b").inner_text()
    page.locator(".kpi").nth(1).locator("a").click()
    page.wait_for_url("**/conversations?*")
    assert page.locator("tbody tr").count() == int(number)
    assert "cust-" not in page.content()
    page.locator("a.open").first.click()
    page.wait_for_url(re.compile(r"/conversations/\d+\?"))
    expect(page.locator(".thread")).to_be_visible()
    assert "cust-" not in page.locator("aside").inner_text()
    inside = page.url
    with httpx.Client(timeout=30) as guest:
        assert guest.get(inside).status_code == 200
        theirs = re.search(r"/conversations/(\d+)", web.get(f"{site.base}/conversations?source=web").text)
        assert theirs, "a conversation the share leaves out"
        assert guest.get(re.sub(r"conversations/\d+", f"conversations/{theirs[1]}", inside)).status_code == 404
        listed = inside.replace(re.search(r"conversations/\d+", inside)[0], "conversations").partition("?")[0]  # type: ignore[index]
        whole = re.findall(r"conversations/(\d+)\?", guest.get(f"{listed}?counted_by=conversations").text)
        for wider in ("counted_from=2020-01-01T00:00:00Z&counted_to=2030-01-01T00:00:00Z", "source=web", "range=12m",
                      "environment=development", "include_deleted=true"):  # fmt: skip
            asked = guest.get(f"{listed}?counted_by=conversations&{wider}").text
            assert set(re.findall(r"conversations/(\d+)\?", asked)) <= set(whole), wider
        assert guest.get(f"{listed}/1e3").status_code == guest.get(f"{listed}/{'9' * 30}").status_code == 404


# -- framed, for real ------------------------------------------------------------------------------------------------
@contextmanager
def elsewhere(folder: Path) -> Iterator[int]:
    """Another site, on a port of its own."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.mark.slow
def test_only_the_named_site_frames_it_and_the_frame_grows_with_its_page(
    look: Looking, web: httpx.Client, tmp_path: Path
):
    with elsewhere(tmp_path) as named, elsewhere(tmp_path) as other:
        at = f"{look.site.base}/share?range=30d"
        made = post(web, at, at, name='Numbers " <b>', days="30", hosts=f"http://127.0.0.1:{named}", widgets="map")
        snippet = re.search(r'id="snippet"[^>]*>(.*?)</pre>', made.text, re.DOTALL)
        assert snippet
        (tmp_path / "index.html").write_text(
            "<!doctype html><link rel=icon href=data:,><title>A page</title><h1>Ours</h1>" + html.unescape(snippet[1])
        )
        page = look.page(viewport={"width": 900, "height": 700})
        page.goto(f"http://127.0.0.1:{named}/")
        frame = page.frame_locator("#stats")
        expect(frame.locator(".map")).to_be_visible()
        expect(page.locator("#stats")).to_have_attribute("title", 'Numbers " <b>')
        shape = frame.locator(".map a use, .map use").first.bounding_box()
        assert shape and shape["width"] > 1, "the map is drawn, though the frame is in a sandbox"
        body = frame.locator("body").bounding_box()
        assert body
        expect(page.locator("#stats")).to_have_attribute("height", str(-(-int(body["height"] * 100) // 100)))
        assert 200 < body["height"] < 890
        assert not look.said, "nothing to complain about where it may be framed"
        page.goto(f"http://127.0.0.1:{other}/")
        page.wait_for_timeout(500)
        assert len(page.frames) == 2 and 'class="map"' not in page.frames[1].content()
        assert any("frame-ancestors" in said for said in look.said)
    look.said.clear()
    look.requests[:] = [url for url in look.requests if url.startswith(look.site.url)]


@pytest.mark.slow
def test_a_frame_is_tried_on_before_it_is_made(look: Looking):
    page = look.page("share?range=30d")
    frame = page.frame_locator(".framed")
    expect(frame.locator(".kpis")).to_be_visible()
    page.get_by_label("Key figures").uncheck()
    expect(frame.locator(".kpis")).to_have_count(0)
    page.locator("select[name=theme]").select_option("dark")
    expect(frame.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.get_by_label("Key figures").is_checked() is False


@pytest.mark.slow
def test_a_frame_is_tried_on_without_a_script(look: Looking):
    page = look.page("share?range=30d", java_script_enabled=False)
    page.get_by_label("Name").fill("Kept while trying")
    for name in ("Over time", "World map"):
        page.get_by_label(name, exact=True).uncheck()
    page.get_by_role("button", name="Preview").click()
    assert page.get_by_label("Name").input_value() == "Kept while trying"
    frame = page.frame_locator(".framed")
    expect(frame.locator(".kpis")).to_be_visible()
    expect(frame.locator(".map")).to_have_count(0)


@pytest.mark.drawn
@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_on_what_guests_see(look: Looking, web: httpx.Client, theme: str):
    from axe_playwright_python.sync_playwright import Axe

    from .test_branding import PLAIN
    from .test_everybody import LEVELS

    site = look.site
    at = f"{site.base}/settings/branding"
    post(web, at, at, **PLAIN, powered="1")  # one line more
    name = f"Over {theme}"
    paths = {
        "numbers": share(web, site, "?range=30d", sight="full"),
        "locked": share(web, site, password="open sesame now"),
        "ended": share(web, site, name=name),
        "conversation": share(web, site, "?kind=conversation&target=6", sight="full"),
        "frame": share(web, site, hosts="*").replace("/s/", "/e/"),
    }
    expire(site, name)
    paths["list"] = paths["numbers"] + "/conversations?counted_by=conversations"
    found: dict[str, Any] = {}
    for width in (1280, 390):
        page = look.page(session=None, theme=theme, bypass_csp=True, viewport={"width": width, "height": 900})
        for what, path in paths.items():
            page.goto(look.address(f"{path}?theme={theme}" if what == "frame" else path))
            result = Axe().run(page, options={"runOnly": LEVELS})
            over = page.locator("html").evaluate("root => root.scrollWidth - root.clientWidth")
            if result.violations_count or over > 0:
                nodes = [(v["id"], [n["html"][:160] for n in v["nodes"][:3]]) for v in result.response["violations"]]
                found[f"{what} {width}"] = (nodes, over)
    look.said.clear()  # the ended link's own 410
    post(web, at, at, **PLAIN)
    assert not found
