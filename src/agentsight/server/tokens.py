"""Short-lived tokens for the API: whose they are, signed with the installation's secret by one fixed algorithm."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

import jwt

LIFETIME_S = 15 * 60
LEEWAY_S = 30
MOST_CHARS = 2_000
_ISSUER, _AUDIENCE, _ALGORITHM = "agentsight", "agentsight-api", "HS256"
_HEAD = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."  # {"alg":"HS256","typ":"JWT"}: what we write, so all we read


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: whose it is, when it was made, the handle of the session it was made in, if in one."""

    user_id: int
    issued_us: int
    session: str


class Tokens:
    """Makes and reads the tokens of one installation."""

    def __init__(self, secret: str):
        self._key = hmac.new(secret.encode(), b"api tokens", hashlib.sha256).hexdigest()

    def issue(self, user_id: int, now_us: int, session: str = "") -> str:
        now_s = now_us / 1_000_000
        claims = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": str(user_id),
            "iat": now_s,
            "exp": int(now_s) + LIFETIME_S,
            "jti": secrets.token_hex(16),
            "sid": session,
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM)

    def read(self, token: str) -> Claims | None:
        """What a token of ours says; None for every other, and for one that is over."""
        if len(token) > MOST_CHARS or not token.startswith(_HEAD):
            return None
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                issuer=_ISSUER,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "sub", "jti", "iss", "aud"]},
            )
            return Claims(int(claims["sub"]), round(claims["iat"] * 1_000_000), str(claims.get("sid") or ""))
        except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError):
            return None
