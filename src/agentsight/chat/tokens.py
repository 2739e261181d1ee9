"""Signed tokens: who is asking. The algorithm is fixed by configuration, never taken from the token."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
from jwt.utils import base64url_decode

from agentsight.chat import strict
from agentsight.chat.errors import Refusal
from agentsight.chat.revocations import Revocations
from agentsight.chat.settings import Settings
from agentsight.errors import ConfigError

log = logging.getLogger(__name__)

UNREADABLE = (jwt.PyJWTError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
LEEWAY_S = 30
MAX_TOKEN_BYTES = 8192
MAX_USER_CHARS = 255
SHARED_ALGORITHMS = ["HS256"]
PUBLISHED_ALGORITHMS = ["EdDSA", "ES256", "RS256"]
KEYS_FRESH_S, REFETCH_S, MAX_JWKS_BYTES = 300.0, 30.0, 262_144


def issue(user: str, settings: Settings, lifetime_s: int = 12 * 3600) -> str:
    """A token for `user`, signed with the newest secret, good for half a day.

    Raises:
        ConfigError: this backend verifies another issuer's tokens only.
    """
    if not settings.secrets:
        raise ConfigError("AGENTSIGHT_CHAT_SECRET: needed to make tokens; AGENTSIGHT_CHAT_JWKS_URL only verifies them")
    stamp = int(time.time())
    claims: dict[str, Any] = {"iat": stamp, "exp": stamp + lifetime_s, "sub": user}
    if settings.claim != "sub":
        claims |= _nested(settings.claim, user)
    for name, value in (("iss", settings.issuer), ("aud", settings.audience)):
        if value:
            claims[name] = value
    return jwt.encode(claims, settings.secrets[0], algorithm=SHARED_ALGORITHMS[0])


def end_of(token: str) -> int:
    """When a token ends, in seconds since 1970, whoever signed it. Raises ConfigError when it is none."""
    try:
        return int(jwt.decode(token, options={"verify_signature": False, "verify_exp": False})["exp"])
    except UNREADABLE:
        raise ConfigError("this is no token") from None


class Verifier:
    """Tells whose token it is. With a published key set and a secret, a token that names a key goes to the set."""

    def __init__(self, settings: Settings, revocations: Revocations | None = None):
        self.settings, self.revocations = settings, revocations
        self.keys = KeySet(settings.jwks_url) if settings.jwks_url else None

    async def check(self, token: str) -> str:
        """The user this token was signed for; reading published keys does not hold up the event loop.

        Raises:
            Refusal: unauthenticated, without saying why: the reason is for the log.
        """
        return (await self.claims(token))[0]

    async def claims(self, token: str) -> tuple[str, int]:
        """The user, and when the token ends. Raises Refusal(unauthenticated)."""
        read = self._claims(token) if self.keys is None else await asyncio.to_thread(self._claims, token)
        user, ends_s, issued_s = read
        if self.revocations is not None and await self.revocations.has(token, user, issued_s):
            log.info("token refused: revoked")
            raise unauthenticated()
        return user, ends_s

    def _claims(self, token: str) -> tuple[str, int, float | None]:
        try:
            claims = self._verify(token)
        except UNREADABLE as wrong:
            log.info("token refused: %s", type(wrong).__name__)
            raise unauthenticated() from None
        user = _dig(claims, self.settings.claim)
        if not isinstance(user, str) or not 0 < len(user) <= MAX_USER_CHARS or not user.isprintable():
            raise unauthenticated()
        return user, int(claims["exp"]), claims.get("iat")

    def _verify(self, token: str) -> dict[str, Any]:
        if len(token) > MAX_TOKEN_BYTES:
            raise jwt.InvalidTokenError
        for part in token.split(".")[:2]:
            strict.loads(base64url_decode(part))  # what another reader of this token might read otherwise is nobody's
        header = jwt.get_unverified_header(token)
        if self.keys is not None and (header.get("kid") or not self.settings.secrets):
            return self._decode(token, self.keys.key(header.get("kid")), PUBLISHED_ALGORITHMS)
        failure: Exception = jwt.InvalidTokenError()
        for secret in self.settings.secrets:
            try:
                return self._decode(token, secret, SHARED_ALGORITHMS)
            except jwt.InvalidSignatureError as wrong:
                failure = wrong
        raise failure

    def _decode(self, token: str, key: Any, algorithms: list[str]) -> dict[str, Any]:
        audience, claim = self.settings.audience, self.settings.claim
        return dict(
            jwt.decode(
                token, key, algorithms=algorithms, audience=audience, issuer=self.settings.issuer, leeway=LEEWAY_S,
                options={"require": ["exp", "sub"] if claim == "sub" else ["exp"], "verify_aud": audience is not None},
            )
        )  # fmt: skip


class KeySet:
    """The keys an issuer publishes: read again after five minutes, or for an unknown key at most every 30 s."""

    def __init__(self, address: str):
        if urlsplit(address).scheme not in ("http", "https", "file", ""):
            raise ConfigError("AGENTSIGHT_CHAT_JWKS_URL: must be an http(s) address or a file")
        self.address = address
        self._keys: dict[str | None, Any] = {}
        self._read_s = self._tried_s = -KEYS_FRESH_S
        self._lock = threading.Lock()

    def key(self, kid: str | None) -> Any:
        """The key called `kid`, with the algorithm its owner fixed. Raises jwt.InvalidKeyError."""
        with self._lock:
            now_s = time.monotonic()
            stale = now_s - self._read_s > KEYS_FRESH_S
            if (stale or kid not in self._keys) and now_s - self._tried_s > REFETCH_S:
                self._tried_s = now_s
                self._refresh(now_s)
            if kid in self._keys:
                return self._keys[kid]
        raise jwt.InvalidKeyError("no such key")

    def _refresh(self, now_s: float) -> None:
        try:
            published = jwt.PyJWKSet.from_dict(json.loads(self._fetch()))
        except Exception as wrong:  # whatever it is, the keys we have stay good
            log.warning("the published keys could not be read: %s", type(wrong).__name__)
            return
        usable = [key for key in published.keys if key.public_key_use in (None, "sig")]
        usable = [key for key in usable if key.algorithm_name in PUBLISHED_ALGORITHMS]
        self._keys = {key.key_id: key for key in usable}
        self._read_s = now_s

    def _fetch(self) -> bytes:
        if urlsplit(self.address).scheme in ("http", "https"):
            with urllib.request.urlopen(self.address, timeout=5) as answer:
                return bytes(answer.read(MAX_JWKS_BYTES))
        return Path(self.address.removeprefix("file://")).read_bytes()[:MAX_JWKS_BYTES]


def unauthenticated() -> Refusal:
    """The refusal of everybody who is not signed in."""
    detail = "A valid token is needed: Authorization: Bearer ..."
    return Refusal("unauthenticated", detail, headers={"WWW-Authenticate": "Bearer"})


def _dig(claims: Any, path: str) -> Any:
    for name in path.split("."):
        claims = claims.get(name) if isinstance(claims, dict) else None
    return claims


def _nested(path: str, value: str) -> dict[str, Any]:
    first, _, rest = path.partition(".")
    return {first: _nested(rest, value) if rest else value}
