"""What a failure of PostgreSQL means: it passes, it is trouble, or somebody's mistake; and what the caller is told."""

from __future__ import annotations

import psycopg
from sqlalchemy import exc as sql

from agentsight.errors import AgentSightError, Invalid, ServerFailed

_PASSING = ("08", "40001", "40P01", "57P0", "25006", "53300", "0A000")  # states, or how they begin, that pass
_FULL = ("53100", "53200")
_UNFIT = ("22003", "22021", "22P05")  # out of range, no text
TWICE = "23505"
HELD = "55P03"
_BUSY = (HELD, "57014", "53")


class Unsettled(Exception):
    """Nobody knows whether a commit happened: the connection ended while it was under way."""


def state_of(failure: BaseException) -> str:
    """The SQLSTATE; "" where none came, "none" where the failure is not the database's."""
    cause = getattr(failure, "orig", None) or failure
    if isinstance(cause, psycopg.Error):
        return cause.sqlstate or ""
    return "" if isinstance(cause, sql.TimeoutError) else "none"


def is_lost(failure: BaseException) -> bool:
    cause = getattr(failure, "orig", None) or failure
    return isinstance(cause, (psycopg.OperationalError, psycopg.InterfaceError)) and (
        cause.sqlstate is None or cause.sqlstate.startswith(("08", "57P", "25006"))
    )


def is_away(failure: BaseException) -> bool:
    """The server is there and says that one of its nodes is not. That takes as long as it takes: others need not wait."""
    return state_of(failure.__cause__ if isinstance(failure, Unsettled) and failure.__cause__ else failure).startswith(
        "08"
    )


def passes(failure: BaseException) -> bool:
    """The same may work a moment later: it was nobody's fault, or somebody was quicker."""
    return is_lost(failure) or state_of(failure).startswith(_PASSING)


def is_trouble(failure: BaseException) -> bool:
    """The database could not, as opposed to the change being refused: then the whole transaction is over."""
    return is_lost(failure) or state_of(failure).startswith((*_PASSING, *_FULL, *_BUSY, "XX"))


def explained(failure: BaseException) -> BaseException:
    """What the caller is told when the engine could not. Details stay in the log."""
    if isinstance(failure, AgentSightError):
        return failure
    state = state_of(failure)
    if state == "none" and not isinstance(failure, (Unsettled, sql.TimeoutError)):
        return failure
    refusal: AgentSightError
    cause = getattr(failure, "orig", None) or failure
    if state in _UNFIT or (isinstance(cause, psycopg.DataError) and not state):
        refusal = Invalid("a value cannot be stored: it is out of range")
    elif state in _FULL:
        refusal = ServerFailed("storage is full", retry_after_s=5)
    elif state.startswith(_BUSY) or isinstance(failure, sql.TimeoutError):
        refusal = ServerFailed("storage is busy; try again", retry_after_s=2)
    elif is_trouble(failure) or isinstance(failure, Unsettled):
        refusal = ServerFailed("storage does not answer; try again", retry_after_s=2)
    else:
        return failure
    refusal.__cause__ = failure
    return refusal
