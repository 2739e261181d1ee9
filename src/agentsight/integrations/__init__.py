"""Frameworks whose token usage is counted without a call of yours: one file a framework, found by its name."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

logger = logging.getLogger("agentsight")


def install(name: str, tracker: Any) -> bool:
    """Count what framework `name` uses in the tracker's current conversation; False when it is not installed."""
    try:
        import_module(f"{__name__}.{name}").install(tracker)
    except ImportError:
        logger.debug("%s is not installed; its tokens are not counted", name)
        return False
    except Exception:  # the edge: a framework that changed must not end its host
        logger.warning("AgentSight could not attach to %s; its tokens are not counted", name, exc_info=True)
        return False
    return True
