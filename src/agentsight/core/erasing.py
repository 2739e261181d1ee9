"""A person taken out of everything, with proof; what they added to the numbers stays, and leads back to nobody."""

from __future__ import annotations

import hmac
import json
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentsight.errors import Invalid
from agentsight.wire import instant

from . import attachments, audit, counting, tombstones, views
from .measures import Deltas, customer_key
from .model import Agent, Conversation, Organization, Principal, Removed
from .ports import Blobs, Storage, Store

FORM = "agentsight-erasure/1"
AT_ONCE = 20  # conversations of one transaction
BEYOND = (
    "copies this server does not hold: backups made with `agentsight backup`, exports and archives somebody took along, "
    "and events still in the outbox of a program that sends them (they are discarded when they arrive)"
)
Elsewhere = Callable[[str], Mapping[str, int]]  # takes a customer out of something else; gives counts


@dataclass(frozen=True, slots=True)
class Found:
    """What is kept of a customer."""

    conversations: int
    messages: int
    feedback: int


def found(store: Store, agent: Agent, customer_id: str) -> Found:
    """What an erasure would take out, as far as heads tell."""
    heads = store.keeping.of_customer(agent.id, named(customer_id), 1_000_000)
    return Found(len(heads), sum(head.message_count for head in heads), sum(head.feedback_count for head in heads))


def named(customer_id: str) -> str:
    """A customer's id that can be one. Raises Invalid."""
    if not customer_id.strip() or len(customer_id) > 255:
        raise Invalid.of("customer", "must be a customer's id of 1 to 255 characters")
    return customer_id


def erase(
    storage: Storage,
    blobs: Blobs,
    who: Principal,
    organization: Organization,
    agent: Agent,
    customer_id: str,
    clock: Callable[[], int],
    ip: str | None = None,
    elsewhere: Mapping[str, Elsewhere] | None = None,
) -> dict[str, Any]:
    """Take a customer of an agent out of everything and give the certificate.

    Some conversations at a time, so that ingest goes on; what was interrupted is finished by doing it again. Raises
    Invalid when `customer_id` cannot be one.
    """
    customer_id = named(customer_id)
    began_us = clock()
    removed, gone, rows = Removed(), Counter(reports=0, shares=0, buttons=0), 0
    storage.write(lambda store: tombstones.lay(store, agent.id, "customer", [customer_id], began_us)).result()
    while True:
        part, quoted, count = storage.write(lambda store: _some(store, agent, customer_id, clock())).result()
        removed.add(part)
        gone.update(quoted)
        rows += count
        if not part.conversations:
            break
        attachments.let_go(storage, blobs, part.files)

    def finish(store: Store) -> tuple[Counter[str], int]:
        key = customer_key(customer_id)
        store.keeping.rename_presence(agent.id, key, tombstones.pseudonym(agent.id, key, customer_id))
        quoted = _unquoted(store, organization.id, [customer_id])
        quoted["buttons"] = store.keeping.orphaned_buttons(agent.id, removed.buttons)
        return quoted, store.keeping.remove_tickets_quoting(agent.id, customer_id)

    quoted, tickets = storage.write(finish).result()
    gone.update(quoted)
    removed.tickets += tickets
    counts: dict[str, int] = {name: getattr(removed, name) for name in _COUNTED} | dict(gone)
    counts["files"] = len(removed.files)
    counts |= {name: sum(take_out(customer_id).values()) for name, take_out in (elsewhere or {}).items()}
    scrubbed = storage.scrub()
    return _certified(storage, who, organization, agent, customer_id, began_us, clock(), counts, rows, scrubbed, ip)


_COUNTED = ("conversations", "messages", "other_events", "feedback", "attachments", "spans", "tickets")


def _some(store: Store, agent: Agent, customer_id: str, now_us: int) -> tuple[Removed, Counter[str], int]:
    """Take some of the customer's conversations out; gives what went, with what showed or quoted it, and how many sums
    tell of it still."""
    heads = store.keeping.of_customer(agent.id, customer_id, AT_ONCE)
    if not heads:
        return Removed(), Counter(), 0
    kept = _kept(store, agent.id, heads, customer_id)
    ids = [head.id for head in heads]
    keys = [head.conversation_id for head in heads]
    tombstones.lay(store, agent.id, "conversation", keys, now_us)
    shares = store.keeping.shares_of(agent.organization_id, ids)
    for share in shares:
        store.keeping.remove_share(agent.organization_id, share)
    gone = _unquoted(store, agent.organization_id, keys)
    gone["shares"] += len(shares)
    return store.keeping.remove(agent.id, ids, traceless=True), gone, kept


def _unquoted(store: Store, organization_id: int, texts: Sequence[str]) -> Counter[str]:
    """Remove the saved reports and shared links that quote one of these."""
    reports, shares = store.keeping.quoting(organization_id, set(texts))
    for report in reports:
        store.keeping.remove_report(organization_id, report)
    for share in shares:
        store.keeping.remove_share(organization_id, share)
    views.forget(store, organization_id, texts)
    return Counter(reports=len(reports), shares=len(shares))


def _kept(store: Store, agent_id: int, heads: Sequence[Conversation], customer_id: str) -> int:
    """Set aside what these conversations add to the sums, under a pseudonym; gives how many sums that are."""
    deltas = counting.together(store, agent_id, heads)
    key = customer_key(customer_id)
    names = {key: tombstones.pseudonym(agent_id, key, customer_id)}
    for head in heads:  # by hand they may be somebody else's since: those are nobody any more, too
        if head.customer_id and head.customer_id != customer_id:
            other = customer_key(head.customer_id)
            names.setdefault(other, other)
    moved = Deltas()
    moved.sums, moved.facets = deltas.sums, deltas.facets
    for (production, bucket, facet, customer), messages in deltas.users.items():
        moved.users[production, bucket, facet, names.get(customer, customer)] += messages
    store.keeping.keep_sums(agent_id, moved)
    own = Deltas()  # in the sums themselves the customer turns into the pseudonym as conversations go
    for (production, bucket, facet, customer), messages in deltas.users.items():
        if names.get(customer, customer) != customer:
            own.users[production, bucket, facet, customer] -= messages
            own.users[production, bucket, facet, names[customer]] += messages
    store.rollups.apply(agent_id, own)
    return len(list(moved.rows())) + len(list(moved.user_rows()))


# -- the certificate -------------------------------------------------------------------------------------------------
def _certified(
    storage: Storage,
    who: Principal,
    organization: Organization,
    agent: Agent,
    customer_id: str,
    began_us: int,
    ended_us: int,
    counts: Mapping[str, int],
    kept: int,
    scrubbed: Mapping[str, Any],
    ip: str | None,
) -> dict[str, Any]:
    number = str(uuid.uuid4())
    told = tombstones.digest("customer", agent.id, customer_id)
    detail = {"certificate": number, "agent": agent.id, "removed": dict(counts)}
    line = storage.write(
        lambda store: audit.note(store, who, "customer.erased", f"customer {told[:16]}", detail, ip, now_us=ended_us)
    ).result()
    said = {
        "certificate": FORM,
        "id": number,
        "organization": organization.name,
        "agent": agent.name,
        "customer": customer_id,
        "customer_digest": told,
        "by": who.name,
        "began_at": instant(began_us),
        "ended_at": instant(ended_us),
        "removed": dict(counts),
        "kept": {"anonymous_sums": kept, "leads_back_to_the_person": False},
        "storage": {"engine": storage.facts()["engine"], **scrubbed},
        "comes_back": "what arrives late of these conversations or of this customer's time before is discarded",
        "not_covered": BEYOND,
        "audit": {"line": line.number, "seal": line.seal},
    }
    return said | {"signature": {"algorithm": "HMAC-SHA256", "value": tombstones.sign(_written(said))}}


def verify(certificate: Any) -> bool:
    """Whether this installation signed exactly this certificate."""
    if not isinstance(certificate, dict) or certificate.get("certificate") != FORM:
        return False
    signature = certificate.get("signature")
    value = signature.get("value") if isinstance(signature, dict) else None
    said = {name: told for name, told in certificate.items() if name != "signature"}
    return isinstance(value, str) and hmac.compare_digest(value.encode(), tombstones.sign(_written(said)).encode())


def _written(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
