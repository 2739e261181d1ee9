"""Frameworks are counted without a call of ours; where one is not installed, its tests skip and nothing breaks."""

from __future__ import annotations

import asyncio

import pytest

from agentsight.integrations import install
from agentsight.integrations.usage import read_usage


@pytest.fixture
def counted(tracker):
    tracker.configure(conversation_id="c")
    return tracker


def test_a_framework_that_is_not_installed_is_no_error(tracker, environment):
    assert install("no_such_framework", tracker) is False


def test_usage_is_read_in_every_vendors_words():
    openai = {"usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
    anthropic = {"usage": {"input_tokens": 1, "output_tokens": 2}}
    gemini = {"usage_metadata": {"prompt_token_count": 1, "candidates_token_count": 2, "total_token_count": 3}}
    expected = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert read_usage(openai) == read_usage(anthropic) == read_usage(None, gemini) == expected
    assert read_usage(None, {"usage": None}, object()) is None


def test_llamaindex_calls_are_counted_and_the_users_callbacks_stay(counted):
    core = pytest.importorskip("llama_index.core")
    from llama_index.core import Settings
    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.embeddings.mock_embed_model import MockEmbedding
    from llama_index.core.llms.mock import MockLLM

    from agentsight.integrations import llamaindex

    assert core
    Settings.callback_manager = mine = CallbackManager([])
    llamaindex._installed.clear()
    assert install("llamaindex", counted)
    assert Settings.callback_manager is mine
    MockLLM().complete("one two three")
    MockEmbedding(embed_dim=3).get_text_embedding("one two three")
    usage = counted.get_token_usage()
    assert usage["prompt_tokens"] > 0 and usage["completion_tokens"] > 0 and usage["embedding_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_langchain_calls_are_counted_beside_the_users_callbacks(counted):
    pytest.importorskip("langchain_core")
    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.language_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage

    from agentsight.integrations import langchain

    langchain._installed.clear()
    assert install("langchain", counted)

    class Mine(BaseCallbackHandler):
        ended = 0

        def on_llm_end(self, response, **kwargs):
            Mine.ended += 1

    def said(text):
        usage = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
        return AIMessage(text, usage_metadata=usage, response_metadata={"model_name": "fake"})

    model = GenericFakeChatModel(messages=iter([said("a"), said("b")]))
    model.invoke("hi", config={"callbacks": [Mine()]})
    asyncio.run(model.ainvoke("hi"))
    assert Mine.ended == 1
    assert counted.get_token_usage() == {
        "prompt_tokens": 10, "completion_tokens": 14, "total_tokens": 24, "embedding_tokens": 0
    }  # fmt: skip
