"""Tells the other processes on one PostgreSQL that something was stored, and hears it of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import psycopg

CHANNEL = "agentsight_stored"
TICK_S = 0.1  # so often at most the others are told: a NOTIFY with every commit would make commits wait for one another
AGAIN_S = 2.0  # before a connection that ended is made again; meanwhile open pages look by themselves
_log = logging.getLogger("agentsight.storage")


class Bell:
    """A thread and a connection of its own, both made when first needed.

    `heard` is called here when another process rang. Where LISTEN does not work, as behind some poolers, nothing is heard.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection], heard: Callable[[], None]):
        self._connect, self._heard = connect, heard
        self._is_due = threading.Event()
        self._closing = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        with self._starting:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._run, name="agentsight-bell", daemon=True)
                self._thread.start()

    def ring(self) -> None:
        """Something was stored here; the others will hear of it in a moment."""
        self._is_due.set()
        if self._thread is None:
            self.start()

    def close(self) -> None:
        """Tell what is still to be told, and end."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout=3)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                with self._connect() as connection:
                    self._listen(connection)
            except psycopg.Error as wrong:
                _log.info("nothing is heard of other processes for now: %s", type(wrong).__name__)
                self._closing.wait(AGAIN_S)

    def _listen(self, connection: psycopg.Connection) -> None:
        connection.execute(f"LISTEN {CHANNEL}")
        self._heard()  # whatever went on before
        mine = connection.info.backend_pid
        while True:
            is_last = self._closing.is_set()
            if self._is_due.is_set():
                self._is_due.clear()
                connection.execute(f"NOTIFY {CHANNEL}")
            if is_last:
                return
            others = [told for told in connection.notifies(timeout=TICK_S) if told.pid != mine]
            if others:
                self._heard()
