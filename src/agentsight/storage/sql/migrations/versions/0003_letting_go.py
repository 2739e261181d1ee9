"""Letting go: what erased conversations had added to the sums, who must not come back, when content was removed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("conversation", sa.Column("stripped_us", sa.BigInteger()))
    op.create_table(
        "kept_rollup",
        sa.Column("agent_id", ID, primary_key=True, autoincrement=False),
        sa.Column("production", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("plane", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("measure", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("bucket", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("facet", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "kept_presence",
        sa.Column("agent_id", ID, primary_key=True, autoincrement=False),
        sa.Column("production", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("slice", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("bucket", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("customer", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("facet", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tombstone",
        sa.Column("agent_id", ID, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.Text(), primary_key=True),
        sa.Column("erased_us", sa.BigInteger(), nullable=False),
        sqlite_with_rowid=False,
    )
