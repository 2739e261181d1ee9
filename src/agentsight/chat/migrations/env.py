"""Alembic runs here. The connection comes from `Database.migrate`."""

from alembic import context

from agentsight.chat.schema import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, compare_type=True,
                  version_table="chat_alembic_version")  # fmt: skip
with context.begin_transaction():
    context.run_migrations()
