"""The tables, once. Every table that grows carries `agent_id`; times are integer microseconds; JSON is text.

Migrations beside this package create them; a test holds the two equal.
"""

from .base import Id, marker, metadata
from .imports import import_run
from .keeping import kept_presence, kept_rollup, tombstone
from .lists import action, ticket, ticket_comment, trace_span
from .numbers import delivery, facet, past, presence, rollup, tally
from .reports import report, share
from .tenants import (
    agent,
    api_key,
    attempt,
    audit,
    audit_head,
    host_name,
    invitation,
    organization,
    session,
    sign_in_link,
    user,
)
from .timeline import attachment, button, conversation, event, feedback

__all__ = [
    "Id",
    "action",
    "agent",
    "api_key",
    "attachment",
    "attempt",
    "audit",
    "audit_head",
    "button",
    "conversation",
    "delivery",
    "event",
    "facet",
    "feedback",
    "host_name",
    "import_run",
    "invitation",
    "kept_presence",
    "kept_rollup",
    "marker",
    "metadata",
    "organization",
    "past",
    "presence",
    "report",
    "rollup",
    "session",
    "share",
    "sign_in_link",
    "tally",
    "ticket",
    "ticket_comment",
    "tombstone",
    "trace_span",
    "user",
]
