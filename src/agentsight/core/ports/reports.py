"""What people made of it: reports, links; and the past of an agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..model import Report, Share, Version


class Reports(Protocol):
    """Reports people froze; the organization comes first."""

    def add(self, new: Report) -> Report:
        """Keep it; its `id` is ours to give."""

    def get(self, organization_id: int, id: int) -> Report | None: ...

    def all(self, organization_id: int) -> list[Report]:
        """Newest first."""

    def rename(self, organization_id: int, id: int, name: str) -> None: ...

    def delete(self, organization_id: int, id: int) -> None: ...


class Shares(Protocol):
    """Links people shared."""

    def add(self, new: Share, digest: str) -> Share:
        """Keep it under the SHA-256 of its token; its `id` is ours to give."""

    def found(self, digest: str) -> Share | None:
        """The share of this token, revoked or not."""

    def all(self, organization_id: int) -> list[Share]:
        """Newest first."""

    def expire(self, organization_id: int, id: int, expires_us: int | None) -> int: ...

    def revoke(self, organization_id: int, id: int, now_us: int) -> int: ...

    def viewed(self, id: int, now_us: int) -> None: ...


class History(Protocol):
    """What conversations say about the agent that held them."""

    def versions(self, agent_id: int, production: bool, keys: Sequence[str]) -> list[Version]:
        """Every value of these top-level metadata keys."""
