"""Token usage as vendors report it, in our words."""

from __future__ import annotations

from typing import Any

_NAMES = {
    "prompt_tokens": ("prompt_tokens", "input_tokens", "prompt_token_count"),
    "completion_tokens": ("completion_tokens", "output_tokens", "candidates_token_count"),
    "total_tokens": ("total_tokens", "total_token_count"),
}


def read_usage(*places: Any) -> dict[str, int] | None:
    """The three counts of the first place that reports any; None when none does.

    >>> read_usage(None, {"usage": {"input_tokens": 3, "output_tokens": 4}})
    {'prompt_tokens': 3, 'completion_tokens': 4, 'total_tokens': 7}
    """
    for place in places:
        for candidate in (_of(place, "usage"), _of(place, "usage_metadata"), _of(place, "token_usage"), place):
            counts = {ours: _first(candidate, theirs) for ours, theirs in _NAMES.items()}
            if any(counts.values()):
                counts["total_tokens"] = counts["total_tokens"] or counts["prompt_tokens"] + counts["completion_tokens"]
                return counts
    return None


def _of(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, dict) else getattr(holder, name, None)


def _first(holder: Any, names: tuple[str, ...]) -> int:
    for name in names:
        count = _of(holder, name)
        if isinstance(count, int) and count > 0:
            return count
    return 0
