"""A filter as people see it: chips that go, choices that narrow, words instead of parameter names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from agentsight import wire
from agentsight.core import conversations
from agentsight.core.model import Filter
from agentsight.core.ports import Store

from ..ui.words import Voice
from .shell import Visit

FACETS = ("source", "device", "language", "country")
MOST_VALUES = 60

COUNTED = ("counted_by", "counted_key", "counted_from", "counted_to", "counted_hour")


@dataclass(frozen=True, slots=True)
class Chip:
    """One condition in force and the address without it."""

    label: str
    value: str
    without: str


def asked(visit: Visit) -> tuple[Filter, list[str]]:
    """The filter in this page's query, production unless development is asked for, and what could not be read of it."""
    where, notices = conversations.parse_filter_leniently(parameters(visit))
    if where.environment is None:
        where = replace(where, environment="production")
    where, hidden = visit.sight.asks(where)
    return where, [*notices, *(label(visit.voice, name) for name in hidden)]


def parameters(visit: Visit) -> Mapping[str, list[str]]:
    params = visit.params
    return {name: params.getlist(name) for name in params}


def chips(visit: Visit) -> list[Chip]:
    """The conditions in force, apart from the environment, which has its own switch."""
    found = []
    behind = visit.params.get("counted_by")
    if behind:
        gone = dict.fromkeys((*COUNTED, "before", "after"))
        found.append(Chip(visit.voice.say("Behind the number"), _behind(visit), visit.here(**gone)))
    for name in wire.FILTERS:
        value = visit.params.get(name)
        if value and name != "environment" and not (behind and name in COUNTED):
            without = visit.here(**{name: None, "before": None, "after": None})
            found.append(Chip(label(visit.voice, name), shown(visit.voice, name, value), without))
    return found


def _behind(visit: Visit) -> str:
    """What a number counted, and when."""
    voice, params = visit.voice, visit.params
    where, _ = conversations.parse_filter_leniently(parameters(visit))
    said = [counted(voice, params["counted_by"]), params.get("counted_key") or ""]
    if where.counted_from is not None and where.counted_to is not None:
        said.append(f"{voice.when(where.counted_from)} – {voice.when(where.counted_to)}")
    if params.get("counted_hour"):
        said.append(params["counted_hour"])
    return " · ".join(part for part in said if part)


def counted(voice: Voice, name: str) -> str:
    """What `counted_by` counts."""
    names = {
        "started": voice.say("started and used"),
        "opened": voice.say("opened"),
        "escalated": voice.say("escalated"),
        "timed": voice.say("with a duration"),
        "messages": voice.say("messages"),
        "users": voice.say("users"),
        "answered": voice.say("answered"),
        "feedback": voice.say("feedback"),
        "tool_runs": voice.say("tool runs"),
        "tool_errors": voice.say("tool errors"),
        "tool_timed": voice.say("tool durations"),
        "tokens": voice.say("tokens"),
        "clicks": voice.say("clicks"),
        "files": voice.say("files"),
    }
    return names.get(name, name)


def facets(store: Store, visit: Visit) -> dict[str, list[str]]:
    """What there is to filter by, most used first."""
    return {column: store.conversations.values(visit.scope, column)[:MOST_VALUES] for column in FACETS}


def is_filter(name: str) -> bool:
    return name in wire.FILTERS


def label(voice: Voice, name: str) -> str:
    """What people call a filter."""
    say = voice.say
    names = {
        "conversation_id": say("Conversation ID"),
        "customer_id": say("Customer"),
        "customer_id__icontains": say("Customer contains"),
        "name": say("Name contains"),
        "language": say("Language"),
        "device": say("Device"),
        "source": say("Source"),
        "country": say("Country"),
        "customer_ip_address": say("IP address"),
        "is_marked": say("Marked"),
        "is_used": say("Used"),
        "include_deleted": say("With deleted"),
        "started_at_after": say("Started from"),
        "started_at_before": say("Started up to"),
        "has_messages": say("Has messages"),
        "has_feedback": say("Has feedback"),
        "message_contains": say("Message contains"),
        "search": say("Search"),
        "action_name": say("Tool"),
        "has_action": say("Used a tool"),
        "has_error": say("Has an error"),
        "escalated": say("Escalated"),
        "feedback_sentiment": say("Feedback"),
        "feedback_source": say("Feedback from"),
        "metadata": say("Metadata"),
    }
    return names.get(name, name)


def shown(voice: Voice, name: str, value: str) -> str:
    """A filter's value in words."""
    if name == "country":
        return voice.country(value)
    if name == "language":
        return voice.tongue(value)
    if name.startswith("started_at") and "T" in value:
        where, _ = conversations.parse_filter_leniently({name: [value]})
        moment_us = getattr(where, name)
        return voice.when(moment_us) if moment_us is not None else value
    if value.lower() in ("true", "false"):
        return voice.say("yes") if value.lower() == "true" else voice.say("no")
    return {
        "positive": voice.say("positive"),
        "neutral": voice.say("neutral"),
        "negative": voice.say("negative"),
        "customer": voice.say("customer"),
        "platform": voice.say("team"),
    }.get(value, value)
