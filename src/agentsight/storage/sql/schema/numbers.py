"""What numbers are read from, and what became of what was sent.

Buckets are quarters of an hour since 1970; measures, planes and facets are those of core/measures.py.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, SmallInteger, Table, Text

from .base import Id, key, metadata

facet = Table(
    "facet",
    metadata,
    key("agent_id", Id),
    key("plane", SmallInteger),
    key("id", BigInteger),
    Column("country", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("language", Text, nullable=False),
    sqlite_with_rowid=False,
)

rollup = Table(
    "rollup",
    metadata,
    key("agent_id", Id),
    key("production", SmallInteger),
    key("plane", SmallInteger),
    key("measure", SmallInteger),
    key("bucket", Integer),
    key("facet", BigInteger),
    Column("key", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

tally = Table(  # what one conversation adds in a bucket: the sums of a family of measures
    "tally",
    metadata,
    key("agent_id", Id),
    key("conversation", Id),
    key("family", SmallInteger),
    key("bucket", Integer),
    Column("key", Text, primary_key=True),
    *(Column(f"sum{place + 1}", BigInteger, nullable=False) for place in range(6)),
    sqlite_with_rowid=False,
)

presence = Table(
    "presence",
    metadata,
    key("agent_id", Id),
    key("production", SmallInteger),
    key("slice", SmallInteger),  # of the customers, by their last four bits
    key("bucket", Integer),
    key("customer", BigInteger),
    key("facet", BigInteger),
    Column("messages", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

past = Table(  # counts the changes of days that are over: what was remembered of them is no longer true
    "past",
    metadata,
    key("agent_id", Id),
    Column("changes", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

delivery = Table(
    "delivery",
    metadata,
    key("agent_id", Id),
    key("day", Integer),  # since 1970, UTC
    key("key_id", Id),
    Column("client", Text, primary_key=True),
    Column("outcome", Text, primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
