"""The end of the process and its forks: what is tracked is flushed, once, and a child starts with nothing."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol

logger = logging.getLogger("agentsight")


class Watched(Protocol):
    """What wants to know."""

    def flush(self) -> None: ...
    def end_soon(self) -> None: ...
    def after_fork(self) -> None: ...


_all: weakref.WeakSet[Any] = weakref.WeakSet()
_registered = False
_signal_watched = False


def watch(one: Watched) -> None:
    """Have `one` flushed when this process ends, and told when it finds itself in a forked child."""
    global _registered
    _all.add(one)
    if not _registered:
        _registered = True
        atexit.register(_flush)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_forked)
    _watch_worker()


def watch_signal() -> bool:
    """Flush on SIGTERM too. False: only the first thread may ask for that.

    A host's own handler still runs and decides. It is not waited for: uvicorn, for one, ends by the signal's default
    once it has shut down, and then nothing of Python's runs any more.
    """
    global _signal_watched
    if not _signal_watched and threading.current_thread() is threading.main_thread():
        import signal

        _signal_watched = True
        hosts = signal.getsignal(signal.SIGTERM)
        if hosts is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _terminated)
        elif callable(hosts):
            signal.signal(signal.SIGTERM, _before(hosts))
    return _signal_watched


def _watch_worker() -> None:
    """multiprocessing's children end without running atexit, but run these."""
    process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, _flush, exitpriority=10)


def _flush() -> None:
    _each(lambda one: one.flush())


def _each(do: Callable[[Watched], None]) -> None:
    for one in list(_all):
        try:
            do(one)
        except Exception:  # the edge: the process is ending, and not because of us
            logger.exception("AgentSight could not flush")


def _before(hosts: Callable[[int, Any], Any]) -> Callable[[int, Any], Any]:
    def terminated(signum: int, frame: Any) -> Any:
        _each(lambda one: one.end_soon())
        return hosts(signum, frame)

    return terminated


def _terminated(signum: int, frame: Any) -> None:
    import signal

    _flush()
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)


def _forked() -> None:
    for one in list(_all):
        one.after_fork()
