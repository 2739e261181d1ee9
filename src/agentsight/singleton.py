"""What the clients that answer with the server's words share: one object a class, set up at first use."""

from __future__ import annotations

import logging
import threading
from typing import Any, ClassVar, Self

from .config import Config
from .exceptions import NoApiKeyException
from .transport import HTTPClient

_UNSET: Any = object()

logger = logging.getLogger("agentsight")


class Client:
    """One object for the process. Settings come from the environment at first use, unless construction gave them.

    Raises:
        NoApiKeyException, InvalidApiKeyException: constructed without a usable key.
    """

    _instance: ClassVar[Any] = None
    _instance_lock: ClassVar[threading.Lock]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        with cls._instance_lock:
            if cls._instance is None:
                cls._instance = cls.unconfigured()
            return cls._instance  # type: ignore[no-any-return]

    def __init__(
        self, api_key: str | None = None, endpoint: str | None = None, config: Config | None = None, **kwargs: Any
    ):
        given = {"api_key": api_key, "endpoint": endpoint, **kwargs}
        given = {name: value for name, value in given.items() if value is not None}
        if self._explicit:
            if given or config is not None:
                logger.warning("AgentSight is set up already; use configure() to change settings")
            return
        base = config.copy() if config is not None else (self._config or Config())
        base.configure(**given)
        if not base.api_key:
            raise NoApiKeyException()
        self._config, self._http, self._explicit = base, None, True

    @classmethod
    def unconfigured(cls) -> Self:
        """The object itself, before anything is known: importing needs no key."""
        client = object.__new__(cls)
        client._config, client._http, client._explicit = None, None, False
        if cls._instance is None:
            cls._instance = client
        return client

    _config: Config | None
    _http: HTTPClient | None
    _explicit: bool

    @property
    def config(self) -> Config:
        """The settings in use; read from the environment the first time somebody asks."""
        if self._config is None:
            self._config = Config.from_environment()
        return self._config

    @property
    def _http_client(self) -> HTTPClient:
        if self._http is None:
            self._http = HTTPClient(self.config)
        return self._http

    def configure(self, api_key: str | None = _UNSET, endpoint: str | None = _UNSET, **kwargs: Any) -> None:
        """Change the settings that are named.

        Raises:
            NoApiKeyException: `api_key` is None or empty; the old one stays.
            InvalidApiKeyException: `api_key` cannot be one; the old one stays.
        """
        if api_key is None or api_key == "":
            raise NoApiKeyException("API key cannot be None")
        named = {"api_key": api_key, "endpoint": endpoint, **kwargs}
        self.config.configure(**{name: value for name, value in named.items() if value is not _UNSET})
        self._http = None
