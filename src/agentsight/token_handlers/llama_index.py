"""See `agentsight.integrations.llamaindex`."""

from . import set_llamaindex_token_handler

__all__ = ["set_llamaindex_token_handler"]
