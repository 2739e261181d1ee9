"""One stream of events into a server on SQLite and one on PostgreSQL: every read endpoint answers both with the same bytes."""

from __future__ import annotations

import itertools
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentsight import wire
from agentsight.core.metrics import BY, METRICS
from served import Postgresql, Server, at, environment, event, message

OF_THE_ENGINE = {"/readyz", "/metrics", "/healthz"}  # say what engine this is, and how the process is
FILES = ("airline_conversations.jsonl", "assistant_dialogues.jsonl")
OWN = re.compile(rb"http://127\.0\.0\.1:\d+|/files/[\w.\-]+|\"request_id\": ?\"[^\"]*\"")


class Twins:
    """Two servers that are told the same."""

    def __init__(self, *servers: Server):
        self.servers = servers
        self.apis = [server.api("twin") for server in servers]

    def both(self, method: str, path: str, **sent: Any) -> bytes:
        """The one answer of both."""
        answers = [api.request(method, path, **sent) for api in self.apis]
        told = [OWN.sub(b"", answer.content) for answer in answers]
        assert answers[0].status_code == answers[1].status_code < 500, f"{method} {path} {sent}: {told}"
        assert told[0] == told[1], f"{method} {path} {sent}"
        return told[0]

    def command(self, *words: str) -> list[str]:
        """What a command prints beside each server."""
        program = [sys.executable, "-m", "agentsight.cli", *words]
        return [
            subprocess.run(
                [*program, "--database", server.database, "--data", str(server.data)],
                check=True,
                capture_output=True,
                text=True,
                env=environment(),
            ).stdout
            for server in self.servers
        ]


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory, postgresql: Postgresql, shared: Path) -> Iterator[Twins]:
    folder = tmp_path_factory.mktemp("twins")
    servers = [Server(folder / "one"), Server(folder / "two", database=postgresql.fresh())]
    pair = Twins(*servers)
    fill(pair, shared)
    yield pair
    for server in servers:
        server.stop()


# -- what they are told ----------------------------------------------------------------------------------------------
def fill(twins: Twins, shared: Path) -> None:
    for file in FILES:
        one, other = twins.command("import", str(shared / "data" / file), "--agent", "twin", "--organization", "acme")
        assert one == other
    for batch in batches(hostile(shared)):
        twins.both("POST", "/api/batch/", json={"events": batch})
    older_clients(twins)
    by_hand(twins)


def hostile(shared: Path) -> list[dict[str, Any]]:
    """Events made of every hostile string, in all the places text can stand."""
    told = json.loads((shared / "data" / "hostile_strings.json").read_text())
    strings = [
        one["payload"] if "payload" in one else str(one) for one in next(v for v in told.values() if type(v) is list)
    ]
    strings += [
        "a\x00b",
        "Čaj i ŠTRUKLI",
        "İstanbul ΟΔΟΣ straße ﬁn",
        "👍🏽",
        "100% a_b \\ '\"",
        "\u202etxt",
        "ǅ ǆ",
        " x ",
    ]
    strings += ["null", "{}", "{a,b}", '{"a","b"}', "NULL", "\\N", "\t\r\n", "a" * 3_000]
    pick, events = random.Random(7), []
    for place, text in enumerate(strings):
        key = f"hostile-{place % 40}"
        short = text[:200]
        described = {"customer_id": short, "name": short, "device": short[:40], "source": short, "language": short[:9]}
        made = [
            event("conversation", key, environment=pick.choice(["production", "development"]), **described),
            message(key, text, pick.choice(wire.SENDERS), metadata={"text": short, short or "k": [1.5, True, None]}),
            event(
                "action", key, action_name=short, response={"said": text}, duration_ms=pick.choice([0, 1.25, 10**12])
            ),
            event("action", key, action_name="open_ticket", error_msg=text),
            event("button", key, button_event=short, label=short, value=short),
            event("token_usage", key, model=pick.choice([short, "gpt-4o"]), prompt_tokens=pick.choice([0, 7, 10**12])),
            event("feedback", key, sentiment=pick.choice(wire.SENTIMENTS), comment=text),
            event("attachment", key, filename=short, mime_type="text/plain", data="aGVsbG8="),
        ]
        for one in made:
            one["occurred_at"] = at(pick.choice([0, 1, 3_600, 86_400 * 3]) + pick.randrange(200))  # many at one moment
        events += made
    return events


def batches(events: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Late, twice, shuffled, and with what is refused among them."""
    pick = random.Random(8)
    order = [*events, *pick.sample(events, len(events) // 4)]
    pick.shuffle(order)
    wrong = [{}, {"id": "x"}, message("c", ""), message("", "x"), event("action", "c"), {"kind": "?"}, None, 7]
    for some in itertools.batched(order, 97) if hasattr(itertools, "batched") else _parts(order, 97):
        yield [*some, pick.choice(wrong)]


def _parts(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def older_clients(twins: Twins) -> None:
    for place, text in enumerate(["Hello", "a\x00b", "Čaj"]):
        moment = {"timestamp": at(500 + place), "conversation_id": f"old-{place % 2}"}
        twins.both("POST", "/api/conversations/", json=moment | {"name": text, "environment": "prod"})
        twins.both("POST", "/api/track/", json=moment | {"content": text, "sender": "end_user"})
        twins.both("POST", "/api/track/", json=moment | {"content": text, "sender": "end_user"})
        twins.both("POST", "/api/action_logs/", json=moment | {"action_name": "look", "duration_ms": 5})
        twins.both("POST", "/api/buttons/", json=moment | {"button_event": "b", "label": text, "value": "v"})


def by_hand(twins: Twins) -> None:
    for number in (1, 5, 9):
        twins.both("PATCH", f"/api/conversations/{number}/update/", json={"name": "Čaj ☕", "is_marked": True})
    twins.both(
        "PATCH", "/api/conversations/3/update/", json={"metadata": {"plan": "pro", "a.b": 1}, "customer_id": None}
    )


# -- what they answer ------------------------------------------------------------------------------------------------
def described(twins: Twins) -> dict[str, Any]:
    document: dict[str, Any] = twins.apis[0].get("/openapi.json").json()
    return {
        path: told["get"] for path, told in document["paths"].items() if "get" in told and path not in OF_THE_ENGINE
    }


def test_every_read_endpoint_answers_both_with_the_same_bytes(twins: Twins):
    """Whatever has a GET is asked: by every id there is, and with every parameter it is said to have."""
    listed = json.loads(twins.both("GET", "/api/conversations/", params={"include_deleted": "true", "full": "false"}))
    ids = range(listed["count"] + 2)
    assert listed["count"] > 200
    for path in described(twins):
        if "{" not in path:
            twins.both("GET", path)
            continue
        for id in ids:
            twins.both("GET", re.sub(r"\{\w+\}", str(id), path))


VALUES: dict[str, list[str]] = {
    "conversation_id": ["hostile-3", "old-0", "nobody", "\x00", ""],
    "customer_id": ["a\x00b", "Čaj i ŠTRUKLI", "nobody"],
    "customer_id__icontains": ["A", "čaj", "SS", "ß", "%", "_", "\\", "'", "\x00"],
    "name": ["ŠTR", "script", "ﬁ", "ss", "İ", "i̇", "\t"],
    "language": ["en", "EN", "unknown", "ČAJ", "čaj i šT"],
    "device": ["mobile", "MOBILE", "unknown"],
    "source": ["web", "unknown", "{}", "NULL"],
    "country": ["us", "US", "unknown"],
    "customer_ip_address": ["8.8.8.8"],
    "environment": ["production", "development"],
    "started_at_after": [at(0), "2026-03-03"],
    "started_at_before": [at(3_600), "2026-03-03"],
    "message_contains": [
        "the",
        "book",
        "parcel",
        "a",
        "ss",
        "ΟΔΟΣ",
        "straSSe",
        "<script",
        "100% A_B",
        "\\",
        '"',
        "👍",
        "zzz",
    ],
    "search": ["hostile-1", "ČAJ", "cancel", "x"],
    "action_name": ["open_ticket", "token_usage", "a\x00b", "look"],
    "feedback_sentiment": list(wire.SENTIMENTS),
    "feedback_source": list(wire.FEEDBACK_SOURCES),
    "metadata": ["plan:pro", "a.b:1", "text:null", "k:1", "text:a"],
    "counted_by": list(wire.COUNTED),
    "counted_key": ["open_ticket", "positive", "gpt-4o"],
    "counted_from": [at(0)],
    "counted_to": [at(7_200)],
    "page": ["2", "3", "0", "x", "99999999999999999999"],
    "page_size": ["1", "7", "1000000"],
    "full": ["false", "true"],
}
VALUES |= {name: VALUES[name.removesuffix("__icontains")] for name in wire.FILTERS if name.endswith("__icontains")}
VALUES |= {name: VALUES[name.removesuffix(wire.NOT)] for name in wire.FILTERS if name.endswith(wire.NOT)}
FLAG = ["true", "false", "perhaps"]


def test_every_filter_finds_the_same_in_the_same_order(twins: Twins):
    asked = described(twins)["/api/conversations/"]["parameters"]
    assert {"search", "page"} <= {parameter["name"] for parameter in asked}
    for parameter in asked:
        name = parameter["name"]
        for value in VALUES.get(name, FLAG):
            twins.both("GET", "/api/conversations/", params={"full": "false", "page_size": "100", name: value})
    pick = random.Random(9)
    names = [parameter["name"] for parameter in asked if parameter["name"] not in ("page", "page_size", "full")]
    for _ in range(150):
        some = {name: pick.choice(VALUES.get(name, FLAG[:2])) for name in pick.sample(names, 3)}
        twins.both("GET", "/api/conversations/", params={"full": "false", "include_deleted": "true", **some})


def test_every_number_is_the_same(twins: Twins):
    spread = {"from": "2025-12-01", "to": "2026-12-31"}
    for name in METRICS:
        for by in (None, *BY):
            days = {"from": "2026-03-01", "to": "2026-03-09"} if by == "hour" else spread
            params = {"metric": name, **days, "tz": "Europe/Zagreb", **({"by": by} if by else {})}
            for kind in ("production", "development"):
                twins.both("GET", "/api/analytics/", params=params | {"environment": kind})
    pick = random.Random(10)
    for _ in range(80):
        some = {name: pick.choice(VALUES[name]) for name in pick.sample(["language", "device", "source", "search"], 2)}
        params = {"metric": list(METRICS)[:8], "by": pick.choice(["day", "device", None]), **spread, **some}
        twins.both("GET", "/api/analytics/", params={name: value for name, value in params.items() if value})


def test_what_is_exported_is_the_same(twins: Twins):
    one, other = twins.command("export", "--agent", "twin", "--organization", "acme")
    assert one == other and one.count("\n") > 200


def test_deleting_takes_the_same_away(twins: Twins):
    for number in (2, 40, 41, 90):
        for answer in [api.delete(f"/api/conversations/{number}/delete/") for api in twins.apis]:
            assert answer.status_code in (200, 204)
    kept = {"full": "false", "page_size": "100"}
    for page in ("1", "2", "3"):
        twins.both("GET", "/api/conversations/", params=kept | {"page": page})
    twins.both("GET", "/api/analytics/", params={"metric": list(METRICS), "from": "2025-12-01", "to": "2026-12-31"})


def test_both_find_nothing_to_mend(twins: Twins):
    for told in twins.command("rebuild", "--json"):
        assert json.loads(told)["differed"] == []
