"""Who may do what: the one table. Pages, API routes and tests read it; nothing else decides.

A permission is named `room.verb`. A route names the one it needs, or one of the two words that are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

PersonRole = Literal["owner", "member", "client"]
KeyRole = Literal["write", "read"]
Role = KeyRole | PersonRole
Permission = Literal[
    "analytics.read",
    "audit.read",
    "brand.manage",
    "conversations.change",
    "conversations.delete",
    "conversations.read",
    "customers.erase",
    "data.export",
    "data.import",
    "events.write",
    "keys.manage",
    "people.manage",
    "reports.manage",
    "retention.manage",
    "settings.manage",
    "shares.manage",
    "tickets.change",
    "tickets.read",
]
Needed = Permission | Literal["anybody", "signed_in"]
"""What a route needs: a permission, no more than a person signed in, or nothing at all."""

EVERY: frozenset[Permission] = frozenset(get_args(Permission))
_LOOK: frozenset[Permission] = frozenset({"analytics.read", "conversations.read", "data.export"})
_CARE: frozenset[Permission] = frozenset({"conversations.change", "conversations.delete", "tickets.change"})

PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    "owner": EVERY - {"events.write"},  # agents send events, with a key
    "member": _LOOK | _CARE | {"tickets.read", "reports.manage", "shares.manage", "data.import"},
    "client": _LOOK,
    "write": _LOOK | _CARE | {"tickets.read", "events.write"},
    "read": _LOOK | {"tickets.read"},
}
PEOPLE: tuple[PersonRole, ...] = get_args(PersonRole)
KEYS: tuple[KeyRole, ...] = get_args(KeyRole)


def may(role: Role, needed: Needed) -> bool:
    """Whether this role is enough.

    >>> may("client", "analytics.read"), may("client", "keys.manage"), may("read", "signed_in")
    (True, False, False)
    """
    if needed == "anybody":
        return True
    return role in PEOPLE if needed == "signed_in" else needed in PERMISSIONS[role]
