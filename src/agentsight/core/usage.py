"""What models used, in rows of one turn and model, and summed; priced when it is asked for, so a new price needs no repair."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentsight.wire import instant

from . import prices
from .model import Event, Scope, UsageGroup
from .ports import Store
from .reading import Reader, asked, choice, environment, flag, moment, number, ordering, text

BILLED = ("prompt_tokens", "completion_tokens", "embedding_tokens", "cache_read_tokens", "cache_write_tokens")
PARTS = ("reasoning_tokens", "audio_input_tokens", "audio_output_tokens")  # of those; never added
SOURCES = ("backend", "unpriced", "reported")
GROUPS = ("model", "conversation", "day")
FILTERS: Mapping[str, Reader] = {
    "conversation": number,
    "conversation_id": text,
    "cost_source": choice(*SOURCES),
    "environment": environment,
    "incomplete": flag,
    "model": text,
    "turn_id": text,
    "started_at_after": moment,
    "started_at_before": moment,
}
ORDERS = ("started_at", "ended_at", "id", "model")
_NANO = 10**9


@dataclass(slots=True)
class Used:
    """Tokens, calls and billionths of a dollar of some calls."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys((*BILLED, *PARTS), 0))
    total: int = 0
    calls: int = 0
    unreported: int = 0
    nano_usd: int = 0
    priced: bool = False
    ended_us: int = 0

    def add(self, call: Event) -> None:
        told = {**call.metadata, **call.detail}
        own = {name: _count(told.get(name)) for name in self.counts}
        for name, count in own.items():
            self.counts[name] += count
        self.total += _count(call.detail.get("total_tokens")) or sum(own[name] for name in BILLED)
        self.calls += 1
        self.unreported += call.metadata.get("usage_reported") is False
        nano, _ = prices.cost(
            call.name, own["prompt_tokens"], own["completion_tokens"], own["embedding_tokens"], call.occurred_us
        )
        self.nano_usd += nano
        self.priced = self.priced or is_priced(call.name, call.occurred_us)
        lasted = call.metadata.get("duration_ms")
        lasted_us = round(lasted * 1000) if isinstance(lasted, (int, float)) and 0 <= lasted < 10**12 else 0
        self.ended_us = max(self.ended_us, call.occurred_us + lasted_us)

    @property
    def source(self) -> str:
        return "backend" if self.priced else "unpriced"

    @property
    def cost_usd(self) -> str:
        """To eight places, as text: what is money is not rounded by whoever reads it."""
        return f"{self.nano_usd / _NANO:.8f}"


def of_transcript(events: Iterable[Event]) -> dict[str, Any] | None:
    """What a whole conversation used, by model; None: nothing."""
    by_model: dict[str | None, Used] = defaultdict(Used)
    for event in events:
        if event.kind == "token_usage":
            by_model[event.name].add(event)
    if not by_model:
        return None
    totals: dict[str, int] = {}
    for used in by_model.values():
        for name, count in (*used.counts.items(), ("total_tokens", used.total)):
            totals[name] = totals.get(name, 0) + count
    return {
        "totals": {name: count for name, count in totals.items() if count or name == "total_tokens"},
        "cost_usd": f"{sum(used.nano_usd for used in by_model.values()) / _NANO:.8f}",
        "cost_sources": sorted({used.source for used in by_model.values()}),
        "models": [
            {"model": model, "cost_source": used.source, "cost_usd": used.cost_usd, **used.counts,
             "total_tokens": used.total}
            for model, used in by_model.items()
        ],
    }  # fmt: skip


def page(
    store: Store, scope: Scope, params: Mapping[str, Sequence[str]], limit: int, offset: int, *, now_us: int
) -> tuple[int, list[dict[str, Any]]]:
    """How many rows match, and some of them, newest first unless ordered otherwise. Raises Invalid."""
    where, order = _asked(store, scope, params, now_us), ordering(params, ORDERS, "-started_at")
    groups = store.usage.page(scope, where, order, limit, offset)
    used: dict[tuple[int, str | None, str | None], Used] = defaultdict(Used)
    for call in store.usage.calls(scope, where, groups):
        used[call.conversation, _turn(call), call.name].add(call)
    heads = {group.conversation: store.conversations.get(scope, group.conversation) for group in groups}
    outcomes: dict[tuple[int, str], str | None] = {}
    for agent_id in {group.agent_id for group in groups}:
        outcomes |= store.spans.outcomes(agent_id, {turn for group in groups if (turn := _plain(group.turn))})
    rows = [_row(group, used[group.conversation, _plain(group.turn), group.model], heads, outcomes) for group in groups]
    return store.usage.count(scope, where), rows


def _row(group: UsageGroup, used: Used, heads: Mapping[int, Any], outcomes: Mapping[Any, str | None]) -> dict[str, Any]:
    head, turn = heads[group.conversation], _plain(group.turn)
    why = outcomes.get((group.conversation, turn))
    return {
        "id": group.id,
        "conversation": group.conversation,
        "conversation_id": head.conversation_id if head else None,
        "environment": (head.environment if head else None) or "development",
        "turn_id": turn,
        "model": group.model,
        **used.counts,
        "total_tokens": used.total,
        "cost_usd": used.cost_usd,
        "cost_usd_reported": "0.00000000",
        "cost_source": used.source,
        "calls": used.calls,
        "unreported_calls": used.unreported,
        "incomplete": why is not None,
        "incomplete_reason": why,
        "started_at": instant(group.started_us),
        "ended_at": instant(max(group.ended_us, used.ended_us)),
    }


def summary(
    store: Store, scope: Scope, params: Mapping[str, Sequence[str]], now_us: int, by: str
) -> list[dict[str, Any]]:
    """The same, summed by model, conversation or day (UTC), the dearest first. Raises Invalid."""
    where = _asked(store, scope, params, now_us)
    groups: dict[Any, Used] = defaultdict(Used)
    rows: dict[Any, set[tuple[int, str | None, str | None]]] = defaultdict(set)
    for call in store.usage.every(scope, where):
        key = {"model": call.name, "conversation": call.conversation}.get(by, instant(call.occurred_us)[:10])
        groups[key].add(call)
        rows[key].add((call.conversation, _turn(call), call.name))
    told = [
        {"group": key, "calls": used.calls, "rows": len(rows[key]), **{name: used.counts[name] for name in BILLED},
         "total_tokens": used.total, "cost_usd": used.nano_usd / _NANO}
        for key, used in groups.items()
    ]  # fmt: skip
    return sorted(told, key=lambda row: (-row["cost_usd"], -row["total_tokens"], str(row["group"])))


def is_priced(model: str | None, at_us: int) -> bool:
    """Whether somebody knows what this model's tokens cost."""
    return prices.cost(model, 1_000, 1_000, 1_000, at_us)[1] > 0


def _asked(store: Store, scope: Scope, params: Mapping[str, Sequence[str]], now_us: int) -> dict[str, Any]:
    where = asked(params, FILTERS)
    source = where.pop("cost_source", None)
    if source is not None:
        known = store.usage.models(scope)
        where["models"] = [
            model for model in known if source == ("backend" if is_priced(model, now_us) else "unpriced")
        ]
    return where


def _turn(call: Event) -> str | None:
    told = call.metadata.get("turn_id")
    return None if told is None else str(told)


def _plain(turn: str | None) -> str | None:
    """A turn's id out of its JSON."""
    return None if turn is None or turn == "null" else turn.strip('"')


def _count(told: Any) -> int:
    return told if type(told) is int and told > 0 else 0
