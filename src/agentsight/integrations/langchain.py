"""Tokens LangChain models use, through its global configure hook: callbacks you pass stay and run beside this one."""

# mypy: disable-error-code="import-not-found, misc, unused-ignore"
from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from .usage import read_usage

_installed: list[Any] = []


def install(tracker: Any) -> None:
    """Count every model call in the tracker's current conversation. Raises ImportError without LangChain.

    Source: langchain-core 1, `tracers.context.register_configure_hook`: the handler a context variable holds joins
    every run. Its default serves each context, so concurrent requests need not set it.
    """
    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.tracers.context import register_configure_hook

    if _installed:
        return

    class AgentSightTokens(BaseCallbackHandler):
        """Hands usage on at the end of each model call."""

        run_inline = True  # on the caller's thread, where the conversation is known

        def on_llm_end(self, response: Any, **kwargs: Any) -> None:
            for usage, model in _usages(response):
                tracker.track_token_usage(**usage, model=model)

    handler = AgentSightTokens()
    held: ContextVar[Any] = ContextVar("agentsight_langchain", default=handler)
    register_configure_hook(held, inheritable=True)
    _installed.append((handler, held))


def _usages(response: Any) -> list[tuple[dict[str, int], str | None]]:
    """Usage message by message where messages report it, else that of the whole answer."""
    found = []
    for generation in [one for some in response.generations for one in some]:
        message = getattr(generation, "message", None)
        usage = read_usage(message) if message is not None else None
        if usage:
            found.append((usage, _model(getattr(message, "response_metadata", None))))
    whole = read_usage(response.llm_output) if response.llm_output and not found else None
    return [(whole, _model(response.llm_output))] if whole else found


def _model(described: Any) -> str | None:
    if not isinstance(described, dict):
        return None
    model = described.get("model_name") or described.get("model")
    return str(model) if model else None
