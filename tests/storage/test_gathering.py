"""Who waits for a commit: one who comes alone never for others, of a crowd each for all, and for nobody who stays away."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from agentsight.storage.sql import writer
from agentsight.storage.sql.writer import Change, Writer

LONG_S = 0.4
SOON_S = LONG_S / 4


class Desk:
    """A writer that only counts what it commits together."""

    def __init__(self) -> None:
        self.together: list[int] = []
        self.writer = Writer("desk", self._commit)

    def _commit(self, changes: list[Change]) -> None:
        self.together.append(len(changes))
        time.sleep(SOON_S)
        for change in changes:
            change.tell()

    def come(self, *after_s: float) -> float:
        """One each, so long after the one before; how long the last of them waited until all were told."""
        told = []
        for wait_s in after_s:
            time.sleep(wait_s)
            told.append(self.writer.put(lambda store: None))
            came = time.monotonic()
        for done in told:
            done.result(5)
        return time.monotonic() - came - SOON_S


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(writer, "GATHER_S", LONG_S)
    desk = Desk()
    yield desk
    desk.writer.close()


@pytest.mark.timed
def test_a_crowd_is_waited_for_until_it_is_there_and_no_longer(desk: Desk):
    desk.come(0, 0.02, 0, 0)
    assert desk.together == [1, 3], "the first was alone, the others came meanwhile"
    assert desk.come(0, 0.02, 0.02) < SOON_S
    assert desk.together[2:] == [3]
    assert desk.come(0, 0.02) > LONG_S - SOON_S, "as many as the last time might have come"
    assert desk.come(0, 0.02) < SOON_S
    assert desk.together[3:] == [2, 2]


@pytest.mark.timed
def test_who_is_alone_waits_for_nobody(desk: Desk):
    assert max(desk.come(0) for _ in range(3)) < SOON_S
    assert desk.together == [1, 1, 1]
