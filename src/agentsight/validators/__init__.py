"""The checks older code calls by name; the contract itself is `agentsight.wire`."""

from __future__ import annotations

from typing import Any

from ..enums import Sentiment
from ..exceptions import InvalidConversationDataException, MissingConversationIdException
from ..helpers.attachments import read_attachments
from ..wire import MAX_COMMENT_CHARS


def validate_conversation_id(data: dict[str, Any]) -> None:
    """Raises MissingConversationIdException when `conversation_id` is blank."""
    if not _filled(data, "conversation_id"):
        raise MissingConversationIdException()


def validate_conversation_data(data: dict[str, Any]) -> bool:
    """Whether there is an id and something said. Raises MissingConversationIdException."""
    validate_conversation_id(data)
    return validate_question_and_answer_data(data) or validate_content_data(data)


def validate_question_and_answer_data(data: dict[str, Any]) -> bool:
    """Whether both are there."""
    return _filled(data, "question", "answer")


def validate_content_data(data: dict[str, Any]) -> bool:
    """Whether something was said."""
    return _filled(data, "content")


def validate_action_data(data: dict[str, Any]) -> bool:
    """Whether the action has a name. Raises MissingConversationIdException."""
    validate_conversation_id(data)
    return _filled(data, "action_name")


def validate_button_data(data: dict[str, Any]) -> bool:
    """Whether the click is whole. Raises MissingConversationIdException."""
    validate_conversation_id(data)
    return _filled(data, "button_event", "label", "value")


def validate_feedback_data(data: dict[str, Any]) -> bool:
    """True for a sound feedback. Raises InvalidConversationDataException, MissingConversationIdException."""
    for field in ("conversation_id", "sentiment"):
        if field not in data:
            raise InvalidConversationDataException(f"Missing required field: {field}", field=field)
    known = [sentiment.value for sentiment in Sentiment]
    if getattr(data["sentiment"], "value", data["sentiment"]) not in known:
        raise InvalidConversationDataException(
            f"Invalid sentiment value: {data['sentiment']}. Must be one of: {', '.join(known)}", field="sentiment"
        )
    comment = data.get("comment")
    if comment is not None and not isinstance(comment, str):
        raise InvalidConversationDataException("Field 'comment' must be a string", field="comment")
    if comment and len(comment) > MAX_COMMENT_CHARS:
        raise InvalidConversationDataException(
            f"Field 'comment' cannot exceed {MAX_COMMENT_CHARS} characters", field="comment"
        )
    validate_conversation_id(data)
    return True


def validate_and_process_attachments_flexible(attachments: Any, mode: Any) -> list[dict[str, Any]]:
    """The files, read and checked. Raises InvalidAttachmentException."""
    return read_attachments(attachments, mode, required=True)[0]


def _filled(data: dict[str, Any], *fields: str) -> bool:
    return all(str(data.get(field) or "").strip() for field in fields)


__all__ = [
    "validate_action_data",
    "validate_and_process_attachments_flexible",
    "validate_button_data",
    "validate_content_data",
    "validate_conversation_data",
    "validate_conversation_id",
    "validate_feedback_data",
    "validate_question_and_answer_data",
]
