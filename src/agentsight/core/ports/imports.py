"""Files of history on their way in."""

from __future__ import annotations

from typing import Protocol

from ..model import ImportRun


class Imports(Protocol):
    """How far each run is; the organization comes first."""

    def get(self, organization_id: int, token: str) -> ImportRun | None: ...

    def put(self, run: ImportRun) -> None:
        """Keep it, over what was known of it."""

    def of(self, agent_id: int) -> list[ImportRun]:
        """Those into this agent."""

    def remove(self, organization_id: int, token: str) -> None: ...

    def forget(self, before_us: int) -> None:
        """Those that said nothing since."""
