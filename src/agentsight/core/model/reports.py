"""What people made of it, and the past of an agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Report:
    """An analytics page as it was. `address` is the query it was made from, `body` its frozen answers."""

    id: int
    organization_id: int
    agent_ids: tuple[int, ...]
    name: str
    author: str
    created_us: int
    address: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Share:
    """A link that shows something without signing in.

    `kind` is analytics, report or conversation, `target` the report's or conversation's id, `address` the query of the
    page shared, `hosts` the sites that may frame it, `password` its hash. `sight` names how much it shows
    (`shares.PRESETS`), `theme` and `widgets` are what a frame is bound to; no widgets: all of them.
    """

    id: int
    organization_id: int
    agent_ids: tuple[int, ...]
    kind: str
    target: int | None
    name: str
    author: str
    address: str
    hosts: tuple[str, ...]
    password: str | None
    created_us: int
    expires_us: int | None = None
    revoked_us: int | None = None
    views: int = 0
    viewed_us: int | None = None
    sight: str = "numbers"
    theme: str = "auto"
    widgets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Version:
    """One value of a metadata key that tells how an agent was made, and when conversations had it."""

    agent_id: int
    key: str
    value: str
    first_us: int
    last_us: int
    conversations: int
