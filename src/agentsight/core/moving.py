"""One organization with everything in it, out into an archive and in again elsewhere: the same transcripts, the same numbers.

Rows go as they are, table by table; ids stay where the target has never used any, else all move up by the same amount.
What lets somebody in does not go: no password, session, invitation, live key or live link.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import IO, Any, BinaryIO

from agentsight import __version__
from agentsight.errors import Conflict, NotFound
from agentsight.wire import instant

from . import audit, counting
from .archive import Reading, Unreadable, Writing
from .model import Organization, Principal, Scope
from .ports import Blobs, Storage, Store
from .reading import named

FORM = "agentsight-organization/1"
AT_ONCE = 1_000  # rows in memory
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Part:
    """A table that goes along. `refers`: its columns that hold ids, and of which table; `derived`: can be computed again."""

    table: str
    refers: Mapping[str, str] = field(default_factory=dict)
    by: str = "agent_id"
    derived: bool = False


_AGENT = {"agent_id": "agent"}
_OF_CONVERSATION = {"agent_id": "agent", "conversation": "conversation"}
_OWNED = {"organization_id": "organization"}
PARTS = (
    Part("organization", by="id"),
    Part("agent", _OWNED, by="organization_id"),
    Part("user_account", _OWNED, by="organization_id"),
    Part("api_key", _AGENT),
    Part("conversation", _AGENT),
    Part("event", _OF_CONVERSATION),
    Part("feedback", {**_OF_CONVERSATION, "message": "event"}),
    Part("attachment", {**_OF_CONVERSATION, "event": "event"}),
    Part("trace_span", _OF_CONVERSATION),
    Part("action", _AGENT),
    Part("ticket", {**_OF_CONVERSATION, "feedback": "feedback"}),
    Part("ticket_comment", {**_AGENT, "ticket": "ticket"}),
    Part("button", _AGENT),
    Part("facet", _AGENT),
    Part("kept_rollup", _AGENT),
    Part("kept_presence", _AGENT),
    Part("rollup", _AGENT, derived=True),
    Part("presence", _AGENT, derived=True),
    Part("tally", _OF_CONVERSATION, derived=True),
    Part("report", _OWNED, by="organization_id"),
    Part("share", _OWNED, by="organization_id"),
    Part("audit", _OWNED, by="organization_id"),
    Part("audit_head", _OWNED, by="organization_id"),
)
_MAYBE = frozenset({"conversation", "message", "feedback"})  # of feedback and tickets that are about nothing more exact
LEFT = frozenset(
    {
        "delivery",  # what was sent to it
        "host_name",  # where people find this installation
        "import_run",  # files waiting here
        "invitation",
        "marker",
        "past",
        "session",
        "sign_in_attempt",
        "sign_in_link",
        "tombstone",  # keyed with this installation's secret
    }
)
"""Tables that stay behind: what lets somebody in, and what is true of one installation only."""
_SECRET = {"user_account": {"password": None}, "api_key": {}, "share": {"password": None}}


# -- out -------------------------------------------------------------------------------------------------------------
def export(
    storage: Storage, blobs: Blobs, organization: Organization, to: BinaryIO | IO[bytes], schema: str, now_us: int
) -> dict[str, Any]:
    """Everything of an organization into `to`, as of one moment, in constant memory; gives the manifest."""
    archive = Writing(to, FORM)
    files: set[str] = set(_HASH.findall(json.dumps(organization.settings)))
    counts: dict[str, int] = {}

    def ask(store: Store) -> None:
        agents = [agent.id for agent in store.tenants.agents(organization.id)]
        for part in PARTS:
            owners = [organization.id] if part.by != "agent_id" else agents
            with archive.part(f"{part.table}.jsonl") as out:
                columns = store.moving.columns(part.table)
                out.write(_line(columns))
                counts[part.table] = 0
                for rows in store.moving.rows(part.table, part.by, owners, AT_ONCE):
                    counts[part.table] += len(rows)
                    if part.table == "attachment":
                        place = columns.index("sha256")
                        files.update(row[place] for row in rows)
                    out.write(b"".join(_line(_harmless(part.table, columns, row)) for row in rows))

    storage.read(ask)
    missing = 0
    for sha256 in sorted(files):
        try:
            with blobs.open(sha256) as source:
                archive.file(sha256, source)
        except NotFound:
            missing += 1
    return archive.close(
        id=secrets.token_hex(16),
        made_by=__version__,
        schema=schema,
        made_at=instant(now_us),
        organization=organization.name,
        organization_id=organization.id,
        counts=counts,
        missing_files=missing,
        left_behind="passwords, sessions, invitations, live keys and links, host names, tombstones",
    )


def _line(values: Any) -> bytes:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n"


def _harmless(table: str, columns: list[str], row: tuple[Any, ...]) -> list[Any]:
    """The row without what would let somebody in."""
    told = dict(zip(columns, row, strict=True))
    if table not in _SECRET:
        return list(row)
    told |= _SECRET[table]
    if "digest" in told:
        told["digest"] = f"left behind {told['id']}"
    return list(told.values())


# -- in --------------------------------------------------------------------------------------------------------------
def import_(
    storage: Storage,
    blobs: Blobs,
    archive: Reading,
    schema: str,
    knows: Callable[[str | None], bool],
    now_us: int,
    name: str | None = None,
) -> dict[str, Any]:
    """Make the organization of an archive here, all of it or nothing; gives what came of it.

    The same archive again changes nothing. Every part is verified before anything is written.

    Raises:
        Unreadable: it is damaged, or of a later version.
        Conflict: an organization of that name is here.
    """
    made_at = archive.manifest.get("schema")
    if not knows(made_at):
        raise Unreadable("the archive was made by a later version of AgentSight; update this one first")
    archive.verify()
    for sha256 in archive.files():
        with archive.file(sha256) as source:
            blobs.put(source.read())
    wanted = named(name or str(archive.manifest.get("organization", "")))
    mark = hashlib.sha256(json.dumps(archive.manifest, sort_keys=True).encode()).hexdigest()
    arrive = partial(_arrive, archive=archive, name=wanted, mark=mark, same_schema=made_at == schema, now_us=now_us)
    outcome: dict[str, Any] = storage.write(arrive).result()
    if not outcome["already"]:
        storage.catch_up()
    return outcome


def _arrive(store: Store, **told: Any) -> dict[str, Any]:
    try:
        return _Arrival(store, **told)()
    except Exception as wrong:
        if "IntegrityError" in type(wrong).__name__ or "Violation" in type(wrong).__name__:
            raise Unreadable("the archive contradicts itself: rows that must differ are the same") from wrong
        raise


class _Arrival:
    """One import, inside a write transaction."""

    def __init__(self, store: Store, archive: Reading, name: str, mark: str, same_schema: bool, now_us: int):
        self._store, self._archive, self._name, self._mark = store, archive, name, mark
        self._same_schema, self._now_us = same_schema, now_us
        self._base: dict[str, int] = {}
        self._people = 0

    def __call__(self) -> dict[str, Any]:
        for known in self._store.tenants.organizations():
            if (known.settings.get("imported") or {}).get("archive") == self._mark:
                return {"organization": known.name, "already": True, "counts": {}}
        if self._store.tenants.organization_named(self._name) is not None:
            raise Conflict(
                f"there is an organization {self._name!r} here already; import it under another name with --as"
            )
        for part in PARTS:
            if "id" in self._store.moving.columns(part.table) and part.table != "facet":  # a facet's is a hash
                self._base[part.table] = self._store.moving.base(part.table)
        counts = {part.table: self._taken(part) for part in PARTS if self._same_schema or not part.derived}
        owner = self._store.tenants.organization(self._organization_id)
        assert owner is not None, "it was just made"
        if not self._same_schema:
            for agent in self._store.tenants.agents(owner.id):
                counting.rebuild(self._store, Scope(owner.id, (agent.id,)))
        self._seal_again(owner.id)
        settings = {**owner.settings, "imported": {"archive": self._mark, "at": instant(self._now_us)}}
        self._store.settings.keep_organization(replace(owner, settings=settings))
        who = Principal(Scope(owner.id, ()), "owner", name=audit.COMMAND_LINE)
        audit.note(
            self._store,
            who,
            "organization.imported",
            self._mark[:16],
            {"organization_was": self._archive.manifest["organization_id"], "rows": sum(counts.values())},
            now_us=self._now_us,
        )
        return {"organization": owner.name, "already": False, "counts": counts, "people_here_already": self._people}

    @property
    def _organization_id(self) -> int:
        return int(self._archive.manifest["organization_id"]) + self._base["organization"]

    def _taken(self, part: Part) -> int:
        try:
            return self._take(part)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            raise Unreadable(f"the archive's {part.table} cannot be read") from None

    def _take(self, part: Part) -> int:
        lines = iter(self._archive.lines(f"{part.table}.jsonl"))
        head = next(lines, None)
        if head is None:
            return 0
        columns: list[str] = json.loads(head)
        known = set(self._store.moving.columns(part.table))
        if not set(columns) <= known:
            raise Unreadable(f"the archive's {part.table} has columns this version does not know")
        count, highest = 0, 0
        for rows in _parts(lines):
            if any(len(row) != len(columns) for row in rows):
                raise ValueError("a row has not as many values as there are columns")
            ready = [
                told for row in rows if (told := self._ready(part, dict(zip(columns, row, strict=True)))) is not None
            ]
            if ready:
                self._store.moving.put(part.table, columns, [tuple(told.values()) for told in ready])
                highest = max(highest, *(told["id"] for told in ready)) if part.table in self._base else 0
                count += len(ready)
        if highest:
            self._store.moving.retire(part.table, highest)
        return count

    def _ready(self, part: Part, row: dict[str, Any]) -> dict[str, Any] | None:
        """A row as it is stored here; None: it stays out."""
        for column, table in {**part.refers, **({"id": part.table} if part.table in self._base else {})}.items():
            if row.get(column) or column not in _MAYBE:
                row[column] = self._moved(table, row[column])
        change = getattr(self, f"_of_{part.table}", None)
        return change(row) if change else row

    def _moved(self, table: str, id: int) -> int:
        """An id of the archive as it is here: beyond all that were ever used, so nobody else's."""
        if type(id) is not int or not 0 < id < 2**48:
            raise ValueError(f"{table} has no id {id!r}")
        return id + self._base[table]

    def _of_organization(self, row: dict[str, Any]) -> dict[str, Any]:
        return row | {"name": self._name, "slug": self._store.moving.free_slug(row["slug"])}

    def _of_user_account(self, row: dict[str, Any]) -> dict[str, Any] | None:
        if self._store.tenants.user_by_email(row["email"]) is not None:
            self._people += 1
            return None
        return row | {"agent_ids": self._agents(row["agent_ids"])}

    def _of_api_key(self, row: dict[str, Any]) -> dict[str, Any]:
        return row | {"digest": _nobodys(), "revoked_us": row["revoked_us"] or self._now_us}

    def _of_event(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["kind"] == "attachment" and row["detail"] and self._base["event"]:
            detail = json.loads(row["detail"])
            if isinstance(detail.get("message"), int):
                detail["message"] += self._base["event"]
                row["detail"] = json.dumps(detail, ensure_ascii=False, separators=(",", ":"))
        return row

    def _of_report(self, row: dict[str, Any]) -> dict[str, Any]:
        return row | {"agent_ids": self._agents(row["agent_ids"])}

    def _of_share(self, row: dict[str, Any]) -> dict[str, Any]:
        target = row["target"]
        if target is not None and row["kind"] in ("report", "conversation"):
            target += self._base[row["kind"]]
        told = {"digest": _nobodys(), "revoked_us": row["revoked_us"] or self._now_us, "target": target}
        return row | told | {"agent_ids": self._agents(row["agent_ids"])}

    def _agents(self, ids: str) -> str:
        return json.dumps([id + self._base["agent"] for id in json.loads(ids)])

    def _seal_again(self, organization_id: int) -> None:
        """The audit log's chain holds the organization's id: where that is another, it is sealed anew, line by line."""
        if not self._base["organization"] or audit.broken(self._store, organization_id) == "":
            return
        self._store.moving.reseal(organization_id, audit.resealed(audit.lines(self._store, organization_id)))


def _nobodys() -> str:
    """A digest no secret has."""
    return f"imported {secrets.token_hex(24)}"


def _parts(lines: Iterator[bytes]) -> Iterator[list[list[Any]]]:
    part: list[list[Any]] = []
    for line in lines:
        part.append(json.loads(line))
        if len(part) == AT_ONCE:
            yield part
            part = []
    if part:
        yield part
