"""Alembic runs this; the connection is handed in by `storage.migrate`, so there is no alembic.ini."""

from alembic import context

from agentsight.storage.sql.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
