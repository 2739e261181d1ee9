"""How the tables lie when one PostgreSQL is outgrown: on many nodes, by Citus, with the same statements.

Everything of an agent lies on one node, so a transaction that takes events in has to do with one node, and joins stay on
it. What everybody needs and hardly grows is copied to every node. A test holds tables and statements to these rules.
"""

from __future__ import annotations

from sqlalchemy import Connection

from agentsight.errors import ConfigError

from .schema import metadata

BY_AGENT = (
    "conversation",  # first: the others lie where it lies
    "event",
    "attachment",
    "feedback",
    "button",
    "facet",
    "rollup",
    "presence",
    "tally",
    "kept_rollup",
    "kept_presence",
    "tombstone",
)
BY_ORGANIZATION = ("audit", "audit_head")
LIES_BY = {**dict.fromkeys(BY_AGENT, "agent_id"), **dict.fromkeys(BY_ORGANIZATION, "organization_id")}
"""table -> the column that decides on its rows' node."""


def everywhere() -> list[str]:
    """Small tables, copied to every node; those others refer to come first."""
    return [table.name for table in metadata.sorted_tables if table.name not in LIES_BY]


def keys() -> list[tuple[str, tuple[str, ...]]]:
    """(table, primary key) where it has to change: on many nodes a key is only as wide as what decides the node."""
    changed = []
    for name, column in LIES_BY.items():
        own = tuple(key.name for key in metadata.tables[name].primary_key)
        if column not in own:
            changed.append((name, (column, *own)))
    return changed


def distribute(connection: Connection) -> list[str]:
    """Spread the tables of this database, with what is in them; gives those that were not yet.

    Raises:
        ConfigError: the server does not have the extension.
    """
    there = connection.exec_driver_sql("SELECT 1 FROM pg_available_extensions WHERE name = 'citus'").first()
    if there is None:
        raise ConfigError("this PostgreSQL server does not have the Citus extension; see docs/operating.md")
    connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS citus")
    connection.commit()
    done = {row[0] for row in connection.exec_driver_sql("SELECT logicalrelid::text FROM pg_dist_partition")}
    spread = []
    for name in everywhere():
        if name not in done:
            connection.exec_driver_sql(f"SELECT create_reference_table('{name}')")
            spread.append(name)
    for name, key in keys():
        if name not in done:
            connection.exec_driver_sql(
                f"ALTER TABLE {name} DROP CONSTRAINT {name}_pkey, ADD PRIMARY KEY ({', '.join(key)})"
            )
    for name, column in LIES_BY.items():
        if name not in done:
            first = BY_AGENT[0] if name in BY_AGENT else BY_ORGANIZATION[0]
            beside = "none" if name == first else first
            connection.exec_driver_sql(
                f"SELECT create_distributed_table('{name}', '{column}', colocate_with => '{beside}')"
            )
            connection.exec_driver_sql(f"SELECT truncate_local_data_after_distributing_table('{name}')")
            spread.append(name)
    connection.commit()
    return spread
