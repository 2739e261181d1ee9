"""The vocabularies callers may use instead of plain text."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

_Known = TypeVar("_Known", bound=Enum)


def _read(enum: type[_Known], value: object, what: str) -> _Known | None:
    if not value:
        return None
    try:
        return enum(value)
    except ValueError:
        known = ", ".join(member.value for member in enum)
        raise ValueError(f"Invalid {what} '{value}'. Expected one of: {known}") from None


class LogLevel(str, Enum):  # noqa: UP042  str() of a member stays what callers know
    """Levels of the `agentsight` logger."""

    CRITICAL = "CRITICAL"
    ERROR = "ERROR"
    WARNING = "WARNING"
    INFO = "INFO"
    DEBUG = "DEBUG"

    @classmethod
    def from_string(cls, level: str | None) -> LogLevel:
        """The level of that name in any case; INFO for anything else."""
        try:
            return cls(str(getattr(level, "value", level)).upper())
        except ValueError:
            return cls.INFO


class AgentType(Enum):
    """Kinds of agents; informative only."""

    CHATBOT = "chatbot"
    AGENT = "agent"
    VOICE = "voice"
    CUSTOM = "custom"


class AttachmentMode(Enum):
    """How the caller holds an attachment: as base64 text, or as bytes or an open file."""

    BASE64 = "base64"
    FORM_DATA = "form_data"


class Sender(str, Enum):  # noqa: UP042  str() of a member stays what callers know
    """Who said it."""

    USER = "end_user"
    AGENT = "agent"
    SYSTEM = "system"


class Environment(Enum):
    """Where a conversation counts: only `production` reaches analytics."""

    PRODUCTION = "production"
    DEVELOPMENT = "development"

    @classmethod
    def from_env(cls, value: str | None) -> Environment | None:
        """The member, None for nothing. Raises ValueError for an unknown name."""
        return _read(cls, value, "environment type")


class TokenHandlerType(Enum):
    """The frameworks whose token usage is counted without a call of yours."""

    LLAMAINDEX = "llamaindex"
    LANGCHAIN = "langchain"

    @classmethod
    def from_env(cls, value: object) -> TokenHandlerType | None:
        """The member, None for nothing. Raises ValueError for an unknown name."""
        return _read(cls, value, "token handler type")


class Sentiment(str, Enum):  # noqa: UP042  str() of a member stays what callers know
    """How a customer felt about a conversation."""

    POSITIVE = "positive"
    NEUTRAL = "neutral"
    NEGATIVE = "negative"
