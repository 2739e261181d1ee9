"""Usage and limits: what was agreed, what became of what was sent, what is kept, how much one request may carry."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from markupsafe import Markup
from starlette.responses import Response

from agentsight import wire
from agentsight.core import analytics, retention
from agentsight.core.analytics import Answer, Question
from agentsight.core.model import Delivery, Scope
from agentsight.core.ports import Store
from agentsight.core.settings import agreed

from ..http import now_us
from ..ui import charts
from ..ui.words import Voice
from .analytics import drill, toolbar
from .board import Board
from .period import Period, period
from .shell import page
from .visit import Visit

ASKED = ("total_messages", "total_conversations", "total_tokens", "attachments", "tool_runs")
OUTCOMES = ("accepted", "duplicate", "rejected", "lost", "refused")
MOST_SENDERS, MOST_REASONS = 20, 12
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Sender:
    """What came by one key from one client."""

    key: str
    client: str
    counts: Counter[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """Conversations of this calendar month beside those agreed."""

    used: int
    agreed: int

    @property
    def percent(self) -> float:
        return 100 * self.used / self.agreed


@page("usage", "analytics.read")
def usage(visit: Visit) -> Response:
    chosen, notices = period(visit)
    question = chosen.question(*ASKED, by=chosen.step, compare=True)

    def ask(store: Store) -> tuple[Answer, dict[str, int], list[Delivery], dict[int, str], Plan | None]:
        days = (chosen.start - _EPOCH).days, (chosen.end - _EPOCH).days + 1
        keys = {key.id: key.prefix for key in store.settings.keys(visit.organization.id)}
        return (
            analytics.answer(store, visit.scope, question),
            store.settings.stored(visit.scope.agent_ids),
            store.deliveries.read(visit.scope, *days),
            keys if visit.may("keys.manage") else {},
            _plan(store, visit),
        )

    answer, stored, delivered, keys, plan = visit.read(ask, may_lag=True)
    board = Board(visit.voice, chosen, {"time": answer}, drill(visit, chosen), now_us())
    counts = _counted(delivered)
    return visit.render(
        "usage.html",
        page="usage",
        title=visit.voice.say("Usage and limits"),
        live=True,
        board=board,
        tiles=[board.tile(name) for name in ASKED if visit.sight.shows(name)][:4],
        anything=any(board.total(name) for name in ASKED),
        stored=stored,
        plan=plan,
        rules=retention.rules(visit.organization),
        counts=counts,
        outcomes=outcomes(visit.voice),
        chart=_chart(visit.voice, chosen, delivered) if counts else Markup(""),
        senders=_senders(delivered, keys),
        reasons=_reasons(delivered),
        limits=_limits(visit),
        facets={name: [] for name in ("source", "device", "language", "country")},
        **toolbar(visit, chosen, notices) | {"what": ""},
    )


def outcomes(voice: Voice) -> dict[str, tuple[str, str]]:
    """What each fate is called, and what it means."""
    say = voice.say
    return {
        "accepted": (say("Accepted"), say("Stored, after the commit")),
        "duplicate": (say("Duplicates"), say("Sent again and already here; nothing changed")),
        "rejected": (say("Rejected"), say("Broke the contract; their neighbours were stored")),
        "lost": (say("Lost by clients"), say("Clients say they had to drop them before sending")),
        "refused": (say("Refused requests"), say("Turned away whole: too much at once, too large, not to be read")),
    }


def _plan(store: Store, visit: Visit) -> Plan | None:
    most = agreed(visit.organization.settings)
    if most is None:
        return None
    today = datetime.now(visit.zone).date()
    month = Question(("total_conversations",), today.replace(day=1).isoformat(), today.isoformat(), visit.zone.key)
    every = Scope(visit.organization.id, tuple(agent.id for agent in visit.agents))
    return Plan(int(analytics.answer(store, every, month).series[0].total or 0), most)


def _counted(delivered: list[Delivery]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for each in delivered:
        counts[each.outcome] += each.count
    return counts


def _chart(voice: Voice, chosen: Period, delivered: list[Delivery]) -> Markup:
    """By day, in UTC as they are counted."""
    days = [chosen.start + timedelta(days=n) for n in range(chosen.days)]
    found: dict[str, Counter[int]] = {name: Counter() for name in OUTCOMES}
    for each in delivered:
        found[each.outcome][each.day] += each.count
    names = outcomes(voice)
    shown = [name for name in ("accepted", "duplicate", "rejected") if name == "accepted" or found[name]]
    lines = [
        charts.Series(names[name][0], [found[name][(day - _EPOCH).days] for day in days], f"c{place}")
        for place, name in enumerate(shown, 1)
    ]
    caption = voice.say("What became of the events sent, by day")
    return charts.timeseries(
        voice,
        caption,
        [voice.day_short(day) for day in days],
        lines,
        says=voice.short,
        partial=chosen.partial(now_us()),
    )


def _senders(delivered: list[Delivery], keys: dict[int, str]) -> list[Sender]:
    """Who sent most first; by key only where the visitor may know the keys."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for each in delivered:
        whose = (keys.get(each.key_id, ""), each.client)
        found.setdefault(whose, Counter())[each.outcome] += each.count
    rows = [Sender(key, client, counts) for (key, client), counts in found.items()]
    return sorted(rows, key=lambda row: (-row.counts.total(), row.key, row.client))[:MOST_SENDERS]


def _reasons(delivered: list[Delivery]) -> list[tuple[str, str, int]]:
    """(fate, why, how many), the most frequent first."""
    found: Counter[tuple[str, str]] = Counter()
    for each in delivered:
        if each.reason:
            found[each.outcome, each.reason] += each.count
    return [(*why, number) for why, number in found.most_common(MOST_REASONS)]


def _limits(visit: Visit) -> list[tuple[str, str]]:
    """What one request may carry, from the contract itself."""
    v = visit.voice
    return [
        (v.say("Events in one batch"), v.number(wire.MAX_BATCH_EVENTS)),
        (v.say("One batch, unpacked"), f"{wire.MAX_BATCH_BYTES // 2**20} MiB"),
        (v.say("One message"), v.say("{n} characters", n=v.number(wire.MAX_CONTENT_CHARS))),
        (v.say("Metadata of one event"), v.say("{n} characters", n=v.number(wire.MAX_METADATA_CHARS))),
        (v.say("One file"), f"{wire.MAX_FILE_BYTES // 2**20} MiB"),
        (v.say("Files in one upload"), v.number(wire.MAX_FILES)),
    ]
