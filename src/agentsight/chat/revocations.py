"""Tokens that are good no more: one of them, or all that a user was given until now."""

from __future__ import annotations

import hashlib
import time

from sqlalchemy import delete, select

from agentsight.chat.database import Database, now_us
from agentsight.chat.schema import Revocation

LOOK_EVERY_S = 1.0


class Revocations:
    """What was revoked, looked up at most once a second: so long a revoked token may still pass."""

    def __init__(self, db: Database):
        self.db = db
        self._known: dict[str, int] = {}
        self._looked_s = -LOOK_EVERY_S

    def revoke_user(self, user_id: str) -> None:
        """No token that this user was given until now is good any more."""
        self._add(_of_user(user_id), None)

    def revoke_token(self, token: str, ends_s: int) -> None:
        """This token is good no more; remembered until it would have ended."""
        self._add(_of_token(token), ends_s * 1_000_000)

    async def has(self, token: str, user_id: str, issued_s: float | None) -> bool:
        """Whether this token was revoked. One that does not say when it was issued goes with all of its user's."""
        if time.monotonic() - self._looked_s > LOOK_EVERY_S:
            self._looked_s = time.monotonic()
            self._known = await self.db.call(self._all)
        if not self._known:
            return False
        since_us = self._known.get(_of_user(user_id))
        ended = since_us is not None and (issued_s is None or issued_s * 1_000_000 <= since_us)
        return ended or _of_token(token) in self._known

    def _all(self) -> dict[str, int]:
        with self.db.read() as s:
            rows = s.execute(select(Revocation.name, Revocation.revoked_us))
            return {name: revoked_us for name, revoked_us in rows}  # noqa: C416  rows are no pairs to dict()

    def _add(self, name: str, ends_us: int | None) -> None:
        stamp = now_us()
        with self.db.write() as s:
            s.execute(delete(Revocation).where(Revocation.ends_us < stamp - 3_600_000_000))
            s.merge(Revocation(name=name, revoked_us=stamp, ends_us=ends_us))


def _of_user(user_id: str) -> str:
    return hashlib.sha256(f"user:{user_id}".encode()).hexdigest()


def _of_token(token: str) -> str:
    """By what is signed: a signature can be written in more than one way."""
    return hashlib.sha256(f"token:{token.rpartition('.')[0]}".encode()).hexdigest()
