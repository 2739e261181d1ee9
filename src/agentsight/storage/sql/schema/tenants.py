"""Whose everything is, who gets in, and what they did."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Text

from .base import Id, key, metadata

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

attempt = Table(  # failed sign-ins; across organizations, for nobody is known yet
    "sign_in_attempt",
    metadata,
    Column("name", Text, primary_key=True),  # the SHA-256 of an account or an address
    Column("failures", Integer, nullable=False),
    Column("last_us", BigInteger, nullable=False),
    Column("until_us", BigInteger, nullable=False),
    Index("sign_in_attempt_last", "last_us"),
)

audit = Table(
    "audit",
    metadata,
    Column("organization_id", Id, ForeignKey("organization.id"), primary_key=True, autoincrement=False),
    key("number", BigInteger),
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
