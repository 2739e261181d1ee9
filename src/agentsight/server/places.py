"""Which conversation a body means: by our id, or by the caller's at whichever agent has it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from agentsight import wire
from agentsight.core import conversations
from agentsight.core.model import Agent, Conversation, Principal
from agentsight.core.ports import Store
from agentsight.errors import Conflict, NotFound

from . import http


def judged(store: Store, asking: Principal, body: dict[str, Any]) -> tuple[Agent, Conversation]:
    """What feedback in a body is about. Raises NotFound, InvalidEvent, Conflict."""
    row, told = body.get("conversation"), body.get("conversation_id")
    if row is not None:
        head = conversations.get(store, asking.scope, http.row_id(str(row)))
        agent = store.tenants.agent(head.agent_id)
        if agent is None:
            raise NotFound("no such conversation")
        return agent, head
    return named(store, asking, wire.read_conversation_id(told))


def named(store: Store, asking: Principal, conversation_id: str) -> tuple[Agent, Conversation]:
    """The conversation of that id, at a key's agent or at the one of a person's agents that has it.

    Raises:
        NotFound: none has it.
        Conflict: several of a person's agents have.
    """
    agents = [asking.agent] if asking.agent else [store.tenants.agent(id) for id in asking.scope.agent_ids]
    found = []
    for agent in agents:
        with suppress(NotFound):
            if agent is not None:
                found.append((agent, conversations.lookup(store, agent, conversation_id)))
    if len(found) > 1:
        raise Conflict("several of your agents have a conversation of this conversation_id; send our id")
    if not found:
        raise NotFound("no such conversation")
    return found[0]
