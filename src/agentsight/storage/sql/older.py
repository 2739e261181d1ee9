"""What versions before migration 0006 leave out of the sums while they work on the same database, and how it is put in.

They keep sums of one dimension by quarters of an hour, on planes that are kept by day since, and know neither tallies nor
how many waits there are. Nobody else writes those planes, so what lies there is what they added since the migration: it goes
on to the days. Tallies are made anew by core, from the events; until that is done a marker says since when they may be wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select

from agentsight.core.measures import (
    ALL_PLANE,
    BUCKET_US,
    DAILY,
    DAY_BUCKETS,
    UNKNOWN,
    WAIT_BINS,
    WAITS,
    Deltas,
    facet_id,
)

from .rollups import KEPT, SqlRollups
from .rows import Driver
from .schema import conversation, marker, tally

PLANES = (1, 2, 4, 8)
TABLES = ("rollup", KEPT["rollup"])
_MARKER = "tallies of agent {}"
_COLUMNS = "agent_id, production, plane, measure, bucket, facet, key"
_THEIRS = f"production IN (0, 1) AND plane IN ({', '.join(map(str, PLANES))})"


class SqlOlder:
    def __init__(self, driver: Driver, rollups: SqlRollups):
        self._driver, self._rollups = driver, rollups

    def worked(self, agent_id: int) -> bool:
        theirs = f"WHERE agent_id = {self._driver.dialect.mark()} AND {_THEIRS} LIMIT 1"
        asked = (f"SELECT 1 FROM {table} {theirs}" for table in TABLES)
        return self._since(agent_id) is not None or any(self._driver.rows(sql, (agent_id,)) for sql in asked)

    def take_up(self, agent_id: int) -> int:
        self._rollups.settle()
        mark = self._driver.dialect.mark()
        first = self._driver.rows(f"SELECT min(bucket) FROM rollup WHERE agent_id = {mark} AND {_THEIRS}", (agent_id,))
        for table in TABLES:
            self._count_waits(table, agent_id)
            self._on_to_days(table, agent_id)
            self._driver.run(f"DELETE FROM {table} WHERE agent_id = {mark} AND {_THEIRS}", (agent_id,))
        gone = select(conversation.c.id).where(
            conversation.c.agent_id == agent_id, conversation.c.deleted_us.is_not(None)
        )
        self._driver.execute(delete(tally).where(tally.c.agent_id == agent_id, tally.c.conversation.in_(gone)))
        self._rollups.past_changed(agent_id)
        known = [bucket for bucket in (first[0][0], self._since(agent_id)) if bucket is not None]
        since = min(known, default=0)
        if known:
            tail = "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
            self._driver.insert(marker, [(_MARKER.format(agent_id), since)], tail=tail)
        return since * BUCKET_US

    def _count_waits(self, table: str, agent_id: int) -> None:
        """Where they added waits to the histograms of a quarter of an hour, as many as these say there are."""
        mark = self._driver.dialect.mark()
        there = (
            f"agent_id = {mark} AND production IN (0, 1) AND plane IN (0, {ALL_PLANE}) AND measure = {{}} AND bucket IN "
            f"(SELECT bucket FROM {table} WHERE agent_id = {mark} AND {_THEIRS} AND measure = {WAIT_BINS})"
        )
        self._driver.run(f"DELETE FROM {table} WHERE {there.format(WAITS)}", (agent_id, agent_id))
        self._driver.run(
            f"INSERT INTO {table} ({_COLUMNS}, value) SELECT agent_id, production, plane, {WAITS}, bucket, facet, '', "
            f"SUM(value) FROM {table} WHERE {there.format(WAIT_BINS)} GROUP BY agent_id, production, plane, bucket, facet",
            (agent_id, agent_id),
        )

    def _on_to_days(self, table: str, agent_id: int) -> None:
        """Add what lies on their planes to the days, and that of one of the planes to the days of everything."""
        mark, everything = self._driver.dialect.mark(), facet_id(0, (UNKNOWN,) * 4)
        for plane, facet, planes in (
            ("plane", "facet", _THEIRS),
            ("0", str(everything), f"production IN (0, 1) AND plane = {PLANES[0]}"),
        ):
            for measure, key, which in (("measure", "key", ""), (str(WAITS), "''", f"AND measure = {WAIT_BINS}")):
                self._driver.run(
                    f"INSERT INTO {table} ({_COLUMNS}, value) SELECT agent_id, production, {plane} + {DAILY}, {measure}, "
                    f"bucket / {DAY_BUCKETS}, {facet}, {key}, SUM(value) FROM {table} WHERE agent_id = {mark} "
                    f"AND {planes} {which} GROUP BY 1, 2, 3, 4, 5, 6, 7 "
                    f"ON CONFLICT ({_COLUMNS}) DO UPDATE SET value = {table}.value + excluded.value",
                    (agent_id,),
                )

    def tally(self, agent_id: int, conversations: Sequence[int], deltas: Deltas) -> None:
        self._rollups.settle()
        own = (tally.c.agent_id == agent_id, tally.c.conversation.in_(conversations))
        self._driver.execute(delete(tally).where(*own))
        rows = sorted((agent_id, *place, *sums) for *place, sums in deltas.tally_rows())
        self._driver.insert(tally, rows)

    def done(self, agent_id: int) -> None:
        self._driver.execute(delete(marker).where(marker.c.name == _MARKER.format(agent_id)))

    def _since(self, agent_id: int) -> int | None:
        mark = self._driver.dialect.mark()
        rows = self._driver.rows(f"SELECT value FROM marker WHERE name = {mark}", (_MARKER.format(agent_id),))
        return int(rows[0][0]) if rows else None
