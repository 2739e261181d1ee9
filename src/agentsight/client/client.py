"""The tracker under its older path; see `agentsight`."""

from ..tracker import ConversationTracker, conversation_tracker

__all__ = ["ConversationTracker", "conversation_tracker"]
