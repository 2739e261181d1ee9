"""How the tables lie when one PostgreSQL is outgrown: on many nodes, by Citus, with the same statements.

Everything of an agent lies on one node, so a transaction that takes events in has to do with one node, and joins stay on
it. What everybody needs and hardly grows is copied to every node. A test holds tables and statements to these rules, and to
those of Citus: tests/storage/citus_rules.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from agentsight.errors import ConfigError

from .schema import metadata

BY_AGENT = (
    "conversation",  # first: the others lie where it lies
    "event",
    "attachment",
    "feedback",
    "trace_span",
    "action",
    "ticket",
    "ticket_comment",
    "button",
    "facet",
    "rollup",
    "presence",
    "tally",
    "past",
    "kept_rollup",
    "kept_presence",
    "tombstone",
    "delivery",
)
BY_ORGANIZATION = ("audit", "audit_head")
LIES_BY = {**dict.fromkeys(BY_AGENT, "agent_id"), **dict.fromkeys(BY_ORGANIZATION, "organization_id")}
"""table -> the column that decides on its rows' node."""
REFERENCE, DISTRIBUTED = "reference", "distributed"


def everywhere() -> list[str]:
    """Small tables, copied to every node; those others refer to come first."""
    return [table.name for table in metadata.sorted_tables if table.name not in LIES_BY]


def key_of(name: str) -> tuple[str, ...]:
    """The primary key of a table that lies on many nodes: there a key has to hold what decides the node. It comes last, so
    that the index still leads from an id to its row, and from the highest id to the next."""
    own = tuple(key.name for key in metadata.tables[name].primary_key)
    return own if LIES_BY[name] in own else (*own, LIES_BY[name])


def spread_over(connection: Connection) -> dict[str, str]:
    """Our tables that lie on many nodes, and how: REFERENCE or DISTRIBUTED; none: this is a PostgreSQL like any other."""
    if connection.exec_driver_sql("SELECT to_regclass('pg_catalog.pg_dist_partition')").scalar() is None:
        return {}
    rows = connection.exec_driver_sql(
        "SELECT c.relname, p.partmethod::text, p.repmodel::text FROM pg_dist_partition p "
        "JOIN pg_class c ON c.oid = p.logicalrelid WHERE c.relnamespace = current_schema()::regnamespace"
    )
    kinds = {
        ("h", "s"): DISTRIBUTED,
        ("h", "c"): DISTRIBUTED,
        ("n", "t"): REFERENCE,
    }  # others: local, Citus knows of them
    told = {name: kinds.get((method, model)) for name, method, model in rows}
    return {name: kind for name, kind in told.items() if kind and name in metadata.tables}


def distribute(connection: Connection) -> list[str]:
    """Spread the tables of this database, with what is in them; gives those that were not yet.

    Every step is a transaction of its own, for Citus takes several of them only in an order and a mode of its own; and
    each looks at how far things are, so the same again goes on where it was interrupted.

    Raises:
        ConfigError: the server does not have the extension, or no node to put anything on.
    """
    there = connection.exec_driver_sql("SELECT 1 FROM pg_available_extensions WHERE name = 'citus'").first()
    if there is None:
        raise ConfigError("this PostgreSQL server does not have the Citus extension; see docs/operating.md")
    _step(connection, "CREATE EXTENSION IF NOT EXISTS citus")
    _require_room(connection)
    done = spread_over(connection)
    left = [name for name in (*everywhere(), *LIES_BY) if name not in done]
    for name in left:
        for constraint in _ties(connection, name).values():
            _step(connection, f'ALTER TABLE {name} DROP CONSTRAINT "{constraint}"')
    for name in left:
        _step(connection, *(_distributing(connection, name) if name in LIES_BY else _copying(name)))
    for name in (*everywhere(), *LIES_BY):  # what was in it before is there still, where nobody sees it
        if connection.exec_driver_sql(f"SELECT pg_relation_size('{name}')").scalar():
            _step(connection, f"SELECT truncate_local_data_after_distributing_table('{name}')")
    for name in everywhere():
        tied = _ties(connection, name)
        for column, other, key in _referring(name):
            if column not in tied:
                refers = f"FOREIGN KEY ({column}) REFERENCES {other} ({key})"
                _step(connection, f"ALTER TABLE {name} ADD CONSTRAINT {name}_{column}_fkey {refers}")
    return left


def _step(connection: Connection, *statements: str) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement)
    connection.commit()


def _require_room(connection: Connection) -> None:
    nodes, open_ones = connection.exec_driver_sql(
        "SELECT count(*), count(*) FILTER (WHERE shouldhaveshards AND isactive) FROM pg_dist_node WHERE noderole = 'primary'"
    ).one()
    connection.commit()
    if nodes and not open_ones:  # without any node Citus takes this server for one
        raise ConfigError("no node of this Citus cluster may hold data; add one: SELECT citus_add_node('HOST', 5432)")


def _ties(connection: Connection, name: str) -> dict[str, str]:
    """Column -> the foreign key on it. They are in the way while tables are spread: a table cannot lie everywhere while one
    refers to it that does not yet. Those between small tables come back."""
    rows = connection.exec_driver_sql(
        "SELECT a.attname, c.conname FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid "
        f"AND a.attnum = c.conkey[1] WHERE c.contype = 'f' AND c.conrelid = '{name}'::regclass"
    ).fetchall()
    connection.commit()
    return {row[0]: row[1] for row in rows}


def _referring(name: str) -> Iterator[tuple[str, str, str]]:
    """(column, table, its column) of the foreign keys a table is meant to have."""
    for column in metadata.tables[name].columns:
        for key in column.foreign_keys:
            yield column.name, key.column.table.name, key.column.name


def _copying(name: str) -> list[str]:
    return [f"SELECT create_reference_table('{name}')"]


def _distributing(connection: Connection, name: str) -> list[str]:
    first = BY_AGENT[0] if name in BY_AGENT else BY_ORGANIZATION[0]
    beside = "none" if name == first else first
    own = connection.exec_driver_sql(
        "SELECT c.conname, array_agg(a.attname::text) FROM pg_constraint c "
        "JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY(c.conkey) "
        f"WHERE c.contype = 'p' AND c.conrelid = '{name}'::regclass GROUP BY 1"
    ).first()
    statements = []
    if own is not None and set(own[1]) != set(key_of(name)):
        statements = [
            f'ALTER TABLE {name} DROP CONSTRAINT "{own[0]}"',
            f"ALTER TABLE {name} ADD CONSTRAINT {name}_pkey PRIMARY KEY ({', '.join(key_of(name))})",
        ]
    spreading = f"SELECT create_distributed_table('{name}', '{LIES_BY[name]}', colocate_with => '{beside}')"
    return [*statements, spreading]
