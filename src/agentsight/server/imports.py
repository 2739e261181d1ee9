"""Files of history on their way in: the file in pieces where all processes keep files, how far it is in the database.

So any process shows a run and starts it, and takes it over where another one died.
"""

from __future__ import annotations

import io
import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import orjson

from agentsight.core import exchange, foreign
from agentsight.core.exchange import Imported, Tally
from agentsight.core.model import Agent, ImportRun
from agentsight.core.ports import Blobs, Storage, Store
from agentsight.errors import AgentSightError, InvalidEvent

from .http import now_us

TOGETHER = 50  # conversations of one transaction
PIECE_BYTES = 4 * 2**20
QUIET_US = 120 * 1_000_000  # a run that said nothing for so long, twice what a page may take, has lost its process
GOING_ON = ("fetching", "checking", "running")
_log = logging.getLogger("agentsight.imports")


class TakenOver(Exception):
    """Another process goes on with the run, or it is gone."""


# -- begin, and go on ------------------------------------------------------------------------------------------------
def upload(storage: Storage, blobs: Blobs, run: ImportRun, agent: Agent, lines: Iterable[bytes]) -> None:
    """Keep a file, and see, in a thread, what would come of it."""
    kept = list(_pieces(blobs, lines))
    whole = replace(run, pieces=tuple(piece for piece, _ in kept), of=sum(count for _, count in kept))
    _go_on(storage, blobs, _begun(storage, whole), agent)


def fetch(storage: Storage, blobs: Blobs, run: ImportRun, agent: Agent, ask: Callable[[int], dict[str, Any]]) -> None:
    """Fetch, in a thread, the pages of a hosted server that are not here yet, and see what would come of them."""
    try:
        going = _told(storage, run, state="fetching", problems=()) if run.told_us else _begun(storage, run)
    except TakenOver:
        return

    def work() -> None:
        whole = fetched(storage, blobs, going, ask)
        if whole is not None:
            _work(storage, blobs, whole, agent)

    threading.Thread(target=work, daemon=True).start()


def start(storage: Storage, blobs: Blobs, run: ImportRun, agent: Agent) -> None:
    """Import what was checked; only once, whoever asks at the same moment."""
    if run.state == "checked":
        try:
            going = _told(storage, run, state="running", lines=0, counts={}, problems=())
        except TakenOver:
            return
        _go_on(storage, blobs, going, agent)


def looked_after(storage: Storage, blobs: Blobs, run: ImportRun, agent: Agent) -> ImportRun:
    """The run, which goes on in this process when the one that had it says nothing any more."""
    if run.state not in GOING_ON or run.told_us > now_us() - QUIET_US:
        return run
    try:
        if run.state == "fetching":  # the key was that process's alone
            return _told(storage, run, state="waiting", problems=(f"page {run.page}: the server was stopped",))
        going = _told(storage, run)
    except TakenOver:
        return run
    _go_on(storage, blobs, going, agent)
    return going


def _go_on(storage: Storage, blobs: Blobs, run: ImportRun, agent: Agent) -> None:
    """Check or import the lines that are left, in a thread."""
    threading.Thread(target=_work, args=(storage, blobs, run, agent), daemon=True).start()


def drop(storage: Storage, blobs: Blobs, agent: Agent) -> int:
    """Let go of all that waits to be imported into this agent; how many files that were."""

    def change(store: Store) -> list[ImportRun]:
        runs = store.imports.of(agent.id)
        for run in runs:
            store.imports.remove(run.organization_id, run.token)
        return runs

    runs = storage.write(change).result()
    for run in runs:
        _let_go(blobs, run)
    return sum(bool(run.pieces) for run in runs)


# -- the work --------------------------------------------------------------------------------------------------------
def _begun(storage: Storage, run: ImportRun) -> ImportRun:
    begun = replace(run, told_us=now_us())
    storage.write(lambda store: store.imports.put(begun)).result()
    return begun


def _told(storage: Storage, run: ImportRun, **changes: Any) -> ImportRun:
    """The run, changed so. Raises TakenOver when it is not as this process knew it."""

    def change(store: Store) -> ImportRun:
        known = store.imports.get(run.organization_id, run.token)
        if known is None or known.told_us != run.told_us:
            raise TakenOver
        told = replace(known, **changes, told_us=max(now_us(), known.told_us + 1))
        store.imports.put(told)
        return told

    return storage.write(change).result()


def fetched(storage: Storage, blobs: Blobs, run: ImportRun, ask: Callable[[int], dict[str, Any]]) -> ImportRun | None:
    """The run with all pages here, to be checked; None when some can be asked for later, from the page that failed."""
    try:
        while True:
            told = ask(run.page)
            rows = [row for row in told["results"] if isinstance(row, dict)]
            kept = _pieces(blobs, (orjson.dumps(foreign.of_hosted(row, run.environment)) for row in rows))
            have = run.lines + len(rows)
            here: dict[str, Any] = {
                "pieces": (*run.pieces, *(piece for piece, _ in kept)),
                "page": run.page + 1,
                "lines": have,
            }
            if not told.get("next") or not told["results"]:
                return _told(storage, run, **here | {"state": "checking", "lines": 0, "of": have})
            run = _told(storage, run, **here, of=max(int(told.get("count") or 0), have))
    except (AgentSightError, OSError) as wrong:
        _told(storage, run, state="waiting", problems=(f"page {run.page}: {wrong}",))
    except TakenOver:
        pass
    return None


def _work(storage: Storage, blobs: Blobs, run: ImportRun, agent: Agent) -> None:
    dry = run.state == "checking"
    tally = Tally(**run.counts, problems=list(run.problems))
    try:
        try:
            for lines, part in _parts(run, tally, blobs, dry):
                tally.add(exchange.take_in(storage, lambda store: agent, part, now_us(), dry=dry))
                run = _told(storage, run, lines=lines, counts=tally.counts(), problems=tuple(tally.problems))
            run = _told(storage, run, state="checked" if dry else "done")
        except (AgentSightError, OSError) as wrong:
            _log.exception("import %s failed", run.name)
            tally.reject(f"line {run.lines}", exchange.why(wrong))
            run = _told(storage, run, state="failed", counts=tally.counts(), problems=tuple(tally.problems))
        if run.state == "done":
            _let_go(blobs, run)
    except TakenOver:
        _log.info("import %s goes on elsewhere", run.name)


def _parts(run: ImportRun, tally: Tally, blobs: Blobs, dry: bool) -> Iterator[tuple[int, list[Imported]]]:
    """What is left of the file's conversations, some at a time, each time with the lines read until then.

    Lines that are none are told in `tally`.
    """
    part: list[Imported] = []
    lines = 0
    for number, line in enumerate(_lines(blobs, run.pieces), 1):
        if not line.strip() or (lines := lines + 1) <= run.lines:
            continue
        try:
            part.append(exchange.read_line(line, "auto", run.environment, now_us(), None if dry else blobs))
        except InvalidEvent as wrong:
            tally.reject(f"line {number}", exchange.why(wrong))
        if len(part) == TOGETHER:
            yield lines, part
            part = []
    yield lines, part


# -- the file --------------------------------------------------------------------------------------------------------
def _pieces(blobs: Blobs, lines: Iterable[bytes]) -> Iterator[tuple[str, int]]:
    """Put lines away in pieces; gives the SHA-256 of each and how many of its lines are not blank.

    No two pieces are the same, so that each may be let go of.
    """
    piece: list[bytes] = []
    size = 0
    for line in lines:
        piece.append(line if line.endswith(b"\n") else line + b"\n")
        size += len(line)
        if size >= PIECE_BYTES:
            yield _put(blobs, piece)
            piece, size = [], 0
    if piece:
        yield _put(blobs, piece)


def _put(blobs: Blobs, piece: list[bytes]) -> tuple[str, int]:
    mark = secrets.token_hex(16).encode() + b"\n"
    return blobs.put(b"".join([mark, *piece])), sum(1 for line in piece if line.strip())


def _lines(blobs: Blobs, pieces: Iterable[str]) -> Iterator[bytes]:
    for piece in pieces:
        lines = io.BytesIO(blobs.get(piece))
        next(lines)  # the mark
        yield from lines


def _let_go(blobs: Blobs, run: ImportRun) -> None:
    for piece in run.pieces:
        blobs.delete(piece)
