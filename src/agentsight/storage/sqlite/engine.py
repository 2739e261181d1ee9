"""One SQLite file: reading, its one writer, the search index fed at rest, copies, and what else a storage does."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool, QueuePool

from agentsight.core.ports import Store
from agentsight.errors import ConfigError, Conflict, ServerFailed

from ..sql.remembered import Remembered
from ..sql.rows import Driver
from ..sql.store import SqlStore
from ..sql.writer import Change, Writer, refuse, run
from .connecting import driver, settle
from .dialect import SqliteDialect
from .failures import explained, is_trouble
from .search import index_more, unindexed

if sys.platform != "win32":
    import fcntl

T = TypeVar("T")

INDEXED_TOGETHER = 5_000  # events the search index takes at once; so many more a search may have to look through
COPIES = 3  # of those taken before migrations, the newest
LEFT_S = 3600  # a part of such a copy that is older was left by a process that died
LOOK_S = 0.05  # how often, between commits, it is looked how far behind the index is
SCRUB_BUSY_MS = 60_000  # how long writing the file anew waits for others
BUSY_MS = 5_000  # how long a lock of another process (an import, a backup) is waited for
READERS = 8


class SqliteStorage:
    """One database file (or `:memory:`), opened for one writer thread and several readers."""

    def __init__(self, url: str):
        self._module = driver()
        path = make_url(url).database or ":memory:"
        self._path = None if path == ":memory:" else Path(path)
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        self._frugal = False
        self._file: tuple[int, int] | None = None  # device and inode of what was opened first
        self._dialect = SqliteDialect()
        self._compiled: dict[tuple[str, str, int], str] = {}
        self._remembered = Remembered()
        self._shared = f"file:agentsight-{id(self)}?mode=memory&cache=shared"
        self._keeper = self._connect() if self._path is None else None  # memory lives while somebody holds it
        self.engine = self._engine(NullPool, "BEGIN IMMEDIATE")
        self._readers = self._engine(QueuePool, "BEGIN", pool_size=READERS, max_overflow=0, pool_timeout=BUSY_MS / 1000)
        self._at_work = threading.Lock()  # of the writer, between its commits free for what stops all writing
        self._heard: list[Callable[[], None]] = []
        self._written: Connection | None = None  # the writer's own
        self._looked = 0.0
        self._writer = Writer("agentsight-writer", self._commit, rest=self._rest, leave=self._leave)

    # -- connections -------------------------------------------------------------------------------------------------
    def _connect(self) -> Any:
        self._require_same_file()
        where = str(self._path) if self._path is not None else self._shared
        connection = self._module.connect(
            where,
            timeout=BUSY_MS / 1000,
            isolation_level=None,
            check_same_thread=False,
            uri=self._path is None,
            cached_statements=256,
        )
        settle(connection, self._frugal)
        self._file = self._file or self._found()
        return connection

    def _found(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path) if self._path is not None else None
        except FileNotFoundError:
            return None
        return (status.st_dev, status.st_ino) if status is not None else None

    def _require_same_file(self) -> None:
        """A file deleted or replaced under us still takes writes, which nobody would ever find again.

        Raises:
            ServerFailed: the file is not the one that was opened.
        """
        if self._file is not None and self._found() != self._file:
            raise ServerFailed("the database file is gone or was replaced; restart the server", retry_after_s=5)

    def _engine(self, pool: type[NullPool] | type[QueuePool], begin: str, **options: Any) -> Engine:
        engine = create_engine(
            "sqlite://", module=self._module, creator=self._connect, poolclass=pool, query_cache_size=1_000, **options
        )

        @event.listens_for(engine, "begin")
        def _(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        return engine

    # -- reading -----------------------------------------------------------------------------------------------------
    def read(self, ask: Callable[[Store], T], *, may_lag: bool = False) -> T:
        with self._told("read"), self._readers.connect() as connection, connection.begin():
            return ask(SqlStore(Driver(connection, self._dialect, self._compiled, self._remembered)))

    def frugal(self) -> None:
        """What is read once need not be remembered."""
        self._frugal = True
        self._readers.dispose()

    # -- writing -----------------------------------------------------------------------------------------------------
    def write(self, change: Callable[[Store], T], *, alongside: bool = False) -> Future[T]:
        return self._writer.put(change)

    def _commit(self, changes: list[Change]) -> None:
        try:
            self._written = self._written or self.engine.connect()
            with self._at_work:
                self._commit_together(self._written, changes)
        except BaseException as failure:
            self._discard()
            refuse(changes, explained(failure))

    def _rest(self, idle: bool) -> bool:
        """Feed the search index when nobody waits, or when too much is not in it yet; True: there is more to do.

        It is no part of what a client waits for: searches look through what the index does not know yet. In large parts
        it costs half of what it costs commit by commit.
        """
        if not idle and time.monotonic() < self._looked + LOOK_S:
            return True
        self._looked = time.monotonic()
        try:
            self._written = self._written or self.engine.connect()
            with self._at_work, self._written.begin():
                driver = Driver(self._written, self._dialect, self._compiled)
                behind = unindexed(driver)
                while behind and (idle or behind > INDEXED_TOGETHER):
                    index_more(driver, INDEXED_TOGETHER)
                    behind = unindexed(driver)
            return behind > 0
        except BaseException:
            self._discard()
            raise

    def _leave(self) -> None:
        if self._written is not None:
            with contextlib.suppress(Exception):
                self._written.connection.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # type: ignore[union-attr]
            self._written.close()

    def _commit_together(self, connection: Connection, changes: list[Change]) -> None:
        self._require_same_file()
        with connection.begin():
            driver = Driver(connection, self._dialect, self._compiled)
            run(driver, changes, is_trouble)
            if self._path is None:  # readers of shared memory mind a writer who comes unasked
                index_more(driver, unindexed(driver))
        for change in changes:
            change.tell()
        for heard in self._heard:
            heard()

    def _discard(self) -> None:
        connection, self._written = self._written, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.invalidate()
                connection.close()

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as failure:
            if is_trouble(failure):
                raise explained(failure) from failure
            raise

    # -- what goes on ------------------------------------------------------------------------------------------------
    def listen(self, heard: Callable[[], None]) -> None:
        self._heard.append(heard)

    @contextlib.contextmanager
    def alone(self, job: str) -> Iterator[bool]:
        """The system lets go of the lock when a process dies, however it dies."""
        if self._path is None or sys.platform == "win32":
            yield True
            return
        with self._path.with_name(f"{self._path.name}.{job}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def catch_up(self) -> None:
        with self._told("index"), self.engine.connect() as connection:
            behind = 1
            while behind:
                with connection.begin():
                    driver = Driver(connection, self._dialect, self._compiled)
                    index_more(driver, INDEXED_TOGETHER)
                    behind = unindexed(driver)

    # -- the schema --------------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def migrating(self) -> Iterator[Connection]:
        """A connection for changing the schema."""
        with self._told("migrate"), self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def looking(self) -> Iterator[Connection]:
        """A connection for reading what no port tells."""
        with self._told("look"), self._readers.connect() as connection:
            yield connection

    def distribute(self) -> list[str]:
        """Raises ConfigError: a file lies in one place."""
        raise ConfigError("only a PostgreSQL database on a server with the Citus extension can be distributed")

    # -- copies ------------------------------------------------------------------------------------------------------
    def before_migrating(self, connection: Connection, to: str) -> None:
        """Keep a copy beside the database, if there is anything in it, and let go of the oldest copies.

        Raises:
            ConfigError: there is no room for one.
        """
        if self._path is None or self.is_empty():
            return
        folder = self._path.parent / "backups"
        folder.mkdir(exist_ok=True, mode=0o700)
        size, free = self._path.stat().st_size, shutil.disk_usage(folder).free
        if free < size * 1.1:
            raise ConfigError(
                f"the database is to change its form and is copied first: {size / 1e6:.0f} MB are needed in {folder}, "
                f"{free / 1e6:.0f} MB are free"
            )
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        whole = folder / f"before-{to}-{stamp}.db"
        part = whole.with_name(f"{whole.name}.{os.getpid()}.part")  # what is called a copy is one
        self.copy_to(part)
        os.replace(part, whole)
        with contextlib.suppress(FileNotFoundError):  # an erasure takes them all away; the next copy tidies the rest
            for left in folder.glob("before-*.part*"):
                if left.stat().st_mtime < time.time() - LEFT_S:
                    left.unlink()
            for old in sorted(folder.glob("before-*.db"), key=lambda path: path.stat().st_mtime)[:-COPIES]:
                old.unlink()

    def is_empty(self) -> bool:
        """Nobody has put anything in it yet."""
        with self._told("look"), self._readers.connect() as connection:
            tables = (
                "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name IN ('organization', 'chat_conversations')"
            )
            if connection.exec_driver_sql(tables).first() is None:
                return True
            return connection.exec_driver_sql("SELECT 1 FROM organization LIMIT 1").first() is None

    def copy_to(self, path: Path) -> None:
        """The whole database as of one moment, in a file of its own, on disk; writers go on meanwhile.

        It is written anew, so it holds nothing that was deleted.
        """
        with self._told("copy"):
            connection = self._connect()
            try:
                connection.execute("PRAGMA temp_store = FILE").fetchall()
                connection.execute("VACUUM INTO ?", (str(path),))
            finally:
                connection.close()
        with path.open("rb+") as file:
            os.fsync(file.fileno())

    def replace_by(self, path: Path) -> None:
        """Let the file at `path` be the database from here on. This storage is of no use afterwards.

        Raises:
            Conflict: somebody else works on the database.
        """
        assert self._path is not None, "a database in memory has no file"
        self.close()
        connection = self._module.connect(str(self._path), timeout=1, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = DELETE").fetchall()  # only who is alone with it may
        except self._module.Error:
            raise Conflict("a server works on this database; stop it first") from None
        finally:
            connection.close()
        os.replace(path, self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    # -- the rest ----------------------------------------------------------------------------------------------------
    def facts(self) -> Mapping[str, str]:
        return {"engine": "SQLite", "version": self._module.sqlite_version, "where": str(self._path or "memory")}

    def check(self) -> list[str]:
        """What is wrong with the file; empty: it is sound."""
        with self._told("check"), self._readers.connect() as connection:
            said = [row[0] for row in connection.exec_driver_sql("PRAGMA quick_check(20)")]
        return [] if said == ["ok"] else said

    def scrub(self) -> Mapping[str, Any]:
        """Write the file anew without what was deleted, and empty the log of changes.

        Deleting zeroes rows, but pages that were split keep copies of what moved: only a file written anew has none.
        """
        if self._path is None:
            return {"rewritten": False, "log_emptied": True}
        with self._told("scrub"), self._at_work:
            connection = self._connect()
            try:
                for pragma in ("temp_store = FILE", "secure_delete = ON", f"busy_timeout = {SCRUB_BUSY_MS}"):
                    connection.execute(f"PRAGMA {pragma}").fetchall()
                connection.execute("VACUUM")
                emptied = _emptied(connection)
            finally:
                connection.close()
        return {"rewritten": True, "log_emptied": emptied}

    def close(self) -> None:
        self._writer.close()
        self._readers.dispose()
        self.engine.dispose()
        if self._keeper is not None:
            self._keeper.close()


def _emptied(connection: Any) -> bool:
    """The log of changes, brought into the file and cut to nothing; readers may hold it for a moment."""
    until = time.monotonic() + SCRUB_BUSY_MS / 1000
    while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True
