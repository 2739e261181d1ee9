"""The dashboard: pages made on the server from the same core calls the API makes."""

from . import conversation, conversations, door, static
from .shell import error_page, routes

__all__ = ["conversation", "conversations", "door", "error_page", "routes", "static"]
