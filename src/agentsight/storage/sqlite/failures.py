"""What a failure of SQLite means, and what the caller is told."""

from __future__ import annotations

from agentsight.errors import AgentSightError, ServerFailed

_FULL = ("database or disk is full", "disk i/o error")


def is_trouble(failure: BaseException) -> bool:
    """The database itself could not, as opposed to the change being refused."""
    cause = getattr(failure, "orig", None) or failure
    return type(cause).__name__ in ("OperationalError", "DatabaseError", "TimeoutError")


def explained(failure: BaseException) -> BaseException:
    """What the caller is told when the engine could not: storage is full, or busy. Details stay in the log."""
    if isinstance(failure, AgentSightError):
        return failure
    said = str(getattr(failure, "orig", None) or failure).lower()
    if any(sign in said for sign in _FULL):
        refusal = ServerFailed("storage is full", retry_after_s=5)
    elif "locked" in said or "busy" in said or "timeout" in said:
        refusal = ServerFailed("storage is busy; try again", retry_after_s=2)
    else:
        refusal = ServerFailed("storage does not answer; try again", retry_after_s=5)
    refusal.__cause__ = failure
    return refusal
