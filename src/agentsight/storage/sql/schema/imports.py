"""Files of history on their way in."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Table, Text

from .base import Id, metadata

import_run = Table(
    "import_run",
    metadata,
    Column("token", Text, primary_key=True),
    Column("organization_id", Id, ForeignKey("organization.id"), nullable=False),
    Column("agent_id", Id, nullable=False),
    Column("told_us", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
)
