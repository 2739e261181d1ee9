"""How much of a conversation somebody may see. A client's sight is set by its organization, a share's by its preset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self, TypeVar

from .permissions import Role


class _Head(Protocol):
    def but(self, **changes: Any) -> Self: ...


H = TypeVar("H", bound=_Head)
T = TypeVar("T")

CUSTOMER = ("customer_id", "customer_ip_address")
"""Fields of a conversation, and filters, that say who the customer is."""


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
