"""History from tables and from a hosted server."""

from __future__ import annotations

import json
import re
import socket
import time
from pathlib import Path

import httpx
import pytest

from agentsight.core import foreign, tenancy
from agentsight.core.model import ImportRun
from agentsight.errors import ConnectionFailed, Invalid, InvalidEvent
from agentsight.server.hosted import Hosted
from agentsight.server.imports import fetched
from agentsight.storage import open_storage
from agentsight.storage.blobs import FileBlobs
from agentsight.storage.migrate import migrate
from served import database_of

from .conftest import Site
from .test_views import csrf

KEY = "ags_" + "0" * 32 + "_abcdef"
TABLE = '''Session ID,Sender,Message,Created at,customer_id,source
csv-1,user,"Hello, ""you""",2026-11-01T10:00:00Z,cust-csv,web
csv-2,user,Other,2026-11-01T11:00:00Z,,
csv-1,assistant,=1+1,2026-11-01T10:00:05Z,,
'''


def followed(web: httpx.Client, address: str) -> str:
    for _ in range(60):
        page = web.get(address).text
        if not re.search(">(fetching|checking|importing)<", page):
            return page
        time.sleep(0.2)
    raise AssertionError("it does not end")


def test_a_table_comes_in_as_conversations_and_twice_changes_nothing(site: Site, web: httpx.Client):
    for new in (2, 0):
        page = web.get(f"{site.base}/migrate").text
        agent = re.search(r'<option value="(\d+)" selected', page)
        assert agent
        fields = {"csrf": csrf(page), "agent": agent[1], "environment": "production"}
        answer = web.post(f"{site.base}/migrate", data=fields, files={"file": ("talk.csv", TABLE.encode(), "text/csv")})
        assert answer.status_code == 303
        checked = followed(web, answer.headers["location"])
        assert f'New conversations</dt><dd class="num">{new}<' in checked
        run = re.search(r'action="([^"]+/run)"', checked)
        assert run
        done = web.post(run[1], data={"csrf": csrf(checked)})
        followed(web, done.headers["location"])
    listed = web.get(f"{site.base}/export/conversations.json?customer_id=cust-csv")
    assert "csv-1" in listed.text


def test_a_table_without_the_columns_says_which(site: Site, web: httpx.Client):
    page = web.get(f"{site.base}/migrate").text
    agent = re.search(r'<option value="(\d+)" selected', page)
    assert agent
    fields = {"csrf": csrf(page), "agent": agent[1], "environment": "production"}
    answer = web.post(f"{site.base}/migrate", data=fields, files={"file": ("a.csv", b"x,y\n1,2\n", "text/csv")})
    assert answer.status_code == 400 and "must name conversation_id" in answer.text
    with pytest.raises(InvalidEvent):
        list(foreign.of_table([]))


@pytest.mark.parametrize(
    "url",
    [
        "http://api.agentsight.io",
        "https://127.0.0.1",
        "https://localhost",
        "https://[::1]",
        "https://10.0.0.5",
        "https://169.254.169.254/latest",
        "https://[::ffff:127.0.0.1]",
        "https://user:pass@example.com",
        "https://",
        "https://x:99999",
        "file:///etc/passwd",
        "https://no-such-host.invalid",
    ],
)
def test_only_servers_of_the_public_internet_are_asked(url: str, site: Site, web: httpx.Client):
    with pytest.raises(Invalid):
        Hosted.of(url, KEY)
    page = web.get(f"{site.base}/migrate").text
    agent = re.search(r'<option value="(\d+)" selected', page)
    assert agent
    fields = {"csrf": csrf(page), "agent": agent[1], "environment": "production", "url": url, "key": KEY}
    assert web.post(f"{site.base}/migrate/hosted", data=fields).status_code == 400


def test_a_name_that_points_inside_as_well_is_not_asked(monkeypatch: pytest.MonkeyPatch):
    both = [(2, 1, 6, "", (address, 443)) for address in ("8.8.8.8", "192.168.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with pytest.raises(Invalid, match="public internet"):
        Hosted.of("https://sly.example", KEY)


def test_what_a_hosted_server_lists_is_fetched_and_goes_on_where_it_stopped(tmp_path: Path):
    row = {
        "id": 318, "conversation_id": "wa-7781", "customer_id": "c-9", "source": "whatsapp", "environment": "production",
        "is_used": True, "is_marked": True, "started_at": "2026-03-02T09:15:00Z", "metadata": {"tier": "gold"},
        "messages": [
            {"id": 1, "timestamp": "2026-03-02T09:15:01Z", "sender": "end_user", "content": "Gdje je?", "action_logs": []},
            {"id": 2, "timestamp": "2026-03-02T09:15:02Z", "sender": "agent", "content": "Action find performed",
             "action_logs": [{"action_name": "find", "duration_ms": 12}]},
            {"id": 3, "timestamp": "2026-03-02T09:15:03Z", "sender": "end_user", "content": "Yes",
             "button": {"button_event": "step", "label": "Yes", "value": "y"}},
        ],
        "feedbacks": [{"id": 4, "sentiment": "positive", "created_at": "2026-03-02T09:16:00Z"}],
    }  # fmt: skip
    asked: list[int] = []

    def ask(page: int) -> dict[str, object]:
        asked.append(page)
        if len(asked) == 2:
            raise ConnectionFailed("away")
        return {"count": 2, "next": "…" if page == 1 else None, "results": [row]}

    storage, blobs = open_storage(database_of(tmp_path)), FileBlobs(tmp_path / "files")
    migrate(storage)
    owner = storage.write(lambda store: tenancy.ensure_organization(store, "acme", 1)).result()
    run = ImportRun("0" * 32, owner.id, 1, "host", "production", "fetching", 1, url="https://x")
    storage.write(lambda store: store.imports.put(run)).result()

    def known() -> ImportRun:
        found = storage.read(lambda store: store.imports.get(owner.id, run.token))
        assert found
        return found

    assert fetched(storage, blobs, run, ask) is None
    assert (known().state, known().problems, known().lines, known().of) == ("waiting", ("page 2: away",), 1, 2)
    whole = fetched(storage, blobs, known(), ask)
    assert whole == known() and asked == [1, 2, 2] and (whole.state, whole.lines, whole.of) == ("checking", 0, 2)
    assert fetched(storage, blobs, run, ask) is None and known() == whole, "who was taken over from changes nothing"
    lines = [json.loads(line) for piece in whole.pieces for line in blobs.get(piece).splitlines()[1:]]
    storage.close()
    assert len(lines) == 2 and [event["kind"] for event in lines[0]["events"]] == [
        "conversation",
        "message",
        "action",
        "button",
        "feedback",
    ]
    from agentsight.core.exchange import read_line

    read = read_line(json.dumps(lines[0]).encode(), "auto", "production", 1, None)
    assert all(not isinstance(draft, InvalidEvent) for draft in read.drafts), read.drafts
