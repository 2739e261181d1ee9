"""What was erased must not come back late: a keyed hash of each erased conversation and customer, asked on the way in.

The hash tells who comes back to an installation that holds the secret, and nobody else anything.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence

from agentsight.wire import Draft

from .model import Agent
from .ports import Store

_key = b"agentsight"


def use(secret: str) -> None:
    """From here on, hash with this installation's secret."""
    global _key
    _key = secret.encode()


def digest(kind: str, agent_id: int, text: str) -> str:
    """The keyed hash of a `conversation` or a `customer` of an agent."""
    return hmac.new(_key, f"{kind}\x00{agent_id}\x00{text}".encode(), hashlib.sha256).hexdigest()


def sign(text: bytes) -> str:
    """A signature only this installation can make."""
    return hmac.new(_key, b"certificate\x00" + text, hashlib.sha256).hexdigest()


def pseudonym(agent_id: int, customer: int, customer_id: str) -> int:
    """What an erased customer counts as from then on: a number that leads back to nobody, in the same sixteenth."""
    made = int.from_bytes(bytes.fromhex(digest("pseudonym", agent_id, customer_id)[:16]), "big", signed=True)
    return made & ~15 | customer & 15


def lay(store: Store, agent_id: int, kind: str, texts: Iterable[str], now_us: int) -> None:
    """Remember that these were erased."""
    store.keeping.add_tombstones(agent_id, [digest(kind, agent_id, text) for text in texts], now_us)


def erased(store: Store, agent: Agent, drafts: Sequence[Draft], now_us: int) -> frozenset[str]:
    """Conversation ids among these drafts whose events must be discarded.

    Everything of an erased conversation is; of an erased customer, conversations that tell of a time before the erasure:
    a person who comes back afterwards is a new one. Such a conversation is remembered too.
    """
    if not store.keeping.has_tombstones(agent.id):
        return frozenset()
    by_conversation = {
        digest("conversation", agent.id, key): key for key in {draft.conversation_id for draft in drafts}
    }
    of_customer: dict[str, list[Draft]] = {}
    for draft in drafts:
        customer = draft.fields.get("customer_id") if draft.kind == "conversation" else None
        if customer:
            of_customer.setdefault(digest("customer", agent.id, customer), []).append(draft)
    known: Mapping[str, int] = store.keeping.tombstones(agent.id, [*by_conversation, *of_customer])
    gone = {key for told, key in by_conversation.items() if told in known}
    fresh = {
        draft.conversation_id
        for told, named in of_customer.items()
        for draft in named
        if told in known and draft.occurred_us <= known[told]
    } - gone
    if fresh:
        lay(store, agent.id, "conversation", fresh, now_us)
    return frozenset(gone | fresh)
