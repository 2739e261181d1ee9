"""Organizations, agents, keys, users, sign-in links, sessions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

import orjson
from sqlalchemy import Select, insert, select, update

from agentsight.core.model import Agent, ApiKey, Organization, User

from .rows import Driver, dump, load
from .schema import agent, api_key, organization, sign_in_link, user


class SqlTenants:
    def __init__(self, driver: Driver):
        self._driver = driver

    # -- organizations and agents ------------------------------------------------------------------------------------
    def organization(self, id: int) -> Organization | None:
        return self._organization(select(organization).where(organization.c.id == id))

    def organization_named(self, name: str) -> Organization | None:
        """By name, or by slug as URLs have it."""
        named = (organization.c.name == name) | (organization.c.slug == name)
        return self._organization(select(organization).where(named).order_by(organization.c.name != name))

    def organization_at(self, slug: str) -> Organization | None:
        return self._organization(select(organization).where(organization.c.slug == slug))

    def organizations(self) -> list[Organization]:
        return [_organization(row) for row in self._driver.execute(select(organization).order_by(organization.c.name))]

    def add_organization(self, name: str, slug: str, created_us: int) -> Organization:
        new = insert(organization).values(name=name, slug=slug, created_us=created_us)
        return Organization(self._inserted(new), name, slug)

    def agent(self, id: int) -> Agent | None:
        return self._agent(select(agent).where(agent.c.id == id))

    def agents(self, organization_id: int) -> list[Agent]:
        asked = select(agent).where(agent.c.organization_id == organization_id).order_by(agent.c.name)
        return [_agent(row) for row in self._driver.execute(asked)]

    def agent_named(self, organization_id: int, name: str) -> Agent | None:
        named = (agent.c.name == name) | (agent.c.slug == name)
        own = agent.c.organization_id == organization_id
        return self._agent(select(agent).where(own, named).order_by(agent.c.name != name))

    def add_agent(self, organization_id: int, name: str, slug: str, created_us: int) -> Agent:
        new = insert(agent).values(organization_id=organization_id, name=name, slug=slug, created_us=created_us)
        return Agent(self._inserted(new), organization_id, name, slug)

    def _organization(self, asked: Select[Any]) -> Organization | None:
        row = self._driver.execute(asked).first()
        return _organization(row) if row else None

    def _agent(self, asked: Select[Any]) -> Agent | None:
        row = self._driver.execute(asked).first()
        return _agent(row) if row else None

    def _inserted(self, new: Any) -> int:
        return int(self._driver.execute(new).inserted_primary_key[0])

    # -- keys --------------------------------------------------------------------------------------------------------
    def add_key(self, new: ApiKey, digest: str) -> ApiKey:
        told = {field.name: getattr(new, field.name) for field in fields(new) if field.name != "id"}
        return replace(new, id=self._inserted(insert(api_key).values(**told, digest=digest)))

    def key(self, digest: str) -> ApiKey | None:
        row = self._driver.execute(select(api_key).where(api_key.c.digest == digest)).first()
        return _key(row) if row else None

    def keys(self) -> list[tuple[ApiKey, Agent, Organization]]:
        found = []
        agents = {row.id: _agent(row) for row in self._driver.execute(select(agent))}
        organizations = {of.id: of for of in self.organizations()}
        for row in self._driver.execute(select(api_key).order_by(api_key.c.created_us)):
            owner = agents[row.agent_id]
            found.append((_key(row), owner, organizations[owner.organization_id]))
        return found

    def revoke_keys(self, prefix: str, now_us: int) -> int:
        live = (api_key.c.prefix == prefix) & api_key.c.revoked_us.is_(None)
        return int(self._driver.execute(update(api_key).where(live).values(revoked_us=now_us)).rowcount)

    def key_used(self, id: int, now_us: int) -> None:
        self._driver.execute(update(api_key).where(api_key.c.id == id).values(last_used_us=now_us))

    # -- people ------------------------------------------------------------------------------------------------------
    def user(self, id: int) -> User | None:
        return self._user(select(user).where(user.c.id == id))

    def user_by_email(self, email: str) -> User | None:
        return self._user(select(user).where(user.c.email == email))

    def add_user(self, organization_id: int, email: str, role: str, agent_ids: Iterable[int], created_us: int) -> User:
        seen = tuple(agent_ids)
        new = insert(user).values(
            organization_id=organization_id, email=email, role=role, agent_ids=dump(seen), created_us=created_us
        )
        added = self.user(self._inserted(new))
        if added is None:
            raise LookupError("a user just added is not there")
        return added

    def add_link(self, digest: str, user_id: int, expires_us: int) -> None:
        self._driver.execute(insert(sign_in_link).values(digest=digest, user_id=user_id, expires_us=expires_us))

    def use_link(self, digest: str, now_us: int) -> User | None:
        usable = (
            (sign_in_link.c.digest == digest) & sign_in_link.c.used_us.is_(None) & (sign_in_link.c.expires_us > now_us)
        )
        link = self._driver.execute(select(sign_in_link.c.user_id).where(usable)).first()
        if link is None:
            return None
        self._driver.execute(update(sign_in_link).where(usable).values(used_us=now_us))
        return self.user(link.user_id)

    def _user(self, asked: Select[Any]) -> User | None:
        row = self._driver.execute(asked).first()
        if row is None:
            return None
        seen = tuple(orjson.loads(row.agent_ids))
        named = (row.name or "", row.password is not None, row.signed_in_us, row.signed_out_us)
        return User(row.id, row.organization_id, row.email, row.role, seen, *named)


def _organization(row: Any) -> Organization:
    return Organization(row.id, row.name, row.slug, row.timezone, load(row.settings))


def _agent(row: Any) -> Agent:
    return Agent(row.id, row.organization_id, row.name, row.slug, load(row.settings), row.archived_us)


def _key(row: Any) -> ApiKey:
    return ApiKey(
        row.id,
        row.agent_id,
        row.prefix,
        row.role,
        row.created_us,
        row.last_used_us,
        row.expires_us,
        row.revoked_us,
        row.name or "",
        row.author or "",
    )
