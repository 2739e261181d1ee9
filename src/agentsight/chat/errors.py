"""Why the chat backend says no; one class, and one table of what each code means."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from agentsight.errors import AgentSightError

REFUSALS: Final[dict[str, int]] = {
    "bad_request": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "conversation_not_found": 404,
    "run_not_found": 404,
    "method_not_allowed": 405,
    "conversation_busy": 409,
    "too_large": 413,
    "unsupported_media_type": 415,
    "invalid": 422,
    "idempotency_key_reused": 422,
    "rate_limited": 429,
}


class Refusal(AgentSightError):
    """A request the chat backend does not carry out. `extra` travels in the answer's body."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        fields: dict[str, list[str]] | None = None,
        headers: dict[str, str] | None = None,
        **extra: Any,
    ):
        super().__init__(detail)
        self.code, self.status, self.detail = code, REFUSALS[code], detail
        self.fields, self.headers, self.extra = fields or {}, headers or {}, extra


def invalid(field: str, reason: str) -> Refusal:
    """The refusal of one field."""
    return Refusal("invalid", f"{field}: {reason}", fields={field: [reason]})


class Failure(NamedTuple):
    """How a run can end badly: what the HTTP answer is, whether trying again may help, what a person reads."""

    status: int
    retryable: bool
    detail: str


FAILURES: Final[dict[str, Failure]] = {
    "provider_unavailable": Failure(502, True, "The model could not be reached or broke off."),
    "provider_auth": Failure(502, False, "The model does not accept this server's credentials."),
    "provider_quota": Failure(502, False, "The quota of the model is used up."),
    "provider_refused": Failure(502, False, "The model refused this request."),
    "rate_limited": Failure(503, True, "The model is busy; try again in a moment."),
    "timeout": Failure(504, True, "The answer took too long and was cut off."),
    "answer_too_long": Failure(502, False, "The answer was longer than allowed and was cut off."),
    "too_many_steps": Failure(502, False, "The agent took too many steps and was stopped."),
    "empty_answer": Failure(502, True, "The model answered nothing."),
    "agent_error": Failure(502, False, "The agent failed."),
    "interrupted": Failure(503, True, "The server stopped while the answer was being written."),
}


def classify(failure: BaseException) -> str:
    """The code of a vendor's exception, by what it carries along its causes, never by whose class it is.

    Source: both OpenAI-compatible clients put `status_code` on HTTP errors; a cut socket has none.
    """
    seen: BaseException | None = failure
    while seen is not None:
        status = getattr(seen, "status_code", None)
        if isinstance(status, int):
            return _by_status(status, seen)
        name = type(seen).__name__
        if isinstance(seen, (OSError, TimeoutError)) or any(word in name for word in _CUT):
            return "provider_unavailable"
        if any(word in name for word in _REFUSED):
            return "provider_refused"
        seen = seen.__cause__ or seen.__context__
    return "agent_error"


_REFUSED = ("ContentFilter", "Refusal")
_CUT = ("Connect", "Protocol", "Timeout", "ReadError", "RemoteProtocol")


def _by_status(status: int, failure: BaseException) -> str:
    if status == 402 or "insufficient_quota" in (getattr(failure, "code", None), _body_code(failure)):
        return "provider_quota"
    if status == 429:
        return "rate_limited"
    if status in (401, 403):
        return "provider_auth"
    return "provider_unavailable" if status >= 500 or status == 408 else "provider_refused"


def _body_code(failure: BaseException) -> Any:
    body = getattr(failure, "body", None)
    inner = body.get("error", body) if isinstance(body, dict) else None
    return inner.get("code") if isinstance(inner, dict) else None
