"""Passwords, sessions, invitations, failed sign-ins. Every secret is here as a hash only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import orjson
from sqlalchemy import delete, insert, select, update

from agentsight.core.model import Attempt, Invitation, Session, User

from .rows import Driver, dump
from .schema import attempt, invitation, session, sign_in_link, user
from .tenants import SqlTenants


class SqlPeople:
    def __init__(self, driver: Driver):
        self._driver = driver

    # -- what a person is --------------------------------------------------------------------------------------------
    def change_user(self, changed: User) -> None:
        values = {"name": changed.name, "role": changed.role, "agent_ids": dump(changed.agent_ids)}
        self._driver.execute(update(user).where(user.c.id == changed.id).values(**values))

    def password(self, user_id: int) -> str | None:
        kept: str | None = self._driver.execute(select(user.c.password).where(user.c.id == user_id)).scalar()
        return kept

    def set_password(self, user_id: int, hash: str) -> None:
        self._driver.execute(update(user).where(user.c.id == user_id).values(password=hash))

    def signed_in(self, user_id: int, now_us: int) -> None:
        self._driver.execute(update(user).where(user.c.id == user_id).values(signed_in_us=now_us))

    def link_user(self, digest: str, now_us: int) -> User | None:
        link = sign_in_link.c
        usable = (link.digest == digest) & link.used_us.is_(None) & (link.expires_us > now_us)
        row = self._driver.execute(select(link.user_id).where(usable)).first()
        return SqlTenants(self._driver).user(row.user_id) if row else None

    # -- sessions ----------------------------------------------------------------------------------------------------
    def add_session(self, new: Session) -> None:
        self._driver.execute(insert(session).values(**asdict(new)))
        self._driver.execute(delete(session).where(session.c.expires_us <= new.created_us))

    def session(self, digest: str) -> Session | None:
        row = self._driver.execute(select(session).where(session.c.digest == digest)).first()
        return _session(row) if row else None

    def sessions(self, user_id: int) -> list[Session]:
        return [_session(row) for row in self._driver.execute(select(session).where(session.c.user_id == user_id))]

    def see_session(self, digest: str, now_us: int, ip: str | None) -> None:
        self._driver.execute(update(session).where(session.c.digest == digest).values(seen_us=now_us, ip=ip))

    def end_session(self, digest: str) -> None:
        self._driver.execute(delete(session).where(session.c.digest == digest))

    def end_sessions(self, user_id: int, now_us: int) -> None:
        for table in (session, sign_in_link):
            self._driver.execute(delete(table).where(table.c.user_id == user_id))
        self._driver.execute(update(user).where(user.c.id == user_id).values(signed_out_us=now_us))

    # -- invitations -------------------------------------------------------------------------------------------------
    def add_invitation(self, new: Invitation, digest: str) -> Invitation:
        values = asdict(new) | {"agent_ids": dump(new.agent_ids), "digest": digest}
        del values["id"]
        id = int(self._driver.execute(insert(invitation).values(**values)).inserted_primary_key[0])
        return replace(new, id=id)

    def invitation(self, digest: str) -> Invitation | None:
        row = self._driver.execute(select(invitation).where(invitation.c.digest == digest)).first()
        return _invitation(row) if row else None

    def invitations(self, organization_id: int) -> list[Invitation]:
        own = select(invitation).where(invitation.c.organization_id == organization_id)
        newest = own.order_by(invitation.c.created_us.desc(), invitation.c.id.desc()).limit(200)
        return [_invitation(row) for row in self._driver.execute(newest)]

    def use_invitation(self, id: int, now_us: int) -> int:
        unused = (invitation.c.id == id) & invitation.c.used_us.is_(None) & invitation.c.revoked_us.is_(None)
        return int(self._driver.execute(update(invitation).where(unused).values(used_us=now_us)).rowcount)

    def revoke_invitation(self, organization_id: int, id: int, now_us: int) -> int:
        own = (invitation.c.organization_id == organization_id) & (invitation.c.id == id)
        live = own & invitation.c.used_us.is_(None) & invitation.c.revoked_us.is_(None)
        return int(self._driver.execute(update(invitation).where(live).values(revoked_us=now_us)).rowcount)

    # -- failed sign-ins ---------------------------------------------------------------------------------------------
    def attempts(self, names: Sequence[str]) -> dict[str, Attempt]:
        rows = self._driver.execute(select(attempt).where(attempt.c.name.in_(names)))
        return {row.name: Attempt(row.failures, row.last_us, row.until_us) for row in rows}

    def keep_attempt(self, name: str, failures: int, last_us: int, until_us: int) -> None:
        told = {"failures": failures, "last_us": last_us, "until_us": until_us}
        new = self._driver.dialect.insert(attempt).values(name=name, **told)
        self._driver.execute(new.on_conflict_do_update(index_elements=["name"], set_=told))

    def forget_attempts(self, names: Sequence[str]) -> None:
        self._driver.execute(delete(attempt).where(attempt.c.name.in_(names)))

    def forget_attempts_before(self, last_us: int) -> None:
        self._driver.execute(delete(attempt).where(attempt.c.last_us < last_us))


def _session(row: Any) -> Session:
    seen_us = row.created_us if row.seen_us is None else row.seen_us
    return Session(row.digest, row.user_id, row.created_us, row.expires_us, seen_us, row.ip, row.device or "")


def _invitation(row: Any) -> Invitation:
    return Invitation(
        row.id,
        row.organization_id,
        row.email,
        row.role,
        tuple(orjson.loads(row.agent_ids)),
        row.author,
        row.created_us,
        row.expires_us,
        row.used_us,
        row.revoked_us,
    )
