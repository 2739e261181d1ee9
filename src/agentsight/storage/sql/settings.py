"""What an organization sets for itself: its own row, its agents', its people and keys."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, func, select, update

from agentsight.core.model import Agent, ApiKey, Organization, User

from .rows import Driver, dump
from .schema import agent, api_key, attachment, conversation, event, organization, session, sign_in_link, user
from .tenants import SqlTenants, _key


class SqlSettings:
    def __init__(self, driver: Driver):
        self._driver = driver

    def keep_organization(self, changed: Organization) -> None:
        values = {"name": changed.name, "timezone": changed.timezone, "settings": dump(changed.settings)}
        self._driver.execute(update(organization).where(organization.c.id == changed.id).values(**values))

    def keep_agent(self, changed: Agent) -> None:
        own = (agent.c.organization_id == changed.organization_id) & (agent.c.id == changed.id)
        values = {"name": changed.name, "settings": dump(changed.settings)}
        self._driver.execute(update(agent).where(own).values(**values))

    def archive_agent(self, organization_id: int, id: int, archived_us: int | None) -> None:
        own = (agent.c.organization_id == organization_id) & (agent.c.id == id)
        self._driver.execute(update(agent).where(own).values(archived_us=archived_us))

    def users(self, organization_id: int) -> list[User]:
        own = select(user.c.id).where(user.c.organization_id == organization_id).order_by(user.c.email)
        tenants = SqlTenants(self._driver)
        found = [tenants.user(row.id) for row in self._driver.execute(own)]
        return [each for each in found if each is not None]

    def remove_user(self, organization_id: int, id: int) -> int:
        """Their sessions and links end with them."""
        own = (user.c.organization_id == organization_id) & (user.c.id == id)
        if self._driver.execute(select(user.c.id).where(own)).first() is None:
            return 0
        for table in (session, sign_in_link):
            self._driver.execute(delete(table).where(table.c.user_id == id))
        return int(self._driver.execute(delete(user).where(own)).rowcount)

    def keys(self, organization_id: int) -> list[ApiKey]:
        own = select(agent.c.id).where(agent.c.organization_id == organization_id)
        found = select(api_key).where(api_key.c.agent_id.in_(own)).order_by(api_key.c.created_us.desc())
        return [_key(row) for row in self._driver.execute(found)]

    def revoke_key(self, organization_id: int, id: int, now_us: int) -> int:
        own = select(agent.c.id).where(agent.c.organization_id == organization_id)
        live = (api_key.c.id == id) & api_key.c.agent_id.in_(own) & api_key.c.revoked_us.is_(None)
        return int(self._driver.execute(update(api_key).where(live).values(revoked_us=now_us)).rowcount)

    def end_key(self, organization_id: int, id: int, expires_us: int) -> int:
        own = select(agent.c.id).where(agent.c.organization_id == organization_id)
        live = (api_key.c.id == id) & api_key.c.agent_id.in_(own) & api_key.c.revoked_us.is_(None)
        return int(self._driver.execute(update(api_key).where(live).values(expires_us=expires_us)).rowcount)

    def stored(self, agent_ids: tuple[int, ...]) -> dict[str, int]:
        """How much is kept: conversations, events, files and their bytes."""

        def counted(table: Any) -> int:
            asked = select(func.count()).select_from(table).where(table.c.agent_id.in_(agent_ids))
            return int(self._driver.execute(asked).scalar() or 0)

        size = select(func.coalesce(func.sum(attachment.c.size_bytes), 0)).where(attachment.c.agent_id.in_(agent_ids))
        return {
            "conversations": counted(conversation),
            "events": counted(event),
            "files": counted(attachment),
            "file_bytes": int(self._driver.execute(size).scalar() or 0),
        }
