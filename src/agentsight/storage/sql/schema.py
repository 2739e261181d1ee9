"""The tables, once. Every table that grows carries `agent_id`; times are integer microseconds; JSON is text.

Migrations beside this file create them; a test holds the two equal.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)

metadata = MetaData()

Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite grows row ids only in a column of type INTEGER

organization = Table(
    "organization",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("slug", Text, nullable=False, unique=True),
    Column("timezone", Text, nullable=False, server_default="UTC"),
    Column("settings", Text, nullable=False, server_default="{}"),
    Column("created_us", BigInteger, nullable=False),
)

host_name = Table(
    "host_name",
    metadata,
    Column("host", Text, primary_key=True),
    Column("organization_id", Id, ForeignKey("organization.id"), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("seen_us", BigInteger),
    Index("host_name_organization", "organization_id"),
)

agent = Table(
    "agent",
    metadata,
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey("organization.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("slug", Text, nullable=False),
    Column("settings", Text, nullable=False, server_default="{}"),
    Column("created_us", BigInteger, nullable=False),
    Column("archived_us", BigInteger),
    Index("agent_name", "organization_id", "name", unique=True),
    Index("agent_slug", "organization_id", "slug", unique=True),
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", Id, primary_key=True),
    Column("agent_id", Id, ForeignKey("agent.id"), nullable=False),
    Column("prefix", Text, nullable=False),
    Column("digest", Text, nullable=False, unique=True),  # SHA-256: enough for 128 random bits
    Column("role", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("last_used_us", BigInteger),
    Column("expires_us", BigInteger),
    Column("revoked_us", BigInteger),
    Column("name", Text),
    Column("author", Text),
)

user = Table(
    "user_account",
    metadata,
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey("organization.id"), nullable=False),
    Column("email", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("agent_ids", Text, nullable=False, server_default="[]"),
    Column("created_us", BigInteger, nullable=False),
    Column("name", Text),
    Column("password", Text),  # argon2id
    Column("signed_in_us", BigInteger),
    Column("signed_out_us", BigInteger),  # everywhere: no token made before it holds any longer
)

invitation = Table(
    "invitation",
    metadata,
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey("organization.id"), nullable=False),
    Column("digest", Text, nullable=False, unique=True),
    Column("email", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("agent_ids", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Column("used_us", BigInteger),
    Column("revoked_us", BigInteger),
    Index("invitation_newest", "organization_id", "created_us"),
)

sign_in_link = Table(
    "sign_in_link",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("user_id", Id, ForeignKey("user_account.id"), nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Column("used_us", BigInteger),
)

session = Table(
    "session",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("user_id", Id, ForeignKey("user_account.id"), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Column("seen_us", BigInteger),
    Column("ip", Text),
    Column("device", Text),
    Index("session_user", "user_id"),
)

attempt = (
    Table(  # failed sign-ins, by the SHA-256 of an account or an address; across organizations, for nobody is known yet
        "sign_in_attempt",
        metadata,
        Column("name", Text, primary_key=True),
        Column("failures", Integer, nullable=False),
        Column("last_us", BigInteger, nullable=False),
        Column("until_us", BigInteger, nullable=False),
        Index("sign_in_attempt_last", "last_us"),
    )
)

audit = Table(
    "audit",
    metadata,
    Column("organization_id", Id, ForeignKey("organization.id"), primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("ip", Text),
    Column("result", Text, nullable=False),
    Column("seal", Text, nullable=False),
)

audit_head = Table(  # the last line of each log: writers queue here, and a log cut short shows
    "audit_head",
    metadata,
    Column("organization_id", Id, ForeignKey("organization.id"), primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("seal", Text, nullable=False),
)

marker = Table(
    "marker",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

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
    sqlite_where=text("deleted_us IS NULL"),
    postgresql_where=text("deleted_us IS NULL"),
)
Index(
    "conversation_newest",
    conversation.c.agent_id,
    conversation.c.started_us,
    conversation.c.id,
    sqlite_where=text("deleted_us IS NULL"),
    postgresql_where=text("deleted_us IS NULL"),
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
    sqlite_where=text("kind = 'action'"),
    postgresql_where=text("kind = 'action'"),
)
Index(
    "event_usage",
    event.c.agent_id,
    event.c.occurred_us,
    sqlite_where=text("kind = 'token_usage'"),
    postgresql_where=text("kind = 'token_usage'"),
)

button = Table(
    "button",
    metadata,
    Column("agent_id", Id, primary_key=True, autoincrement=False),
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

# -- what clients 0.1.x bring beside events ---------------------------------------------------------------------------

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

# -- rollups: what the numbers are read from -------------------------------------------------------------------------
# Buckets are quarters of an hour since 1970; measures, planes and facets are those of core/measures.py.

facet = Table(
    "facet",
    metadata,
    Column("agent_id", Id, primary_key=True, autoincrement=False),
    Column("plane", SmallInteger, primary_key=True, autoincrement=False),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("country", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("language", Text, nullable=False),
    sqlite_with_rowid=False,
)

rollup = Table(
    "rollup",
    metadata,
    Column("agent_id", Id, primary_key=True, autoincrement=False),
    Column("production", SmallInteger, primary_key=True, autoincrement=False),
    Column("plane", SmallInteger, primary_key=True, autoincrement=False),
    Column("measure", SmallInteger, primary_key=True, autoincrement=False),
    Column("bucket", Integer, primary_key=True, autoincrement=False),
    Column("facet", BigInteger, primary_key=True, autoincrement=False),
    Column("key", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

tally = Table(  # what one conversation adds in a bucket: the sums of a family of measures
    "tally",
    metadata,
    Column("agent_id", Id, primary_key=True, autoincrement=False),
    Column("conversation", Id, primary_key=True, autoincrement=False),
    Column("family", SmallInteger, primary_key=True, autoincrement=False),
    Column("bucket", Integer, primary_key=True, autoincrement=False),
    Column("key", Text, primary_key=True),
    *(Column(f"sum{place + 1}", BigInteger, nullable=False) for place in range(6)),
    sqlite_with_rowid=False,
)

presence = Table(
    "presence",
    metadata,
    Column("agent_id", Id, primary_key=True, autoincrement=False),
    Column("production", SmallInteger, primary_key=True, autoincrement=False),
    Column("slice", SmallInteger, primary_key=True, autoincrement=False),  # of the customers, by their last four bits
    Column("bucket", Integer, primary_key=True, autoincrement=False),
    Column("customer", BigInteger, primary_key=True, autoincrement=False),
    Column("facet", BigInteger, primary_key=True, autoincrement=False),
    Column("messages", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

past = Table(  # counts the changes of days that are over: what was remembered of them is no longer true
    "past",
    metadata,
    Column("agent_id", Id, primary_key=True, autoincrement=False),
    Column("changes", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# -- letting go: what stays of conversations that went ----------------------------------------------------------------


def _like(name: str, table: Table) -> Table:
    """Another table with the same columns."""
    columns = [column._copy() for column in table.columns]
    return Table(name, metadata, *columns, sqlite_with_rowid=False)


kept_rollup = _like("kept_rollup", rollup)  # what erased conversations had added to the sums
kept_presence = _like("kept_presence", presence)

tombstone = Table(
    "tombstone",
    metadata,
    Column("agent_id", Id, primary_key=True, autoincrement=False),
    Column("digest", Text, primary_key=True),  # keyed: it tells who comes back to the one who asks, and nobody else
    Column("erased_us", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# -- what became of what was sent ------------------------------------------------------------------------------------

delivery = Table(
    "delivery",
    metadata,
    Column("agent_id", Id, primary_key=True, autoincrement=False),
    Column("day", Integer, primary_key=True, autoincrement=False),  # since 1970, UTC
    Column("key_id", Id, primary_key=True, autoincrement=False),
    Column("client", Text, primary_key=True),
    Column("outcome", Text, primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# -- the dashboard: reports somebody froze, links somebody shared ----------------------------------------------------

report = Table(
    "report",
    metadata,
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey("organization.id"), nullable=False),
    Column("agent_ids", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("address", Text, nullable=False),
    Column("body", Text, nullable=False),
    Index("report_newest", "organization_id", "created_us"),
)

share = Table(
    "share",
    metadata,
    Column("id", Id, primary_key=True),
    Column("organization_id", Id, ForeignKey("organization.id"), nullable=False),
    Column("agent_ids", Text, nullable=False),
    Column("digest", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("target", BigInteger),
    Column("name", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("hosts", Text, nullable=False),
    Column("password", Text),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger),
    Column("revoked_us", BigInteger),
    Column("views", Integer, nullable=False, server_default="0"),
    Column("viewed_us", BigInteger),
    Column("sight", Text, nullable=False, server_default="numbers"),
    Column("theme", Text, nullable=False, server_default="auto"),
    Column("widgets", Text, nullable=False, server_default="[]"),
    Index("share_newest", "organization_id", "created_us"),
)
