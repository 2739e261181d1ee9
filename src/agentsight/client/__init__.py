"""The clients under their older path; see `agentsight`."""

from ..api import AgentSightAPI, agentsight_api
from ..manager import ConversationManager, conversation_manager
from ..tracker import ConversationTracker, conversation_tracker

__all__ = [
    "AgentSightAPI",
    "ConversationManager",
    "ConversationTracker",
    "agentsight_api",
    "conversation_manager",
    "conversation_tracker",
]
