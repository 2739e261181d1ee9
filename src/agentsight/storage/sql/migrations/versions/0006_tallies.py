"""Sums by day instead of quarter of an hour where only days are asked for; tallies, what each conversation adds."""

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from agentsight.core.counting import facet_of, whole
from agentsight.core.measures import Deltas
from agentsight.core.model import Conversation, Event, Feedback

revision = "0006"
down_revision = "0005"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
AT_ONCE = 500
HEADS = (
    "id, agent_id, conversation_id, started_us, ended_us, is_used, is_opened, is_escalated, environment "
    "FROM conversation WHERE deleted_us IS NULL"
)
EVENTS = "conversation, id, kind, occurred_us, seq, sender, name, duration_ms, error, detail FROM event"
FEEDBACKS = "conversation, id, agent_id, event_id, sentiment, source, created_us FROM feedback"


def upgrade() -> None:
    op.create_table(
        "tally",
        sa.Column("agent_id", ID, primary_key=True, autoincrement=False),
        sa.Column("conversation", ID, primary_key=True, autoincrement=False),
        sa.Column("family", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("bucket", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("key", sa.Text(), primary_key=True),
        *(sa.Column(f"sum{place}", sa.BigInteger(), nullable=False) for place in range(1, 7)),
        sqlite_with_rowid=False,
    )
    for table in ("rollup", "kept_rollup"):
        _regroup(table)
    fill(op.get_bind())


def _regroup(table: str) -> None:
    columns = "agent_id, production, plane, measure, bucket, facet, key, value"
    op.execute(  # how many waits there are, so that an average need not read their histogram
        f"INSERT INTO {table} ({columns}) SELECT agent_id, production, plane, 24, bucket, facet, '', SUM(value) "
        f"FROM {table} WHERE measure = 10 GROUP BY agent_id, production, plane, bucket, facet HAVING SUM(value) <> 0"
    )
    op.execute(
        f"INSERT INTO {table} ({columns}) "
        f"SELECT agent_id, production, plane + 16, measure, bucket / 96, facet, key, SUM(value) FROM {table} "
        "WHERE plane < 15 GROUP BY agent_id, production, plane, measure, bucket / 96, facet, key HAVING SUM(value) <> 0"
    )
    op.execute(f"DELETE FROM {table} WHERE plane IN (1, 2, 4, 8)")


def fill(connection: sa.Connection) -> None:
    """Tallies of what is stored already, some conversations at a time."""
    insert = sa.text(
        "INSERT INTO tally (agent_id, conversation, family, bucket, key, sum1, sum2, sum3, sum4, sum5, sum6) "
        "VALUES (:a, :c, :f, :b, :k, :s1, :s2, :s3, :s4, :s5, :s6)"
    )
    for heads in _heads(connection):
        events, feedbacks = _beside(connection, EVENTS, heads), _beside(connection, FEEDBACKS, heads)
        for row in heads:
            head = Conversation(**{name: value for name, value in row.items() if name != "environment"})
            own = [_event(head, told) for told in events[head.id]]
            own.sort(key=lambda event: (event.occurred_us, event.seq, event.id))
            given = [Feedback(**told) for told in feedbacks[head.id]]
            deltas = Deltas()
            deltas.add(row["environment"] == "production", facet_of(head), head.id, whole(head, own, given))
            rows = [
                {"a": head.agent_id, "c": head.id, "f": family, "b": bucket, "k": key}
                | {f"s{place + 1}": value for place, value in enumerate(sums)}
                for _, family, bucket, key, sums in deltas.tally_rows()
            ]
            if rows:
                connection.execute(insert, rows)


def _heads(connection: sa.Connection) -> Iterator[list[dict[str, Any]]]:
    last = 0
    while True:
        asked = sa.text(f"SELECT {HEADS} AND id > :last ORDER BY id LIMIT {AT_ONCE}")
        heads = [dict(row) for row in connection.execute(asked, {"last": last}).mappings()]
        if not heads:
            return
        for head in heads:
            for name in ("is_used", "is_opened", "is_escalated"):
                head[name] = bool(head[name])
        yield heads
        last = heads[-1]["id"]


def _beside(connection: sa.Connection, of: str, heads: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    asked = sa.text(f"SELECT {of} WHERE conversation IN :ids").bindparams(sa.bindparam("ids", expanding=True))
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in connection.execute(asked, {"ids": [head["id"] for head in heads]}).mappings():
        found[row["conversation"]].append(dict(row))
    return found


def _event(head: Conversation, told: dict[str, Any]) -> Event:

    detail = json.loads(told["detail"]) if told["detail"] and told["kind"] in ("token_usage", "attachment") else {}
    return Event(**{**told, "agent_id": head.agent_id, "event_id": "", "detail": detail})
