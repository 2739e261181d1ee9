"""Reports somebody froze, links somebody shared."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, Text

from .base import Id, metadata

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
