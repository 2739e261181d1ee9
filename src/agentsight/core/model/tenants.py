"""Whose everything is, who is asking, and what they did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from agentsight.errors import Forbidden

from ..permissions import Needed, PersonRole, Role, may
from ..sight import EVERYTHING, Sight

ESCALATION_ACTIONS = ("fallback_to_human", "open_ticket", "ticket", "contact_human")


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose data: an organization, and which of its agents."""

    organization_id: int
    agent_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Organization:
    id: int
    name: str
    slug: str
    timezone: str = "UTC"
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HostName:
    """A name of an organization's own that leads to this server. `seen_us`: when it first did."""

    host: str
    organization_id: int
    created_us: int
    seen_us: int | None = None


@dataclass(frozen=True, slots=True)
class Agent:
    id: int
    organization_id: int
    name: str
    slug: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    archived_us: int | None = None

    @property
    def escalation_actions(self) -> frozenset[str]:
        """Action names that mean: a human takes over."""
        return frozenset(self.settings.get("escalation_actions", ESCALATION_ACTIONS))


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking: an API key (bound to one agent) or a signed-in person."""

    scope: Scope
    role: Role
    agent: Agent | None = None  # of an API key
    key_id: int | None = None
    user_id: int | None = None
    name: str = ""
    sight: Sight = EVERYTHING

    def may(self, needed: Needed) -> bool:
        """Whether the one permission table lets this role do it."""
        return may(self.role, needed)

    def require(self, needed: Needed) -> None:
        """Raises Forbidden where `may` is False."""
        if self.may(needed):
            return
        if self.key_id is not None:
            raise Forbidden(f"this key is for {self.role} only, which does not allow {needed}")
        raise Forbidden(f"your role, {self.role}, does not allow this ({needed})")


@dataclass(frozen=True, slots=True)
class ApiKey:
    id: int
    agent_id: int
    prefix: str  # `ags_` and eight digits: enough to recognise it, useless to anybody else
    role: Literal["write", "read"]
    created_us: int
    last_used_us: int | None = None
    expires_us: int | None = None
    revoked_us: int | None = None
    name: str = ""
    author: str = ""

    def is_live(self, now_us: int) -> bool:
        return self.revoked_us is None and (self.expires_us is None or self.expires_us > now_us)


@dataclass(frozen=True, slots=True)
class User:
    id: int
    organization_id: int
    email: str
    role: PersonRole
    agent_ids: tuple[int, ...] = ()  # empty: every agent of the organization
    name: str = ""
    has_password: bool = False
    signed_in_us: int | None = None
    signed_out_us: int | None = None  # everywhere: no token made before it holds any longer


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody signed in on one browser."""

    digest: str
    user_id: int
    created_us: int
    expires_us: int
    seen_us: int
    ip: str | None = None
    device: str = ""

    @property
    def handle(self) -> str:
        """What names it on a page; it opens nothing."""
        return self.digest[:16]


@dataclass(frozen=True, slots=True)
class Invitation:
    """A link by which somebody becomes a person of an organization, once."""

    id: int
    organization_id: int
    email: str
    role: PersonRole
    agent_ids: tuple[int, ...]
    author: str
    created_us: int
    expires_us: int
    used_us: int | None = None
    revoked_us: int | None = None

    def is_open(self, now_us: int) -> bool:
        return self.used_us is None and self.revoked_us is None and self.expires_us > now_us


@dataclass(frozen=True, slots=True)
class Attempt:
    """Failed sign-ins of an account or an address."""

    failures: int
    last_us: int
    until_us: int


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One line of an organization's audit log. `seal` covers the line and the seal before it."""

    organization_id: int
    number: int  # 1, 2, 3 ... in each organization
    at_us: int
    actor: str
    role: str
    action: str
    subject: str
    detail: Mapping[str, Any]
    ip: str | None
    result: str
    seal: str = ""

    def sealed(self, seal: str) -> AuditLine:
        return replace(self, seal=seal)
