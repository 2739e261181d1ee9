"""One PostgreSQL database: reading, writing, several processes on it, copies, and what else a storage does."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy import exc as sql
from sqlalchemy.engine import make_url

from agentsight.core.ports import Store
from agentsight.errors import ConfigError, Conflict

from ..bell import Bell
from ..sql import schema
from ..sql.distribution import distribute, spread_over
from ..sql.remembered import Remembered
from ..sql.rows import Driver
from ..sql.store import SqlStore
from ..sql.writer import Change, Writer, refuse, run
from .connecting import CONNECT_S, OURS, WAIT_MS, connected_engine, reading_engine
from .dialect import JOB, MIGRATING, WRITING, PostgresqlDialect
from .failures import HELD, TWICE, Unsettled, explained, is_away, is_lost, is_trouble, passes, state_of
from .search import fold_messages, grams
from .settling import settle_schema, settle_sequences

T = TypeVar("T")

TAKERS = 1  # threads that take events in; a second one brought nothing, for both meet at the sums (decisions/0004)
REPLICA_REST_S = 5.0  # after it did not answer
ONE_CONNECTION = (  # to each node, however many agents a transaction has to do with; and they are told what it sets
    "SET LOCAL citus.multi_shard_modify_mode = 'sequential'; SET LOCAL citus.propagate_set_commands = 'local'"
)
EXTENSIONS = ("--extension=pg_trgm",)  # of a copy: what it needs to be put back anywhere, whatever else the server had
NODES = "SELECT count(*) FROM pg_dist_node WHERE noderole = 'primary' AND isactive AND shouldhaveshards"
PATIENCE_S = 4.0  # how long a change is tried again while the database restarts or fails over
LEAVING_S = 2.0  # a session that was closed is listed a moment longer
MEETINGS = 20  # how often a change begins again because somebody stored the same at the same moment
_log = logging.getLogger("agentsight.storage")


class PostgresqlStorage:
    """One database on a server, shared with as many processes as there are.

    Changes run alone, one after another across all processes, as on SQLite: an advisory lock sees to it. Those that only
    take events in hold that lock together and meet at the rows of their conversations.
    """

    def __init__(self, url: str, read_url: str | None = None):
        self._url = make_url(url).set(drivername="postgresql+psycopg")
        self._dialect = PostgresqlDialect()
        self._remembered = Remembered()
        self._compiled: dict[tuple[str, str, int], str] = {}
        met = self._dialect.meet
        self.engine = connected_engine(
            self._url, met, pool_size=TAKERS + 1, max_overflow=4, pool_timeout=WAIT_MS / 1000
        )
        self._writers = self.engine.execution_options(isolation_level="AUTOCOMMIT")  # we say BEGIN and COMMIT
        self._readers = reading_engine(self._url, met)
        self._replica = (
            reading_engine(make_url(read_url).set(drivername="postgresql+psycopg"), met) if read_url else None
        )
        self._replica_from = 0.0  # when it is worth asking again
        self._heard: list[Callable[[], None]] = []
        self._bell = Bell(self._connect_alone, self._hear)
        self._alone = Writer("agentsight-writer", partial(self._commit, alongside=False))
        self._takers = Writer("agentsight-taker", partial(self._commit, alongside=True), threads=TAKERS)

    @contextmanager
    def _connected(self, engine: Engine) -> Iterator[Connection]:
        with engine.connect() as connection:
            try:
                yield connection
            except BaseException:
                if not connection.invalidated and connection.connection.driver_connection.broken:  # type: ignore[union-attr]
                    connection.invalidate()
                raise

    # -- reading -----------------------------------------------------------------------------------------------------
    def read(self, ask: Callable[[Store], T], *, may_lag: bool = False) -> T:
        if may_lag and self._replica is not None and time.monotonic() >= self._replica_from:
            try:
                return self._read(ask, self._replica)
            except Exception as failure:  # it is away, or removed rows it was reading: the primary knows as much
                if not (passes(failure) or is_trouble(failure)):
                    raise explained(failure) from failure
                _log.warning("the read replica does not answer; the primary does: %s", failure)
                self._replica.dispose()
                self._replica_from = time.monotonic() + REPLICA_REST_S
        try:
            return self._read(ask, self._readers)
        except Exception as failure:
            if not passes(failure):
                raise explained(failure) from failure
        self._readers.dispose()  # connections the server has closed since they were last used
        try:
            return self._read(ask, self._readers)
        except Exception as failure:
            raise explained(failure) from failure

    def _read(self, ask: Callable[[Store], T], engine: Engine) -> T:
        with self._connected(engine) as connection:
            return ask(SqlStore(Driver(connection, self._dialect, self._compiled, self._remembered)))

    def frugal(self) -> None:
        """What is remembered is remembered by the server."""

    # -- writing -----------------------------------------------------------------------------------------------------
    def write(self, change: Callable[[Store], T], *, alongside: bool = False) -> Future[T]:
        return (self._takers if alongside else self._alone).put(change)

    def _commit(self, changes: list[Change], alongside: bool) -> None:
        """All in one transaction, tried again while the trouble is of the kind that passes."""
        until = time.monotonic() + PATIENCE_S
        for attempt in itertools.count():
            try:
                while changes:  # those that met somebody at a conversation come after the rest
                    with self._connected(self._writers) as connection:
                        late = self._commit_together(connection, changes, alongside)
                    for change in changes:
                        if change not in late:
                            change.tell()
                    changes = late
            except Exception as failure:
                away = self._dialect.is_spread and is_away(failure)
                if away and len(changes) > 1:  # of one of several nodes: what lies on the others goes on
                    for change in changes:
                        self._commit([change], alongside)
                    return
                if away or not passes(failure) or time.monotonic() > until:
                    refuse(changes, explained(failure))
                    return
                if is_lost(failure):
                    self.engine.dispose()
                time.sleep(min(0.02 * 2**attempt, 0.5) * (0.5 + random.random()))
            else:
                self._hear()
                self._bell.ring()
                return

    def _commit_together(self, connection: Connection, changes: list[Change], alongside: bool) -> list[Change]:
        """Gives the changes that met somebody and have to come again: at a conversation that is held, which the first of
        them waits for; or at a row stored at the same moment, which is there to be seen now."""

        def comes_again(failure: BaseException, change: Change) -> bool:
            state = state_of(failure)
            return (state == HELD and change is not changes[0]) or (
                alongside and state == TWICE and change.tries < MEETINGS
            )

        driver = Driver(connection, self._dialect, self._compiled)
        locked = f"SELECT pg_advisory_xact_lock{'_shared' if alongside else ''}({WRITING})"
        if self._dialect.is_spread:
            driver.run(f"BEGIN; {ONE_CONNECTION}")
            driver.run(f"SET LOCAL lock_timeout = '{WAIT_MS}ms'")  # alone: what it stands in is sent to every node
            driver.run(locked)
        else:
            driver.run(f"BEGIN; {locked}")
        try:
            late = run(driver, changes, is_trouble, comes_again)
        except BaseException:
            if not connection.invalidated and not connection.connection.driver_connection.closed:  # type: ignore[union-attr]
                driver.run("ROLLBACK")
            raise
        try:
            driver.run("COMMIT")
        except Exception as failure:
            raise Unsettled from failure
        return late

    # -- the schema --------------------------------------------------------------------------------------------------
    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """A connection for changing the schema; other processes that want to wait for its end."""
        try:
            with self.engine.connect() as connection:
                connection.exec_driver_sql(
                    f"SET lock_timeout = '60s'; SET citus.multi_shard_modify_mode = 'sequential'; "
                    f"SELECT pg_advisory_lock({MIGRATING})"
                )
                connection.commit()
                try:
                    yield connection
                    settle_schema(connection)
                    connection.commit()
                    if 0 < len(spread_over(connection)) < len(schema.metadata.tables):
                        self._distribute(connection)  # what came with this version
                finally:
                    connection.invalidate()  # the lock ends with the session
        except sql.OperationalError as failure:
            said = str(failure.orig).strip().partition("\n")[0]
            raise ConfigError(f"PostgreSQL at {self._where()} cannot be used: {said}") from failure

    @contextmanager
    def looking(self) -> Iterator[Connection]:
        """A connection for reading what no port tells."""
        try:
            with self._connected(self.engine) as connection:
                yield connection
        except Exception as failure:
            raise explained(failure) from failure

    # -- what goes on ------------------------------------------------------------------------------------------------
    def listen(self, heard: Callable[[], None]) -> None:
        self._heard.append(heard)
        self._bell.start()

    def _hear(self) -> None:
        for heard in self._heard:
            heard()

    def _connect_alone(self) -> psycopg.Connection:
        told = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(told, autocommit=True, connect_timeout=CONNECT_S, application_name="agentsight bell")

    @contextmanager
    def alone(self, job: str) -> Iterator[bool]:
        """The server lets go of the lock when a process dies, however it dies."""
        with self.looking() as connection:
            key = int.from_bytes(hashlib.blake2b(job.encode(), digest_size=4).digest(), "big", signed=True)
            mine = connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({JOB}, {key})").scalar()
            connection.commit()
            try:
                yield bool(mine)
            finally:
                connection.invalidate()

    def catch_up(self) -> None:
        with self.migrating() as connection:
            settle_sequences(connection)
            fold_messages(connection)
            for table in schema.metadata.tables:  # until the server looks by itself, plans go by what was there before
                connection.exec_driver_sql(f"ANALYZE {table}")
            connection.commit()

    def distribute(self) -> list[str]:
        """Spread the tables over the nodes of a server that has the Citus extension; gives those that were not yet.

        Raises:
            ConfigError: it does not have it.
        """
        with self.migrating() as connection:
            return self._distribute(connection)

    def _distribute(self, connection: Connection) -> list[str]:
        """Nobody writes meanwhile: a change would meet tables half of which lie elsewhere."""
        connection.rollback()
        connection.exec_driver_sql(
            f"SET citus.multi_shard_modify_mode = 'parallel'; SELECT pg_advisory_lock({WRITING})"
        )
        connection.commit()
        try:
            return distribute(connection)
        except sql.DBAPIError as failure:
            said = str(failure.orig).strip().partition("\n")[0]
            raise ConfigError(
                f"the tables could not all be spread ({said}); the same again goes on where it was"
            ) from failure

    # -- copies ------------------------------------------------------------------------------------------------------
    def before_migrating(self, connection: Connection, to: str) -> None:
        """Servers that still work on the database store nothing until it is over: a migration counts what is there. It is one
        transaction here; copies are the administrator's."""
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITING})")

    def is_empty(self) -> bool:
        """Nobody has put anything in it yet."""
        with self.looking() as connection:
            if connection.exec_driver_sql("SELECT to_regclass('organization')").scalar() is None:
                return True
            return connection.exec_driver_sql("SELECT 1 FROM organization LIMIT 1").first() is None

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Nobody writes, where the database lies on many nodes: they have no moment in common otherwise."""
        with self.looking() as connection:
            spread = bool(spread_over(connection))
            connection.rollback()
            if spread:
                connection.exec_driver_sql(f"SET lock_timeout = '60s'; SELECT pg_advisory_lock({WRITING})")
                connection.commit()
            try:
                yield
            finally:
                if spread:
                    connection.invalidate()  # the lock ends with the session

    def copy_to(self, path: Path) -> dict[str, int]:
        """The whole database as of one moment, as pg_dump writes it; gives what it holds. Writers go on meanwhile, but wait
        where the database lies on many nodes."""
        with self._quiet(), self._connected(self._readers) as connection:
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            moment = connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar()
            counts = SqlStore(Driver(connection, self._dialect, self._compiled)).keeping.counts()
            told = (
                *EXTENSIONS,
                "--format=custom",
                "--no-owner",
                "--no-privileges",
                f"--snapshot={moment}",
                f"--file={path}",
            )
            self._program("pg_dump", *told)
        return counts

    def replace_by(self, path: Path) -> None:
        """Let what pg_dump wrote at `path` be in the database from here on, instead of what is there. This storage is of no
        use afterwards.

        Raises:
            Conflict: a server works on the database.
            ConfigError: it lies on many nodes.
        """
        with self.looking() as connection:
            if spread_over(connection):
                raise ConfigError(
                    "restore into a database that is not spread, then run agentsight migrate --distribute"
                )
        self.close()
        with self._connect_alone() as connection:
            others = (
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
                f"AND application_name LIKE '{OURS}%' LIMIT 1"
            )
            until = time.monotonic() + LEAVING_S
            while connection.execute(others).fetchone():
                if time.monotonic() > until:
                    raise Conflict("a server works on this database; stop it first")
                time.sleep(0.05)
        self._program(
            "pg_restore", "--clean", "--if-exists", "--no-owner", "--no-privileges", "--single-transaction", str(path)
        )

    def _program(self, name: str, *options: str) -> None:
        """Run one of PostgreSQL's programs on this database; the password is no argument others could read.

        Raises:
            ConfigError: it is not installed, or did not do it.
        """
        found = shutil.which(name)
        if found is None:
            raise ConfigError(f"{name} is not installed; install PostgreSQL's client programs (postgresql-client)")
        url = self._url.set(drivername="postgresql", password=None).render_as_string()
        env = {**os.environ, **({"PGPASSWORD": str(self._url.password)} if self._url.password else {})}
        done = subprocess.run([found, f"--dbname={url}", *options], env=env, capture_output=True, text=True)
        if done.returncode:
            if "version mismatch" in done.stderr:
                raise ConfigError(
                    f"{found} is older than the server; install PostgreSQL's client programs of its version"
                )
            lines = [line for line in done.stderr.splitlines() if "error" in line.lower()] or ["it did not say why"]
            raise ConfigError(f"{name} failed: {lines[0][:300]}")

    # -- the rest ----------------------------------------------------------------------------------------------------
    def facts(self) -> Mapping[str, str]:
        with self.looking() as connection:
            driver = Driver(connection, self._dialect, self._compiled)
            version = driver.rows("SHOW server_version", ())[0][0]
            found = {"any": "trigram index", "ascii": "trigram index for A to Z only", "none": "scan, newest first"}
            search = found[grams(driver)]
            nodes = driver.rows(NODES, ())[0][0] if spread_over(connection) else 1
        facts = {"engine": "PostgreSQL", "version": version.split()[0], "where": self._where(), "search": search}
        return facts | ({"nodes": str(nodes)} if nodes > 1 else {})

    def _where(self) -> str:
        host = self._url.host or self._url.query.get("host") or "this machine"
        return f"{host}{f':{self._url.port}' if self._url.port else ''}/{self._url.database or ''}"

    def check(self) -> list[str]:
        """What is wrong with the stored data; empty: nothing is known to be."""
        with self.looking() as connection:
            driver = Driver(connection, self._dialect, self._compiled)
            broken = driver.rows(
                "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
                "WHERE NOT i.indisvalid AND c.relnamespace = current_schema()::regnamespace",
                (),
            )
            sums = driver.rows(
                "SELECT coalesce(checksum_failures, 0) FROM pg_stat_database WHERE datname = current_database()", ()
            )
        said = [f"the index {name} is not valid; REINDEX INDEX {name}" for (name,) in broken]
        return said + [f"{count} pages failed their checksum" for (count,) in sums if count]

    def scrub(self) -> Mapping[str, Any]:
        """Write every table anew without what was deleted, and the statistics, which hold what they were made of. What the
        server keeps of its log for itself, for archives and replicas is its administrator's."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("SET lock_timeout = '60s'")
            try:
                for table in schema.metadata.tables:
                    connection.exec_driver_sql(f"VACUUM (FULL, ANALYZE) {table}")
                connection.exec_driver_sql("VACUUM (FULL) pg_statistic")  # passed over where the database is not ours
                owned = connection.exec_driver_sql(
                    "SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database()"
                ).scalar()
            finally:
                connection.invalidate()
        return {"rewritten": bool(owned), "log_emptied": False}

    def close(self) -> None:
        self._takers.close()
        self._alone.close()
        self._bell.close()
        for engine in (self._readers, self._replica, self.engine):
            if engine is not None:
                engine.dispose()
