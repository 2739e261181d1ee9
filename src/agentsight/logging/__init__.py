"""The logger of this package, which leaves handlers and formats to the application."""

from __future__ import annotations

from logging import Logger, getLogger
from typing import Any

logger = getLogger("agentsight")


def configure_logging(config: Any = None) -> Logger:
    """Set the logger's level to that of `config`, by default the environment's; handlers stay as they are."""
    from ..config import Config

    level = getattr(config, "log_level", None) or Config(api_key="", token_handler="").log_level
    logger.setLevel(str(getattr(level, "value", level)))
    return logger


__all__ = ["configure_logging", "logger"]
