"""What clients 0.1.x bring beside events."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, Table, Text

from .base import Id, metadata

trace_span = Table(  # as it was sent; events are made of it
    "trace_span",
    metadata,
    Column("id", Id, primary_key=True),
    Column("agent_id", Id, nullable=False),
    Column("conversation", Id, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("span_id", Text, nullable=False),
    Column("parent_span_id", Text),
    Column("turn_id", Text),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("ended_us", BigInteger),
    Column("duration_ms", Float),
    Column("incomplete", Text),  # why a turn did not come to its end
    Column("payload", Text, nullable=False),  # JSON in ASCII: whatever was sent, every database can hold it
    Index("trace_span_once", "agent_id", "trace_id", "span_id", "conversation", unique=True),
    Index("trace_span_newest", "agent_id", "started_us", "id"),
    Index("trace_span_conversation", "conversation", "started_us"),
)

action = Table(  # what people say of an action; it may never have run
    "action",
    metadata,
    Column("id", Id, primary_key=True),
    Column("agent_id", Id, nullable=False),
    Column("name", Text, nullable=False),
    Column("display_name", Text),
    Column("description", Text),
    Index("action_named", "agent_id", "name", unique=True),
)

ticket = Table(
    "ticket",
    metadata,
    Column("id", Id, primary_key=True),
    Column("agent_id", Id, nullable=False),
    Column("conversation", Id),
    Column("feedback", Id),
    Column("title", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("priority", Text),
    Column("tags", Text, nullable=False),
    Column("environment", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Index("ticket_newest", "agent_id", "created_us"),
    Index("ticket_conversation", "conversation"),
    Index("ticket_feedback", "feedback"),
)

ticket_comment = Table(
    "ticket_comment",
    metadata,
    Column("id", Id, primary_key=True),
    Column("agent_id", Id, nullable=False),
    Column("ticket", Id, nullable=False),
    Column("author", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Index("ticket_comment_thread", "ticket", "id"),
)
