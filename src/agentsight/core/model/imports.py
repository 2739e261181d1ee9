"""Files of history on their way in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ImportRun:
    """A file somebody uploaded, or what a hosted server lists, and how far it is.

    `state` is fetching, waiting, checking, checked, running, done or failed; `lines` those read so far of `of`, `counts` and
    `problems` what came of them (`exchange.Tally`). `pieces` are the SHA-256 of the file's pieces. `url` is that of a hosted
    server, `page` the next of its pages; waiting: it stopped answering, and may be asked on. `told_us` is when the run last
    said how far it is, and no two times are the same.
    """

    token: str
    organization_id: int
    agent_id: int
    name: str
    environment: str
    state: str
    told_us: int = 0
    lines: int = 0
    of: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    pieces: tuple[str, ...] = ()
    url: str = ""
    page: int = 1
