"""What became of what was sent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Delivery:
    """How many events of a day (UTC, counted from 1970) met one fate, by the key and the client that sent them.

    `outcome`: accepted, duplicate, rejected, lost (a client says it had to drop them), refused (requests, not events).
    """

    agent_id: int
    day: int
    key_id: int
    client: str
    outcome: str
    reason: str
    count: int
