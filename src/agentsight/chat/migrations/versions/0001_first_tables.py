"""The first tables of the chat backend."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only."""
    op.create_table(
        "chat_conversations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("uid", sa.String(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("external_id", sa.String(length=255), nullable=True),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.Column("deleted_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_chat_conversations"),
        sa.UniqueConstraint("user_id", "external_id", name="uq_chat_conversations_user_id_external_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_chat_conversations_user_id_id", "chat_conversations", ["user_id", "id"], unique=False)
    op.create_table(
        "todo_tasks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("completed", sa.Boolean(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_todo_tasks"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_todo_tasks_user_id_id", "todo_tasks", ["user_id", "id"], unique=False)
    op.create_table(
        "chat_messages",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("conversation_id", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("partial", sa.Boolean(), nullable=False),
        sa.Column("superseded", sa.Boolean(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("role in ('user', 'assistant')", name="ck_chat_messages_role"),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["chat_conversations.id"], name="fk_chat_messages_conversation_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_chat_messages"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_chat_messages_conversation_id_id", "chat_messages", ["conversation_id", "id"], unique=False)
    op.create_table(
        "chat_runs",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("conversation_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("user_message_id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.Integer(), nullable=True),
        sa.Column("regenerates", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("worker", sa.String(length=32), nullable=False),
        sa.Column("provider", sa.String(length=50), nullable=False),
        sa.Column("model", sa.String(length=255), nullable=False),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("request_hash", sa.String(length=64), nullable=True),
        sa.Column("draft", sa.Text(), nullable=False),
        sa.Column("native", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("native_format", sa.String(length=50), nullable=True),
        sa.Column("error_code", sa.String(length=50), nullable=True),
        sa.Column("input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("last_seq", sa.Integer(), nullable=False),
        sa.Column("stop_requested", sa.Boolean(), nullable=False),
        sa.Column("started_us", sa.BigInteger(), nullable=False),
        sa.Column("beat_us", sa.BigInteger(), nullable=False),
        sa.Column("finished_us", sa.BigInteger(), nullable=True),
        sa.Column("tracked_us", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "status in ('running', 'completed', 'failed', 'stopped', 'interrupted')", name="ck_chat_runs_status"
        ),
        sa.ForeignKeyConstraint(
            ["conversation_id"], ["chat_conversations.id"], name="fk_chat_runs_conversation_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["message_id"], ["chat_messages.id"], name="fk_chat_runs_message_id", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["user_message_id"], ["chat_messages.id"], name="fk_chat_runs_user_message_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_chat_runs"),
        sa.UniqueConstraint("user_id", "idempotency_key", name="uq_chat_runs_user_id_idempotency_key"),
    )
    op.create_index("ix_chat_runs_conversation_id", "chat_runs", ["conversation_id"], unique=False)
    op.create_index("ix_chat_runs_message_id", "chat_runs", ["message_id"], unique=False)
    op.create_index(
        "ix_chat_runs_untracked",
        "chat_runs",
        ["finished_us"],
        unique=False,
        sqlite_where=sa.text("tracked_us is null"),
        postgresql_where=sa.text("tracked_us is null"),
    )
    op.create_index("ix_chat_runs_user_id_started_us", "chat_runs", ["user_id", "started_us"], unique=False)
    op.create_index("ix_chat_runs_user_message_id", "chat_runs", ["user_message_id"], unique=False)
    op.create_index(
        "uq_chat_runs_live",
        "chat_runs",
        ["conversation_id"],
        unique=True,
        sqlite_where=sa.text("status = 'running'"),
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_table(
        "chat_tool_calls",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("call_id", sa.String(length=255), nullable=False),
        sa.Column("tool_name", sa.String(length=255), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("started_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("status in ('running', 'ok', 'error', 'interrupted')", name="ck_chat_tool_calls_status"),
        sa.ForeignKeyConstraint(["run_id"], ["chat_runs.id"], name="fk_chat_tool_calls_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_chat_tool_calls"),
    )
    op.create_index("ix_chat_tool_calls_run_id_id", "chat_tool_calls", ["run_id", "id"], unique=False)
