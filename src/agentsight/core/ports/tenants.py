"""Whose everything is, who gets in, and what they did and set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from ..model import Agent, ApiKey, Attempt, AuditLine, HostName, Invitation, Organization, Session, User


class Tenants(Protocol):
    """Organizations, agents, keys, users, sessions."""

    def organization(self, id: int) -> Organization | None: ...

    def organization_named(self, name: str) -> Organization | None: ...

    def organization_at(self, slug: str) -> Organization | None:
        """By its part of an address alone."""

    def organizations(self) -> list[Organization]: ...

    def add_organization(self, name: str, slug: str, created_us: int) -> Organization: ...

    def agent(self, id: int) -> Agent | None: ...

    def agents(self, organization_id: int) -> list[Agent]: ...

    def agent_named(self, organization_id: int, name: str) -> Agent | None: ...

    def add_agent(self, organization_id: int, name: str, slug: str, created_us: int) -> Agent: ...

    def add_key(self, new: ApiKey, digest: str) -> ApiKey:
        """Keep it under its SHA-256; its `id` is ours to give."""

    def key(self, digest: str) -> ApiKey | None:
        """The key with this SHA-256, revoked or not."""

    def keys(self) -> list[tuple[ApiKey, Agent, Organization]]: ...

    def revoke_keys(self, prefix: str, now_us: int) -> int: ...

    def key_used(self, id: int, now_us: int) -> None: ...

    def user(self, id: int) -> User | None: ...

    def user_by_email(self, email: str) -> User | None: ...

    def add_user(
        self, organization_id: int, email: str, role: str, agent_ids: Iterable[int], created_us: int
    ) -> User: ...

    def add_link(self, digest: str, user_id: int, expires_us: int) -> None:
        """Remember a one-time sign-in link by the SHA-256 of its token."""

    def use_link(self, digest: str, now_us: int) -> User | None:
        """The user a link signs in; it works once."""


class Settings(Protocol):
    """What an organization sets for itself: its own row, its agents', its people and keys."""

    def keep_organization(self, changed: Organization) -> None: ...

    def keep_agent(self, changed: Agent) -> None: ...

    def archive_agent(self, organization_id: int, id: int, archived_us: int | None) -> None:
        """Put an agent away, or (None) take it back."""

    def users(self, organization_id: int) -> list[User]: ...

    def remove_user(self, organization_id: int, id: int) -> int:
        """How many went; their sessions and links end with them."""

    def keys(self, organization_id: int) -> list[ApiKey]: ...

    def revoke_key(self, organization_id: int, id: int, now_us: int) -> int: ...

    def end_key(self, organization_id: int, id: int, expires_us: int) -> int:
        """Let a live key end at that time."""

    def stored(self, agent_ids: tuple[int, ...]) -> dict[str, int]:
        """How much is kept: conversations, events, files, file_bytes."""


class Hosts(Protocol):
    """Host names; each belongs to one organization."""

    def found(self, host: str) -> HostName | None: ...

    def of(self, organization_id: int) -> list[HostName]:
        """Oldest first."""

    def add(self, new: HostName) -> HostName: ...

    def remove(self, organization_id: int, host: str) -> int: ...

    def seen(self, host: str, now_us: int) -> None:
        """Remember that somebody reached us by this name for the first time."""


class People(Protocol):
    """How people get in: passwords, sessions, invitations; and who failed to."""

    def change_user(self, changed: User) -> None:
        """Write name, role and agents over what is stored."""

    def password(self, user_id: int) -> str | None:
        """The hash of somebody's password; None without one."""

    def set_password(self, user_id: int, hash: str) -> None: ...

    def signed_in(self, user_id: int, now_us: int) -> None: ...

    def link_user(self, digest: str, now_us: int) -> User | None:
        """Whom a one-time link would sign in, without using it."""

    def add_session(self, new: Session) -> None:
        """Keep it; what ended meanwhile is cleared away."""

    def session(self, digest: str) -> Session | None: ...

    def sessions(self, user_id: int) -> list[Session]: ...

    def see_session(self, digest: str, now_us: int, ip: str | None) -> None:
        """Remember that it was used."""

    def end_session(self, digest: str) -> None: ...

    def end_sessions(self, user_id: int, now_us: int) -> None:
        """End all of somebody's, one-time links and tokens made until now with them."""

    def add_invitation(self, new: Invitation, digest: str) -> Invitation:
        """Keep it under the SHA-256 of its token; its `id` is ours to give."""

    def invitation(self, digest: str) -> Invitation | None:
        """The invitation of this token, open or not."""

    def invitations(self, organization_id: int) -> list[Invitation]:
        """Newest first."""

    def use_invitation(self, id: int, now_us: int) -> int:
        """1, the first time."""

    def revoke_invitation(self, organization_id: int, id: int, now_us: int) -> int: ...

    def attempts(self, names: Sequence[str]) -> dict[str, Attempt]: ...

    def keep_attempt(self, name: str, failures: int, last_us: int, until_us: int) -> None: ...

    def forget_attempts(self, names: Sequence[str]) -> None: ...

    def forget_attempts_before(self, last_us: int) -> None: ...


class Audit(Protocol):
    """What was done in an organization, by whom; only ever appended."""

    def last(self, organization_id: int, *, hold: bool = False) -> tuple[int, str]:
        """Number and seal of the last line, (0, "") before the first. `hold`: nobody else appends until we committed."""

    def append(self, line: AuditLine) -> None: ...

    def after(self, organization_id: int, number: int, limit: int) -> list[AuditLine]:
        """The lines that follow that number, oldest first."""

    def page(
        self, organization_id: int, *, before: int | None = None, limit: int = 50, **where: str | int | None
    ) -> list[AuditLine]:
        """Newest first, below that number. `where`: action (or the beginning of one), actor, from_us, to_us."""
