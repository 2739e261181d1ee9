"""Host names of organizations."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "host_name",
        sa.Column("host", sa.Text(), primary_key=True),
        sa.Column("organization_id", ID, sa.ForeignKey("organization.id"), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("seen_us", sa.BigInteger()),
    )
    op.create_index("host_name_organization", "host_name", ["organization_id"])
