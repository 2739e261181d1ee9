"""Reading conversations back: lists by filter, one by id, the files of one."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any, ClassVar, Literal

from .exceptions import NotFoundException
from .singleton import Client
from .wire import FEEDBACK_SOURCES, SENTIMENTS


class AgentSightAPI(Client):
    """Fetches conversations; one object for the whole process, however often it is constructed.

    Raises:
        NotFoundException, UnauthorizedException, ForbiddenException, ConversationApiException: the server said no.
        ConversationNetworkException: it did not answer.
    """

    _instance: ClassVar[Any] = None
    _instance_lock: ClassVar[threading.Lock] = threading.Lock()

    def fetch_conversations(
        self,
        action_name: str | None = None,
        conversation_id: str | None = None,
        customer_id: str | None = None,
        customer_ip_address: str | None = None,
        device: str | None = None,
        has_messages: bool | None = None,
        language: str | None = None,
        message_contains: str | None = None,
        page: int | None = None,
        page_size: int | None = None,
        started_at_after: str | datetime | None = None,
        started_at_before: str | datetime | None = None,
        is_marked: bool | None = None,
        name: str | None = None,
        include_deleted: bool | None = None,
        metadata: str | None = None,
        has_feedback: bool | None = None,
        feedback_sentiment: Literal["positive", "neutral", "negative"] | None = None,
        feedback_source: Literal["customer", "platform"] | None = None,
        **extra_params: Any,
    ) -> dict[str, Any]:
        """One page of the conversations every given filter matches: `count`, `next`, `previous`, `results`.

        `metadata` reads `key:value,key2:value2`. Any further parameter the server knows may be passed by its name.

        Raises:
            ValueError: `feedback_sentiment` or `feedback_source` is none of the known ones.
        """
        _known("feedback_sentiment", feedback_sentiment, SENTIMENTS)
        _known("feedback_source", feedback_source, FEEDBACK_SOURCES)
        given = {
            "action_name": action_name,
            "conversation_id": conversation_id,
            "customer_id": customer_id,
            "customer_ip_address": customer_ip_address,
            "device": device,
            "has_messages": has_messages,
            "language": language,
            "message_contains": message_contains,
            "page": page,
            "page_size": page_size,
            "started_at_after": started_at_after,
            "started_at_before": started_at_before,
            "is_marked": is_marked,
            "name": name,
            "include_deleted": include_deleted,
            "metadata": metadata,
            "has_feedback": has_feedback,
            "feedback_sentiment": feedback_sentiment,
            "feedback_source": feedback_source,
        }
        params = {field: _parameter(value) for field, value in given.items() if value is not None}
        extra = {field: value for field, value in extra_params.items() if value is not None}
        return self._get("/api/conversations/", {**params, **extra})

    def fetch_conversation(self, conversation_id: int | str) -> dict[str, Any]:
        """One conversation with its messages, by its `conversation_id` (text) or by the server's own number (int).

        Raises:
            NotFoundException: there is none of that id.
            ValueError: the id is empty, or neither text nor a number.
        """
        _named(conversation_id)
        if isinstance(conversation_id, int):
            return self._get(f"/api/conversations/{conversation_id}/")
        rows = self._get("/api/conversations/", {"conversation_id": conversation_id}).get("results") or []
        if not rows:
            raise NotFoundException(f"Conversation with conversation_id '{conversation_id}' not found")
        return rows[0]  # type: ignore[no-any-return]

    def fetch_conversation_attachments(self, conversation_id: int | str) -> dict[str, Any]:
        """The files of one conversation, message by message, each with a link to download it."""
        _named(conversation_id)
        number = self.fetch_conversation(conversation_id)["id"] if isinstance(conversation_id, str) else conversation_id
        return self._get(f"/api/conversations/{number}/attachments/")

    def _get(self, path: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._http_client.get(path, params=params)  # type: ignore[no-any-return]


def _named(conversation_id: Any) -> None:
    if not isinstance(conversation_id, (int, str)):
        raise ValueError(f"conversation_id must be int or str, got {type(conversation_id).__name__}")
    if isinstance(conversation_id, str) and not conversation_id.strip():
        raise ValueError("conversation_id is required")


def _known(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value is not None and getattr(value, "value", value) not in allowed:
        raise ValueError(f"{name} must be one of {list(allowed)}, got '{value}'")


def _parameter(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime) else getattr(value, "value", value)


agentsight_api = AgentSightAPI.unconfigured()

__all__ = ["AgentSightAPI", "agentsight_api"]
