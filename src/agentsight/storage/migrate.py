"""The schema, forward only: an empty or older database becomes today's."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

_alembic = threading.Lock()  # Alembic keeps its state in module globals
_SCRIPTS = Path(__file__).parent / "sql" / "migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def latest() -> str:
    """The revision this version of AgentSight needs."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def known(revision: str | None) -> bool:
    """Whether this version can bring a database at that revision up to date."""
    return revision in {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def fits(revision: str | None) -> bool:
    """Whether this version can work on a database at this revision: its own, or a newer version's, for migrations only add."""
    return revision == latest() or (revision is not None and not known(revision))


def current(storage: Any) -> str | None:
    """The revision the database is at; None: empty."""
    with storage.looking() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def migrate(storage: Any) -> tuple[str | None, str]:
    """Bring the database to `latest()`; gives the revisions before and after. Processes that start together take turns.

    A newer version's database stays as it is.
    """
    with _alembic, storage.migrating() as connection:
        before = MigrationContext.configure(connection).get_current_revision()
        connection.rollback()
        if fits(before):
            return before, str(before)
        if before is not None:
            storage.before_migrating(connection, latest())
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
    return before, latest()
