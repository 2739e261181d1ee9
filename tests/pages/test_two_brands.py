"""Two organizations on one server, each at its own host name under its own brand: nothing of one is ever seen at the other's."""

from __future__ import annotations

import base64
import html
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from agentsight.core import brands, hosts, sessions, tenancy
from agentsight.storage import open_storage
from agentsight.storage.blobs import FileBlobs
from served import Server, event

from .conftest import ARGUMENTS, CHROMIUM, COOKIE, now_us
from .test_branding import png
from .test_signing_in import csrf

MAKER = "agentsight"
SKIPPED = re.compile(r"/(preferences|logout|live)\b")
MOST_PAGES = 160


@dataclass
class House:
    """One organization with everything in it that must not be seen elsewhere."""

    name: str
    slug: str
    host: str
    accent: str
    agent: str
    canary: str
    sessions: dict[str, str] = field(default_factory=dict)
    ids: set[int] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    files: set[str] = field(default_factory=set)

    @property
    def words(self) -> set[str]:
        """What is this house's alone: names, addresses, texts, files."""
        own = {
            self.name,
            self.host,
            self.agent,
            self.canary,
            f"{self.canary}@",
            f"/o/{self.slug}",
            f"/brand/{self.slug}",
        }
        return {word.lower() for word in own | self.files}


@dataclass
class Town:
    server: Server
    houses: tuple[House, House]

    def web(self, house: House, who: str | None = None) -> httpx.Client:
        cookies = {COOKIE: house.sessions[who]} if who else {}
        headers = {"Host": f"{house.host}:{self.server.port}", "Accept": "text/html,*/*"}
        return httpx.Client(base_url=self.server.url, headers=headers, cookies=cookies, timeout=60)

    def address(self, house: House, path: str) -> str:
        return f"http://{house.host}:{self.server.port}{path}"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    server = Server(tmp_path_factory.mktemp("town"))
    houses = (
        House("Aurora Travel", "aurora-travel", "stats.aurora.test", "#c2185b", "Polly", "kittiwake"),
        House("Baltic Bank", "baltic-bank", "numbers.baltic.test", "#00796b", "Teller", "dunnock"),
    )
    storage = open_storage(server.database)
    blobs = FileBlobs(server.data / "files")
    for house in houses:
        _lived_in(server, house)
        storage.write(lambda store, house=house: _furnished(store, blobs, house)).result()
    town = Town(server, houses)
    for house in houses:
        _shared(town, house)
    yield town
    server.stop()
    storage.close()


def _lived_in(server: Server, house: House) -> None:
    """Conversations whose every field says whose they are."""
    with server.api(house.agent, house.name) as api:
        for number in range(3):
            talk = f"{house.canary}-talk-{number}"
            moment = time.strftime("%Y-%m-%dT%H:%M:%S.000001Z", time.gmtime(time.time() - 3600 * (number + 1)))
            told = [
                event("conversation", talk, customer_id=f"{house.canary}-customer", source=f"{house.canary}-source",
                      device="mobile", language="en", name=f"{house.canary} asks {number}", environment="production",
                      customer_ip_address="8.8.8.8", metadata={"agent_version": f"{house.canary}-1.{number}"}),
                event("message", talk, sender="end_user", content=f"Is the {house.canary} here?"),
                event("action", talk, action_name=f"{house.canary}_tool", duration_ms=5, response=house.canary),
                event("message", talk, sender="agent", content=f"The {house.canary} has flown."),
                event("button", talk, button_event=f"{house.canary}-button", label=house.canary, value="yes"),
                event("token_usage", talk, prompt_tokens=5, completion_tokens=6, total_tokens=11, model=f"{house.canary}-model"),
                event("attachment", talk, sender="end_user", filename=f"{house.canary}.txt", mime_type="text/plain",
                      data=base64.b64encode(house.canary.encode()).decode()),
                event("feedback", talk, sentiment="positive", comment=f"{house.canary}!"),
            ]  # fmt: skip
            answer = api.batch(*({**one, "occurred_at": moment} for one in told))
            assert answer["rejected"] == 0, answer
        house.ids = {row["id"] for row in api.get("/api/conversations/").json()["results"]}


def _furnished(store: Any, blobs: FileBlobs, house: House) -> None:
    """Its brand, its host name, its people."""
    organization = store.tenants.organization_named(house.name)
    assert organization.slug == house.slug
    look = {"name": house.name, "accent": house.accent, "accent2": house.accent, "radius": "soft", "font": "system"}
    organization = brands.save(store, organization, look)
    for which, shade in (("logo", 0.9), ("logo_dark", 0.6)):
        colour = tuple(int(int(house.accent[at : at + 2], 16) * shade) for at in (1, 3, 5))
        organization = brands.keep_file(store, blobs, organization, which, png(colour))
        house.files.add(organization.settings["brand"][which]["sha256"])
    hosts.add(store, organization, house.host, (), now_us())
    for role in ("owner", "client"):
        person = tenancy.add_user(store, organization, f"{role}.{house.canary}@example.com", role, (), now_us())
        house.sessions[role] = sessions.start(store, person, now_us())


def _shared(town: Town, house: House) -> None:
    """A report, and links to everything that can be shared."""
    with town.web(house, "owner") as web:

        def post(at: str, to: str, **fields: str) -> httpx.Response:
            return web.post(to, data={"csrf": csrf(web.get(at).text), **fields})

        assert post("/a/all/analytics", "/a/all/reports/save", name=f"{house.canary} report").status_code == 303
        report = re.search(r"reports/(\d+)", web.get("/a/all/reports").text)
        assert report
        talk = min(house.ids)
        for query, more in (
            ("?range=30d", {"hosts": "*"}),
            ("?range=7d", {"sight": "full"}),
            (f"?kind=report&target={report[1]}", {}),
            (f"?kind=conversation&target={talk}", {"sight": "full"}),
            ("?range=7d", {"password": "a long enough one"}),
        ):
            at = f"/a/all/share{query}"
            made = post(at, at, **{"name": f"{house.canary} share", "days": "30", "hosts": "", "password": ""} | more)
            found = re.search(rf"http://{re.escape(house.host)}:\d+(/s/[\w-]+)", made.text)
            assert found, made.text
            house.links.append(found[1])
        house.links.append(house.links[0].replace("/s/", "/e/"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    rules = "--host-resolver-rules=MAP *.test 127.0.0.1"
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, rules])
        yield opened
        opened.close()


# -- everything there is to fetch ------------------------------------------------------------------------------------
def crawl(web: httpx.Client, starts: list[str]) -> dict[str, tuple[httpx.Response, str]]:
    """Every page, file and export that links lead to, with its headers, in words."""
    queue, seen = list(starts), {}
    while queue and len(seen) < MOST_PAGES:
        path = queue.pop(0)
        shape = re.sub(r"\d+", "0", re.sub(r"=[^&]*", "=", path)) if "?" in path else path
        if shape in seen or SKIPPED.search(path):
            continue
        answer = web.get(path)
        headers = "\n".join(f"{name}: {value}" for name, value in answer.headers.multi_items())
        seen[shape] = (answer, f"{path}\n{headers}\n{answer.text}".lower())
        found = re.findall(r'(?:href|src|action|data-live|data-try)="([^"#]+)', answer.text)
        found += [*re.findall(r'url\("?([^")]+)', answer.text), answer.headers.get("location", "")]
        for link in found:
            url = urlsplit(urljoin(path, html.unescape(link)))
            if link and not url.netloc and url.path.startswith("/"):
                queue.append(url.path + (f"?{url.query}" if url.query else ""))
    return seen


EXPORTS = [
    f"/a/all/export/{what}.{kind}"
    for what in ("overview", "conversations", "tools", "countries")
    for kind in ("csv", "json")
]
API = ["/api/conversations/", "/api/analytics/?metric=total_messages&by=source", "/api/conversations/?full=true"]
ODD = ["/login", "/favicon.ico", "/nowhere", "/a/nothing/analytics", "/a/all/conversations/999999", "/s/unknown", "/invite/x",
       "/docs", "/openapi.json", "/metrics", "/o/x/a/all/analytics", "/login?token=x", "/forgot", "/robots.txt"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("who", ["client", "owner", None])
@pytest.mark.parametrize("which", [0, 1])
def test_nothing_of_one_house_is_in_the_other(town: Town, which: int, who: str | None):
    mine, other = town.houses[which], town.houses[1 - which]
    starts = [*mine.links, *ODD]
    if who:
        talks = [f"/a/all/conversations/{id}" for id in sorted(mine.ids)]
        starts = ["/", "/a/all/analytics?range=30d", *talks, *EXPORTS, *API, *starts]
    with town.web(mine, who) as web:
        seen = crawl(web, starts)
    assert len(seen) > (60 if who else 20), sorted(seen)
    told = "".join(text for _, text in seen.values())
    assert mine.name.lower() in told and mine.canary in told, "the crawl sees what is there"
    for path, (answer, text) in seen.items():
        assert answer.status_code < 500, path
        for word in other.words:
            assert word not in text, (path, word)
        assert not {int(id) for id in re.findall(r"conversations/(\d+)", text)} & other.ids, path
        assert f"/o/{mine.slug}" not in text, (path, "an address that says whose it is")
        if who != "owner" and not path.endswith((".js", ".css")):
            assert MAKER not in text, (path, "the maker's name")
        if path.endswith((".js", ".css")):
            assert MAKER not in text, path


@pytest.mark.parametrize("which", [0, 1])
def test_things_of_one_house_asked_for_by_name_at_the_other_are_not_there(town: Town, which: int):
    mine, other = town.houses[which], town.houses[1 - which]
    theirs = [f"/a/all/conversations/{id}" for id in other.ids] + other.links
    theirs += [f"/a/{other.agent.lower()}/analytics", f"/o/{other.slug}/a/all/analytics"]
    theirs += [
        f"/brand/{slug}/{name}/{file}"
        for slug in ("-", other.slug)
        for name in ("logo", "logo_dark")
        for file in other.files
    ]
    theirs += [f"/api/conversations/{id}/" for id in other.ids]
    with town.web(mine, "owner") as web:
        for path in theirs:
            answer = web.get(path)
            assert answer.status_code == 404, (path, answer.status_code)
            assert not any(word in answer.text.lower() for word in other.words), path
    with town.web(mine, None) as web:
        web.cookies[COOKIE] = other.sessions["owner"]
        assert web.get("/a/all/analytics").headers["location"].startswith("/login")
        for path in API:
            assert web.get(path).status_code == 401, path


def test_a_brand_says_what_it_is_made_with_only_when_it_wants_to(town: Town):
    house = town.houses[0]
    told = {"name": house.name, "accent": house.accent, "accent2": house.accent, "radius": "soft", "font": "system"}
    at = "/a/all/settings/branding"
    with town.web(house, "owner") as web, town.web(house, "client") as client, town.web(house) as anybody:

        def save(**more: str) -> None:
            assert web.post(at, data={"csrf": csrf(web.get(at).text), **told, **more}).status_code == 303

        for shown, more in ((True, {"powered": "1"}), (False, {})):
            save(**more)
            for text in (client.get("/a/all/usage").text, anybody.get(house.links[0]).text, anybody.get("/login").text):
                assert ("Powered by AgentSight" in text) is shown


# -- as people see it ------------------------------------------------------------------------------------------------
NEAR = """async ([picture, red, green, blue]) => {
  const image = await createImageBitmap(await (await fetch(picture)).blob());
  const canvas = new OffscreenCanvas(image.width, image.height), pen = canvas.getContext('2d');
  pen.drawImage(image, 0, 0);
  const data = pen.getImageData(0, 0, image.width, image.height).data;
  let count = 0;
  for (let at = 0; at < data.length; at += 4)
    if (Math.abs(data[at] - red) + Math.abs(data[at + 1] - green) + Math.abs(data[at + 2] - blue) < 12) count++;
  return count;
}"""


def pixels(page: Any, picture: bytes, colour: str) -> int:
    """How many pixels of a screenshot are of this colour."""
    channels = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    address = "data:image/png;base64," + base64.b64encode(picture).decode()
    return int(page.evaluate(NEAR, [address, *channels]))


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_house_looks_like_itself(town: Town, browser: Any, theme: str):
    said, requests, shots = [], [], {}
    judge = browser.new_context().new_page()
    for house in town.houses:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
        base = town.address(house, "")
        context.add_cookies([{"name": COOKIE, "value": house.sessions["client"], "url": base},
                             {"name": "theme", "value": theme, "url": base}])  # fmt: skip
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request, host=house.host: requests.append((host, request.url)))
        page.goto(base)
        page.wait_for_url("**/a/*/analytics")
        assert page.title() == f"Analytics · {house.name}"
        shots[house.name, "inside"] = page.screenshot()
        page.goto(town.address(house, house.links[0]))
        shots[house.name, "shared"] = page.screenshot()
        context.clear_cookies(name=COOKIE)
        page.goto(town.address(house, "/login"))
        assert house.name in page.title()
        shots[house.name, "door"] = page.screenshot()
        context.close()
    assert not said
    assert all(urlsplit(url).hostname == host for host, url in requests if not url.startswith("data:")), requests
    for house, other in (town.houses, town.houses[::-1]):
        shade = 0.9 if theme == "light" else 0.6
        logo = "#" + "".join(f"{int(int(house.accent[at : at + 2], 16) * shade):02x}" for at in (1, 3, 5))
        for place in ("inside", "shared", "door"):
            mine, theirs = shots[house.name, place], shots[other.name, place]
            assert mine != theirs
            assert pixels(judge, mine, logo) > 1_000, (house.name, place, "its logo of this theme")
            assert pixels(judge, theirs, logo) == 0, (other.name, place)
            if theme == "light":
                assert pixels(judge, mine, house.accent) > 100, (house.name, place)
                assert pixels(judge, theirs, house.accent) == 0, (other.name, place)
    judge.context.close()


@pytest.mark.slow
def test_on_paper_too(town: Town, browser: Any, tmp_path: Path):
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed: apt-get install poppler-utils")
    for house, other in (town.houses, town.houses[::-1]):
        context = browser.new_context(locale="en-GB")
        context.add_cookies([{"name": COOKIE, "value": house.sessions["client"], "url": town.address(house, "")}])
        page = context.new_page()
        talk = f"/a/all/conversations/{min(house.ids)}"
        for number, path in enumerate(("/a/all/analytics?range=30d", talk, house.links[0], house.links[3])):
            page.goto(town.address(house, path))
            file = tmp_path / f"{house.slug}-{number}.pdf"
            page.pdf(path=file, format="A4", print_background=True)
            text = subprocess.run(["pdftotext", file, "-"], capture_output=True, text=True, check=True).stdout
            facts = subprocess.run(["pdfinfo", file], capture_output=True, text=True, check=True).stdout
            told = f"{text}\n{facts}".lower()
            assert house.name.lower() in told and MAKER not in told, path
            assert not any(word in told for word in other.words), path
        context.close()
