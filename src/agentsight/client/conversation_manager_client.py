"""The managing client under its older path; see `agentsight`."""

from ..manager import ConversationManager, conversation_manager

__all__ = ["ConversationManager", "conversation_manager"]
