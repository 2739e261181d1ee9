"""What AgentSight knows, as plain frozen records. Times are microseconds since 1970, UTC; `id` is ours, `*_id` theirs."""

from .imports import ImportRun
from .keeping import Removed
from .lists import Action, Comment, Span, Ticket, UsageGroup
from .numbers import Delivery
from .reports import Report, Share, Version
from .tenants import (
    ESCALATION_ACTIONS,
    Agent,
    ApiKey,
    Attempt,
    AuditLine,
    HostName,
    Invitation,
    Organization,
    Principal,
    Scope,
    Session,
    User,
)
from .timeline import NAME_FIELDS, Attachment, Conversation, Event, Feedback, Filter, Page, Transcript, Verdict

__all__ = [
    "ESCALATION_ACTIONS",
    "NAME_FIELDS",
    "Action",
    "Agent",
    "ApiKey",
    "Attachment",
    "Attempt",
    "AuditLine",
    "Comment",
    "Conversation",
    "Delivery",
    "Event",
    "Feedback",
    "Filter",
    "HostName",
    "ImportRun",
    "Invitation",
    "Organization",
    "Page",
    "Principal",
    "Removed",
    "Report",
    "Scope",
    "Session",
    "Share",
    "Span",
    "Ticket",
    "Transcript",
    "UsageGroup",
    "User",
    "Verdict",
    "Version",
]
