"""What PostgreSQL needs beside the tables. Looked at first and changed only where it has to be: on many nodes a change of a
table is one of all its parts, and waits for all who read them."""

from __future__ import annotations

import itertools

from sqlalchemy import Connection

from ..sql import schema
from .search import index_messages


def settle_schema(connection: Connection) -> None:
    """Bring about, where it is not so yet: texts compare by their bytes, as on SQLite; messages can be searched; sequences
    go on after the highest id."""
    tables = list(schema.metadata.tables)
    other = connection.exec_driver_sql(
        "SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
        "JOIN pg_collation l ON l.oid = a.attcollation WHERE c.relnamespace = current_schema()::regnamespace "
        "AND c.relkind IN ('r', 'p') AND c.relname = ANY(%s) AND a.attnum > 0 AND NOT a.attisdropped "
        "AND l.collname <> 'C' ORDER BY 1, 2",
        (tables,),
    ).fetchall()
    for table, columns in itertools.groupby(other, key=lambda row: row[0]):
        changes = ", ".join(f'ALTER COLUMN "{name}" TYPE text COLLATE "C"' for _, name in columns)
        connection.exec_driver_sql(f'ALTER TABLE "{table}" {changes}')
    if not connection.exec_driver_sql(
        "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass('event') AND attname = 'folded' AND NOT attisdropped"
    ).scalar():
        connection.exec_driver_sql('ALTER TABLE event ADD COLUMN folded text COLLATE "C"')
    index_messages(connection)
    settle_sequences(connection)


def settle_sequences(connection: Connection) -> None:
    """Ids go on after the highest there is, and after those of what is gone for good."""
    for table in schema.metadata.tables.values():
        sequence = f"{table.name}_id_seq"
        if "id" in table.c and connection.exec_driver_sql(f"SELECT to_regclass('{sequence}')").scalar():
            used = connection.exec_driver_sql(
                f"SELECT greatest((SELECT max(id) FROM {table.name}), "
                f"(SELECT value - 1 FROM marker WHERE name = 'next:{table.name}'))"
            ).scalar()
            given = connection.exec_driver_sql(f"SELECT pg_sequence_last_value('{sequence}'::regclass)").scalar()
            if (used or 0) > (given or 0):
                connection.exec_driver_sql(f"SELECT setval('{sequence}', {used})")
