"""Typing aliases for callers, and the plain counter older code may hold."""

from __future__ import annotations

from io import BytesIO
from typing import BinaryIO

FileData = bytes | BinaryIO | BytesIO
AttachmentInput = dict[str, str] | dict[str, str | FileData]


class TokenHandler:
    """Four counters, all starting at zero."""

    def __init__(self) -> None:
        self.prompt_llm_token_count = 0
        self.completion_llm_token_count = 0
        self.total_llm_token_count = 0
        self.total_embedding_token_count = 0
