"""Token counts of each conversation since its last send."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .wire import TOKEN_COUNTS

MAX_CONVERSATIONS = 1_000


class Tokens:
    """Sums per conversation and model. The caller holds the buffer's lock."""

    def __init__(self) -> None:
        self._by_conversation: dict[str, dict[str | None, dict[str, int]]] = {}
        self._seen = False

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_conversation)

    def __contains__(self, conversation_id: str) -> bool:
        return conversation_id in self._by_conversation

    def is_full(self, conversation_id: str) -> bool:
        """Whether one has to go before this conversation may be counted."""
        return len(self._by_conversation) >= MAX_CONVERSATIONS and conversation_id not in self._by_conversation

    def add(self, conversation_id: str, model: str | None, added: list[int]) -> None:
        """Count more; `added` in the order of `TOKEN_COUNTS`."""
        self._seen = True
        by_model = self._by_conversation.setdefault(conversation_id, {})
        counts = by_model.setdefault(model, dict.fromkeys(TOKEN_COUNTS, 0))
        for name, more in zip(TOKEN_COUNTS, added, strict=True):
            counts[name] = max(0, counts[name] + more)

    def of(self, conversation_id: str) -> dict[str, int]:
        """The sums of one conversation; {} when none were ever counted."""
        by_model = self._by_conversation.get(conversation_id, {}).values()
        return {name: sum(counts[name] for counts in by_model) for name in TOKEN_COUNTS} if self._seen else {}

    def take(self, conversation_id: str) -> list[dict[str, Any]]:
        """The fields of the events these sums become, one a model; the sums start again at 0."""
        by_model = self._by_conversation.pop(conversation_id, {})
        return [
            {**counts, "model": model} if model else dict(counts)
            for model, counts in by_model.items()
            if any(counts.values())
        ]
