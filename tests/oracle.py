"""Every number again, naively: plain loops over what was sent, sharing no code with the product.

A `World` is told what was delivered, in the order it was; it keeps the raw events and counts them when asked.
It knows only the few addresses, user agents and models the tests use.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from zoneinfo import ZoneInfo

COUNTRY = {"8.8.8.8": "US", "93.142.1.1": "HR", "2a00:1450:4001:80b::200e": "IE", "10.0.0.7": None, "testclient": None}
DEVICE = {
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1": "mobile",
    "Mozilla/5.0 (iPad; CPU OS 16_0 like Mac OS X) AppleWebKit/605.1.15": "tablet",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/120 Safari/537.36": "desktop",
    "curl/8.0": None,
}
PRICE = {"gpt-4o-mini": ("0.15", "0.6"), "gpt-4o": ("2.5", "10")}  # USD per million tokens in, out
ESCALATIONS = {"fallback_to_human", "open_ticket", "ticket", "contact_human"}
QUARTER = timedelta(minutes=15)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

COUNTS = {
    "total_messages": "messages",
    "total_conversations": "used",
    "escalated_conversations": "escalated",
    "opened_conversations": "opened",
    "feedback_conversations": "feedback",
    "feedback_positive": "positive",
    "feedback_neutral": "neutral",
    "feedback_negative": "negative",
    "tool_runs": "tools",
    "tool_errors": "tool errors",
    "button_clicks": "clicks",
    "attachments": "files",
}
SUMS = {
    "prompt_tokens": "prompt",
    "completion_tokens": "completion",
    "embedding_tokens": "embedding",
    "total_tokens": "all tokens",
    "unpriced_tokens": "unpriced",
}
MEANS = {
    "average_response_ms": "waits",
    "average_duration_ms": "durations",
    "average_tool_duration_ms": "tool times",
}
SHARES = {
    "escalation_rate_pct": ("escalated", "used"),
    "interaction_rate_pct": ("opened and used", "opened"),
    "satisfaction_pct": ("positive", "feedback"),
    "tool_error_rate_pct": ("tool errors", "tools"),
}
QUANTILES = {"median_response_ms": 0.5, "p95_response_ms": 0.95}
METRICS = [*COUNTS, *SUMS, *MEANS, *SHARES, *QUANTILES, "individual_users", "cost_usd"]
ADDITIVE = [*COUNTS, *SUMS, "cost_usd"]
SPLITS = {
    "tool": ["tool_runs", "tool_errors", "tool_error_rate_pct", "average_tool_duration_ms"],
    "model": [*SUMS, "cost_usd"],
    "button": ["button_clicks"],
    "sentiment": [
        "satisfaction_pct",
        "feedback_conversations",
        "feedback_positive",
        "feedback_neutral",
        "feedback_negative",
    ],
}
TIMES = ["hour", "day", "week", "month", "weekday_hour"]
FACETS = ["country", "device", "source", "language"]
BEHIND = {
    "average_response_ms": "waits",
    "median_response_ms": "waits",
    "p95_response_ms": "waits",
    "average_duration_ms": "durations",
    "average_tool_duration_ms": "tool times",
    "escalation_rate_pct": "escalated",
    "interaction_rate_pct": "opened",
    "satisfaction_pct": "feedback",
    "tool_error_rate_pct": "tool errors",
    "individual_users": "users",
    "cost_usd": "all tokens",
    "unpriced_tokens": "all tokens",
    "prompt_tokens": "all tokens",
    "completion_tokens": "all tokens",
    "embedding_tokens": "all tokens",
    "total_tokens": "all tokens",
    **COUNTS,
}


def us(text):
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


class World:
    """What was delivered to one agent."""

    def __init__(self):
        self.seen = set()
        self.conversations = []

    def live(self, name):
        for conversation in self.conversations:
            if conversation["name"] == name and not conversation["deleted"]:
                return conversation
        return None

    def deliver(self, event):
        if event["id"] in self.seen:
            return
        self.seen.add(event["id"])
        conversation = self.live(event["conversation_id"])
        if conversation is None:
            conversation = {"name": event["conversation_id"], "events": [], "by hand": {}, "deleted": False}
            self.conversations.append(conversation)
        conversation["events"].append(event)

    def delete(self, name):
        conversation = self.live(name)
        if conversation is not None:
            conversation["deleted"] = True

    def restore(self, conversation):
        conversation["deleted"] = False

    def change(self, name, /, **fields):
        conversation = self.live(name)
        if conversation is not None:
            conversation["by hand"].update(fields)

    # -- one conversation --------------------------------------------------------------------------------------------
    def about(self, conversation):
        """What a conversation is: the earliest word wins, what people set by hand wins over all."""
        told = {"metadata": {}}
        ordered = in_order(conversation["events"])
        said = [event for event in ordered if event["kind"] == "conversation"]
        for event in said:
            for field in ("customer_id", "customer_ip_address", "device", "source", "language", "environment"):
                if told.get(field) is None and event.get(field) is not None:
                    told[field] = event[field]
            for key, value in event.get("metadata", {}).items():
                told["metadata"].setdefault(key, value)
        told.update(conversation["by hand"])
        others = [event for event in ordered if event["kind"] not in ("conversation", "feedback")]
        told["opened"] = bool(said) and said[0].get("is_used", True) is False
        told["used"] = bool(others) or any(event.get("is_used", True) for event in said)
        told["escalated"] = any(event.get("action_name") in ESCALATIONS for event in others)
        told["start"] = min(us(event["occurred_at"]) for event in conversation["events"])
        told["end"] = max((us(event["occurred_at"]) for event in others), default=None)
        told["production"] = told.get("environment") == "production"
        told["country"] = COUNTRY[told["customer_ip_address"]] if told.get("customer_ip_address") else None
        if not told.get("device"):
            agent = told["metadata"].get("user_agent")
            told["device"] = DEVICE[agent] if agent else None
        return told

    def observations(self, conversation, told):
        """(what, when, how much, key) of everything there is to count."""
        seen = []

        def see(what, when, amount=1, key=None):
            seen.append((what, when, amount, key))

        start = told["start"]
        if told["used"]:
            see("used", start)
        if told["used"] and told["escalated"]:
            see("escalated", start)
        if told["opened"]:
            see("opened", start)
        if told["opened"] and told["used"]:
            see("opened and used", start)
        if told["end"] is not None:
            see("durations", start, max(0, told["end"] - start))
        waiting = None
        for event in in_order(conversation["events"]):
            when, kind = us(event["occurred_at"]), event["kind"]
            if kind == "message":
                if event["sender"] != "system":
                    see("messages", when)
                    if told.get("customer_id"):
                        see("users", when, 1, told["customer_id"])
                if event["sender"] == "end_user" and waiting is None:
                    waiting = when
                if event["sender"] == "agent" and waiting is not None:
                    see("waits", when, when - waiting)
                    waiting = None
            if kind == "action" and event["action_name"] != "token_usage":
                see("tools", when, 1, event["action_name"])
                if event.get("error_msg"):
                    see("tool errors", when, 1, event["action_name"])
                if event.get("duration_ms") is not None:
                    see("tool times", when, round(event["duration_ms"] * 1000), event["action_name"])
                elif event.get("started_at") and event.get("ended_at"):
                    see(
                        "tool times",
                        when,
                        max(0, us(event["ended_at"]) - us(event["started_at"])),
                        event["action_name"],
                    )
            if kind == "button":
                see("clicks", when, 1, event["button_event"])
            if kind == "attachment":
                see("files", when)
            if kind == "token_usage":
                for what, when_, amount in tokens(event):
                    see(what, when_, amount, event.get("model") or "unknown")
        given = [event for event in in_order(conversation["events"]) if event["kind"] == "feedback"]
        if given:
            last = given[-1]
            see("feedback", us(last["occurred_at"]), 1, last["sentiment"])
            see(last["sentiment"], us(last["occurred_at"]), 1, last["sentiment"])
        return seen

    # -- answers -----------------------------------------------------------------------------------------------------
    def cells(self, first, until, zone, by, wanted):
        """key -> observations, of the conversations `wanted` accepts; under None all of them."""
        cells = {None: []}
        for conversation in self.conversations:
            if conversation["deleted"]:
                continue
            told = self.about(conversation)
            if not wanted(conversation, told):
                continue
            for what, when, amount, key in self.observations(conversation, told):
                if not first <= when < until:
                    continue
                row = (what, amount, key, conversation)
                cells[None].append(row)
                if by in TIMES:
                    cells.setdefault(label(when, zone, by), []).append(row)
                elif by in FACETS:
                    value = told.get(by)
                    text = "unknown" if not value else value if by == "country" else value.lower()
                    cells.setdefault(text, []).append(row)
                elif by is not None and key is not None:
                    cells.setdefault(key, []).append(row)
        return cells


def in_order(events):
    """By time, then by the sender's count, then as they came; feedback as it came among equals."""
    return sorted(events, key=lambda event: (us(event["occurred_at"]), event.get("seq", 0)))


def tokens(event):
    when = us(event["occurred_at"])
    prompt, completion = event.get("prompt_tokens", 0), event.get("completion_tokens", 0)
    embedding = event.get("embedding_tokens", 0)
    total = event.get("total_tokens") or prompt + completion + embedding
    prices = PRICE.get(event.get("model"))
    paid, cost = 0, 0
    if prices:
        paid = prompt + completion
        exact = (Decimal(prices[0]) * prompt + Decimal(prices[1]) * completion) * 1000
        cost = int(exact.to_integral_value(ROUND_HALF_EVEN))  # billionths of a dollar
    yield "prompt", when, prompt
    yield "completion", when, completion
    yield "embedding", when, embedding
    yield "all tokens", when, total
    yield "cost", when, cost
    yield "unpriced", when, max(0, total - paid)


def label(when, zone, by):
    local = (EPOCH + timedelta(microseconds=when)).astimezone(zone)
    if by == "hour":
        return local.replace(minute=0, second=0, microsecond=0).isoformat(timespec="minutes")
    if by == "day":
        return local.date().isoformat()
    if by == "week":
        return (local.date() - timedelta(days=local.weekday())).isoformat()
    if by == "month":
        return local.strftime("%Y-%m")
    return f"{DAYS[local.weekday()]}-{local.hour:02d}"


def labels(first, until, zone, by):
    """Every key of a range in order, found by walking through it."""
    if by == "weekday_hour":
        return [f"{day}-{hour:02d}" for day in DAYS for hour in range(24)]
    found = []
    when = first
    while when < until:
        key = label(when, zone, by)
        if not found or found[-1] != key:
            found.append(key)
        when += 15 * 60 * 1_000_000
    return found


def bounds(start, end, zone):
    """Local dates, both included, as microseconds."""

    def midnight(text, more):
        day = datetime.fromisoformat(text) + timedelta(days=more)
        return us(day.replace(tzinfo=zone).astimezone(UTC).isoformat())

    return midnight(start, 0), midnight(end, 1)


def number(metric, rows):
    """The metric over these observations."""

    def amounts(what):
        return [amount for seen, amount, _, _ in rows if seen == what]

    if metric in COUNTS:
        return len(amounts(COUNTS[metric]))
    if metric in SUMS:
        return sum(amounts(SUMS[metric]))
    if metric == "cost_usd":
        return sum(amounts("cost")) / 10**9
    if metric == "individual_users":
        return len({key for seen, _, key, _ in rows if seen == "users"})
    if metric in MEANS:
        values = amounts(MEANS[metric])
        return sum(values) / len(values) / 1000 if values else None
    if metric in SHARES:
        part, whole = SHARES[metric]
        return len(amounts(part)) / len(amounts(whole)) * 100 if amounts(whole) else None
    waits = sorted(amounts("waits"))
    return waits[math.ceil(QUANTILES[metric] * len(waits)) - 1] / 1000 if waits else None


def conversations(metric, rows, key=None):
    """How many conversations stand behind a number."""
    what = BEHIND[metric]
    return len({id(owner) for seen, _, own, owner in rows if seen == what and (key is None or own == key)})


def agrees(metric, told, expected):
    """Whether a told number is the expected one: exactly for counts and sums, within 5 % for percentiles."""
    if expected is None or told is None:
        return told is expected
    if metric in QUANTILES:
        return abs(told - expected) <= 0.05 * expected + 1e-9
    if metric in ADDITIVE or metric == "individual_users":
        return told == expected
    return math.isclose(told, expected, rel_tol=1e-9)


__all__ = ["World", "ZoneInfo", "agrees", "bounds", "conversations", "labels", "number"]
