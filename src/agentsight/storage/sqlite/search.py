"""The search index, which is fed after the commit: how far it knows the messages, and how it catches up."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable

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


# -- words that many say ---------------------------------------------------------------------------------------------
FORGOTTEN = "forgotten"  # this marker counts how often messages went for good
MOST_KNOWN, MOST_BYTES = 200, 32 * 1024 * 1024
MOST_BEHIND = 20_000  # messages that came since; with more it is quicker to look anew

Question = tuple[int, tuple[int, ...], str]  # (how often messages went for good, of which agents, the folded words)


class Said:
    """Which conversations say words that many say: a byte for each conversation, 1 where a message of it does.

    Ids ascend from commit to commit and messages never change, so what was found stays true, and only what came since is
    looked through. Where messages went for good, which a marker counts in the same transaction, it is found anew.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[Question, tuple[int, bytes]] = OrderedDict()  # -> up to which event, found
        self._bytes = 0
        self._lock = threading.Lock()

    def learn(self, driver: Driver, agent_ids: tuple[int, ...], needle: str, ask: Callable[[], Iterable[int]]) -> bytes:
        """Find them by asking."""
        gone, newest = _state(driver)
        found = _marked(b"", ask())
        self._keep((gone, agent_ids, needle), newest, found)
        return found

    def known(self, driver: Driver, agent_ids: tuple[int, ...], needle: str) -> bytes | None:
        """Them, as of now; None where nobody asked, or too long ago."""
        gone, newest = _state(driver)
        question = (gone, agent_ids, needle)
        with self._lock:
            if question not in self._known:
                return None
            self._known.move_to_end(question)
            until, found = self._known[question]
        if newest - until > MOST_BEHIND:
            return None
        if newest > until:
            marks = ", ".join("?" * len(agent_ids))
            since = driver.rows(
                "SELECT conversation FROM event WHERE id > ? AND kind = 'message' "
                f"AND +agent_id IN ({marks}) AND contains_folded(content, ?)",
                (until, *agent_ids, needle),
            )
            found = _marked(found, (row[0] for row in since))
            self._keep(question, newest, found)
        return found

    def _keep(self, question: Question, until: int, found: bytes) -> None:
        with self._lock:
            _, before = self._known.pop(question, (0, b""))
            self._known[question] = (until, found)
            self._bytes += len(found) - len(before)
            while self._bytes > MOST_BYTES or len(self._known) > MOST_KNOWN:
                self._bytes -= len(self._known.popitem(last=False)[1][1])


def _state(driver: Driver) -> tuple[int, int]:
    """How often messages went for good, and the newest event."""
    asked = "SELECT coalesce((SELECT value FROM marker WHERE name = ?), 0), (SELECT coalesce(max(id), 0) FROM event)"
    gone, newest = driver.rows(asked, (FORGOTTEN,))[0]
    return int(gone), int(newest)


def _marked(found: bytes, conversations: Iterable[int]) -> bytes:
    marks, ids = bytearray(found), list(conversations)
    marks.extend(bytes(max(0, max(ids, default=0) - len(marks))))
    for id in ids:
        marks[id - 1] = 1
    return bytes(marks)
