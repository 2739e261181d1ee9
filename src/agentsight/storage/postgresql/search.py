"""What a search looks through: messages as they fold, and the trigram index over them where the server has one."""

from __future__ import annotations

import logging
from collections import defaultdict
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, case, func
from sqlalchemy import exc as sql

from agentsight.core.measures import lowered

from ..sql.rows import Driver, fold
from .arrays import array

SAID = 'coalesce({0}folded, lower({0}content COLLATE "C"))'  # the text a search looks through; indexed as it stands
_log = logging.getLogger("agentsight.storage")


def grams(driver: Driver) -> str:
    there = "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass('event_said') AND indisvalid"
    if not driver.rows(there, ()):
        return "none"
    return "any" if driver.rows("SELECT cardinality(show_trgm('šćž'))", ())[0][0] else "ascii"


def folded(content: str | None) -> str | None:
    """What is kept beside a message for searching; None where A to Z in lower case is all there is to its folding."""
    if content is None or content.isascii():
        return None
    text = fold(content)
    return None if text == lowered(content) else text


@lru_cache(maxsize=1)
def _folding() -> dict[str, str]:
    """Every letter that changes when folded and that PostgreSQL's C lower() leaves alone."""
    letters = (chr(code) for code in range(128, 0x1F000) if not 0xD800 <= code < 0xE000)
    return {letter: fold(letter) for letter in letters if fold(letter) != letter}


def folded_for(column: Any, needle: str) -> Any:
    """`column` folded as far as it matters to `needle`: letters that fold to none of its letters cannot be part of it."""
    lowered = func.lower(column.collate("C"))
    sought = set(needle)
    single = {letter: to for letter, to in _folding().items() if len(to) == 1 and to in sought}
    text = func.translate(lowered, "".join(single), "".join(single.values())) if single else lowered
    for letter, to in _folding().items():
        if len(to) > 1 and not sought.isdisjoint(to):
            text = func.replace(text, letter, to)
    if text is lowered:
        return lowered
    return case((func.octet_length(column) == func.char_length(column), lowered), else_=text)


def fold_messages(connection: Connection) -> None:
    """What is kept for searching, of messages that came past `insert_many`."""
    last = 0
    unfolded = (
        "SELECT id, agent_id, content FROM event WHERE id > %s AND kind = 'message' AND folded IS NULL "
        "AND octet_length(content) <> char_length(content) ORDER BY id LIMIT 1000"
    )
    while rows := connection.exec_driver_sql(unfolded, (last,)).fetchall():
        last = rows[-1][0]
        told: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)
        for id, agent_id, content in rows:
            if (text := folded(content)) is not None:
                told[agent_id].append((id, text))
        for agent_id, own in told.items():
            ids, texts = zip(*own, strict=True)
            connection.exec_driver_sql(
                "UPDATE event SET folded = u.folded FROM unnest(%s::bigint[], %s::text[]) u (id, folded) "
                "WHERE event.id = u.id AND event.agent_id = %s",
                (array(ids, "bigint"), array(texts, "text"), agent_id),
            )
        connection.commit()


def index_messages(connection: Connection) -> None:
    """The trigram index, where the server has the extension and we may use it; else searches scan."""
    if connection.exec_driver_sql("SELECT to_regclass('event_said')").scalar():
        return
    try:
        with connection.begin_nested():
            connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except sql.DBAPIError as missing:
        said = str(missing.orig).strip().partition("\n")[0]
        _log.warning("searches will scan: the extension pg_trgm cannot be used (%s)", said)
        return
    connection.exec_driver_sql(
        f"CREATE INDEX event_said ON event USING gin (({SAID.format('')}) gin_trgm_ops) WHERE kind = 'message'"
    )
