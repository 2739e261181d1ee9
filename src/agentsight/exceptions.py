"""What the SDK raises, under the names callers already catch; each is also one of `agentsight.errors`.

NoApiKeyException, InvalidApiKeyException                   a key is missing, or cannot be one
ConversationTrackingException
|- InvalidConversationDataException, InvalidQuestionDataException, InvalidAnswerDataException
|- ConversationNetworkException                             no answer came
`- ConversationApiException                                 the server said no: .status_code .response_data
   |- BadRequestException 400, UnauthorizedException 401, ForbiddenException 403, NotFoundException 404
   |- ConflictException 409, TooLargeException 413
   `- RateLimitedException 429, ServerFailedException 5xx
MissingConversationIdException, NoDataToSendException, InvalidAttachmentException
"""

from __future__ import annotations

from typing import Any

from . import errors


class NoApiKeyException(errors.MissingApiKey):
    """Sending needs an API key and none was given."""

    def __init__(self, message: str = "No API key was given. Set AGENTSIGHT_API_KEY, or pass api_key=."):
        super().__init__(message)


class InvalidApiKeyException(errors.InvalidApiKey):
    """The API key cannot be one. The message shows its first characters only."""

    def __init__(self, api_key: object = None, app_url: str = "https://app.agentsight.io"):
        shown = f"{str(api_key)[:6]}…" if api_key else "(none)"
        where = f"in your dashboard under Settings, API keys, or at {app_url}/settings"
        super().__init__(f"API key {shown} is not of the form ags_<32 hex>_<6 hex>. Find yours {where}")


class ConversationTrackingException(errors.AgentSightError):
    """Anything about tracking or managing conversations."""

    def __init__(self, message: str = "", *rest: Any, **more: Any):
        super().__init__(message, *rest, **more)


class _InvalidData(ConversationTrackingException, errors.InvalidEvent):
    """One field of a call breaks the contract: `field` says which, `reason` why."""

    says = "Invalid conversation data provided"

    def __init__(self, message: str | None = None, *, field: str = "", reason: str = ""):
        message = message or self.says
        Exception.__init__(self, message)
        self.field, self.reason = field, reason or message


class InvalidConversationDataException(_InvalidData):
    """A conversation, action, button or feedback lacks something or holds what it may not."""


class InvalidQuestionDataException(_InvalidData):
    """A message from a person is empty."""

    says = "Invalid question data provided"


class InvalidAnswerDataException(_InvalidData):
    """A message from the agent is empty."""

    says = "Invalid answer data provided"


class InvalidAttachmentException(errors.InvalidEvent):
    """An attachment cannot be read or lacks what it needs."""

    def __init__(self, message: str = "Invalid attachment data provided"):
        Exception.__init__(self, message)
        self.message, self.field, self.reason = message, "attachments", message


class ConversationNetworkException(ConversationTrackingException, errors.ConnectionFailed):
    """No usable answer came: refused, reset, timed out, unreadable."""


class ConversationApiException(ConversationTrackingException, errors.Refused):
    """The server answered and said no."""

    def __init__(self, message: str = "", status_code: int | None = None, response_data: Any = None, **more: Any):
        super().__init__(message, status_code, response_data, **more)


class BadRequestException(ConversationApiException, errors.Invalid):
    """The request makes no sense; `fields` names what to mend."""


class UnauthorizedException(ConversationApiException, errors.Unauthorized):
    """The API key is missing, unknown or revoked."""

    def __init__(self, message: str = "Unauthorized - invalid or missing API key", *rest: Any, **more: Any):
        super().__init__(message, *rest, **more)


class ForbiddenException(ConversationApiException, errors.Forbidden):
    """The API key may not do this."""

    def __init__(self, message: str = "Forbidden - not authorized to access this resource", *rest: Any, **more: Any):
        super().__init__(message, *rest, **more)


class NotFoundException(ConversationApiException, errors.NotFound):
    """There is no such thing, or it belongs to somebody else."""

    def __init__(self, message: str = "Resource not found", *rest: Any, **more: Any):
        super().__init__(message, *rest, **more)


class ConflictException(ConversationApiException, errors.Conflict):
    """The request contradicts what is stored."""


class TooLargeException(ConversationApiException, errors.TooLarge):
    """A body, file or batch is over its limit."""


class RateLimitedException(ConversationApiException, errors.RateLimited):
    """Too much at once; `retry_after_s` says when to come back."""


class ServerFailedException(ConversationApiException, errors.ServerFailed):
    """The server could not do it now; the same request may work later."""


class MissingConversationIdException(errors.AgentSightError):
    """A conversation id is needed and is empty."""

    def __init__(self, message: str = "Conversation ID is required and cannot be empty"):
        super().__init__(message)


class NoConversationIdException(errors.AgentSightError):
    """A conversation id is needed and was not given."""

    def __init__(self, message: str = "conversation_id is required but was not provided"):
        self.message = message
        super().__init__(message)


class NoDataToSendException(errors.AgentSightError):
    """`send_tracked_data()` was called and nothing had been tracked."""

    def __init__(self, message: str = "No tracked data found for conversation."):
        super().__init__(message)


class ApiServerException(errors.AgentSightError):
    """Kept for callers who name it; never raised."""

    def __init__(self, message: str = ""):
        super().__init__(message)


class AgentSightClientNotInitializedException(errors.AgentSightError, RuntimeError):
    """Kept for callers who name it; never raised."""

    def __init__(self, message: str = "AgentSight client must be initialized before using this feature"):
        super().__init__(message)


class AgentSightApiJwtExpiredException(errors.AgentSightError):
    """Kept for callers who name it; never raised."""

    def __init__(self, message: str = "JWT token has expired"):
        super().__init__(message)


_BY_STATUS: dict[int, type[ConversationApiException]] = {
    400: BadRequestException,
    401: UnauthorizedException,
    403: ForbiddenException,
    404: NotFoundException,
    409: ConflictException,
    413: TooLargeException,
    429: RateLimitedException,
}


def refusal(status: int, body: Any, retry_after_s: float | None = None) -> ConversationApiException:
    """The exception for an answer of `status` with `body`, worded as the server worded it."""
    kind = _BY_STATUS.get(status, ServerFailedException if status >= 500 else ConversationApiException)
    fields = body.get("fields") if isinstance(body, dict) else None
    return kind(
        _worded(status, body),
        status,
        body,
        fields=fields if isinstance(fields, dict) else None,
        request_id=body.get("request_id") if isinstance(body, dict) else None,
        retry_after_s=retry_after_s,
    )


def _worded(status: int, body: Any) -> str:
    if isinstance(body, dict) and body:
        if body.get("detail"):
            return str(body["detail"])
        return "; ".join(f"{field}: {_joined(reasons)}" for field, reasons in body.items())
    text = _joined(body) if body else ""
    return text[:500] or f"The server answered {status}"


def _joined(reasons: Any) -> str:
    return ", ".join(map(str, reasons)) if isinstance(reasons, list) else str(reasons)
