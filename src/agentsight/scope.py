"""Which conversation this code is in, known per asyncio task and per thread.

It lives in a `ContextVar`, so two requests served at once never see each other's. A plain script has no tasks: there
the last conversation set is current everywhere, as callers have always known it.
"""

from __future__ import annotations

import sys
import threading
from contextvars import ContextVar

from .config import Config

_scope: ContextVar[str | None] = ContextVar("agentsight_conversation", default=None)
_own: ContextVar[bool] = ContextVar("agentsight_own", default=False)  # a task inherits what a script set before it


class Scope:
    """The conversation this task, thread or script is in."""

    def __init__(self) -> None:
        self._script: str | None = None

    def current(self) -> str | None:
        """Its id, None before there is one."""
        return _scope.get() or self._script

    def is_own(self) -> bool:
        """Whether it was made current in this task or thread, or this is the plain script itself."""
        return _own.get() or not apart()

    def enter(self, conversation_id: str) -> None:
        """Make it current: here only, or everywhere when this is a plain script."""
        beside = apart()
        _scope.set(conversation_id)
        _own.set(beside)
        if not beside:
            self._script = conversation_id

    def mark(self) -> tuple[str | None, bool, str | None]:
        """What `leave` needs to come back here."""
        return _scope.get(), _own.get(), self._script

    def leave(self, mark: tuple[str | None, bool, str | None]) -> None:
        """Go back to where `mark` was taken."""
        _scope.set(mark[0])
        _own.set(mark[1])
        if not apart():
            self._script = mark[2]


def apart() -> bool:
    """Whether this code runs beside other code: in an asyncio task, or in a thread that is not the first."""
    return in_event_loop() or threading.current_thread() is not threading.main_thread()


def in_event_loop() -> bool:
    """Whether blocking here would stall an asyncio event loop."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


class ScopedConfig(Config):
    """Settings whose `conversation_id` is the one this task, thread or script is in."""

    scope: Scope

    @property
    def conversation_id(self) -> str | None:
        here = self.scope.current() if "scope" in self.__dict__ else None
        return here or self.__dict__.get("_conversation_id")

    @conversation_id.setter
    def conversation_id(self, value: str | None) -> None:
        if "scope" in self.__dict__:
            if value:
                self.scope.enter(str(value))
        else:
            self.__dict__["_conversation_id"] = value or None
