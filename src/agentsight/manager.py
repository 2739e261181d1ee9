"""Changing conversations that exist: feedback, names, marks, details, deletion."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

from .enums import Sentiment
from .exceptions import InvalidConversationDataException
from .singleton import Client
from .wire import MAX_COMMENT_CHARS, MAX_NAME_CHARS, SENTIMENTS


class ConversationManager(Client):
    """Manages conversations; one object for the whole process, however often it is constructed.

    A conversation is named by its `conversation_id` (text) or by the server's own number (int). Every method gives back
    what the server answered.

    Raises:
        NotFoundException, UnauthorizedException, ForbiddenException, ConversationApiException: the server said no.
        ConversationNetworkException: it did not answer.
    """

    _instance: ClassVar[Any] = None
    _instance_lock: ClassVar[threading.Lock] = threading.Lock()

    def submit_feedback(
        self,
        conversation_id: int | str,
        sentiment: Sentiment | str,
        comment: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Add how the customer felt: `positive`, `neutral` or `negative`, and in their own words if they gave any."""
        _required(conversation_id)
        felt = getattr(sentiment, "value", sentiment)
        if felt not in SENTIMENTS:
            raise InvalidConversationDataException(
                f"Invalid sentiment: '{felt}'. Must be one of: {', '.join(SENTIMENTS)}", field="sentiment"
            )
        if comment is not None and not isinstance(comment, str):
            raise InvalidConversationDataException("Field 'comment' must be a string", field="comment")
        if comment and len(comment) > MAX_COMMENT_CHARS:
            raise InvalidConversationDataException(
                f"Field 'comment' cannot exceed {MAX_COMMENT_CHARS} characters (got {len(comment)})", field="comment"
            )
        named = "conversation_id" if isinstance(conversation_id, str) else "conversation"
        body: dict[str, Any] = {"sentiment": felt, named: conversation_id}
        if comment:
            body["comment"] = comment
        if metadata:
            body["metadata"] = metadata
        return self._call("POST", "/api/conversation-feedbacks/", body)

    def rename_conversation(self, conversation_id: int | str, name: str) -> dict[str, Any]:
        """Give a conversation a title of at most 255 characters."""
        _required(conversation_id)
        if not name or not isinstance(name, str):
            raise InvalidConversationDataException("Field 'name' must be a non-empty string", field="name")
        body = {"name": _named(name)}
        return self._call("PATCH", f"/api/conversations/{self._resolve_conversation_pk(conversation_id)}/rename/", body)

    def mark_conversation(self, conversation_id: int | str, is_marked: bool) -> dict[str, Any]:
        """Mark a conversation as worth coming back to, or take the mark away."""
        _required(conversation_id)
        body = {"is_marked": bool(is_marked)}
        path = f"/api/conversations/{self._resolve_conversation_pk(conversation_id)}/mark/"
        return self._call("POST", path, body, repeatable=True)

    def update_conversation(
        self,
        conversation_id: int | str,
        name: str | None = None,
        is_marked: bool | None = None,
        customer_id: str | None = None,
        device: str | None = None,
        language: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Change what is given, in one request. `metadata` replaces what was there: merge before if you want both."""
        _required(conversation_id)
        body: dict[str, Any] = {}
        if name is not None:
            if not isinstance(name, str):
                raise InvalidConversationDataException(
                    f"Field 'name' must be a string, got {type(name).__name__}", field="name"
                )
            body["name"] = _named(name)
        if is_marked is not None:
            body["is_marked"] = bool(is_marked)
        texts = {"customer_id": customer_id, "device": device, "language": language}
        body.update((field, str(text)) for field, text in texts.items() if text is not None)
        if metadata is not None:
            if not isinstance(metadata, dict):
                raise InvalidConversationDataException("Field 'metadata' must be a dictionary", field="metadata")
            body["metadata"] = metadata
        if not body:
            raise ValueError("At least one field must be provided for update")
        return self._call("PATCH", f"/api/conversations/{self._resolve_conversation_pk(conversation_id)}/update/", body)

    def delete_conversation(self, conversation_id: int | str) -> dict[str, Any]:
        """Hide a conversation; its `conversation_id` may be used for a new one."""
        _required(conversation_id)
        return self._call("DELETE", f"/api/conversations/{self._resolve_conversation_pk(conversation_id)}/delete/")

    def _resolve_conversation_pk(self, conversation_id: int | str) -> int:
        if isinstance(conversation_id, int):
            return conversation_id
        if not isinstance(conversation_id, str):
            raise ValueError(f"conversation_id must be int or str, got {type(conversation_id).__name__}")
        found = self._http_client.get("/api/conversations/lookup/", params={"conversation_id": conversation_id})
        if not found.get("id"):
            raise ValueError(f"Could not resolve pk for conversation_id '{conversation_id}'")
        return int(found["id"])

    def _call(self, method: str, path: str, body: Any = None, repeatable: bool | None = None) -> dict[str, Any]:
        return self._http_client.call(method, path, body, repeatable)  # type: ignore[no-any-return]


def _required(conversation_id: Any) -> None:
    if not conversation_id:
        raise ValueError("conversation_id is required")
    if not isinstance(conversation_id, (int, str)):
        raise ValueError(f"conversation_id must be int or str, got {type(conversation_id).__name__}")


def _named(name: str) -> str:
    if not name.strip():
        raise InvalidConversationDataException("Field 'name' cannot be empty", field="name")
    if len(name) > MAX_NAME_CHARS:
        raise InvalidConversationDataException(
            f"Field 'name' cannot exceed {MAX_NAME_CHARS} characters (got {len(name)})", field="name"
        )
    return name.strip()


conversation_manager = ConversationManager.unconfigured()

__all__ = ["ConversationManager", "conversation_manager"]
