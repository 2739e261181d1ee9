"""The audit log: who did what to which thing, when, from where. Appended, never changed; each line seals the one before.

Content never goes in: no transcript, no name of a customer, no secret.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from .model import AuditLine, Principal, Scope
from .ports import Store

MOST_CHARS = 255
ACTIONS = (  # beginnings of actions, as the log is narrowed to them
    "sign_in",
    "sign_in_failed",
    "person.",
    "password.",
    "session.",
    "key.",
    "export",
    "share.",
    "conversation.",
    "customer.erased",
    "retention.",
    "settings.",
    "agent.",
)
COMMAND_LINE = "command line"


def note(
    store: Store,
    who: Principal,
    action: str,
    subject: str = "",
    detail: Mapping[str, Any] | None = None,
    ip: str | None = None,
    *,
    now_us: int,
    result: str = "done",
) -> AuditLine:
    """Append a line to the log of `who`'s organization, in the transaction of the act itself.

    `action` is a word such as `key.created`; `subject` names what it was done to; `detail` holds counts and settings.
    """
    organization_id = who.scope.organization_id
    number, seal = store.audit.last(organization_id, hold=True)
    line = AuditLine(
        organization_id,
        number + 1,
        now_us,
        who.name[:MOST_CHARS],
        who.role,
        action,
        subject[:MOST_CHARS],
        dict(detail or {}),
        ip,
        result,
    )
    sealed = line.sealed(_seal(line, seal))
    store.audit.append(sealed)
    return sealed


def command_line(organization_id: int) -> Principal:
    """Who acts when somebody with the machine's shell does."""
    return Principal(Scope(organization_id, ()), "owner", name=COMMAND_LINE)


def _seal(line: AuditLine, before: str) -> str:
    """SHA-256 over the seal before and everything this line says."""
    said = (
        line.organization_id,
        line.number,
        line.at_us,
        line.actor,
        line.role,
        line.action,
        line.subject,
        line.detail,
        line.ip,
        line.result,
    )
    return hashlib.sha256(f"{before}\n{json.dumps(said, sort_keys=True)}".encode()).hexdigest()


def resealed(lines: Iterator[AuditLine]) -> Iterator[AuditLine]:
    """The same lines, each sealed anew on the one before: for a log that came from elsewhere under another id."""
    seal = ""
    for line in lines:
        seal = _seal(line, seal)
        yield line.sealed(seal)


def broken(store: Store, organization_id: int) -> str:
    """Where the chain does not hold: empty when every line is there and as it was written."""
    number, seal = 0, ""
    for line in lines(store, organization_id):
        if line.number != number + 1:
            return f"line {number + 1} is missing"
        if line.seal != _seal(line, seal):
            return f"line {line.number} was changed"
        number, seal = line.number, line.seal
    return "" if (number, seal) == store.audit.last(organization_id) else f"lines after {number} are missing"


def lines(store: Store, organization_id: int, at_once: int = 1_000) -> Iterator[AuditLine]:
    """The whole log, oldest first, some lines at a time."""
    after = 0
    while True:
        some = store.audit.after(organization_id, after, at_once)
        yield from some
        if len(some) < at_once:
            return
        after = some[-1].number
