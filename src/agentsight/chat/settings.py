"""The settings of a chat backend, read once from the environment."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agentsight.errors import ConfigError

PROVIDERS = ("demo", "openai_agents", "pydantic_ai", "llamaindex")
LEAST_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a chat backend can be told; the defaults are those of a laptop."""

    data_dir: Path
    database_url: str
    secrets: tuple[str, ...] = field(default=(), repr=False)
    secret_was_made: bool = False  # then the server may bind to loopback only
    jwks_url: str | None = None
    issuer: str | None = None
    audience: str | None = None
    claim: str = "sub"
    provider: str = "demo"
    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    model: str = "gpt-4o"
    tracking_key: str | None = field(default=None, repr=False)  # None: runs wait in the outbox until there is one
    tracking_endpoint: str | None = None
    deadline_s: float = 120.0  # for a whole run
    silence_s: float = 60.0  # for a model that says nothing, while no tool is at work
    runs_per_minute: int = 20
    live_runs: int = 4
    beat_s: float = 2.0
    stale_s: float = 30.0
    ping_s: float = 15.0

    def __post_init__(self) -> None:
        for secret in self.secrets:
            if len(secret.encode()) < LEAST_SECRET_BYTES:
                raise ConfigError(f"AGENTSIGHT_CHAT_SECRET: a secret needs at least {LEAST_SECRET_BYTES} bytes")
        if self.jwks_url and not (self.issuer and self.audience):
            raise ConfigError(
                "AGENTSIGHT_CHAT_JWKS_URL: set AGENTSIGHT_CHAT_ISSUER and AGENTSIGHT_CHAT_AUDIENCE too; "
                "without them a token made for another service of the same issuer would be accepted"
            )
        if self.provider not in PROVIDERS:
            raise ConfigError(f"AGENTSIGHT_CHAT_PROVIDER: must be one of {', '.join(PROVIDERS)}")

    @classmethod
    def from_env(cls, data_dir: Path | str, environ: Mapping[str, str] | None = None) -> Settings:
        """The settings that the environment gives, on the data folder `data_dir`.

        Without a secret and without a JWKS address a random secret is made at first start and kept in the data
        folder, readable by its owner alone; `secret_was_made` then tells the caller to serve loopback only.

        Raises:
            ConfigError: names the variable that cannot be used.
        """
        env = os.environ if environ is None else environ
        folder = Path(data_dir)
        given = env.get("AGENTSIGHT_CHAT_SECRET") or env.get("BETTER_AUTH_SECRET") or ""
        known = tuple(secret.strip() for secret in given.split(",") if secret.strip())
        jwks_url = env.get("AGENTSIGHT_CHAT_JWKS_URL") or None
        made = not known and not jwks_url
        key = env.get("OPENAI_API_KEY") or None
        return cls(
            data_dir=folder,
            database_url=database_url(env, folder),
            secrets=(_kept_secret(folder),) if made else known,
            secret_was_made=made,
            jwks_url=jwks_url,
            issuer=env.get("AGENTSIGHT_CHAT_ISSUER") or None,
            audience=env.get("AGENTSIGHT_CHAT_AUDIENCE") or None,
            claim=env.get("AGENTSIGHT_CHAT_CLAIM") or "sub",
            provider=env.get("AGENTSIGHT_CHAT_PROVIDER") or ("openai_agents" if key else "demo"),
            api_key=key,
            base_url=env.get("OPENAI_BASE_URL") or None,
            model=env.get("OPENAI_MODEL") or "gpt-4o",
            tracking_key=env.get("AGENTSIGHT_API_KEY") or None,
            tracking_endpoint=env.get("AGENTSIGHT_API_ENDPOINT") or None,
        )


def database_url(env: Mapping[str, str], folder: Path) -> str:
    """Where the chat keeps its own, as these variables say, by the driver we use."""
    url = env.get("AGENTSIGHT_CHAT_DATABASE_URL") or env.get("DATABASE_URL") or f"sqlite:///{folder / 'chat.db'}"
    for plain in ("postgres://", "postgresql://"):
        if url.startswith(plain):
            return "postgresql+psycopg://" + url.removeprefix(plain)
    return url


def _kept_secret(folder: Path) -> str:
    """The secret of this data folder, made when there is none. Two processes that start together agree on one."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    kept, made = folder / "chat.secret", folder / f".chat.secret.{secrets.token_hex(8)}"
    if not kept.exists():
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48))
        try:
            os.link(made, kept)  # fails when another process was first: its secret is the one
        except FileExistsError:
            pass
        finally:
            made.unlink()
    return kept.read_text().strip()


def default_data_dir() -> Path:
    """The data folder: `AGENTSIGHT_DATA`, else the platform's folder for user data."""
    if given := os.environ.get("AGENTSIGHT_DATA"):
        return Path(given)
    from platformdirs import user_data_path

    return user_data_path("agentsight")
