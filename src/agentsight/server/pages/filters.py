"""A filter as people see it: chips that go, choices that narrow, words instead of parameter names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from dataclasses import fields as dataclass_fields

from agentsight import wire
from agentsight.core import conversations
from agentsight.core.model import Filter
from agentsight.core.ports import Store
from agentsight.wire import NOT

from ..ui.words import Voice
from .addresses import query
from .shell import Elsewhere
from .visit import Visit

FACETS = ("source", "device", "language", "country")
MOST_VALUES = 60

COUNTED = ("counted_by", "counted_key", "counted_from", "counted_to", "counted_hour")
CONTAINS = "__icontains"
WRITTEN = ("field", "op", "value")
"""What the form for one more condition sends; the address that is kept says it as a filter."""
FIELDS = {
    "source": ("source", "source" + CONTAINS),
    "device": ("device", ""),
    "language": ("language", ""),
    "country": ("country", ""),
    "customer": ("customer_id", "customer_id" + CONTAINS),
    "name": ("", "name"),
    "conversation": ("conversation_id", "conversation_id" + CONTAINS),
    "message": ("", "message_contains"),
    "tool": ("action_name", "action_name" + CONTAINS),
    "feedback": ("feedback_sentiment", ""),
    "metadata": ("metadata", ""),
}
"""What a condition may be about: the filter that says it is so, and the one that says it contains."""
_SAID = {name: field for field, names in FIELDS.items() for name in names if name}
_FLAGS = frozenset(field.name for field in dataclass_fields(Filter) if "bool" in str(field.type))
_OTHER = {"true": "false", "false": "true"}


@dataclass(frozen=True, slots=True)
class Chip:
    """One condition in force, the address without it, and the one with its opposite where it has one."""

    label: str
    value: str
    without: str
    op: str = ""
    flipped: str = ""


def asked(visit: Visit) -> tuple[Filter, list[str]]:
    """The filter in this page's query, production unless development is asked for, and what could not be read of it."""
    if any(name in visit.params for name in WRITTEN):
        raise Elsewhere(_written(visit))
    where, notices = conversations.parse_filter_leniently(parameters(visit))
    if where.environment is None:
        where = replace(where, environment="production")
    where, hidden = visit.sight.asks(where)
    return where, [*notices, *(label(visit.voice, name.removesuffix(NOT)) for name in hidden)]


def _written(visit: Visit) -> str:
    """The address that says a condition written in the form as a filter; without it where it says nothing."""
    field, op, value = ((visit.params.get(name) or "").strip() for name in WRITTEN)
    is_so, contains = FIELDS.get(field, ("", ""))
    name = (contains if "contains" in op else is_so) or is_so or contains
    kept = [pair for pair in visit.params.multi_items() if pair[0] not in (*WRITTEN, "before", "after")]
    if name and value:
        negated = name + NOT if op.startswith("not") else name
        kept = [pair for pair in kept if pair[0] != negated or negated.endswith(NOT)]
        kept.append((negated, meant(visit.voice, name, value)))
    return visit.path + query(kept)


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
        values = [value for value in visit.params.getlist(name) if value]
        if name == "environment" or (behind and name in COUNTED):
            continue
        found += [_chip(visit, name, value) for value in (values if name.endswith(NOT) else values[-1:])]
    return found


def _chip(visit: Visit, name: str, value: str) -> Chip:
    voice, plain = visit.voice, name.removesuffix(NOT)
    others = [
        pair
        for pair in visit.params.multi_items()
        if pair[0] not in ("before", "after") and pair != (name, value) and (pair[0] != name or name.endswith(NOT))
    ]
    words, without = shown(voice, plain, value), visit.path + query(others)
    if plain + NOT in wire.FILTERS:
        opposite = plain if name.endswith(NOT) else plain + NOT
        rest = [pair for pair in others if pair[0] != opposite or opposite.endswith(NOT)]
        flipped = visit.path + query([*rest, (opposite, value)])
        return Chip(fields(voice)[_SAID[plain]], words, without, operators(voice)[_op(name)], flipped)
    if name in _FLAGS and value in _OTHER:
        flipped = visit.path + query([*others, (name, _OTHER[value])])
        return Chip(label(voice, name), "", without, words, flipped)
    return Chip(label(voice, name), words, without)


def _op(name: str) -> str:
    plain = name.removesuffix(NOT)
    contains = any(plain == names[1] for names in FIELDS.values())
    return ("not_" if name.endswith(NOT) else "") + ("contains" if contains else "is")


def fields(voice: Voice) -> dict[str, str]:
    """What a condition may be about, in words."""
    say = voice.say
    return {
        "source": say("Source"),
        "device": say("Device"),
        "language": say("Language"),
        "country": say("Country"),
        "customer": say("Customer"),
        "name": say("Name"),
        "conversation": say("Conversation ID"),
        "message": say("Message"),
        "tool": say("Tool"),
        "feedback": say("Feedback"),
        "metadata": say("Metadata"),
    }


def operators(voice: Voice) -> dict[str, str]:
    """How a condition compares, in words."""
    say = voice.say
    return {
        "is": say("is"),
        "not_is": say("is not"),
        "contains": say("contains"),
        "not_contains": say("does not contain"),
    }


def meant(voice: Voice, name: str, words: str) -> str:
    """The value somebody means who writes a country, a language or a mood in words."""
    if name == "country":
        known = {str(word).lower(): str(code) for code, word in voice.locale.territories.items() if len(code) == 2}
    elif name == "language":
        known = {str(word).lower(): str(code) for code, word in voice.locale.languages.items()}
    elif name == "feedback_sentiment":
        known = {voice.say(mood): mood for mood in wire.SENTIMENTS}
    else:
        return words
    return known.get(words.lower(), words)


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


def suggestions(voice: Voice, facets: Mapping[str, list[str]]) -> list[str]:
    """What may be written as a value, for the list beside the field."""
    return [shown(voice, name, value) for name in FACETS for value in facets.get(name, ())][: 2 * MOST_VALUES]


def is_filter(name: str) -> bool:
    return name in wire.FILTERS


def label(voice: Voice, name: str) -> str:
    """What people call a filter."""
    say = voice.say
    names = {
        "conversation_id": say("Conversation ID"),
        "conversation_id__icontains": say("Conversation ID"),
        "customer_id": say("Customer"),
        "customer_id__icontains": say("Customer contains"),
        "name": say("Name contains"),
        "language": say("Language"),
        "device": say("Device"),
        "source": say("Source"),
        "source__icontains": say("Source"),
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
        "action_name__icontains": say("Tool"),
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
    if name in _FLAGS and value.lower() in ("true", "false"):
        return voice.say("yes") if value.lower() == "true" else voice.say("no")
    return {
        "positive": voice.say("positive"),
        "neutral": voice.say("neutral"),
        "negative": voice.say("negative"),
        "customer": voice.say("customer"),
        "platform": voice.say("team"),
    }.get(value, value)
