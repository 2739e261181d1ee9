"""AgentSight: see what your AI agents say and do.

>>> from agentsight import conversation_tracker
>>> conversation_tracker.get_or_create_conversation("support-7", environment="production")
>>> conversation_tracker.track_human_message("Hello!")
>>> conversation_tracker.track_agent_message("Hi! How can I help?")

and, once the environment names a key and an endpoint, `conversation_tracker.send_tracked_data()`.
"""

from typing import TYPE_CHECKING, Any

__version__ = "1.0.0"

if TYPE_CHECKING:
    from .api import AgentSightAPI, agentsight_api
    from .manager import ConversationManager, conversation_manager
    from .tracker import ConversationTracker, conversation_tracker

_HOMES = {
    "AgentSightAPI": "api",
    "agentsight_api": "api",
    "ConversationManager": "manager",
    "conversation_manager": "manager",
    "ConversationTracker": "tracker",
    "conversation_tracker": "tracker",
}

__all__ = [
    "AgentSightAPI",
    "ConversationManager",
    "ConversationTracker",
    "agentsight_api",
    "conversation_manager",
    "conversation_tracker",
]


def __getattr__(name: str) -> Any:
    """A client is loaded when it is asked for: importing the package costs next to nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'agentsight' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
