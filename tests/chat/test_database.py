"""The chat tables come from the migrations, on both engines, from empty and from filled; and locks tell the dead."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import agentsight.chat
from agentsight.chat.database import Database
from agentsight.chat.runs import Ask, End
from agentsight.chat.schema import Base
from agentsight.chat.settings import Settings
from agentsight.chat.store import Store


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def differences(db: Database) -> list[Any]:
    with db.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "version_table": "chat_alembic_version"}
        )
        return compare_metadata(context, Base.metadata)


def test_the_migrations_make_exactly_the_tables_of_the_code(url: str) -> None:
    db = Database(url)
    db.migrate()
    assert differences(db) == []
    db.close()


def test_migrating_again_changes_nothing_and_loses_nothing(url: str) -> None:
    db = Database(url)
    db.migrate()
    store = Store(db, Settings(Path(), url))
    begun = store.start("ann", Ask("hello"), "p", "m")
    store.finish(begun.run_id, End(text="hi"))
    db.migrate()
    assert differences(db) == [] and len(store.messages("ann", begun.conversation_id, None, 9)["items"]) == 2
    db.close()


def test_processes_that_start_together_do_not_trip_over_each_other(url: str) -> None:
    code = f"from agentsight.chat.database import Database; Database({url!r}).migrate()"
    started = [subprocess.Popen([sys.executable, "-c", code], env=environment()) for _ in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
    db = Database(url)
    assert differences(db) == []
    db.close()


def test_migrations_go_forward_only_and_in_one_line() -> None:
    scripts = ScriptDirectory(str(Path(agentsight.chat.__file__).parent / "migrations"))
    assert len(scripts.get_heads()) == 1
    assert all(not hasattr(revision.module, "downgrade") for revision in scripts.walk_revisions())


def test_the_newest_sqlite_at_hand_is_used(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'new' / 'chat.db'}")
    with db.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        version = connection.exec_driver_sql("SELECT sqlite_version()").scalar()
    try:
        import pysqlite3

        assert version == pysqlite3.sqlite_version
    except ImportError:
        pass
    db.close()


def test_a_living_process_is_not_taken_for_dead_and_a_dead_one_is_noticed_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'chat.db'}"
    code = (
        "import sys; from agentsight.chat.database import Database\n"
        f"db = Database({url!r}); print(db.worker.name, flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    )
    assert other.stdout is not None
    name = other.stdout.readline().strip()
    db = Database(url)
    assert db.worker.is_gone(name) is False and db.worker.is_gone(db.worker.name) is False
    other.kill()
    other.wait()
    assert db.worker.is_gone(name) is True and db.worker.is_gone("never was") is True
    db.close()
