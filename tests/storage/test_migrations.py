"""The tables come from the migrations: on both engines the same, once however many begin, whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from agentsight.commands.maintenance import _examine
from agentsight.core.ports import Storage
from agentsight.errors import AgentSightError, ConfigError
from agentsight.server.settings import Settings
from agentsight.storage import open_storage
from agentsight.storage.migrate import _config, current, fits, latest, migrate
from agentsight.storage.sql.schema import metadata
from served import Postgresql, environment

from .conftest import accepting, new_agent


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with nothing in it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'a.db'}"
    postgresql: Postgresql = request.getfixturevalue("postgresql")
    return postgresql.empty()


@pytest.fixture
def empty(url: str) -> Iterator[Storage]:
    opened = open_storage(url)
    yield opened
    opened.close()


def upgraded(storage: Any, revision: str) -> None:
    """Bring an empty database to an older version's schema."""
    with storage.migrating() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()


def _plain(kind: Any, storage: Any) -> str:
    return str(kind.compile(storage.engine.dialect)).split(" COLLATE")[0].replace("DOUBLE PRECISION", "FLOAT")


def test_they_build_the_tables_the_code_expects(empty: Any):
    migrate(empty)
    with empty.engine.connect() as connection:
        found = inspect(connection)
        assert set(metadata.tables) <= set(found.get_table_names())
        own = {"event": {"folded"}} if empty.engine.dialect.name == "postgresql" else {}
        for table in metadata.sorted_tables:
            wanted = {column.name: (bool(column.nullable), _plain(column.type, empty)) for column in table.columns}
            built = {
                column["name"]: (bool(column["nullable"]), _plain(column["type"], empty))
                for column in found.get_columns(table.name)
            }
            assert {name: told for name, told in built.items() if name not in own.get(table.name, ())} == wanted
            keys = found.get_pk_constraint(table.name)["constrained_columns"]
            assert keys == [column.name for column in table.primary_key], table.name
            indexes = {
                (index["name"], bool(index["unique"]), tuple(index["column_names"]))
                for index in found.get_indexes(table.name)
                if not index.get("duplicates_constraint") and index["name"] != "event_said"
            }
            expected = {
                (str(i.name), bool(i.unique), tuple(column.name for column in i.columns)) for i in table.indexes
            }
            assert indexes == expected, table.name


def test_an_empty_database_is_brought_up_to_date_and_one_that_is_stays(empty: Storage):
    assert current(empty) is None
    assert migrate(empty) == (None, latest())
    assert migrate(empty) == (latest(), latest())


def test_a_filled_database_of_the_first_release_keeps_what_is_in_it(empty: Any):
    upgraded(empty, "0001")
    with empty.engine.begin() as connection:
        connection.execute(text("INSERT INTO organization (id, name, slug, created_us) VALUES (7, 'Čaj', 'caj', 1)"))
    assert migrate(empty) == ("0001", latest())
    kept = empty.read(lambda store: store.tenants.organization(7))
    assert kept is not None and kept.name == "Čaj"
    agent = new_agent(empty)
    assert agent.organization_id == 8, "ids go on after the highest"


def test_processes_that_start_together_do_not_trip_over_each_other(postgresql: Postgresql):
    url = postgresql.empty()
    program = [sys.executable, "-m", "agentsight.cli", "migrate", "--json", "--database", url]
    started = [subprocess.Popen(program, env=environment(), stdout=subprocess.PIPE, text=True) for _ in range(4)]
    told = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0, 0]
    assert sum('"before": null' in said for said in told) == 1, "one of them did it, the others found it done"


def test_a_migration_that_fails_leaves_the_database_at_the_one_before_and_can_be_done_again(empty: Any):
    scripts = [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()][::-1]
    upgraded(empty, "0001")
    before = _tables(empty)
    last = next(name for name in reversed(_made_by(scripts[1])) if name in metadata.tables)
    with empty.engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE {last} (in_the_way INTEGER)"))
    with pytest.raises(AgentSightError if empty.engine.dialect.name == "sqlite" else DBAPIError):
        migrate(empty)
    assert current(empty) == "0001" and _tables(empty) == before | {last}
    with empty.engine.begin() as connection:
        connection.execute(text(f"DROP TABLE {last}"))
    assert migrate(empty) == ("0001", latest())


def _tables(storage: Any) -> set[str]:
    with storage.engine.connect() as connection:
        return set(inspect(connection).get_table_names())


def _made_by(revision: str) -> list[str]:
    """The tables a migration creates, in its order."""
    script = ScriptDirectory.from_config(_config()).get_revision(revision)
    source = Path(script.path).read_text()
    return [line.split('"')[1] for line in source.split("op.create_table(")[1:]]


def test_a_newer_versions_database_is_left_alone_and_worked_on(empty: Any):
    """While servers are replaced one by one, old and new ones share a database for a while."""
    migrate(empty)
    with empty.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(text("ALTER TABLE conversation ADD COLUMN mood TEXT"))
    assert migrate(empty) == ("9999", "9999") and fits("9999") and not fits("0001") and not fits(None)
    agent = new_agent(empty)
    (verdict,) = empty.write(accepting(agent, {"id": "e", "kind": "message", "conversation_id": "c", **SAID})).result()
    assert verdict.verdict == "accepted"


SAID = {"occurred_at": "2026-11-21T08:00:00Z", "sender": "agent", "content": "hi"}


def test_migrations_only_add_what_older_versions_need_not_fill():
    first = ScriptDirectory.from_config(_config()).get_revision("0001")
    old = Path(first.path).read_text()
    for table in metadata.sorted_tables:
        created = old.partition(f'op.create_table(\n        "{table.name}",')[2].partition("op.create_table(")[0]
        if created:
            for column in table.columns:
                known = f'"{column.name}"' in created
                assert known or column.nullable or column.server_default is not None, f"{table.name}.{column.name}"


def test_migrations_are_one_line_and_go_forward_only():
    scripts = ScriptDirectory.from_config(_config())
    assert len(scripts.get_heads()) == 1
    assert all(not hasattr(revision.module, "downgrade") for revision in scripts.walk_revisions())


def test_a_server_that_is_too_old_is_refused_in_one_line_by_every_command(
    postgresql: Postgresql, monkeypatch: pytest.MonkeyPatch
):
    url = postgresql.fresh()
    monkeypatch.setattr("agentsight.storage.postgresql.connecting.OLDEST", 99)
    opened = open_storage(url)
    try:
        for ask in (
            migrate,
            current,
            lambda storage: storage.facts(),
            lambda storage: storage.read(lambda store: None),
        ):
            with pytest.raises(ConfigError, match="PostgreSQL 99 or newer is needed"):
                ask(opened)
        with pytest.raises(ConfigError, match="is needed"):
            opened.write(lambda store: None).result()
        finding = next(one for one in _examine(Settings.of(None, url)) if one.check == "database")
        assert "99 or newer" in finding.remedy
    finally:
        opened.close()


def test_texts_compare_by_their_bytes_on_every_engine(postgresql: Postgresql):
    opened: Any = open_storage(postgresql.fresh())
    with opened.engine.connect() as connection:
        other = connection.exec_driver_sql(
            "SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
            "JOIN pg_collation l ON l.oid = a.attcollation WHERE c.relnamespace = 'public'::regnamespace "
            "AND c.relkind = 'r' AND c.relname <> 'alembic_version' AND a.attnum > 0 AND l.collname <> 'C'"
        ).fetchall()
    opened.close()
    assert other == []
