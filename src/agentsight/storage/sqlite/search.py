"""The search index, which is fed after the commit: how far it knows the messages, and how it catches up."""

from __future__ import annotations

from ..sql.rows import Driver, fold

FED = (("content", "="), ("folded(content)", "<>"))
"""What the search index gets of a message. ASCII goes in as it stands, for the index folds A to Z by itself; the rest is
folded by us, as searches are."""


def indexed(driver: Driver) -> int:
    """Up to which row id the search index knows the messages; what came after is looked through."""
    known = driver.rows("SELECT value FROM marker WHERE name = 'indexed'", ())
    return int(known[0][0]) if known else 0


def unindexed(driver: Driver) -> int:
    """How many row ids the search index is behind."""
    return int(driver.rows("SELECT coalesce(max(id), 0) FROM event", ())[0][0]) - indexed(driver)


def index_more(driver: Driver, most: int) -> None:
    """Let the search index catch up by some row ids."""
    first = indexed(driver)
    last = first + min(most, unindexed(driver))
    for content, kind in FED:
        driver.run(
            f"INSERT INTO message_text (rowid, content) SELECT id, {content} FROM event WHERE id > ? AND id <= ? "
            f"AND kind = 'message' AND octet_length(content) {kind} length(content)",
            (first, last),
        )
    driver.run("INSERT INTO marker VALUES ('indexed', ?) ON CONFLICT DO UPDATE SET value = excluded.value", (last,))


def contains_folded(text: str | None, needle: str) -> bool:
    return text is not None and needle in fold(text)
