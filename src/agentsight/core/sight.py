"""How much of a conversation somebody may see. A client's sight is set by its organization, a share's by its preset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self, TypeVar

from agentsight.wire import NOT

from .permissions import Role


class _Head(Protocol):
    def but(self, **changes: Any) -> Self: ...


H = TypeVar("H", bound=_Head)
T = TypeVar("T")
W = TypeVar("W")

CUSTOMER = ("customer_id", "customer_ip_address")
"""Fields of a conversation that say who the customer is."""
_ABOUT = (*CUSTOMER, "customer_id__icontains")  # filters that would tell
_COSTS = frozenset({"cost_usd", "unpriced_tokens"})
_TOKENS = frozenset({"prompt_tokens", "completion_tokens", "embedding_tokens", "total_tokens"})


@dataclass(frozen=True, slots=True)
class Sight:
    """What is shown: costs in money; tokens; metadata of conversations and events; who the customer is."""

    costs: bool = True
    tokens: bool = True
    metadata: bool = True
    customer: bool = True

    def head(self, conversation: H) -> H:
        """A conversation without what must not be seen. It is for showing, never for writing back."""
        hidden: dict[str, Any] = {} if self.customer else dict.fromkeys(CUSTOMER)
        if not self.metadata:
            hidden["metadata"] = {}
        return conversation.but(**hidden) if hidden else conversation

    def whole(self, transcript: T) -> T:
        """A transcript without what must not be seen: its head, its events' metadata, its token usage."""
        told: Any = transcript
        if self == EVERYTHING:
            return transcript
        events = [event for event in told.events if self.tokens or event.kind != "token_usage"]
        feedbacks = told.feedbacks
        if not self.metadata:
            events = [replace(event, metadata={}) for event in events]
            feedbacks = tuple(replace(feedback, metadata={}) for feedback in feedbacks)
        seen: T = replace(told, conversation=self.head(told.conversation), events=tuple(events), feedbacks=feedbacks)
        return seen

    def shows(self, metric: str) -> bool:
        """Whether a number is for these eyes; what something cost tells how many tokens it took."""
        if metric in _COSTS:
            return self.costs and self.tokens
        return self.tokens or metric not in _TOKENS

    def asks(self, where: W) -> tuple[W, list[str]]:
        """A filter without the conditions that would tell what must not be seen, and the names of those.

        A search looks through what was said then, and no longer for who said it.
        """
        told: Any = where
        gone = [name for name in _ABOUT if not self.customer and getattr(told, name)]
        gone += ["metadata"] if not self.metadata and told.metadata else []
        changes: dict[str, Any] = {name: () if name == "metadata" else None for name in gone}
        hidden = {*(() if self.customer else _ABOUT), *(() if self.metadata else ("metadata",))}
        if any(name in hidden for name, _ in told.unless):
            gone += [f"{name}{NOT}" for name, _ in told.unless if name in hidden]
            changes["unless"] = tuple(pair for pair in told.unless if pair[0] not in hidden)
        if not self.customer and told.search:
            changes |= {"search": None, "message_contains": told.message_contains or told.search}
        asked: W = replace(told, **changes) if changes else where
        return asked, gone


EVERYTHING = Sight()
NAMES = tuple(field.name for field in fields(Sight))


def of(role: Role, settings: Mapping[str, Any]) -> Sight:
    """What somebody of this role sees: all, but for clients, who see what their organization's `clients_see` grants."""
    if role != "client":
        return EVERYTHING
    told = settings.get("clients_see")
    if not isinstance(told, Mapping):
        spent = bool(settings.get("clients_see_tokens", True))  # the one switch there was at first
        return Sight(costs=spent, tokens=spent)
    return Sight(**{name: bool(told.get(name, True)) for name in NAMES})
