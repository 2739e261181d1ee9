"""The chat database: opened, migrated, and worked on in transactions, off the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy import text as sql
from sqlalchemy.orm import Session

from .schema import Base

P = ParamSpec("P")
T = TypeVar("T")
_alembic = threading.Lock()  # Alembic keeps its state in module globals


def now_us() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


class Database:
    """One chat database. `call` runs a function of it in a thread of its own and awaits the result.

    SQLite gets one thread, because it has one writer: waiting in a queue is fair, waiting for its lock is not.
    """

    def __init__(self, url: str):
        self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
        self.engine = _open_sqlite(url) if self.is_sqlite else create_engine(url, pool_pre_ping=True, pool_size=8)
        self.worker = Worker(_beside(self.engine) if self.is_sqlite else None)
        self._threads = ThreadPoolExecutor(1 if self.is_sqlite else 8, thread_name_prefix="chat-database")

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction that may change things; it commits at the end or leaves nothing behind."""
        with self.engine.connect() as connection, _session(connection.execution_options(chat_writes=True)) as session:
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One transaction that only looks."""
        with self.engine.connect() as connection, _session(connection) as session:
            yield session

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` returns, without holding up the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))

    def migrate(self) -> None:
        """Bring an empty or older database to today's tables. Processes that start together take turns."""
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with _alembic, self.engine.connect().execution_options(chat_writes=True) as connection:
            if not self.is_sqlite:
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(4740301)")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()

    def settle_ids(self) -> None:
        """After rows were put in from elsewhere: ids go on after the highest there is."""
        if self.is_sqlite:
            return  # it goes by the rows itself
        with self.engine.begin() as connection:
            for name, table in Base.metadata.tables.items():
                if table.autoincrement_column is not None:
                    connection.execute(
                        sql(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), max(id)) FROM {name}")
                    )

    def close(self) -> None:
        """Finish what is under way and let go of the database."""
        self._threads.shutdown()
        self.engine.dispose()
        self.worker.close()


@contextmanager
def _session(connection: Connection) -> Iterator[Session]:
    with Session(connection, expire_on_commit=False) as session, session.begin():
        yield session


def _sqlite_driver() -> ModuleType:
    """The newest SQLite at hand: the interpreter's own may have the WAL bug that 3.51.3 mended."""
    try:
        return import_module("pysqlite3")
    except ImportError:
        return import_module("sqlite3")


def _open_sqlite(url: str) -> Engine:
    if path := make_url(url).database:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, module=_sqlite_driver(), connect_args={"check_same_thread": False, "timeout": 5})

    @event.listens_for(engine, "connect")
    def _settle(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we begin transactions ourselves, below
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("chat_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _beside(engine: Engine) -> Path | None:
    path = engine.url.database
    return Path(f"{path}.workers") if path and path != ":memory:" else None


class Worker:
    """This process as the owner of runs, and whether another owner still lives.

    Beside a SQLite file every process holds a lock on a file named after it; the system lets go of it when the
    process dies, however it dies. Over a network there is no such witness: there the heartbeat decides.
    """

    def __init__(self, folder: Path | None):
        self.name, self._folder, self._lock = uuid.uuid4().hex, folder, None
        with suppress(ImportError):
            self._fcntl = import_module("fcntl")
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                self._lock = self._try_lock(self.name, "w")

    def is_gone(self, name: str) -> bool:
        """True when the process called `name` is known to be dead; False when it lives or nobody knows."""
        if self._lock is None or name == self.name:
            return False
        try:
            lock = self._try_lock(name, "r")
        except FileNotFoundError:
            return True
        if lock is None:
            return False
        lock.close()
        self._path(name).unlink(missing_ok=True)
        return True

    def close(self) -> None:
        """Let go: the runs of this process are over."""
        if self._lock is not None:
            self._path(self.name).unlink(missing_ok=True)
            self._lock.close()

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / name

    def _try_lock(self, name: str, mode: str) -> Any:
        file = self._path(name).open(mode)
        try:
            self._fcntl.flock(file, self._fcntl.LOCK_EX | self._fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return file
