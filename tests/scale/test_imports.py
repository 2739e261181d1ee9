"""A file of history on its way in is no machine's own: any shows it, starts it, and takes it over from one that died."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentsight.core import sessions, tenancy
from agentsight.core.model import Agent, ImportRun
from agentsight.core.ports import Storage, Store
from agentsight.server import imports, upkeep
from agentsight.storage import open_storage
from agentsight.storage.blobs import FileBlobs
from served import Postgresql, Server

CONVERSATIONS = 4 * imports.TOGETHER
FILE = b"".join(
    json.dumps(
        {"conversation_id": f"old-{number}", "messages": [{"role": "user", "content": f"hello {number}"}]}
    ).encode()
    + b"\n\n"  # a blank line changes nothing
    for number in range(CONVERSATIONS)
)


@dataclass
class Shop:
    """Two servers on one database and one place for files, and somebody signed in."""

    one: Server
    other: Server
    storage: Storage
    blobs: FileBlobs
    agent: Agent
    session: str
    base: str

    def look(self, server: Server, address: str) -> str:
        with self.web(server) as web:
            answer = web.get(address)
        assert answer.status_code == 200, answer.text
        return answer.text

    def web(self, server: Server) -> httpx.Client:
        return httpx.Client(base_url=server.url, cookies={"session": self.session}, timeout=30)

    def upload(self, server: Server) -> str:
        """Where the uploaded file is watched."""
        with self.web(server) as web:
            fields = {
                "csrf": csrf(web.get(f"{self.base}/migrate").text),
                "agent": self.agent.id,
                "environment": "production",
            }
            answer = web.post(f"{self.base}/migrate", data=fields, files={"file": ("old.jsonl", FILE)})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def start(self, server: Server, address: str) -> None:
        with self.web(server) as web:
            told = {"csrf": csrf(web.get(address).text)}
            assert {web.post(f"{address}/run", data=told).status_code for _ in range(3)} == {303}

    def until(self, server: Server, address: str, words: str) -> str:
        for _ in range(150):
            page = self.look(server, address)
            if f">{words}<" in page:
                return page
            time.sleep(0.2)
        raise AssertionError(page)

    def run(self, address: str) -> ImportRun:
        token = address.rpartition("/")[2]
        found = self.storage.read(lambda store: store.imports.get(self.agent.organization_id, token))
        assert found
        return found

    def lose(self, address: str, **changes: Any) -> None:
        """The run, as a process that died long enough ago left it."""
        run = replace(self.run(address), **changes)
        left = replace(run, told_us=run.told_us - imports.QUIET_US)
        self.storage.write(lambda store: store.imports.put(left)).result()

    def messages(self) -> list[int]:
        with self.one.api() as api:
            key = self.storage.write(lambda store: tenancy.issue_key(store, self.agent, "write", 1)[0]).result()
            asked = {"Authorization": f"Api-Key {key}"}
            listed = [
                api.get("/api/conversations/", params={"page": page, "page_size": 100}, headers=asked).json()["results"]
                for page in range(1, CONVERSATIONS // 100 + 1)
            ]
        return [len(row["messages"]) for page in listed for row in page]


def csrf(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found
    return found[1]


@pytest.fixture
def shop(postgresql: Postgresql, tmp_path: Path) -> Iterator[Shop]:
    url, files = postgresql.fresh(), str(tmp_path / "files")
    one, other = (
        Server(tmp_path / name, database=url, AGENTSIGHT_FILES=files, AGENTSIGHT_SECRET="s" * 32)
        for name in ("one", "other")
    )
    storage = open_storage(url)

    def people(store: Store) -> tuple[Agent, str, str]:
        owner = tenancy.ensure_organization(store, "acme", 1)
        agent = tenancy.ensure_agent(store, owner, "bot", 1)
        user = tenancy.add_user(store, owner, "owner@example.com", "owner", (), 1)
        return agent, sessions.start(store, user, time.time_ns() // 1000), f"/o/{owner.slug}/a/{agent.slug}"

    agent, session, base = storage.write(people).result()
    yield Shop(one, other, storage, FileBlobs(Path(files)), agent, session, base)
    one.stop()
    other.stop()
    storage.close()


@pytest.mark.slow
def test_a_file_one_machine_took_is_shown_started_and_finished_by_another(shop: Shop):
    address = shop.upload(shop.one)
    shop.until(shop.other, address, "checked, nothing stored yet")
    assert shop.run(address).of == CONVERSATIONS
    checked = shop.run(address)
    with ThreadPoolExecutor(3) as at_once:  # as three machines that were asked at the same moment
        list(at_once.map(lambda _: imports.start(shop.storage, shop.blobs, checked, shop.agent), range(3)))
    shop.start(shop.other, address)
    page = shop.until(shop.one, address, "imported")
    assert f'New conversations</dt><dd class="num">{CONVERSATIONS}<' in page
    assert 'Already here</dt><dd class="num">0<' in page, "it was started many times and ran once"
    assert shop.messages() == [1] * CONVERSATIONS
    assert not list(shop.blobs.each()), "what is stored is not kept as a file too"


@pytest.mark.slow
def test_what_a_machine_left_when_it_died_goes_on_where_it_is_looked_at(shop: Shop):
    address = shop.upload(shop.one)
    shop.until(shop.one, address, "checked, nothing stored yet")
    shop.one.kill()
    shop.lose(address, state="checking", lines=imports.TOGETHER, counts={"conversations": imports.TOGETHER})
    shop.until(shop.other, address, "checked, nothing stored yet")
    assert shop.run(address).counts["conversations"] == CONVERSATIONS
    shop.start(shop.other, address)
    shop.until(shop.other, address, "imported")
    shop.lose(address, state="fetching")
    assert "the server was stopped" in shop.look(shop.other, address)


@pytest.mark.slow
def test_files_that_wait_go_with_a_person_who_is_erased_and_after_a_day(shop: Shop):
    address = shop.upload(shop.one)
    shop.until(shop.one, address, "checked, nothing stored yet")
    elsewhere = upkeep.elsewhere(shop.storage, shop.blobs, shop.one.data, shop.agent)
    assert elsewhere["waiting_imports"]("somebody") == {"files": 1}
    assert not list(shop.blobs.each())
    with shop.web(shop.one) as web:
        assert web.get(address).status_code == 404
    address = shop.upload(shop.one)
    told_us = shop.run(address).told_us
    for before_us, status in ((told_us, 200), (told_us + 10**9, 404)):
        shop.storage.write(lambda store, before_us=before_us: store.imports.forget(before_us)).result()
        with shop.web(shop.one) as web:
            assert web.get(address).status_code == status
