"""Ids, times and the metadata form of the earliest clients."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any


def generate_conversation_id() -> str:
    """A new conversation id: `conv_` and twelve hex digits."""
    return f"conv_{os.urandom(6).hex()}"


def get_iso_timestamp() -> str:
    """Now, ISO 8601 with +00:00."""
    return datetime.now(UTC).isoformat()


def format_conversation_metadata(metadata: dict[str, Any] | None) -> dict[str, Any]:
    """Metadata on one level, as the clients before 0.0.16 sent it: what is nested becomes text, None becomes "".

    >>> format_conversation_metadata({"tags": ["a"], "plan": None, 7: True})
    {'tags': "['a']", 'plan': '', '7': True}
    """
    if not isinstance(metadata, dict):
        return {}
    flat = {}
    for name, value in metadata.items():
        flat[str(name)] = str(value) if isinstance(value, (dict, list)) else "" if value is None else value
    return flat
