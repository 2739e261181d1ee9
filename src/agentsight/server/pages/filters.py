"""A filter as people see it: chips that go, choices that narrow, words instead of parameter names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from agentsight import wire
from agentsight.core import conversations
from agentsight.core.model import Filter

from ..ui.words import Voice
from .shell import Visit


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
    return where, notices


def parameters(visit: Visit) -> Mapping[str, list[str]]:
    params = visit.request.query_params
    return {name: params.getlist(name) for name in params}


def chips(visit: Visit) -> list[Chip]:
    """The conditions in force, apart from the environment, which has its own switch."""
    found = []
    for name in wire.FILTERS:
        value = visit.request.query_params.get(name)
        if value and name != "environment":
            without = visit.here(**{name: None, "before": None, "after": None})
            found.append(Chip(label(visit.voice, name), shown(visit.voice, name, value), without))
    return found


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
