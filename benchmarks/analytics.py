"""What a number costs from rollups, beside a scan of the events, in one run: `python benchmarks/analytics.py`.

Makes seeded data with realistic skew through the product's own schema and rollup code (kept in `--data`), then measures
T9 (analytics from rollups cost at most 0.1 times a raw scan at 1 million messages, 0.01 times at 10 million, and grow at
most 1.5 times from 1 to 10 million), T10 (page 1000 of the list costs at most 2 times page 1) and T11 (searching a rare term
costs at most 0.05 times a LIKE scan). `--messages 10_000_000` may be added; it takes a while and some gigabytes.
Figures are CPU milliseconds of this process, medians.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import table
from table import Row

from agentsight.core import analytics, counting, metrics
from agentsight.core.measures import Deltas
from agentsight.core.model import Agent, Conversation, Event, Feedback, Filter, Scope
from agentsight.core.ports import Store
from agentsight.storage.migrate import latest, migrate
from agentsight.storage.sql.remembered import Remembered
from agentsight.storage.sqlite import SqliteStorage
from agentsight.storage.sqlite import open as open_sqlite

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agentsight-benchmarks"
DAYS, ZONE = 90, "Europe/Zagreb"
LAST = datetime(2026, 11, 20, tzinfo=UTC)
FIRST = LAST - timedelta(days=DAYS)
FIRST_US, DAY_US = int(FIRST.timestamp()) * 1_000_000, 86_400_000_000
SEARCHABLE = 2_000_000  # messages up to which the search index is built

COUNTRY = {"US": 35, "DE": 12, "GB": 10, "HR": 9, "FR": 7, "IN": 7, "BR": 6, "ES": 5, "IT": 4, "PL": 3, "JP": 2}
DEVICE = {"mobile": 55, "desktop": 38, "tablet": 7}
SOURCE = {"web": 60, "whatsapp": 22, "api": 10, "slack": 5, "email": 3}
LANGUAGE = {"en": 60, "de": 12, "hr": 9, "fr": 7, "es": 7, "pt": 5}
TOOL = {
    "search_kb": 40,
    "get_order": 22,
    "create_ticket": 12,
    "refund": 8,
    "send_email": 7,
    "calendar": 5,
    "open_ticket": 2,
}
MODEL = {"gpt-4o-mini": 70, "gpt-4o": 25, "house-model": 5}
HOURS = [2, 1, 1, 1, 1, 2, 3, 5, 8, 10, 11, 11, 10, 10, 10, 9, 9, 8, 7, 7, 6, 5, 4, 3]
WEEKDAYS = [10, 11, 11, 10, 9, 5, 4]
WORDS = [
    "refund",
    "order",
    "password",
    "invoice",
    "shipping",
    "parcel",
    "late",
    "card",
    "address",
    "thanks",
    "please",
    "error",
]


def reference(number: int) -> int:
    """A number of nine digits or so that looks like any other, and is nobody else's."""
    return number * 1_000_003 % 2_147_483_647


# -- data ------------------------------------------------------------------------------------------------------------
@dataclass
class Maker:
    """Conversations of two agents in the order they start: about eight messages each, every third with a tool."""

    messages: int
    chance: random.Random = field(default_factory=lambda: random.Random(42))

    def __post_init__(self) -> None:
        syllables = [
            "ka",
            "lo",
            "mi",
            "ren",
            "tor",
            "sa",
            "vel",
            "ni",
            "pra",
            "do",
            "shi",
            "que",
            "bal",
            "ton",
            "er",
            "ment",
            "al",
        ]
        words = WORDS + ["".join(self.chance.choices(syllables, k=self.chance.randint(1, 4))) for _ in range(4_000)]
        weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(words))))
        self.texts = [
            " ".join(
                self.chance.choices(
                    words, cum_weights=weights, k=min(60, max(3, int(self.chance.lognormvariate(3.2, 0.6))))
                )
            )
            for _ in range(20_000)
        ]
        self.users = max(1_000, self.messages // 24)
        self.heads = self.rows = self.feedbacks = self.said = 0

    def starts(self) -> list[int]:
        days = [WEEKDAYS[(FIRST + timedelta(days=day)).weekday()] * (1 + day / DAYS) for day in range(DAYS)]
        count = self.messages // 8
        chosen = zip(
            self.chance.choices(range(DAYS), days, k=count), self.chance.choices(range(24), HOURS, k=count), strict=True
        )
        return sorted(
            FIRST_US + day * DAY_US + hour * 3_600_000_000 + int(self.chance.random() * 3_600_000_000)
            for day, hour in chosen
        )

    def pick(self, weights: dict[str, int]) -> str:
        return self.chance.choices(tuple(weights), tuple(weights.values()))[0]

    def conversation(self, agent_id: int, started_us: int) -> tuple[Conversation, list[Event], list[Feedback]]:
        chance, events = self.chance, []
        self.heads += 1
        id, at_us, escalated, actions, errors = self.heads, started_us, False, 0, 0

        def add(kind: str, **fields: Any) -> None:
            self.rows += 1
            row = self.rows
            events.append(Event(row, agent_id, id, f"{row:016x}", kind, at_us, row, **fields))

        turns = max(1, min(40, int(chance.expovariate(1 / 3.5)) + 1))
        for _ in range(turns):
            self.said += 2
            add("message", sender="end_user", content=f"{chance.choice(self.texts)} ref{reference(self.said)}")
            at_us += int(1_000_000 * chance.lognormvariate(1.6, 0.7))
            if chance.random() < 0.3:
                tool, failed = self.pick(TOOL), chance.random() < 0.03
                add(
                    "action",
                    name=tool,
                    duration_ms=float(int(chance.lognormvariate(5, 1))),
                    error="timeout" if failed else None,
                )
                actions, errors, escalated = actions + 1, errors + failed, escalated or tool == "open_ticket"
            add("message", sender="agent", content=chance.choice(self.texts))
            at_us += int(45_000_000 * chance.random())
        used = {"prompt_tokens": 900 * turns, "completion_tokens": chance.randint(20, 600) * turns}
        add("token_usage", name=self.pick(MODEL), detail=used)
        head = Conversation(
            id,
            agent_id,
            f"conversation-{id}",
            started_us,
            events[-1].occurred_us,
            customer_id=f"user-{int(chance.random() ** 3 * self.users)}",
            country=self.pick(COUNTRY),
            device=(device := self.pick(DEVICE)),
            device_kind=device,
            source=self.pick(SOURCE),
            language=self.pick(LANGUAGE),
            environment="production",
            is_used=True,
            is_marked=chance.random() < 0.02,
            is_escalated=escalated,
            deleted_us=started_us if chance.random() < 0.01 else None,
            message_count=2 * turns,
            action_count=actions,
            error_count=errors,
            last_message_us=at_us,
        )
        given: list[Feedback] = []
        if chance.random() < 0.06:
            self.feedbacks += 1
            sentiment = chance.choice(("positive", "positive", "neutral", "negative"))
            head.feedback_count, head.sentiment = 1, sentiment
            given.append(Feedback(self.feedbacks, agent_id, id, f"f{self.feedbacks}", sentiment, "customer", at_us))
        return head, events, given

    def batches(self, agents: list[Agent]) -> Iterator[list[tuple[Conversation, list[Event], list[Feedback]]]]:
        some = []
        for started_us in self.starts():
            some.append(self.conversation(self.chance.choice(agents).id, started_us))
            if len(some) == 2_000:
                yield some
                some = []
        yield some


def place(folder: Path, messages: int) -> Path:
    """Where data of that size is kept; another schema's is another file."""
    return folder / f"analytics-{messages}-{latest()}.db"


def made(folder: Path, messages: int) -> tuple[SqliteStorage, Scope]:
    """The data of that size, made now or before."""
    path = place(folder, messages)
    done = path.with_suffix(".done")
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"analytics-{messages}[-.]*"):  # also an older schema's
            old.unlink()
        make(path, messages)
        done.touch()
    storage = open_sqlite(f"sqlite:///{path}")
    organization, agent = storage.read(_asking)
    return storage, Scope(organization, (agent,))


def make(path: Path, messages: int) -> None:
    storage, maker, started = open_sqlite(f"sqlite:///{path}"), Maker(messages), time.perf_counter()
    migrate(storage)

    def agents(store: Store) -> list[Agent]:
        organization = store.tenants.add_organization("Benchmark", "benchmark", 1)
        return [store.tenants.add_agent(organization.id, name, name, 1) for name in ("ours", "another")]

    def keep(store: Any, some: list[tuple[Conversation, list[Event], list[Feedback]]]) -> None:
        store.conversations.add([head for head, _, _ in some])
        store.timeline.append([event for _, events, _ in some for event in events])
        store.conversations.add_feedbacks([feedback for *_, given in some for feedback in given])
        deltas: dict[int, Deltas] = {}
        for head, events, given in some:
            own = deltas.setdefault(head.agent_id, Deltas())
            own.facets.add(counting.facet_of(head))
            if head.deleted_us is None:
                own.add(True, counting.facet_of(head), head.id, counting.whole(head, events, given))
        for agent_id, own in deltas.items():
            store.rollups.apply(agent_id, own)

    both = storage.write(agents).result()
    for some in maker.batches(both):
        storage.write(lambda store, some=some: keep(store, some)).result()  # type: ignore[misc]
        print(
            f"\rmaking {messages:,} messages: {maker.said:,} in {time.perf_counter() - started:.0f} s",
            end="",
            flush=True,
        )
    print()
    storage.close()


def _asking(store: Store) -> tuple[int, int]:
    organization = store.tenants.organizations()[0]
    return organization.id, store.tenants.agents(organization.id)[0].id


# -- measuring -------------------------------------------------------------------------------------------------------
def cpu_ms(ask: Callable[[], Any], least: int = 3, for_s: float = 0.6) -> float:
    """CPU milliseconds of one call, the median of some; the first, which warms caches, does not count."""
    ask()
    taken: list[float] = []
    started = time.perf_counter()
    while len(taken) < least or (time.perf_counter() - started < for_s and len(taken) < 200):
        before = time.process_time()
        ask()
        taken.append((time.process_time() - before) * 1000)
    return statistics.median(taken)


class Measured:
    """One size of data, asked the same of rollups and of events."""

    def __init__(self, folder: Path, messages: int):
        self.messages = messages
        self.storage, self.scope = made(folder, messages)
        self.between = f"e.agent_id = {self.scope.agent_ids[0]} AND e.occurred_us >= {FIRST_US} AND e.kind = 'message'"

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.storage.read(lambda store: store.rollups._driver.rows(sql, ()))  # type: ignore[attr-defined]

    def answer(
        self, *names: str, by: str | None = None, where: Filter | None = None, days: int = DAYS
    ) -> analytics.Answer:
        start = (LAST - timedelta(days=days - 1)).date().isoformat()
        self.storage._remembered = Remembered()  # as if nobody had asked before
        asked = analytics.Question(names, start, LAST.date().isoformat(), ZONE, by, None, where or Filter())
        return self.storage.read(lambda store: analytics.answer(store, self.scope, asked))

    def numbers(self) -> dict[str, tuple[float, float]]:
        """What is asked -> (CPU ms from rollups, CPU ms from a scan)."""
        own = self.between
        joined = f"event e JOIN conversation c ON c.id = e.conversation WHERE {own} AND c.deleted_us IS NULL"
        asked: dict[str, tuple[Callable[[], Any], str]] = {
            "messages by day": (
                lambda: self.answer("total_messages", by="day"),
                f"SELECT e.occurred_us / {DAY_US}, COUNT(*) FROM event e WHERE {own} GROUP BY 1",
            ),
            "messages by hour of the week": (
                lambda: self.answer("total_messages", by="weekday_hour"),
                f"SELECT (e.occurred_us / {DAY_US} + 3) % 7, e.occurred_us / 3600000000 % 24, COUNT(*) "
                f"FROM event e WHERE {own} GROUP BY 1, 2",
            ),
            "messages by country": (
                lambda: self.answer("total_messages", by="country"),
                f"SELECT c.country, COUNT(*) FROM {joined} GROUP BY 1",
            ),
            "messages by device": (
                lambda: self.answer("total_messages", by="device"),
                f"SELECT c.device, COUNT(*) FROM {joined} GROUP BY 1",
            ),
            "messages by day, two filters": (
                lambda: self.answer("total_messages", by="day", where=Filter(country="DE", device="mobile")),
                f"SELECT e.occurred_us / {DAY_US}, COUNT(*) FROM {joined} AND c.country = 'DE' AND c.device = 'mobile' GROUP BY 1",
            ),
            "users": (
                lambda: self.answer("individual_users"),
                f"SELECT COUNT(DISTINCT c.customer_id) FROM {joined}",
            ),
            "users by day": (
                lambda: self.answer("individual_users", by="day", days=30),
                f"SELECT e.occurred_us / {DAY_US}, COUNT(DISTINCT c.customer_id) FROM {joined} "
                f"AND e.occurred_us >= {FIRST_US + (DAYS - 30) * DAY_US} GROUP BY 1",
            ),
            "tools": (
                lambda: self.answer("tool_runs", "tool_errors", "average_tool_duration_ms", by="tool"),
                "SELECT e.name, COUNT(*), AVG(e.duration_ms), COUNT(e.error) FROM event e "
                f"WHERE {own.replace('message', 'action')} GROUP BY 1",
            ),
            "p95 response by day": (
                lambda: self.answer("p95_response_ms", by="day"),
                "WITH m AS (SELECT e.occurred_us AS at, e.sender, "
                "LAG(e.sender) OVER w AS before, LAG(e.occurred_us) OVER w AS since "
                f"FROM event e WHERE {own} WINDOW w AS (PARTITION BY e.conversation ORDER BY e.occurred_us, e.seq)), "
                f"r AS (SELECT at / {DAY_US} AS day, "
                f"PERCENT_RANK() OVER (PARTITION BY at / {DAY_US} ORDER BY at - since) AS rank, "
                "at - since AS waited FROM m WHERE sender = 'agent' AND before = 'end_user') "
                "SELECT day, MIN(waited) FROM r WHERE rank >= 0.95 GROUP BY 1",
            ),
        }
        found = {}
        for name, (fast, scan) in asked.items():
            found[name] = cpu_ms(fast), cpu_ms(lambda scan=scan: self.rows(scan), least=2, for_s=0)  # type: ignore[misc]
            ours, scanned = found[name]
            print(f"  {name:32} rollups {ours:9.2f} ms   scan {scanned:10.1f} ms   {ours / scanned:.4f}x")
        page = cpu_ms(lambda: self.answer(*(n for n in metrics.METRICS if n != "individual_users"), by="day", days=30))
        print(f"  {'26 metrics by day, 30 days':32} rollups {page:9.2f} ms")
        return found

    def pages(self) -> tuple[float, float]:
        """CPU ms of page 1 and of page 1000 (or the last there is) of the list, 50 a page."""
        agent = self.scope.agent_ids[0]
        total = self.rows(f"SELECT COUNT(*) FROM conversation WHERE agent_id = {agent} AND deleted_us IS NULL")[0][0]
        deep = min(50_000, total - 51)
        place = self.rows(
            f"SELECT started_us, id FROM conversation WHERE agent_id = {agent} AND deleted_us IS NULL "
            f"ORDER BY started_us DESC, id DESC LIMIT 1 OFFSET {deep - 51}"
        )[0]
        times = [
            cpu_ms(lambda cursor=cursor: self.storage.read(  # type: ignore[misc]
                lambda store: store.conversations.page(self.scope, Filter(), limit=50, before=cursor)), least=20)
            for cursor in (None, place)
        ]  # fmt: skip
        print(f"  list page 1 {times[0]:.2f} ms, page {deep // 50} {times[1]:.2f} ms: {times[1] / times[0]:.2f}x")
        return times[0], times[1]

    def search(self) -> tuple[float, float]:
        """CPU ms of searching a term one message has, by the product and by a LIKE scan."""
        rare = f"ref{reference(self.messages // 3 // 2 * 2)}"
        fast = cpu_ms(
            lambda: self.storage.read(
                lambda s: s.conversations.page(self.scope, Filter(message_contains=rare), limit=50)
            )
        )
        scan = f"SELECT DISTINCT e.conversation FROM event e WHERE {self.between} AND e.content LIKE '%{rare}%'"
        slow = cpu_ms(lambda: self.rows(scan), least=2, for_s=0)
        common = cpu_ms(
            lambda: self.storage.read(
                lambda s: s.conversations.page(self.scope, Filter(message_contains="refund"), limit=50)
            )
        )
        print(
            f"  rare term {fast:.2f} ms, LIKE scan {slow:.1f} ms: {fast / slow:.4f}x; newest 50 of a common term {common:.2f} ms"
        )
        return fast, slow


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--messages", type=int, action="append", help="default 1,000,000; may be repeated")
    options.add_argument("--data", type=Path, default=CACHE)
    given = options.parse_args()
    verdicts: list[tuple[str, float, float]] = []
    first: dict[str, tuple[float, float]] = {}
    for messages in given.messages or [1_000_000]:
        measured = Measured(given.data, messages)
        print(
            f"{messages:,} messages, half of them another agent's; {DAYS} days, {ZONE}; {measured.storage.facts()['version']}"
        )
        found = measured.numbers()
        most = 0.1 if messages < 5_000_000 else 0.01
        for name in list(found)[:2] if messages >= 5_000_000 else list(found)[:4]:
            verdicts.append((f"T9 {messages:,}: {name}, of a scan", found[name][0] / found[name][1], most))
        if first:
            pair = list(found)[:2]
            grown = math.fsum(found[name][0] for name in pair) / math.fsum(first[name][0] for name in pair)
            verdicts.append((f"T9 {messages:,}: totals and heatmap, of the first size", grown, 1.5))
        first = first or found
        one, deep = measured.pages()
        verdicts.append((f"T10 {messages:,}: page 1000, of page 1", deep / one, 2))
        if messages <= SEARCHABLE:
            fast, slow = measured.search()
            verdicts.append((f"T11 {messages:,}: a rare term, of a LIKE scan", fast / slow, 0.05))
        measured.storage.close()
    print()
    table.give(
        Row(name.split()[0], name.partition(" ")[2], ratio=ratio, bound=f"<= {most}") for name, ratio, most in verdicts
    )


if __name__ == "__main__":
    main()
