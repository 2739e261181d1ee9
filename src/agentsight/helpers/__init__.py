"""Small things callers use beside the clients."""

from __future__ import annotations

from .attachments import prepare_form_data_payload_from_data
from .conversation_utils import format_conversation_metadata, generate_conversation_id, get_iso_timestamp
from .mime_types import get_mime_type
from .serialization import AgentSightJSONEncoder

__all__ = [
    "AgentSightJSONEncoder",
    "format_conversation_metadata",
    "generate_conversation_id",
    "get_iso_timestamp",
    "get_mime_type",
    "prepare_form_data_payload_from_data",
]
