"""The chat tables. Times are microseconds since 1970, UTC; integer keys order messages, never times."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, Index, MetaData, String, Text, UniqueConstraint
from sqlalchemy import text as sql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
RUNNING = sql("status = 'running'")


class Base(DeclarativeBase):
    """All chat tables; constraints are named, so that both engines name them alike."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar = {Any: JSON, str: Text}


class Conversation(Base):
    """One thread of one user. `uid` is its name outside this database; `external_id` is what its client calls it."""

    __tablename__ = "chat_conversations"
    __table_args__ = (
        UniqueConstraint("user_id", "external_id"),
        Index(None, "user_id", "id"),
        {"sqlite_autoincrement": True},
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(String(32), default=lambda: uuid.uuid4().hex)
    user_id: Mapped[str] = mapped_column(String(255))
    external_id: Mapped[str | None] = mapped_column(String(255))
    title: Mapped[str] = mapped_column(String(200))
    created_us: Mapped[int] = mapped_column(BigInteger)
    updated_us: Mapped[int] = mapped_column(BigInteger)
    deleted_us: Mapped[int | None] = mapped_column(BigInteger)


class Message(Base):
    """What was said. A partial answer was cut short; a superseded one gave way to a better one."""

    __tablename__ = "chat_messages"
    __table_args__ = (
        CheckConstraint("role in ('user', 'assistant')", name="role"),
        Index(None, "conversation_id", "id"),
        {"sqlite_autoincrement": True},
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey(Conversation.id, ondelete="CASCADE"))
    role: Mapped[str] = mapped_column(String(20))
    content: Mapped[str]
    partial: Mapped[bool] = mapped_column(default=False)
    superseded: Mapped[bool] = mapped_column(default=False)
    created_us: Mapped[int] = mapped_column(BigInteger)


class Run(Base):
    """One answer being written, or written. The partial unique index is the lock: one live run a conversation."""

    __tablename__ = "chat_runs"
    __table_args__ = (
        CheckConstraint("status in ('running', 'completed', 'failed', 'stopped', 'interrupted')", name="status"),
        Index("uq_chat_runs_live", "conversation_id", unique=True, sqlite_where=RUNNING, postgresql_where=RUNNING),
        UniqueConstraint("user_id", "idempotency_key"),
        Index(None, "user_id", "started_us"),
        *(Index(None, owner) for owner in ("conversation_id", "user_message_id", "message_id")),
        Index("ix_chat_runs_untracked", "finished_us", sqlite_where=sql("tracked_us is null"),
              postgresql_where=sql("tracked_us is null")),
    )  # fmt: skip
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey(Conversation.id, ondelete="CASCADE"))
    user_id: Mapped[str] = mapped_column(String(255))
    user_message_id: Mapped[int] = mapped_column(ForeignKey(Message.id, ondelete="CASCADE"))
    message_id: Mapped[int | None] = mapped_column(ForeignKey(Message.id, ondelete="SET NULL"))
    regenerates: Mapped[bool] = mapped_column(default=False)
    status: Mapped[str] = mapped_column(String(20), default="running")
    worker: Mapped[str] = mapped_column(String(32))
    provider: Mapped[str] = mapped_column(String(50))
    model: Mapped[str] = mapped_column(String(255))
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    request_hash: Mapped[str | None] = mapped_column(String(64))
    draft: Mapped[str] = mapped_column(default="")
    native: Mapped[Any] = mapped_column(JSON(none_as_null=True), nullable=True)
    native_format: Mapped[str | None] = mapped_column(String(50))
    error_code: Mapped[str | None] = mapped_column(String(50))
    input_tokens: Mapped[int | None] = mapped_column(BigInteger)
    output_tokens: Mapped[int | None] = mapped_column(BigInteger)
    last_seq: Mapped[int] = mapped_column(default=0)
    stop_requested: Mapped[bool] = mapped_column(default=False)
    started_us: Mapped[int] = mapped_column(BigInteger)
    beat_us: Mapped[int] = mapped_column(BigInteger)
    finished_us: Mapped[int | None] = mapped_column(BigInteger)
    tracked_us: Mapped[int | None] = mapped_column(BigInteger)


class ToolRun(Base):
    """One tool call of a run."""

    __tablename__ = "chat_tool_calls"
    __table_args__ = (
        CheckConstraint("status in ('running', 'ok', 'error', 'interrupted')", name="status"),
        Index(None, "run_id", "id"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey(Run.id, ondelete="CASCADE"))
    call_id: Mapped[str] = mapped_column(String(255))
    tool_name: Mapped[str] = mapped_column(String(255))
    parameters: Mapped[Any] = mapped_column(JSON)
    result: Mapped[Any] = mapped_column(JSON, nullable=True)
    status: Mapped[str] = mapped_column(String(20), default="running")
    duration_ms: Mapped[int | None] = mapped_column(BigInteger)
    started_us: Mapped[int] = mapped_column(BigInteger)


class Revocation(Base):
    """A token, or all of a user's until then, that is good no more; named by a hash."""

    __tablename__ = "chat_revocations"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    revoked_us: Mapped[int] = mapped_column(BigInteger)
    ends_us: Mapped[int | None] = mapped_column(BigInteger)


class Task(Base):
    """One thing to do, of one user."""

    __tablename__ = "todo_tasks"
    __table_args__ = (Index(None, "user_id", "id"), {"sqlite_autoincrement": True})
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(String(255))
    title: Mapped[str] = mapped_column(String(200))
    description: Mapped[str] = mapped_column(default="")
    completed: Mapped[bool] = mapped_column(default=False)
    created_us: Mapped[int] = mapped_column(BigInteger)
    updated_us: Mapped[int] = mapped_column(BigInteger)
