# ruff: noqa: E501 -- a statement is read in one line
"""The judge of statements says what Citus would: each of its rules with a statement that breaks it, and one that does not."""

from __future__ import annotations

import pytest

from . import citus_rules as rules

OWN = "SELECT * FROM conversation c WHERE c.agent_id IN (1, 2)"
SPAN = "WITH span(place, first) AS (VALUES (1, 2)) SELECT span.place, f.country, count(DISTINCT r.customer)"
STATEMENTS: list[tuple[str, tuple[str, ...]]] = [
    # whom they ask
    ("SELECT * FROM event WHERE id = 1", (rules.UNNAMED,)),
    ("SELECT * FROM event WHERE agent_id = 1 AND id = 1", ()),
    ("SELECT * FROM event WHERE agent_id = 1 OR id = 1", (rules.UNNAMED,)),
    ("SELECT count(*) FROM event WHERE agent_id = ANY($1::bigint[])", ()),
    ("DELETE FROM tally WHERE tally.agent_id = 1", ()),
    ("SELECT name FROM organization WHERE id = 1", ()),
    # several tables
    (f"{OWN} AND EXISTS (SELECT * FROM event e WHERE e.conversation = c.id)", (rules.UNNAMED, rules.JOIN)),
    (f"{OWN} AND EXISTS (SELECT * FROM event e WHERE e.agent_id = c.agent_id AND e.conversation = c.id)", ()),
    (f"{OWN} AND c.id IN (SELECT conversation FROM event WHERE agent_id IN (1, 2))", ()),
    ("SELECT 1 FROM conversation c JOIN tally t ON t.conversation = c.id WHERE c.agent_id IN (1, 2) AND t.agent_id IN (1, 2)", (rules.JOIN,)),
    ("SELECT 1 FROM conversation c JOIN tally t ON t.conversation = c.id WHERE c.agent_id = 1 AND t.agent_id = 1", ()),
    ("SELECT 1 FROM conversation c JOIN audit a ON a.organization_id = 1 WHERE c.agent_id = 1", (rules.JOIN,)),
    ("SELECT 1 FROM agent a LEFT JOIN conversation c ON c.agent_id = a.id WHERE c.agent_id IN (1, 2)", (rules.OUTER,)),
    ("SELECT 1 FROM agent a WHERE EXISTS (SELECT * FROM conversation c WHERE c.agent_id IN (1, 2) AND c.agent_id = a.id)", (rules.RECURRING,)),
    (f"{SPAN} FROM span CROSS JOIN presence r JOIN facet f ON f.agent_id = r.agent_id AND f.id = r.facet WHERE r.agent_id IN (1, 2) GROUP BY 1, 2", ()),
    (f"{SPAN} FROM span CROSS JOIN presence r JOIN facet f ON f.id = r.facet WHERE r.agent_id IN (1) GROUP BY 1, 2", (rules.UNNAMED, rules.JOIN)),
    # of one agent anything goes, of several not
    ("SELECT * FROM conversation WHERE agent_id = $1 AND conversation_id = ANY($2::text[]) FOR NO KEY UPDATE NOWAIT", ()),
    ("SELECT * FROM conversation WHERE agent_id IN (1, 2) FOR UPDATE", (rules.LOCK,)),
    ("SELECT row_number() OVER (PARTITION BY agent_id ORDER BY id) FROM event WHERE agent_id IN (1, 2)", ()),
    ("SELECT row_number() OVER (ORDER BY id) FROM event WHERE agent_id IN (1, 2)", (rules.WINDOW,)),
    ("SELECT kind, count(*) FROM event WHERE agent_id IN (1, 2) GROUP BY GROUPING SETS ((kind), ())", (rules.SETS,)),
    ("SELECT kind, count(*) FROM event WHERE agent_id = 1 GROUP BY GROUPING SETS ((kind), ())", ()),
    ("WITH RECURSIVE a AS (SELECT id FROM event WHERE agent_id IN (1, 2) UNION ALL SELECT id + 1 FROM a) SELECT * FROM a", (rules.RECURSIVE,)),
    ("SELECT * FROM event TABLESAMPLE SYSTEM (1) WHERE agent_id IN (1, 2)", (rules.SAMPLE,)),
    ("SELECT sum(DISTINCT seq) FROM event WHERE agent_id IN (1, 2)", (rules.DISTINCT,)),
    ("SELECT count(DISTINCT seq) FROM event WHERE agent_id IN (1, 2)", ()),
    ("SELECT array_agg(id ORDER BY id) FROM event WHERE agent_id IN (1, 2)", (rules.ORDERED,)),
    # changes
    ("INSERT INTO past (agent_id, changes) SELECT * FROM unnest($1::bigint[], $2::bigint[]) ON CONFLICT (agent_id) DO UPDATE SET changes = past.changes + 1", ()),
    ("INSERT INTO past (agent_id, changes) VALUES (1, 2) ON CONFLICT (agent_id) DO UPDATE SET changes = random()", (rules.UPSERT,)),
    ("INSERT INTO marker (name, value) VALUES ('a', 2) ON CONFLICT (name) DO UPDATE SET value = nextval('x')", (rules.UPSERT,)),
    ("INSERT INTO past (agent_id, changes) VALUES (1, 2) ON CONFLICT (agent_id) DO UPDATE SET agent_id = 4", (rules.MOVED,)),
    ("INSERT INTO event (id, kind) SELECT * FROM unnest($1)", (rules.UNPLACED,)),
    ("INSERT INTO past (agent_id, changes) VALUES (1, (SELECT max(value) FROM marker))", (rules.INSERTED,)),
    ("INSERT INTO past (agent_id, changes) VALUES (1, 2) RETURNING now()", (rules.RETURNED,)),
    ("UPDATE conversation t SET a = u.a FROM unnest($1) u (a) WHERE t.id = u.id", (rules.UNNAMED,)),
    ("UPDATE conversation t SET a = u.a FROM unnest($1) u (a) WHERE t.id = u.id AND t.agent_id = $2", ()),
    ("UPDATE conversation SET started_us = random() WHERE agent_id = 1", (rules.VOLATILE,)),
    ("UPDATE conversation SET name = to_char(now(), name) WHERE agent_id = 1", (rules.STABLE,)),
    ("UPDATE conversation SET name = CASE WHEN is_used THEN now() ELSE name END WHERE agent_id = 1", (rules.LAZY,)),
    ("UPDATE conversation SET agent_id = 2 WHERE agent_id = 1", (rules.MOVED,)),
    ("DELETE FROM tally WHERE agent_id = 1 AND conversation IN (SELECT conversation FROM tally_again)", (rules.LOCAL,)),
    ("DELETE FROM tally WHERE CURRENT OF c", (rules.CURSOR,)),
    # what a later migration does
    ("CREATE UNIQUE INDEX x ON event (event_id)", (rules.UNIQUE,)),
    ("CREATE UNIQUE INDEX x ON event (agent_id, event_id)", ()),
    ("ALTER TABLE event ADD CONSTRAINT x UNIQUE (event_id)", (rules.UNIQUE,)),
    ("ALTER TABLE event ADD CONSTRAINT x FOREIGN KEY (agent_id) REFERENCES agent (id)", (rules.TIED,)),
    ("ALTER TABLE event ALTER COLUMN agent_id TYPE text", (rules.PLACE,)),
    ("ALTER TABLE event ADD COLUMN x text", ()),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "wrong"), STATEMENTS, ids=[sql[:60] for sql, _ in STATEMENTS])
def test_the_judge_of_statements_knows_what_citus_refuses(sql: str, wrong: tuple[str, ...]):
    assert rules.refused(sql) == sorted(wrong)


def test_every_rule_has_a_statement_that_breaks_it():
    told = {value for name, value in vars(rules).items() if name.isupper() and isinstance(value, str)}
    assert {rule for _, wrong in STATEMENTS for rule in wrong} == told - {rules.SOURCES}
