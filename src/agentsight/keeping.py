"""Keeping events on disk when memory alone would lose them: which folder, whether it works, what was found in it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

from .buffer import Item
from .config import Config, Settings
from .errors import ConfigError
from .parcels import Parcel, adopted
from .spool import Spool, SpoolFull, folder

logger = logging.getLogger("agentsight")


class Keeper:
    """The spool of wherever `config` points, opened when it is needed. A folder that cannot be written is given up."""

    def __init__(self, config: Callable[[], Config], settings: Callable[[], Settings], warn: Callable[[str], None]):
        self._config, self._settings, self._warn = config, settings, warn
        self._lock = threading.RLock()
        self._spool: Spool | None = None
        self._off = False

    def keep(self, items: Iterable[Item], parcels: Callable[[Item], list[Parcel]]) -> bool:
        """Have events on disk that stay in memory too; False when not all of them are."""
        spool = self._opened()
        if spool is None:
            return False
        encoded = [parcel for item in items for parcel in parcels(item)]
        with self._lock:  # taken after the buffer's, never before it
            return all(parcel.segment or self._worked(_keep, spool, parcel) for parcel in encoded)

    def spill(self, parcels: list[Parcel]) -> bool:
        """Put events on disk that memory has no room for; `adopt` brings them back. False: no room here either."""
        spool = self._opened()
        if spool is None:
            return False
        with self._lock:
            return all(self._worked(spool.spill, parcel.body) for parcel in parcels)

    def forget(self, parcels: list[Parcel]) -> None:
        """These are delivered."""
        spool = self._spool
        kept = [(parcel.segment, parcel.id) for parcel in parcels if parcel.segment is not None]
        if kept and spool is not None:
            with self._lock:
                self._worked(spool.done, kept)

    def adopt(self) -> tuple[list[Item], int]:
        """What others left in one segment, the oldest; and how many events had waited too long."""
        spool = self._opened()
        if spool is None:
            return [], 0
        found: list[Item] = []

        def read() -> None:
            for segment, events in spool.adopt():
                found.extend(adopted(parcel_id, body, segment) for parcel_id, body in events)
                return

        with self._lock:
            self._worked(read)
            expired, spool.expired = spool.expired, 0
            return found, expired

    def let_go(self, items: Iterable[Item], patience_s: float = -1) -> None:
        """Close the spool; what is not delivered waits in it for the next process, or for the key it belongs to."""
        if self._spool is not None and self._lock.acquire(timeout=patience_s):
            try:
                for item in items:
                    for parcel in item.parcels or ():
                        parcel.segment = None
                self._spool.close()
                self._spool = None
            finally:
                self._lock.release()

    def abandon(self) -> None:
        """Let go in a forked child: the files stay the parent's."""
        if self._spool is not None:
            self._spool.abandon()

    def _opened(self) -> Spool | None:
        if self._spool is None and not self._off and self._settings().spool != "off":
            config = self._config()
            try:
                self._spool = Spool(folder(self._settings().spool_dir, config.base_url, config.key))
            except ConfigError:  # no key, so nobody's folder
                return None
        return None if self._off else self._spool

    def _worked(self, write: Callable[..., Any], *what: Any) -> bool:
        """Whether `write` did. A folder that cannot be written turns the spool off; a full one does not."""
        try:
            write(*what)
        except SpoolFull:
            self._warn("AgentSight's spool is full; what does not fit in memory is lost")
            return False
        except OSError as wrong:
            self._off = True
            logger.warning("AgentSight cannot keep events on disk (%s); they are kept in memory only", wrong.strerror)
            return False
        return True


def _keep(spool: Spool, parcel: Parcel) -> None:
    (parcel.segment,) = spool.keep([parcel.body])
