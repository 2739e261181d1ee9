"""Connections to PostgreSQL, and what each is told before it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg.adapt import Dumper
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL

from agentsight.errors import ConfigError

OLDEST = 15  # that our suites have passed on
READERS = 8
CONNECT_S = 3
OURS = "agentsight"  # what sessions of ours are called, for administrators and for who asks whether a server works here
WAIT_MS = 5_000  # how long a lock of somebody else is waited for


def connected_engine(url: URL, met: Callable[[bool], None], read_only: bool = False, **options: Any) -> Engine:
    """`met` is told of each new connection whether its server has Citus."""
    settled = {"connect_timeout": CONNECT_S, "client_encoding": "utf8", "fallback_application_name": OURS}
    engine = create_engine(url, connect_args=settled, query_cache_size=1_000, hide_parameters=True, **options)

    @event.listens_for(engine, "connect")
    def _(connection: Any, _: Any) -> None:
        if (major := connection.info.server_version // 10_000) < OLDEST:
            connection.close()
            raise ConfigError(
                f"PostgreSQL {OLDEST} or newer is needed; the server at {url.host or 'this machine'} is {major}"
            )
        connection.autocommit = True
        told = connection.execute(
            "SELECT to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL, "
            "set_config('lock_timeout', %s, false), set_config('idle_in_transaction_session_timeout', '60s', false), "
            "set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') = 'remote_apply' "
            "THEN 'remote_apply' ELSE 'on' END, false)",
            (f"{WAIT_MS}ms",),
        ).fetchone()
        met(told[0])
        connection.autocommit = False
        connection.read_only = read_only or None
        connection.adapters.register_dumper(str, _TextDumper)

    return engine


def reading_engine(url: URL, met: Callable[[bool], None]) -> Engine:
    """Connections that see one state from their first question to their last, and can change nothing."""
    options = {"pool_size": READERS, "max_overflow": 0, "pool_timeout": WAIT_MS / 1000}
    return connected_engine(url, met, read_only=True, isolation_level="REPEATABLE READ", **options)


class _TextDumper(Dumper):
    """Text as PostgreSQL can hold it: there is no NUL in it, so the sign for it stands there instead, as in what is stored."""

    def dump(self, text: str) -> bytes:
        return text.replace("\x00", "␀").encode()
