"""How far each file of history on its way in is."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "import_run",
        sa.Column("token", sa.Text(), primary_key=True),
        sa.Column("organization_id", ID, sa.ForeignKey("organization.id"), nullable=False),
        sa.Column("agent_id", ID, nullable=False),
        sa.Column("told_us", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
