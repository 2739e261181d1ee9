"""Who names a file: what lets it go when nobody does any more."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_index("attachment_file", "attachment", ["sha256"])
