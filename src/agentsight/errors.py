"""Everything this package raises on purpose; what the server refuses with `code` is what the SDK user catches.

AgentSightError            code        HTTP  retry?
|- ConfigError             config         -  no   a bad setting
|  |- MissingApiKey
|  `- InvalidApiKey
|- InvalidEvent            invalid      400  no   .field .reason; also a ValueError
|- ConnectionFailed        connection     -  yes  no answer came: refused, reset, timed out
`- Refused                                   the server said no: .status_code .response_data .request_id
   |- Invalid 400, Unauthorized 401, Forbidden 403, NotFound 404, NotAllowed 405, Conflict 409,
   |  TooLarge 413, UnsupportedMedia 415                                                        no
   `- RateLimited 429 (.retry_after_s), ServerFailed 5xx                                        yes
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class AgentSightError(Exception):
    """Anything this package raises on purpose."""

    code, status, retryable = "error", 500, False


class ConfigError(AgentSightError):
    """A setting is missing or cannot be used."""

    code = "config"


class MissingApiKey(ConfigError):
    """No API key was given, and sending needs one."""


class InvalidApiKey(ConfigError):
    """An API key was given that cannot be one. The message never carries the key."""


class InvalidEvent(AgentSightError, ValueError):
    """One tracked event breaks the contract; the rest of its batch still counts."""

    code, status = "invalid", 400
    event_id: str | None = None  # of the event, where the envelope was sound enough to tell

    def __init__(self, field: str, reason: str):
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


class ConnectionFailed(AgentSightError):
    """No answer came: refused, reset, timed out."""

    code, retryable = "connection", True


class Refused(AgentSightError):
    """The server answered and said no.

    `response_data` is the decoded error body, `fields` the fields to blame (name -> reasons), if any are.
    """

    code = "refused"

    def __init__(
        self,
        message: str = "",
        status_code: int | None = None,
        response_data: Any = None,
        *,
        fields: Mapping[str, list[str]] | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ):
        super().__init__(message)
        self.message = message
        self.status_code = self.status if status_code is None else status_code
        self.response_data = response_data
        self.fields = dict(fields or {})
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class Invalid(Refused):
    """The request as a whole makes no sense; `fields` names what to mend."""

    code, status = "invalid", 400

    @classmethod
    def of(cls, field: str, reason: str) -> Invalid:
        """The refusal of one field, worded `field: reason`."""
        return cls(f"{field}: {reason}", fields={field: [reason]})


class Unauthorized(Refused):
    """The key or session is missing, unknown or revoked."""

    code, status = "unauthorized", 401


class Forbidden(Refused):
    """The key or session is known but may not do this."""

    code, status = "forbidden", 403


class NotFound(Refused):
    """There is no such thing, or it belongs to somebody else."""

    code, status = "not_found", 404


class NotAllowed(Refused):
    """This path does not take this method."""

    code, status = "method_not_allowed", 405


class Conflict(Refused):
    """The request contradicts what is stored."""

    code, status = "conflict", 409


class TooLarge(Refused):
    """A body, file or batch is over its limit."""

    code, status = "too_large", 413


class UnsupportedMedia(Refused):
    """The body is not in a format this path reads."""

    code, status = "unsupported_media_type", 415


class RateLimited(Refused):
    """Too much at once; `retry_after_s` says when to come back."""

    code, status, retryable = "rate_limited", 429, True


class ServerFailed(Refused):
    """The server could not do it now; the same request may work later."""

    code, status, retryable = "server_failed", 503, True
