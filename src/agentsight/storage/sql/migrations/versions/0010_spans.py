"""What clients 0.1.x bring beside events: spans as they were sent, tickets, actions with a description, votes on messages."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_index(
        "event_usage",
        "event",
        ["agent_id", "occurred_us"],
        sqlite_where=sa.text("kind = 'token_usage'"),
        postgresql_where=sa.text("kind = 'token_usage'"),
    )
    op.add_column("feedback", sa.Column("message", ID))
    for name in ("topic", "reason", "environment"):
        op.add_column("feedback", sa.Column(name, sa.Text()))
    op.create_table(
        "trace_span",
        *_begins(),
        sa.Column("conversation", ID, nullable=False),
        *_texts("trace_id", "span_id"),
        sa.Column("parent_span_id", sa.Text()),
        sa.Column("turn_id", sa.Text()),
        *_texts("kind", "name", "status"),
        sa.Column("started_us", sa.BigInteger(), nullable=False),
        sa.Column("ended_us", sa.BigInteger()),
        sa.Column("duration_ms", sa.Float()),
        sa.Column("incomplete", sa.Text()),
        *_texts("payload"),
    )
    op.create_index("trace_span_once", "trace_span", ["agent_id", "trace_id", "span_id", "conversation"], unique=True)
    op.create_index("trace_span_newest", "trace_span", ["agent_id", "started_us", "id"])
    op.create_index("trace_span_conversation", "trace_span", ["conversation", "started_us"])
    op.create_table(
        "action",
        *_begins(),
        *_texts("name"),
        sa.Column("display_name", sa.Text()),
        sa.Column("description", sa.Text()),
    )
    op.create_index("action_named", "action", ["agent_id", "name"], unique=True)
    op.create_table(
        "ticket",
        *_begins(),
        sa.Column("conversation", ID),
        sa.Column("feedback", ID),
        *_texts("title", "status"),
        sa.Column("priority", sa.Text()),
        *_texts("tags", "environment", "author"),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
    )
    op.create_index("ticket_newest", "ticket", ["agent_id", "created_us"])
    op.create_index("ticket_conversation", "ticket", ["conversation"])
    op.create_index("ticket_feedback", "ticket", ["feedback"])
    op.create_table(
        "ticket_comment",
        *_begins(),
        sa.Column("ticket", ID, nullable=False),
        *_texts("author", "role", "body"),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
    )
    op.create_index("ticket_comment_thread", "ticket_comment", ["ticket", "id"])


def _begins() -> tuple[sa.Column[Any], sa.Column[Any]]:
    return sa.Column("id", ID, primary_key=True), sa.Column("agent_id", ID, nullable=False)


def _texts(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]
