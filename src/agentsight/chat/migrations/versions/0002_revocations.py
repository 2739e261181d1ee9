"""Tokens that are good no more."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only."""
    op.create_table(
        "chat_revocations",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("revoked_us", sa.BigInteger(), nullable=False),
        sa.Column("ends_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_chat_revocations"),
    )
