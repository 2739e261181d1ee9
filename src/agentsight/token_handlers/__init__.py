"""Counting tokens of a framework without a call of yours, under its older path; see `agentsight.integrations`."""

from __future__ import annotations

from typing import Any


def set_llamaindex_token_handler(log_level: Any = None) -> None:
    """Count what LlamaIndex uses in the current conversation; your callbacks stay as they are."""
    from ..integrations import install
    from ..tracker import conversation_tracker

    install("llamaindex", conversation_tracker)


__all__ = ["set_llamaindex_token_handler"]
