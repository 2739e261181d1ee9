"""SQLite's search index merges its parts in larger steps, and keeps no lengths of messages, which nobody asks it for."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    if op.get_bind().execute(sa.text("SELECT 1 FROM marker WHERE name = 'indexed'")).first() is None:
        op.execute("DROP TABLE message_text")  # an index in use is not worth building again for a fifteenth of its cost
        op.execute(
            "CREATE VIRTUAL TABLE message_text USING fts5"
            "(content, content='event', content_rowid='id', tokenize='trigram', detail=none, columnsize=0)"
        )
    op.execute("INSERT INTO message_text (message_text, rank) VALUES ('automerge', 12)")
