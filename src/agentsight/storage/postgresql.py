"""PostgreSQL: several processes on one database, every commit on disk, events taken in side by side.

Dialect facts of PostgreSQL stop here.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import orjson
import psycopg
from psycopg.adapt import Dumper
from sqlalchemy import (
    JSON,
    Connection,
    Engine,
    Table,
    Text,
    case,
    cast,
    create_engine,
    event,
    func,
    literal,
    literal_column,
    or_,
)
from sqlalchemy import exc as sql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import URL, make_url

from agentsight.core.ports import Store
from agentsight.errors import AgentSightError, ConfigError, Invalid, ServerFailed

from .bell import Bell
from .sql import schema
from .sql.distribution import distribute
from .sql.remembered import Remembered
from .sql.rows import Driver, Rows, fold
from .sql.store import SqlStore
from .sql.writer import Change, Writer, refuse, run

T = TypeVar("T")

READERS = 8
TAKERS = 1  # threads that take events in; a second one brought nothing, for both meet at the sums (decisions/0004)
CONNECT_S = 3
WAIT_MS = 5_000  # how long a lock of somebody else is waited for
REPLICA_REST_S = 5.0  # after it did not answer
PATIENCE_S = 4.0  # how long a change is tried again while the database restarts or fails over
MEETINGS = 20  # how often a change begins again because somebody stored the same at the same moment
WRITING, MIGRATING, JOB, MAKING = range(4_740_311, 4_740_315)  # advisory locks: all writing, the schema, jobs, claims
COMMON = 20  # so many of the newest PROBED messages say it: no word for the index
PROBED = 4_000
_PASSING = ("08", "40001", "40P01", "57P0", "25006", "53300", "0A000")  # states, or how they begin, that pass
_FULL = ("53100", "53200")
_UNFIT = ("22003", "22021", "22P05")  # out of range, no text
_TWICE = "23505"
_HELD = "55P03"
_BUSY = (_HELD, "57014", "53")
_TYPES = {"BIGINT": "bigint", "INTEGER": "integer", "SMALLINT": "smallint", "BOOLEAN": "boolean", "FLOAT": "float8"}
_LETTERS = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_SAID = 'coalesce({0}folded, lower({0}content COLLATE "C"))'  # the text a search looks through; indexed as it stands
_log = logging.getLogger("agentsight.storage")


# -- the dialect -----------------------------------------------------------------------------------------------------
class PostgresqlDialect:
    """What the shared statements need to know of PostgreSQL."""

    def __init__(self) -> None:
        self._grams: str | None = None  # letters the trigram index knows: "any", "ascii"; "none": there is no index

    def lock(self, driver: Driver) -> str:
        return f" ORDER BY conversation_id FOR NO KEY UPDATE{'' if driver.may_wait else ' NOWAIT'}"

    def claim(self, driver: Driver, agent_id: int) -> bool:
        """Two who made conversations at the same moment would wait for one another at the unique index."""
        if agent_id in driver.claimed:
            return False
        place = f"({MAKING}, {agent_id % 2**31})"
        if driver.may_wait:
            driver.run(f"SELECT pg_advisory_xact_lock{place}")
        elif not driver.rows(f"SELECT pg_try_advisory_xact_lock{place}", ())[0][0]:
            raise psycopg.errors.LockNotAvailable("somebody else makes conversations of this agent")
        driver.claimed |= {agent_id}
        return True

    def in_list(self, column: str, count: int) -> str:
        return f"{column} IN ({', '.join(['%s'] * count) or 'NULL'})"  # who may see no agent finds nothing

    def within(self, column: str, values: Sequence[int] | Sequence[str]) -> tuple[str, tuple[Any, ...]]:
        """An array is one parameter: the same statement for every number of values, prepared once."""
        kind = "text" if values and isinstance(values[0], str) else "bigint"
        return f"{column} = ANY(%s::{kind}[])", (_array(values, kind),)

    def mark(self) -> str:
        return "%s"

    def beside(self, column: str) -> str:
        return column

    def insert(self, table: Table) -> Any:
        return insert(table)

    # -- many rows ---------------------------------------------------------------------------------------------------
    def insert_many(
        self, driver: Driver, table: Table, into: str, columns: Sequence[str], rows: Rows, tail: str
    ) -> None:
        """A column is an array, a statement always the same: prepared once, parsed by nobody twice."""
        names, kinds = tuple(columns), _kinds(table, columns)
        values = [_array(column, kind) for column, kind in zip(zip(*rows, strict=True), kinds, strict=True)]
        if table is schema.event:
            kind, said = names.index("kind"), names.index("content")
            names, kinds = (*names, "folded"), (*kinds, "text")
            values.append(_array([folded(row[said]) if row[kind] == "message" else None for row in rows], "text"))
        arrays = ", ".join(f"%s::{kind}[]" for kind in kinds)
        driver.run(f"INSERT INTO {into} ({', '.join(names)}) SELECT * FROM unnest({arrays}) {tail}", values)

    def update_many(self, driver: Driver, table: Table, columns: Sequence[str], rows: Rows) -> None:
        names = (*columns, "id")
        kinds = _kinds(table, names)
        by_agent: dict[int, list[Sequence[Any]]] = {}
        for row in sorted(rows, key=lambda row: row[-2]):
            by_agent.setdefault(row[-1], []).append(row[:-1])
        arrays = ", ".join(f"%s::{kind}[]" for kind in kinds)
        changes = ", ".join(f"{name} = u.{name}" for name in columns)
        statement = (
            f"UPDATE {table.name} t SET {changes} FROM unnest({arrays}) u ({', '.join(names)}) "
            "WHERE t.id = u.id AND t.agent_id = %s"
        )
        for agent_id, own in by_agent.items():
            values = [_array(column, kind) for column, kind in zip(zip(*own, strict=True), kinds, strict=True)]
            driver.run(statement, [*values, agent_id])

    def next_ids(self, driver: Driver, table: Table, count: int) -> Sequence[int]:
        """From the table's sequence, which gives nothing twice; what a transaction took and did not use is a gap."""
        asked = f"SELECT nextval('{table.name}_id_seq') FROM generate_series(1, %s)"
        return sorted(row[0] for row in driver.rows(asked, (count,)))

    # -- text --------------------------------------------------------------------------------------------------------
    def lower(self, column: Any) -> Any:
        return func.lower(column.collate("C"))

    def json_member(self, column: Any, key: str) -> Any:
        return cast(_member(cast(column, JSON), [key]), Text)

    def json_equals(self, column: Any, path: str, value: str) -> Any:
        """`->` gives JSON text: a string matches in quotes, a number or a boolean as it is written."""
        written = (orjson.dumps(value).decode(), value)
        document = cast(column, JSON)
        literal_key = cast(_member(document, [path]), Text).in_(written)
        if "." not in path:
            return literal_key
        return or_(literal_key, cast(_member(document, path.split(".")), Text).in_(written))

    def contains(self, column: Any, text: str) -> Any:
        needle = fold(text)
        if column.table is not None and column.name == "content":
            return func.strpos(literal_column(_SAID.format(f"{column.table.name}.")), needle) > 0
        return func.strpos(_folded_for(column, needle), needle) > 0

    def conversations_saying(self, driver: Driver, agent_ids: Sequence[int], text: str, most: int) -> list[int] | None:
        """Trigrams give the candidates, and the server compares them before it gives them to us.

        The index has to be read whole, so a word that the newest messages are full of is left to scanning.
        """
        needle = fold(text)
        if not self._is_indexed(driver, needle):
            return None
        own, parameters = self.within("agent_id", agent_ids)
        pattern = "%" + needle.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        said = f"kind = 'message' AND {own} AND {_SAID.format('')} LIKE %s"
        probe = f"SELECT count(*) FROM event WHERE id > (SELECT max(id) FROM event) - {PROBED} AND {said}"
        if driver.rows(probe, (*parameters, pattern))[0][0] > COMMON:
            return None
        sql = (
            f"WITH hits AS MATERIALIZED (SELECT conversation FROM event WHERE {said}) "
            f"SELECT conversation FROM hits LIMIT {most + 1}"
        )
        found = driver.rows(sql, (*parameters, pattern))
        return None if len(found) > most else sorted({row[0] for row in found})

    def unindex(
        self, driver: Driver, ids: Sequence[int], *, column: str = "conversation", traceless: bool = False
    ) -> None:
        """The index follows its rows by itself; what is kept beside a message goes with its words."""
        own, parameters = self.within(column, ids)
        driver.run(f"UPDATE event SET folded = NULL WHERE {own} AND folded IS NOT NULL", parameters)

    def _is_indexed(self, driver: Driver, needle: str) -> bool:
        if self._grams is None:
            self._grams = _grams(driver)
        if self._grams == "none":
            return False
        known = (letter.isalnum() and (letter.isascii() or self._grams == "any") for letter in needle)
        return any(len(list(run)) > 2 for is_known, run in itertools.groupby(known) if is_known)


def _grams(driver: Driver) -> str:
    there = "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass('event_said') AND indisvalid"
    if not driver.rows(there, ()):
        return "none"
    return "any" if driver.rows("SELECT cardinality(show_trgm('šćž'))", ())[0][0] else "ascii"


@lru_cache(maxsize=256)
def _kinds_of(table: str, columns: tuple[str, ...]) -> tuple[str, ...]:
    known = schema.metadata.tables[table].c
    return tuple(_TYPES.get(str(known[name].type.compile()).split("(")[0], "text") for name in columns)


def _kinds(table: Table, columns: Sequence[str]) -> tuple[str, ...]:
    return _kinds_of(table.name, tuple(columns))


def _array(values: Sequence[Any], kind: str) -> str:
    """An array as PostgreSQL reads it: many times cheaper than the driver's own way, which asks every value its type."""
    if kind == "text":
        parts = ["NULL" if value is None else _quoted(value) for value in values]
    elif kind == "smallint":  # what Python calls a flag is kept as a number too
        parts = ["NULL" if value is None else str(int(value)) for value in values]
    else:
        parts = ["NULL" if value is None else str(value) for value in values]
    return "{" + ",".join(parts) + "}"


def _quoted(text: str) -> str:
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _member(document: Any, path: Sequence[str]) -> Any:
    """One step after another by name: `#>` would take a number for a place in an array."""
    for key in path:
        document = document.op("->", return_type=JSON())(literal(key, Text))
    return document


def folded(content: str | None) -> str | None:
    """What is kept beside a message for searching; None where A to Z in lower case is all there is to its folding."""
    if content is None or content.isascii():
        return None
    text = fold(content)
    return None if text == content.translate(_LETTERS) else text


@lru_cache(maxsize=1)
def _folding() -> dict[str, str]:
    """Every letter that changes when folded and that PostgreSQL's C lower() leaves alone."""
    letters = (chr(code) for code in range(128, 0x1F000) if not 0xD800 <= code < 0xE000)
    return {letter: fold(letter) for letter in letters if fold(letter) != letter}


def _folded_for(column: Any, needle: str) -> Any:
    """`column` folded as far as it matters to `needle`: letters that fold to none of its letters cannot be part of it."""
    lowered = func.lower(column.collate("C"))
    sought = set(needle)
    single = {letter: to for letter, to in _folding().items() if len(to) == 1 and to in sought}
    text = func.translate(lowered, "".join(single), "".join(single.values())) if single else lowered
    for letter, to in _folding().items():
        if len(to) > 1 and not sought.isdisjoint(to):
            text = func.replace(text, letter, to)
    if text is lowered:
        return lowered
    return case((func.octet_length(column) == func.char_length(column), lowered), else_=text)


# -- the engine ------------------------------------------------------------------------------------------------------
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
        self.engine = _engine(self._url, pool_size=TAKERS + 1, max_overflow=4, pool_timeout=WAIT_MS / 1000)
        self._writers = self.engine.execution_options(isolation_level="AUTOCOMMIT")  # we say BEGIN and COMMIT
        self._readers = _reading(self._url)
        self._replica = _reading(make_url(read_url).set(drivername="postgresql+psycopg")) if read_url else None
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
                if not (_passes(failure) or _is_trouble(failure)):
                    raise _explained(failure) from failure
                _log.warning("the read replica does not answer; the primary does: %s", failure)
                self._replica.dispose()
                self._replica_from = time.monotonic() + REPLICA_REST_S
        try:
            return self._read(ask, self._readers)
        except Exception as failure:
            if not _passes(failure):
                raise _explained(failure) from failure
        self._readers.dispose()  # connections the server has closed since they were last used
        try:
            return self._read(ask, self._readers)
        except Exception as failure:
            raise _explained(failure) from failure

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
                if not _passes(failure) or time.monotonic() > until:
                    refuse(changes, _explained(failure))
                    return
                if _is_lost(failure):
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
            state = _state(failure)
            return (state == _HELD and change is not changes[0]) or (
                alongside and state == _TWICE and change.tries < MEETINGS
            )

        driver = Driver(connection, self._dialect, self._compiled)
        driver.run(f"BEGIN; SELECT pg_advisory_xact_lock{'_shared' if alongside else ''}({WRITING})")
        try:
            late = run(driver, changes, _is_trouble, comes_again)
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
                connection.exec_driver_sql(f"SET lock_timeout = '60s'; SELECT pg_advisory_lock({MIGRATING})")
                connection.commit()
                try:
                    yield connection
                    settle_schema(connection)
                    connection.commit()
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
            raise _explained(failure) from failure

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

    def distribute(self) -> list[str]:
        """Spread the tables over the nodes of a server that has the Citus extension; gives those that were not yet.

        Raises:
            ConfigError: it does not have it.
        """
        with self.migrating() as connection:
            return distribute(connection)

    # -- copies ------------------------------------------------------------------------------------------------------
    def before_migrating(self, to: str) -> None:
        """A migration is one transaction here; copies are the administrator's."""

    def is_empty(self) -> bool:
        """Nobody has put anything in it yet."""
        with self.looking() as connection:
            if connection.exec_driver_sql("SELECT to_regclass('organization')").scalar() is None:
                return True
            return connection.exec_driver_sql("SELECT 1 FROM organization LIMIT 1").first() is None

    def copy_to(self, path: Path) -> None:
        """The whole database as of one moment, as pg_dump writes it; writers go on meanwhile."""
        self._program("pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={path}")

    def replace_by(self, path: Path) -> None:
        """Let what pg_dump wrote at `path` be in the database from here on, instead of what is there."""
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
            lines = [line for line in done.stderr.splitlines() if "error" in line.lower()] or ["it did not say why"]
            raise ConfigError(f"{name} failed: {lines[0][:300]}")

    # -- the rest ----------------------------------------------------------------------------------------------------
    def facts(self) -> Mapping[str, str]:
        with self.looking() as connection:
            driver = Driver(connection, self._dialect, self._compiled)
            version = driver.rows("SHOW server_version", ())[0][0]
            found = {"any": "trigram index", "ascii": "trigram index for A to Z only", "none": "scan, newest first"}
            search = found[_grams(driver)]
        return {"engine": "PostgreSQL", "version": version.split()[0], "where": self._where(), "search": search}

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
        """Write every table anew without what was deleted. What the server keeps of its log for itself, for archives and
        replicas is its administrator's."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("SET lock_timeout = '60s'")
            try:
                for table in schema.metadata.tables:
                    connection.exec_driver_sql(f"VACUUM (FULL, ANALYZE) {table}")
            finally:
                connection.invalidate()
        return {"rewritten": True, "log_emptied": False}

    def close(self) -> None:
        self._takers.close()
        self._alone.close()
        self._bell.close()
        for engine in (self._readers, self._replica, self.engine):
            if engine is not None:
                engine.dispose()


def _engine(url: URL, read_only: bool = False, **options: Any) -> Engine:
    settled = {"connect_timeout": CONNECT_S, "client_encoding": "utf8"}
    engine = create_engine(url, connect_args=settled, query_cache_size=1_000, hide_parameters=True, **options)

    @event.listens_for(engine, "connect")
    def _(connection: Any, _: Any) -> None:
        connection.autocommit = True
        connection.execute(
            "SELECT set_config('lock_timeout', %s, false), set_config('idle_in_transaction_session_timeout', '60s', false), "
            "set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') = 'remote_apply' "
            "THEN 'remote_apply' ELSE 'on' END, false)",
            (f"{WAIT_MS}ms",),
        )
        connection.autocommit = False
        connection.read_only = read_only or None
        connection.adapters.register_dumper(str, _TextDumper)

    return engine


def _reading(url: URL) -> Engine:
    """Connections that see one state from their first question to their last, and can change nothing."""
    options = {"pool_size": READERS, "max_overflow": 0, "pool_timeout": WAIT_MS / 1000}
    return _engine(url, read_only=True, isolation_level="REPEATABLE READ", **options)


class _TextDumper(Dumper):
    """Text as PostgreSQL can hold it: there is no NUL in it, so the sign for it stands there instead, as in what is stored."""

    def dump(self, text: str) -> bytes:
        return text.replace("\x00", "␀").encode()


class Unsettled(Exception):
    """Nobody knows whether a commit happened: the connection ended while it was under way."""


def _state(failure: BaseException) -> str:
    """The SQLSTATE; "" where none came, "none" where the failure is not the database's."""
    cause = getattr(failure, "orig", None) or failure
    if isinstance(cause, psycopg.Error):
        return cause.sqlstate or ""
    return "" if isinstance(cause, sql.TimeoutError) else "none"


def _is_lost(failure: BaseException) -> bool:
    cause = getattr(failure, "orig", None) or failure
    return isinstance(cause, (psycopg.OperationalError, psycopg.InterfaceError)) and (
        cause.sqlstate is None or cause.sqlstate.startswith(("08", "57P", "25006"))
    )


def _passes(failure: BaseException) -> bool:
    """The same may work a moment later: it was nobody's fault, or somebody was quicker."""
    return _is_lost(failure) or _state(failure).startswith(_PASSING)


def _is_trouble(failure: BaseException) -> bool:
    """The database could not, as opposed to the change being refused: then the whole transaction is over."""
    return _is_lost(failure) or _state(failure).startswith((*_PASSING, *_FULL, *_BUSY, "XX"))


def _explained(failure: BaseException) -> BaseException:
    """What the caller is told when the engine could not. Details stay in the log."""
    if isinstance(failure, AgentSightError):
        return failure
    state = _state(failure)
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
    elif _is_trouble(failure) or isinstance(failure, Unsettled):
        refusal = ServerFailed("storage does not answer; try again", retry_after_s=2)
    else:
        return failure
    refusal.__cause__ = failure
    return refusal


# -- what PostgreSQL needs beside the tables -------------------------------------------------------------------------
def settle_schema(connection: Connection) -> None:
    """Bring about, where it is not so yet: texts compare by their bytes, as on SQLite; messages can be searched; sequences
    go on after the highest id."""
    tables = list(schema.metadata.tables)
    other = connection.exec_driver_sql(
        "SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
        "JOIN pg_collation l ON l.oid = a.attcollation WHERE c.relnamespace = current_schema()::regnamespace "
        "AND c.relkind IN ('r', 'p') AND c.relname = ANY(%s) AND a.attnum > 0 AND NOT a.attisdropped "
        "AND l.collname <> 'C' ORDER BY 1, 2",
        (tables,),
    ).fetchall()
    for table, columns in itertools.groupby(other, key=lambda row: row[0]):
        changes = ", ".join(f'ALTER COLUMN "{name}" TYPE text COLLATE "C"' for _, name in columns)
        connection.exec_driver_sql(f'ALTER TABLE "{table}" {changes}')
    connection.exec_driver_sql('ALTER TABLE event ADD COLUMN IF NOT EXISTS folded text COLLATE "C"')
    _index_messages(connection)
    settle_sequences(connection)


def settle_sequences(connection: Connection) -> None:
    """Ids go on after the highest there is, and after those of what is gone for good."""
    for table in schema.metadata.tables.values():
        sequence = f"{table.name}_id_seq"
        if "id" in table.c and connection.exec_driver_sql(f"SELECT to_regclass('{sequence}')").scalar():
            connection.exec_driver_sql(
                f"SELECT setval('{sequence}', used) FROM (SELECT greatest((SELECT max(id) FROM {table.name}), "
                f"(SELECT value - 1 FROM marker WHERE name = 'next:{table.name}')) AS used) t "
                f"WHERE used > (SELECT last_value FROM {sequence})"
            )


def fold_messages(connection: Connection) -> None:
    """What is kept for searching, of messages that came past `insert_many`."""
    last = 0
    unfolded = (
        "SELECT id, content FROM event WHERE id > %s AND kind = 'message' AND folded IS NULL "
        "AND octet_length(content) <> char_length(content) ORDER BY id LIMIT 1000"
    )
    while rows := connection.exec_driver_sql(unfolded, (last,)).fetchall():
        last = rows[-1][0]
        told = [(id, text) for id, text in ((id, folded(content)) for id, content in rows) if text is not None]
        if told:
            ids, texts = zip(*told, strict=True)
            connection.exec_driver_sql(
                "UPDATE event SET folded = u.folded FROM unnest(%s::bigint[], %s::text[]) u (id, folded) "
                "WHERE event.id = u.id",
                (_array(ids, "bigint"), _array(texts, "text")),
            )
            connection.commit()


def _index_messages(connection: Connection) -> None:
    """The trigram index, where the server has the extension and we may use it; else searches scan."""
    try:
        with connection.begin_nested():
            connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except sql.DBAPIError as missing:
        said = str(missing.orig).strip().partition("\n")[0]
        _log.warning("searches will scan: the extension pg_trgm cannot be used (%s)", said)
        return
    connection.exec_driver_sql(
        f"CREATE INDEX IF NOT EXISTS event_said ON event USING gin (({_SAID.format('')}) gin_trgm_ops) "
        "WHERE kind = 'message'"
    )


def open(url: str, read_url: str | None = None) -> PostgresqlStorage:
    """The PostgreSQL database of this URL, `postgresql://USER:PASSWORD@HOST/NAME`, as libpq reads it, and a replica of it."""
    return PostgresqlStorage(url, read_url)
