"""Tokens LlamaIndex uses, by its instrumentation dispatcher: `Settings.callback_manager` and your handlers stay."""

# mypy: disable-error-code="import-not-found, misc, unused-ignore"
from __future__ import annotations

from typing import Any

from .usage import read_usage

_installed: list[Any] = []


def install(tracker: Any) -> None:
    """Count every LLM and embedding call in the tracker's current conversation. Raises ImportError without LlamaIndex.

    Source: llama-index-core 0.14, `llama_index.core.instrumentation`: the dispatcher hands every event to all handlers.
    """
    from llama_index.core.instrumentation import get_dispatcher
    from llama_index.core.instrumentation.event_handlers import BaseEventHandler
    from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent
    from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMCompletionEndEvent
    from llama_index.core.utilities.token_counting import TokenCounter

    if _installed:
        return
    counter = TokenCounter()

    class AgentSightTokens(BaseEventHandler):
        """Hands usage on; what the vendor reports counts, an estimate stands in where it reports nothing."""

        @classmethod
        def class_name(cls) -> str:
            return "AgentSightTokens"

        def handle(self, event: Any, **kwargs: Any) -> None:
            if isinstance(event, EmbeddingEndEvent):
                tracker.track_token_usage(embedding_tokens=sum(map(counter.get_string_tokens, event.chunks)))
            elif isinstance(event, LLMChatEndEvent) and event.response is not None:
                raw = event.response.raw
                usage = read_usage(raw, getattr(event.response, "additional_kwargs", None))
                if usage is None:
                    asked = counter.estimate_tokens_in_messages(event.messages)
                    usage = _estimate(asked, counter.get_string_tokens(event.response.message.content or ""))
                tracker.track_token_usage(**usage, model=_model(raw))
            elif isinstance(event, LLMCompletionEndEvent):
                raw = event.response.raw
                usage = read_usage(raw, getattr(event.response, "additional_kwargs", None))
                if usage is None:
                    asked = counter.get_string_tokens(event.prompt)
                    usage = _estimate(asked, counter.get_string_tokens(event.response.text or ""))
                tracker.track_token_usage(**usage, model=_model(raw))

    handler = AgentSightTokens()
    get_dispatcher().add_event_handler(handler)
    _installed.append(handler)


def _estimate(asked: int, answered: int) -> dict[str, int]:
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


def _model(raw: Any) -> str | None:
    model = raw.get("model") if isinstance(raw, dict) else getattr(raw, "model", None)
    return str(model) if model else None
