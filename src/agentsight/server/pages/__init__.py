"""The dashboard: pages made on the server from the same core calls the API makes."""

from fastapi import APIRouter

from . import (
    analytics,
    audit,
    branding,
    conversation,
    conversations,
    details,
    door,
    export,
    guests,
    history,
    keeping,
    keys,
    live,
    migrate,
    profile,
    reports,
    settings,
    shares,
    static,
    team,
    usage,
    views,
)
from .shell import error_page, nowhere, routes

router = APIRouter(routes=[*routes, nowhere])

__all__ = [
    "analytics",
    "audit",
    "branding",
    "conversation",
    "conversations",
    "details",
    "door",
    "error_page",
    "export",
    "guests",
    "history",
    "keeping",
    "keys",
    "live",
    "migrate",
    "profile",
    "reports",
    "router",
    "settings",
    "shares",
    "static",
    "team",
    "usage",
    "views",
]
