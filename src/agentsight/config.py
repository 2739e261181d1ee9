"""Settings: arguments before a `Config` object before the environment, which is read at first use, not at import."""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import dataclass, fields, replace
from typing import Any, TypedDict

from . import wire
from .enums import Environment, LogLevel, TokenHandlerType
from .exceptions import InvalidApiKeyException, NoApiKeyException

API_KEY_PATTERN = wire.API_KEY_PATTERN
ENDPOINT = "https://api.agentsight.io"
APP_URL = "https://app.agentsight.io"

logger = logging.getLogger("agentsight")
logger.addHandler(logging.NullHandler())


class ConfigDict(TypedDict):
    """What `Config.dict()` returns."""

    api_key: str | None
    endpoint: str
    app_url: str
    environment: str | Environment | None
    conversation_id: str | None
    token_handler: TokenHandlerType | None
    log_level: LogLevel


@dataclass(repr=False)
class Config:
    """The settings of one client; what is not given comes from the environment.

    `environment`, when set, overrides what a call says about its conversation.

    Raises:
        InvalidApiKeyException: the key is not of the form `ags_<32 hex>_<6 hex>`.
        ValueError: `token_handler` names no framework we know.
    """

    api_key: str | None = None
    endpoint: str | None = None
    app_url: str | None = None
    environment: str | Environment | None = None
    conversation_id: str | None = None
    token_handler: TokenHandlerType | str | None = None
    log_level: LogLevel | str | None = None

    def __post_init__(self) -> None:
        read = os.environ.get
        self.api_key = self.api_key if self.api_key is not None else read("AGENTSIGHT_API_KEY")
        self.endpoint = self.endpoint or read("AGENTSIGHT_API_ENDPOINT") or ENDPOINT
        self.app_url = self.app_url or read("AGENTSIGHT_APP_URL") or APP_URL
        self.environment = self.environment or read("AGENTSIGHT_ENVIRONMENT") or None
        self.conversation_id = self.conversation_id or read("AGENTSIGHT_CONVERSATION_ID") or None
        if self.token_handler is None:
            self.token_handler = read("AGENTSIGHT_TOKEN_HANDLER_TYPE")
        self.log_level = self.log_level or read("AGENTSIGHT_LOG_LEVEL") or LogLevel.INFO
        self._validate()

    def _validate(self) -> None:
        self.api_key = checked_key(self.api_key, str(self.app_url))
        self.token_handler = TokenHandlerType.from_env(self.token_handler)
        self.log_level = LogLevel.from_string(self.log_level)

    @classmethod
    def from_environment(cls) -> Config:
        """As `Config()`, but a key or framework that cannot be used waits to be complained about until it is needed."""
        try:
            token_handler = TokenHandlerType.from_env(os.environ.get("AGENTSIGHT_TOKEN_HANDLER_TYPE"))
        except ValueError as wrong:
            logger.warning("%s; token usage is not counted for you", wrong)
            token_handler = None
        try:
            return cls(token_handler=token_handler or "")
        except InvalidApiKeyException:
            return cls(api_key="", token_handler=token_handler or "")

    @property
    def base_url(self) -> str:
        """The endpoint without a trailing slash."""
        return str(self.endpoint).strip().rstrip("/")

    @property
    def key(self) -> str:
        """The API key to send with.

        Raises:
            NoApiKeyException, InvalidApiKeyException: there is none, or it cannot be one.
        """
        if not self.api_key:
            self.api_key = checked_key(os.environ.get("AGENTSIGHT_API_KEY"), str(self.app_url))
        if not self.api_key:
            raise NoApiKeyException()
        return self.api_key

    def configure(
        self,
        api_key: str | None = None,
        endpoint: str | None = None,
        app_url: str | None = None,
        environment: str | Environment | None = None,
        conversation_id: str | None = None,
        token_handler: TokenHandlerType | str | None = None,
        log_level: LogLevel | str | None = None,
    ) -> None:
        """Change what is given and keep the rest; a value that cannot be used changes nothing at all."""
        given = {
            "api_key": api_key,
            "endpoint": endpoint,
            "app_url": app_url,
            "environment": environment,
            "conversation_id": conversation_id,
            "token_handler": token_handler,
            "log_level": log_level,
        }
        given = {name: value for name, value in given.items() if value is not None}
        if "api_key" in given:
            given["api_key"] = checked_key(api_key, str(app_url or self.app_url))
        if "token_handler" in given:
            given["token_handler"] = TokenHandlerType.from_env(token_handler)
        if "log_level" in given:
            given["log_level"] = LogLevel.from_string(str(getattr(log_level, "value", log_level)))
        for name, value in given.items():
            setattr(self, name, value)

    def dict(self) -> ConfigDict:
        """The seven settings, the key in clear: it is the caller's own."""
        return {name.name: getattr(self, name.name) for name in fields(self)}  # type: ignore[return-value]

    def json(self) -> str:
        """The seven settings as JSON, the key masked."""
        shown: dict[str, Any] = {**self.dict(), "api_key": masked(self.api_key)}
        return json.dumps({name: getattr(value, "value", value) for name, value in shown.items()})

    def copy(self, **changes: Any) -> Config:
        """The same settings in an object of its own."""
        return replace(self, **changes)

    def __repr__(self) -> str:
        return f"Config({self.json()})"


def checked_key(api_key: object, app_url: str = APP_URL) -> str | None:
    """The key as it is sent; None when there is none. Raises InvalidApiKeyException."""
    if api_key is None or not str(api_key).strip():
        return None
    text = str(api_key).removesuffix("\n")
    if not API_KEY_PATTERN.fullmatch(text):
        raise InvalidApiKeyException(api_key, app_url)
    return text


def masked(api_key: str | None) -> str | None:
    """Enough of a key to recognise it, too little to use it."""
    return f"{api_key[:8]}…" if api_key else None


def version() -> str:
    """This package's version, asked of the package without importing upwards."""
    return str(sys.modules[__package__].__version__)


class Settings:
    """How the SDK delivers, read from the environment once, at first use."""

    __slots__ = ("auto_send_s", "spool", "spool_dir", "threaded")

    def __init__(self) -> None:
        read = os.environ.get
        self.spool = (read("AGENTSIGHT_SPOOL") or "on-failure").strip().lower()
        if self.spool not in ("on-failure", "always", "off"):
            self.spool = "on-failure"
        serverless = ("AWS_LAMBDA_FUNCTION_NAME", "K_SERVICE", "VERCEL", "FUNCTIONS_WORKER_RUNTIME")
        self.threaded = not any(read(name) for name in serverless)
        self.spool_dir = read("AGENTSIGHT_SPOOL_DIR") or _state_dir(persistent=self.threaded)
        try:
            self.auto_send_s = max(0.0, float(read("AGENTSIGHT_AUTO_SEND") or 0))
        except ValueError:
            self.auto_send_s = 0.0


def _state_dir(persistent: bool) -> str:
    if not persistent:
        import tempfile

        return os.path.join(tempfile.gettempdir(), "agentsight")
    state = os.environ.get("XDG_STATE_HOME") or os.environ.get("LOCALAPPDATA")
    return os.path.join(state or os.path.expanduser(os.path.join("~", ".local", "state")), "agentsight")
