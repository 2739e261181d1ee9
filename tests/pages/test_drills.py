"""Every number of a page opens exactly what it counted: the page's own links, against the stored rows read once more."""

from __future__ import annotations

import html
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlalchemy import text

from agentsight.core import exchange, sessions, tenancy
from agentsight.core.ports import Store
from agentsight.server.pages.details import TOPICS

from .conftest import Site, now_us
from .test_conversations import HOSTILE, counted

DATA = HOSTILE.parent
IMPORTED = ("airline_conversations.jsonl", "assistant_dialogues.jsonl")
EVENTS = {"messages": "message", "users": "message", "tool_runs": "action", "tool_errors": "action",
          "tool_timed": "action", "tokens": "token_usage", "clicks": "button", "files": "attachment"}  # fmt: skip
EVERY_SO_MANY_HOURS = 7  # cells of a heatmap that are opened
Row = dict[str, Any]


class Oracle:
    """The rows of an agent as they are stored, counted without a word of SQL and without a rollup."""

    def __init__(self, storage: Any, agent_id: int):
        with storage.looking() as database:

            def rows(table: str) -> list[Row]:
                asked = text(f"SELECT * FROM {table} WHERE agent_id = :agent")
                return [dict(row) for row in database.execute(asked, {"agent": agent_id}).mappings()]

            self.heads = {head["id"]: head for head in rows("conversation") if head["deleted_us"] is None}
            self.events = sorted(rows("event"), key=lambda row: (row["conversation"], row["occurred_us"], row["seq"]))
            latest = {
                row["conversation"]: row
                for row in sorted(rows("feedback"), key=lambda row: (row["created_us"], row["id"]))
                if row["source"] == "customer"
            }
        self.judged = list(latest.values())

    def things(self, asked: httpx.QueryParams) -> Iterator[tuple[int, int, Row]]:
        """(conversation, when, what) of everything a number counts, wherever and whenever."""
        kind, key = asked["counted_by"], asked.get("counted_key")
        if kind in ("started", "opened", "escalated", "timed"):
            for id, head in self.heads.items():
                if {"started": head["is_used"], "opened": head["is_opened"], "timed": head["ended_us"] is not None,
                    "escalated": head["is_used"] and head["is_escalated"]}[kind]:  # fmt: skip
                    yield id, head["started_us"], head
        elif kind == "feedback":
            for row in self.judged:
                if key in (None, row["sentiment"]):
                    yield row["conversation"], row["created_us"], row
        elif kind == "answered":
            last: dict[int, str] = {}
            for row in self.events:
                if row["kind"] == "message" and row["sender"] != "system":
                    if row["sender"] == "agent" and last.get(row["conversation"]) == "end_user":
                        yield row["conversation"], row["occurred_us"], row
                    last[row["conversation"]] = row["sender"]
        else:
            for row in self.events:
                if (
                    row["kind"] == EVENTS[kind]
                    and row["sender"] != "system"
                    and key in (None, row["name"] or "unknown")
                    and (kind != "tool_errors" or row["error"] is not None)
                    and (kind != "tool_timed" or row["duration_ms"] is not None)
                    and (kind != "users" or self.heads.get(row["conversation"], {}).get("customer_id"))
                ):
                    yield row["conversation"], row["occurred_us"], row

    def behind(self, asked: httpx.QueryParams) -> dict[int, int]:
        """Conversation -> how much it adds."""
        first, until = (datetime.fromisoformat(asked[f"counted_{end}"]).timestamp() * 1e6 for end in ("from", "to"))
        zone, hour = ZoneInfo(asked.get("tz", "UTC")), asked.get("counted_hour")
        found: dict[int, int] = defaultdict(int)
        for id, at_us, _ in self.things(asked):
            head = self.heads.get(id)
            if head is None or not first <= at_us < until or head["environment"] != "production":
                continue
            if hour and datetime.fromtimestamp(at_us / 1e6, zone).strftime("%a-%H").lower() != hour:
                continue
            if all(
                self.told(head, by) == asked[by].lower()
                for by in ("country", "device", "source", "language")
                if by in asked
            ) and not self.ruled_out(head, asked):
                found[id] += 1
        return found

    @cached_property
    def ran(self) -> dict[int, set[str]]:
        found: dict[int, set[str]] = defaultdict(set)
        for row in self.events:
            if row["kind"] == "action":
                found[row["conversation"]].add(row["name"])
        return found

    def ruled_out(self, head: Row, asked: httpx.QueryParams) -> bool:
        """By a filter that says what must not be so."""
        return (
            any(self.told(head, by) in asked.get_list(f"{by}__not") for by in ("source", "language"))
            or any(part in (head["customer_id"] or "") for part in asked.get_list("customer_id__icontains__not"))
            or not self.ran[head["id"]].isdisjoint(asked.get_list("action_name__not"))
        )

    @staticmethod
    def told(head: Row, by: str) -> str:
        return str(head["device_kind" if by == "device" else by] or "unknown").lower()


def numbers(page: str) -> dict[str, str]:
    """The addresses a page's numbers lead to, and what they say; of a heatmap's cells some."""
    found: dict[str, str] = {}
    links = re.findall(
        r'<a\b[^>]*?href="([^"]*conversations\?[^"]*counted_by=[^"]*)"[^>]*>(.*?)</a>(?:</th><td class="n">([^<]+))?',
        page,
        re.DOTALL,
    )
    hours = 0
    for href, inside, beside in links:
        if "counted_hour=" in href:
            hours += 1
            if hours % EVERY_SO_MANY_HOURS:
                continue
        figure = re.search(r"<b[^>]*>([^<]+)</b>", inside)
        words = html.unescape(beside or (figure[1] if figure else re.sub("<[^>]+>", "", inside))).strip()
        if words or html.unescape(href) not in found:
            found[html.unescape(href)] = words
    return found


def walk(web: httpx.Client, oracle: Oracle, base: str, query: str) -> set[str]:
    """Open every number of analytics and of every topic; what kinds of numbers there were."""
    web.headers["accept-language"] = "en-GB"
    seen: dict[str, int] = {}
    for place in ("analytics", *(f"analytics/{topic}" for topic in TOPICS)):
        page = web.get(f"{base}/{place}{query}").text
        for href, words in numbers(page).items():
            asked = httpx.QueryParams(href.partition("?")[2])
            adding = oracle.behind(asked)
            if href not in seen:
                seen[href] = counted(web.get(href).text)
            assert seen[href] == len(adding), (place, words, href)
            if re.fullmatch(r"[\d,]+", words):
                says = int(words.replace(",", ""))
                if asked["counted_by"] == "users":
                    assert says == len({oracle.heads[id]["customer_id"] for id in adding}), (place, href)
                elif asked["counted_by"] != "tokens":  # a number of tokens, not of their events
                    assert says == sum(adding.values()), (place, href)
    return {httpx.QueryParams(href.partition("?")[2])["counted_by"] for href in seen}


@pytest.mark.slow
def test_every_number_of_the_sample_data_opens_what_it_counted(site: Site, web: httpx.Client):
    slug = site.base.rpartition("/")[2]
    kinds = walk(web, Oracle(site.storage, site.agents[slug]), site.base, "?range=30d&tz=Europe/Berlin")
    assert kinds >= {"started", "messages", "users", "answered", "timed", "escalated", "feedback", "tokens", "tool_runs",
                     "tool_errors", "clicks"}  # fmt: skip


@pytest.mark.slow
def test_every_number_opens_what_it_counted_under_filters_that_say_is_not(site: Site, web: httpx.Client):
    oracle = Oracle(site.storage, site.agents[site.base.rpartition("/")[2]])
    negated = (
        "&source__not=web&source__not=viber&language__not=de&customer_id__icontains__not=9&action_name__not=open_ticket"
    )
    kinds = walk(web, oracle, site.base, f"?range=12m&by=month&compare=0{negated}")
    assert kinds >= {"started", "messages", "users", "answered", "feedback", "tool_runs"}


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="the sample data is not beside the checkout")
@pytest.mark.parametrize("name", IMPORTED)
def test_every_number_of_imported_conversations_opens_what_it_counted(site: Site, name: str):
    def bring(store: Store) -> tuple[int, str, str]:
        now = now_us()
        organization = tenancy.ensure_organization(store, "Travellers", now)
        agent = tenancy.ensure_agent(store, organization, name.partition("_")[0], now)
        lines = [
            exchange.read_line(line, "auto", "production", now, None)
            for line in (DATA / name).read_bytes().splitlines()
        ]
        exchange.stored(store, agent, lines, now)
        person = tenancy.add_user(store, organization, f"{agent.slug}@travel.example", "owner", (), now)
        return agent.id, sessions.start(store, person, now), f"/o/{organization.slug}/a/{agent.slug}"

    agent_id, session, base = site.storage.write(bring).result()
    with site.http(session) as web:
        kinds = walk(web, Oracle(site.storage, agent_id), base, "?range=12m&by=month")
    assert kinds >= {"started", "messages", "users", "answered", "tool_runs"}
