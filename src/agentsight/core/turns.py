"""A timeline cut into turns: a customer's wait and the reply that ends it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .model import Event


class Turn(NamedTuple):
    """From the first customer message nobody had answered yet to the first agent message after it."""

    asked_us: int
    answered_us: int


def follow(messages: Iterable[Event], open_since_us: int | None = None) -> tuple[list[Turn], int | None]:
    """The turns answered in `messages`, and since when the customer waits at their end (None: nobody waits).

    `messages` are in order; `open_since_us` is since when the customer waits at their beginning. The clock starts at
    the first unanswered message, because that is when the customer started waiting; system messages stop nothing, and
    neither does anything that is not a message.
    """
    turns: list[Turn] = []
    for message in messages:
        if message.kind != "message":
            continue
        if message.sender == "end_user":
            if open_since_us is None:
                open_since_us = message.occurred_us
        elif message.sender == "agent" and open_since_us is not None:
            turns.append(Turn(open_since_us, message.occurred_us))
            open_since_us = None
    return turns, open_since_us
