"""The first schema."""

from alembic import op

from agentsight.storage.sql.schema import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    metadata.create_all(op.get_bind())
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE VIRTUAL TABLE message_text USING fts5"
            "(content, content='event', content_rowid='id', tokenize='trigram', detail=none)"
        )
