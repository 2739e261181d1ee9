"""What Citus refuses, as a judge of statements: it needs no Citus, only a parser of SQL.

Each rule is one of Citus's own, with the words it refuses in; where they were read: `SOURCES`. A statement that has to do
with one node alone may be anything PostgreSQL understands; most rules are about those of many agents.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import sqlglot
from sqlglot import exp

from agentsight.storage.sql.distribution import LIES_BY, everywhere

SOURCES = (
    "citusdata/citus 14: multi_router_planner.c, distributed_planner.c, create_distributed_table.c; "
    "12-13: query_pushdown_planning.c, multi_logical_optimizer.c, insert_select_planner.c, relation_access_tracking.c; "
    "src/test/regress/expected: values, subquery_in_targetlist, set_operations, multi_complex_count_distinct"
)
UNNAMED = "the statement does not say of which agent: every node is asked"  # not refused, but never by accident
JOIN = "complex joins are only supported when all distributed tables are co-located and joined on their distribution columns"
LOCK = "could not run distributed query with FOR UPDATE/SHARE commands"
UPSERT = "functions used in the DO UPDATE SET clause of INSERTs on distributed tables must be marked IMMUTABLE"
VOLATILE = "functions used in UPDATE queries on distributed tables must not be VOLATILE"
STABLE = "STABLE functions used in UPDATE queries cannot be called with column references"
LAZY = "non-IMMUTABLE functions are not allowed in CASE or COALESCE statements"
RETURNED = "non-IMMUTABLE functions are not allowed in the RETURNING clause"
MOVED = "modifying the partition value of rows is not allowed"
INSERTED = "subqueries are not supported within INSERT queries"
UNPLACED = "cannot perform an INSERT without a partition column value"
LOCAL = "relation is not distributed"  # a table of this server alone beside one that lies on many nodes, in a change
CURSOR = "cannot run DML queries with cursors"
WINDOW = "could not run distributed query because the window function that is used cannot be pushed down"
SETS = "could not run distributed query with GROUPING SETS, CUBE, or ROLLUP"
RECURSIVE = "recursive CTEs are not supported in distributed queries"
SAMPLE = "could not run distributed query which use TABLESAMPLE"
OUTER = "cannot pushdown the subquery: there exist a recurring table in the outer part of the outer join"
RECURRING = "correlated subqueries are not supported when the FROM clause contains a reference table"
DISTINCT = "cannot compute aggregate (distinct)"
ORDERED = "array_agg with order by is unsupported"
TIED = "a distributed table refers to another: its changes would have to run one node after the other"  # ours, see distribution.py
PLACE = "cannot execute ALTER TABLE command involving partition column"
UNIQUE = "creating unique indexes on non-partition columns is currently unsupported"

SMALL = frozenset(everywhere())
_VOLATILE = {"nextval", "setval", "random", "rand", "clock_timestamp", "gen_random_uuid", "uuid", "pg_sleep"}
_STABLE = {"now", "current_timestamp", "current_date", "current_time", "localtimestamp", "localtime", "current_setting"}
_STABLE |= {
    "transaction_timestamp",
    "statement_timestamp",
    "to_char",
    "time_to_str",
    "current_user",
    "to_regclass",
}


@dataclass(eq=False)
class _Place:
    """A table where a statement names it."""

    name: str
    alias: str
    block: exp.Expression
    also: list[_Place] = field(default_factory=list)  # those whose column is the same
    said: str = ""  # "one": `= $1`; "some": `IN (...)`; "": nothing

    @property
    def kind(self) -> str:
        if self.name in LIES_BY:
            return LIES_BY[self.name]
        return "small" if self.name in SMALL else "local"

    def class_(self) -> set[_Place]:
        found, left = {self}, [self]
        while left:
            for other in left.pop().also:
                if other not in found:
                    found.add(other)
                    left.append(other)
        return found

    def told(self) -> str:
        said = {place.said for place in self.class_()}
        return "one" if "one" in said else "some" if "some" in said else ""


def refused(sql: str) -> list[str]:
    """The rules a statement breaks; none: Citus takes it, and knows whom to ask."""
    if re.search(r"(?i)\bWHERE\s+CURRENT\s+OF\b", sql):
        return [CURSOR]
    tree = _parsed(sql)
    if tree is None:
        return []
    return sorted(set(_defined(tree) if isinstance(tree, exp.Create | exp.Alter) else _Judge(tree).wrong()))


def _parsed(sql: str) -> exp.Expression | None:
    plain = re.sub(r"/\*.*?\*/", "", sql).strip().rstrip(";")
    if re.match(
        r"(?i)(SET|SHOW|BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|LISTEN|NOTIFY|VACUUM|DEALLOCATE|CLOSE|FETCH)\b", plain
    ):
        return None
    plain = re.sub(r",\s*\)", ")", plain)  # `IN ($1 /*, ... */)`
    plain = re.sub(r"(?i)\bFOR NO KEY UPDATE\b", "FOR UPDATE", plain)
    return sqlglot.parse_one(plain, read="postgres")


class _Judge:
    def __init__(self, tree: exp.Expression):
        self.tree = tree
        self.named = {cte.alias for cte in tree.find_all(exp.CTE)}
        self.places = [self._place(table) for table in tree.find_all(exp.Table) if table.name and self._is_real(table)]
        for place in self.places:
            place.block = _block(place.block)
        self._compare()
        self.spread = [place for place in self.places if place.kind not in ("small", "local")]

    def _is_real(self, table: exp.Table) -> bool:
        return table.name not in self.named and not isinstance(table.this, exp.Func)

    def _place(self, table: exp.Table) -> _Place:
        return _Place(table.name, table.alias_or_name, table)

    # -- who is asked ------------------------------------------------------------------------------------------------
    def _compare(self) -> None:
        for node in self.tree.find_all(exp.EQ, exp.In, exp.Any):
            if not _is_required(node):
                continue
            block = _block(node)
            if isinstance(node, exp.In):
                place = self._owner(node.this, block)
                if place is not None and not node.args.get("query"):
                    place.said = place.said or "some"
            elif isinstance(node, exp.EQ):
                left, right = self._owner(node.left, block), self._owner(node.right, block)
                if left is not None and right is not None:
                    left.also.append(right)
                    right.also.append(left)
                elif (left or right) is not None:
                    place, other = (left, node.right) if left is not None else (right, node.left)
                    assert place is not None
                    if isinstance(other, exp.Any):
                        place.said = place.said or "some"
                    elif not other.find(exp.Column, exp.Select):
                        place.said = "one"
        if isinstance(self.tree, exp.Insert):
            for place in self.places:
                if place.block is self.tree:
                    place.said = "one"

    def _owner(self, node: Any, block: exp.Expression | None) -> _Place | None:
        """The table whose deciding column this is."""
        node = node.unnest() if isinstance(node, exp.Expression) else node
        if not isinstance(node, exp.Column):
            return None
        while block is not None:
            own = [place for place in self.places if place.block is block]
            for place in own:
                if node.table and place.alias == node.table and place.kind == node.name:
                    return place
            if not node.table:
                fitting = [place for place in own if place.kind == node.name]
                if fitting:
                    return fitting[0] if len(own) == 1 or len(fitting) == 1 else None
            block = _block(block.parent) if block.parent is not None else None
        return None

    def _reaches_out(self, block: exp.Expression) -> bool:
        """A subquery names columns of the query around it."""
        inside = {place.alias for place in self.places if place.block is block or _is_inside(place.block, block)}
        inside |= {table.alias_or_name for table in block.find_all(exp.Table, exp.Subquery, exp.CTE, exp.Unnest)}
        return any(column.table and column.table not in inside for column in block.find_all(exp.Column))

    # -- the rules ---------------------------------------------------------------------------------------------------
    def wrong(self) -> Iterator[str]:
        if not self.spread:
            if any(place.kind == "small" for place in self.places):
                yield from self._changed()
            return
        yield from self._changed()
        if any(not place.told() for place in self.spread):
            yield UNNAMED
        kinds = {place.kind for place in self.spread}
        one_node = len(kinds) == 1 and all(place.told() == "one" for place in self.spread)
        if len(kinds) > 1:
            yield JOIN
        if not one_node:
            yield from self._on_many_nodes()

    def _changed(self) -> Iterator[str]:
        tree = self.tree
        if not isinstance(tree, exp.Insert | exp.Update | exp.Delete):
            return
        target = tree.find(exp.Table)
        column = LIES_BY.get(target.name if target is not None else "", "")
        if isinstance(tree, exp.Insert):
            named = [name.name for name in tree.this.expressions] if isinstance(tree.this, exp.Schema) else [column]
            if column and column not in named:
                yield UNPLACED
            if isinstance(tree.expression, exp.Values) and tree.expression.find(exp.Select):
                yield INSERTED
            conflict = tree.args.get("conflict")
            if conflict is not None:
                settings = conflict.args.get("expressions") or []
                if any(_mutable(setting) for setting in settings) or _mutable(conflict.args.get("where")):
                    yield UPSERT
                if any(isinstance(setting, exp.EQ) and setting.left.name == column for setting in settings if column):
                    yield MOVED
        else:
            if any(_calls(part, _VOLATILE) for part in (*tree.expressions, tree.args.get("where")) if part is not None):
                yield VOLATILE
            if any(
                call.find(exp.Column)
                for part in (*tree.expressions, tree.args.get("where"))
                if part is not None
                for call in _calls(part, _STABLE)
            ):
                yield STABLE
            if any(_mutable(lazy) for lazy in tree.find_all(exp.Case, exp.Coalesce)):
                yield LAZY
            changed = {one.left.name for one in tree.expressions if isinstance(one, exp.EQ)}
            if isinstance(tree, exp.Update) and column in changed:
                yield MOVED
            if self.spread and any(place.kind == "local" for place in self.places):
                yield LOCAL
        if _mutable(tree.args.get("returning")):
            yield RETURNED

    def _on_many_nodes(self) -> Iterator[str]:
        tree = self.tree
        if any(select.args.get("locks") for select in tree.find_all(exp.Select)):
            yield LOCK
        if tree.find(exp.TableSample):
            yield SAMPLE
        with_ = tree.find(exp.With)
        if with_ is not None and with_.args.get("recursive"):
            yield RECURSIVE
        if tree.find(exp.GroupingSets, exp.Cube, exp.Rollup):
            yield SETS
        for window in tree.find_all(exp.Window):
            if not any(
                column.name in ("agent_id", "organization_id")
                for part in window.args.get("partition_by") or []
                for column in part.find_all(exp.Column)
            ):
                yield WINDOW
        for aggregate in tree.find_all(exp.AggFunc):
            if isinstance(aggregate.this, exp.Distinct) and not isinstance(aggregate, exp.Count):
                yield DISTINCT
            if isinstance(aggregate, exp.ArrayAgg) and aggregate.find(exp.Order):
                yield ORDERED
        yield from self._joined()

    def _joined(self) -> Iterator[str]:
        for block in {id(place.block): place.block for place in self.spread}.values():
            own = [place for place in self.spread if place.block is block]
            first = own[0].class_()
            if any(place not in first for place in own[1:]):
                yield JOIN
            if block is not self.tree and self._reaches_out(block):
                around = [place for place in self.places if place.block is _block(block.parent)]
                spread_around = [place for place in around if place in self.spread]
                if spread_around and not any(place in first for place in spread_around):
                    yield JOIN
                if around and not spread_around:
                    yield RECURRING
        for join in self.tree.find_all(exp.Join):
            if join.side in ("LEFT", "RIGHT", "FULL"):
                block = _block(join)
                joined = next(
                    (
                        place
                        for place in self.spread
                        if place.block is block and _is_inside_or_is(join.this, place, self)
                    ),
                    None,
                )
                others = [place for place in self.spread if place.block is block and place is not joined]
                if joined is not None and not others and join.side != "RIGHT":
                    yield OUTER
                if joined is None and others and join.side in ("RIGHT", "FULL"):
                    yield OUTER


def _defined(tree: exp.Expression) -> Iterator[str]:
    """The rules for what a migration does to a table that lies on many nodes already."""
    asked = tree.args.get("expression")
    if isinstance(tree, exp.Create) and isinstance(asked, exp.Query):
        yield from _Judge(asked).wrong()
    named = tree.find(exp.Table)
    column = LIES_BY.get(named.name if named is not None else "")
    if column is None:
        return
    keys = [tree] if tree.args.get("unique") else list(tree.find_all(exp.PrimaryKey, exp.UniqueColumnConstraint))
    for key in keys:
        if column not in {part.name for part in key.find_all(exp.Column, exp.Identifier)}:
            yield UNIQUE
    for reference in tree.find_all(exp.Reference):
        other = reference.find(exp.Table)
        if other is not None and other.name in (*SMALL, *LIES_BY):
            yield TIED
    if any(change.name == column for change in tree.find_all(exp.AlterColumn)):
        yield PLACE


def _is_inside_or_is(table: Any, place: _Place, judge: _Judge) -> bool:
    return isinstance(table, exp.Table) and table.alias_or_name == place.alias and table.name == place.name


def _block(node: Any) -> Any:
    """The query (or change) a part of a statement belongs to."""
    while node is not None and not isinstance(node, exp.Select | exp.Update | exp.Delete | exp.Insert | exp.Create):
        node = node.parent
    return node


def _is_inside(node: exp.Expression | None, block: exp.Expression) -> bool:
    while node is not None:
        if node is block:
            return True
        node = node.parent
    return False


def _is_required(node: exp.Expression) -> bool:
    """It holds for every row: nothing but AND stands between it and its WHERE or ON."""
    parent = node.parent
    while isinstance(parent, exp.And | exp.Paren):
        parent = parent.parent
    return isinstance(parent, exp.Where | exp.Join)


def _calls(node: exp.Expression, names: set[str]) -> list[exp.Expression]:
    return [
        call
        for call in node.find_all(exp.Func)
        if (call.name if isinstance(call, exp.Anonymous) else call.sql_name()).lower() in names
    ]


def _mutable(node: Any) -> bool:
    return isinstance(node, exp.Expression) and bool(_calls(node, _VOLATILE | _STABLE))
