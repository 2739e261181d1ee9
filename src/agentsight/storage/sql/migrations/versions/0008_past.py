"""Where changes of days that are over are counted: beside the sums of the same agent, on its node where there are many."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "past",
        sa.Column("agent_id", ID, primary_key=True, autoincrement=False),
        sa.Column("changes", sa.BigInteger(), nullable=False),
        sqlite_with_rowid=False,
    )
