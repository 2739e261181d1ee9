"""People: passwords, invitations, sessions, failed sign-ins, the audit log; keys with a name; archived agents."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ADDED: dict[str, list[tuple[str, sa.types.TypeEngine[Any]]]] = {
    "agent": [("archived_us", sa.BigInteger())],
    "api_key": [("name", sa.Text()), ("author", sa.Text())],
    "user_account": [
        ("name", sa.Text()),
        ("password", sa.Text()),
        ("signed_in_us", sa.BigInteger()),
        ("signed_out_us", sa.BigInteger()),
    ],
    "session": [("seen_us", sa.BigInteger()), ("ip", sa.Text()), ("device", sa.Text())],
}


def upgrade() -> None:
    for table, columns in ADDED.items():
        for name, kind in columns:
            op.add_column(table, sa.Column(name, kind))
    op.create_index("session_user", "session", ["user_id"])
    op.create_table(
        "invitation",
        sa.Column("id", ID, primary_key=True),
        sa.Column("organization_id", ID, sa.ForeignKey("organization.id"), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False, unique=True),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("agent_ids", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.Column("used_us", sa.BigInteger()),
        sa.Column("revoked_us", sa.BigInteger()),
    )
    op.create_index("invitation_newest", "invitation", ["organization_id", "created_us"])
    op.create_table(
        "sign_in_attempt",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_us", sa.BigInteger(), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=False),
    )
    op.create_index("sign_in_attempt_last", "sign_in_attempt", ["last_us"])
    op.create_table(
        "audit",
        sa.Column("organization_id", ID, sa.ForeignKey("organization.id"), primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("ip", sa.Text()),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("seal", sa.Text(), nullable=False),
    )
    op.create_table(
        "audit_head",
        sa.Column("organization_id", ID, sa.ForeignKey("organization.id"), primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.Text(), nullable=False),
    )
