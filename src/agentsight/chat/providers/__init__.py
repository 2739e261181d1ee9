"""Who writes the answers: one file a vendor, each with a `Responder` over the user's own agent and `open(settings)`."""

from __future__ import annotations

from importlib import import_module

from mcp.server import MCPServer

from agentsight.chat.responder import Responder
from agentsight.chat.settings import Settings
from agentsight.errors import ConfigError

EXTRAS = {"openai_agents": "openai-agents", "pydantic_ai": "pydantic-ai", "llamaindex": "llamaindex"}

INSTRUCTIONS = (
    "You are a helpful assistant for managing to-do tasks. "
    "Add, list, complete, update and delete tasks with the tools, and confirm in a friendly way what you did."
)


def open_responder(settings: Settings, todo: MCPServer) -> Responder:
    """The responder that the settings name, with the todo tools.

    Raises:
        ConfigError: its vendor's package is not installed, or a model key is needed.
    """
    name = settings.provider
    try:
        module = import_module(f"agentsight.chat.providers.{name}")
    except ModuleNotFoundError as missing:
        extra = EXTRAS.get(name, name)
        raise ConfigError(f"{missing.name} is missing: pip install 'agentsight[{extra}]'") from None
    responder: Responder = module.open(settings, todo)
    return responder


def need_a_model(settings: Settings) -> str:
    """The model key; a server of one's own behind `OPENAI_BASE_URL` may want none.

    Raises:
        ConfigError: there is neither a key nor an address.
    """
    if settings.api_key is None and settings.base_url is None:
        raise ConfigError("OPENAI_API_KEY: needed by this provider, or OPENAI_BASE_URL for a server without keys")
    return settings.api_key or "none"
