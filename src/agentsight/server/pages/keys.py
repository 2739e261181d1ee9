"""Settings, API keys: made, changed over, revoked."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import FormData
from starlette.responses import Response

from agentsight.core import tenancy
from agentsight.core.model import ApiKey
from agentsight.core.ports import Store
from agentsight.errors import Invalid, NotFound

from ..http import now_us
from .settings import FACTS, changed, shown
from .shell import act, text
from .visit import Visit

DAYS = (30, 90, 365)  # a key lasts so long, or until it is revoked
OVERLAP_HOURS = (0, 1, 24, 168)
_HOUR_US = 3_600_000_000


def _keys(store: Store, visit: Visit) -> dict[str, Any]:
    return {"keys": _seen(store, visit), "now_us": now_us(), "days": DAYS, "overlaps": OVERLAP_HOURS}


def _seen(store: Store, visit: Visit) -> list[ApiKey]:
    seen = {agent.id for agent in visit.agents}
    return [key for key in store.settings.keys(visit.organization.id) if key.agent_id in seen]


FACTS["keys"] = _keys


@act("settings/keys", "keys.manage")
def make(visit: Visit, form: FormData) -> Response:
    """A new key, whole for this one time."""
    agent = next((one for one in visit.agents if str(one.id) == form.get("agent")), None)
    if agent is None:
        raise NotFound("no such agent")
    days, role, name = text(form, "days"), text(form, "role"), text(form, "name")

    def change(store: Store) -> str:
        expires_us = now_us() + _days(days) * 24 * _HOUR_US if days else None
        by = visit.user.email
        key, row = tenancy.issue_key(store, agent, role, now_us(), expires_us=expires_us, name=name, author=by)
        visit.note(
            store, "key.created", row.prefix, {"agent": agent.name, "role": row.role} | ({"days": days} if days else {})
        )
        return key

    return _fresh(visit, change)


def _days(told: str) -> int:
    if not told.isdecimal() or len(told) > 6 or not 1 <= int(told) <= 3650:
        raise Invalid.of("days", "must be between 1 and 3650")
    return int(told)


def _fresh(visit: Visit, change: Any) -> Response:
    try:
        key = visit.write(change)
    except Invalid as wrong:
        return shown(visit, "keys", wrong=wrong.message, code=400)
    return shown(visit, "keys", fresh=key)


def _key(store: Store, visit: Visit) -> ApiKey:
    id = visit.request.path_params["id"]
    found = next((key for key in _seen(store, visit) if key.id == id), None)
    if found is None:
        raise NotFound("no such key")
    return found


@act("settings/keys/{id:row}/rotate", "keys.manage")
def rotate(visit: Visit, form: FormData) -> Response:
    """A new key beside the old one, which ends when the overlap does."""
    hours = text(form, "hours")

    def change(store: Store) -> str:
        old = _key(store, visit)
        if not hours.isdecimal():
            raise Invalid.of("hours", "must be a whole number")
        overlap_us = int(hours[:6]) * _HOUR_US
        key, row = tenancy.rotate_key(store, visit.organization.id, old, overlap_us, now_us(), visit.user.email)
        visit.note(store, "key.rotated", old.prefix, {"to": row.prefix, "overlap_hours": int(hours[:6])})
        return key

    return _fresh(visit, change)


@act("settings/keys/{id:row}/revoke", "keys.manage")
def revoke(visit: Visit, form: FormData) -> Response:
    def change(store: Store) -> None:
        old = _key(store, visit)
        if not store.settings.revoke_key(visit.organization.id, old.id, now_us()):
            raise NotFound("no such key")
        visit.note(store, "key.revoked", old.prefix)

    return changed(visit, "keys", change, "revoked")
