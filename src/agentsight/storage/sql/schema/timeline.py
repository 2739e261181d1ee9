"""Conversations and what happened in them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, Table, Text

from .base import Id, key, metadata, where

conversation = Table(
    "conversation",
    metadata,
    Column("id", Id, primary_key=True),
    Column("agent_id", Id, nullable=False),
    Column("conversation_id", Text, nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("ended_us", BigInteger),
    Column("customer_id", Text),
    Column("customer_ip_address", Text),
    Column("country", Text),
    Column("device", Text),
    Column("device_kind", Text),
    Column("source", Text),
    Column("language", Text),
    Column("name", Text),
    Column("environment", Text),
    Column("is_used", Boolean, nullable=False),
    Column("is_opened", Boolean, nullable=False),
    Column("is_marked", Boolean, nullable=False),
    Column("is_escalated", Boolean, nullable=False),
    Column("deleted_us", BigInteger),
    Column("message_count", Integer, nullable=False),
    Column("action_count", Integer, nullable=False),
    Column("error_count", Integer, nullable=False),
    Column("feedback_count", Integer, nullable=False),
    Column("sentiment", Text),
    Column("open_since_us", BigInteger),
    Column("last_message_us", BigInteger),
    Column("last_message_seq", BigInteger, nullable=False),
    Column("described_us", BigInteger),
    Column("stripped_us", BigInteger),
    Column("metadata", Text, nullable=False),
    Column("overrides", Text, nullable=False),
)
Index(
    "conversation_live",
    conversation.c.agent_id,
    conversation.c.conversation_id,
    unique=True,
    **where("deleted_us IS NULL"),
)
Index(
    "conversation_newest",
    conversation.c.agent_id,
    conversation.c.started_us,
    conversation.c.id,
    **where("deleted_us IS NULL"),
)
Index("conversation_customer", conversation.c.agent_id, conversation.c.customer_id)

event = Table(
    "event",
    metadata,
    Column("id", Id, primary_key=True),
    Column("agent_id", Id, nullable=False),
    Column("conversation", Id, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("occurred_us", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("sender", Text),
    Column("content", Text),
    Column("name", Text),
    Column("duration_ms", Float),
    Column("error", Text),
    Column("detail", Text),
    Column("metadata", Text),
    Index("event_once", "agent_id", "event_id", unique=True),
    Index("event_timeline", "conversation", "occurred_us", "seq"),
)
Index(
    "event_action",
    event.c.agent_id,
    event.c.name,
    event.c.conversation,
    **where("kind = 'action'"),
)
Index(
    "event_usage",
    event.c.agent_id,
    event.c.occurred_us,
    **where("kind = 'token_usage'"),
)

button = Table(
    "button",
    metadata,
    key("agent_id", Id),
    Column("button_event", Text, primary_key=True),
    Column("label", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    sqlite_with_rowid=False,
)

attachment = Table(
    "attachment",
    metadata,
    Column("id", Id, primary_key=True),
    Column("agent_id", Id, nullable=False),
    Column("conversation", Id, nullable=False),
    Column("event", Id, nullable=False),
    Column("filename", Text, nullable=False),
    Column("mime_type", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Index("attachment_conversation", "conversation"),
    Index("attachment_file", "sha256"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", Id, primary_key=True),
    Column("agent_id", Id, nullable=False),
    Column("conversation", Id, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("sentiment", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("comment", Text),
    Column("metadata", Text, nullable=False),
    Column("message", Id),  # of a vote on one message
    Column("topic", Text),
    Column("reason", Text),
    Column("environment", Text),  # of feedback on the agent itself, whose conversation is 0
    Index("feedback_once", "agent_id", "event_id", unique=True),
    Index("feedback_conversation", "conversation"),
)
