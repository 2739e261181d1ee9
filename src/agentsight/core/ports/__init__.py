"""What core asks of storage. Every method but those that find a principal takes a scope or an agent first.

Its files are named as those of `model` (the records) and of `storage/sql/schema` (the tables).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, Protocol, TypeVar

from .imports import Imports
from .keeping import Keeping, Moving, Retention
from .lists import Actions, FeedbackList, Spans, Tickets, Usage
from .numbers import Deliveries, Older, Rollups
from .reports import History, Reports, Shares
from .tenants import Audit, Hosts, People, Settings, Tenants
from .timeline import Conversations, Timeline

T = TypeVar("T")


class Store(Protocol):
    """One transaction: all of it happens, or nothing."""

    @property
    def timeline(self) -> Timeline: ...

    @property
    def conversations(self) -> Conversations: ...

    @property
    def tenants(self) -> Tenants: ...

    @property
    def rollups(self) -> Rollups: ...

    @property
    def older(self) -> Older: ...

    @property
    def deliveries(self) -> Deliveries: ...

    @property
    def reports(self) -> Reports: ...

    @property
    def imports(self) -> Imports: ...

    @property
    def shares(self) -> Shares: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def history(self) -> History: ...

    @property
    def audit(self) -> Audit: ...

    @property
    def keeping(self) -> Keeping: ...

    @property
    def retention(self) -> Retention: ...

    @property
    def moving(self) -> Moving: ...

    @property
    def hosts(self) -> Hosts: ...

    @property
    def people(self) -> People: ...

    @property
    def spans(self) -> Spans: ...

    @property
    def usage(self) -> Usage: ...

    @property
    def actions(self) -> Actions: ...

    @property
    def feedback(self) -> FeedbackList: ...

    @property
    def tickets(self) -> Tickets: ...


class Storage(Protocol):
    """A database somebody opened."""

    def read(self, ask: Callable[[Store], T], *, may_lag: bool = False) -> T:
        """`ask` on a consistent snapshot, in this thread.

        `may_lag`: lists and numbers, which may lack the last moment; where there is a read replica, it answers.
        """

    def write(self, change: Callable[[Store], T], *, alongside: bool = False) -> Future[T]:
        """`change` in a transaction; the future is done after the commit.

        It sees and leaves the database as if nobody else wrote meanwhile. `alongside`: it only takes events in
        (`ingest.accept`), so an engine with several writers may run it beside others of its kind. It may be run again
        from its start when the engine could not finish it, so it must not leave traces elsewhere. Neighbours in the queue
        whose `joins` are equal (`ingest.Intake`) may be run as one, by the first's `together`.

        Raises:
            ServerFailed: too much is waiting already; carries `retry_after_s`.
        """

    def listen(self, heard: Callable[[], None]) -> None:
        """Call `heard`, in any thread, soon after something was stored; by other processes too where the engine can tell."""

    def alone(self, job: str) -> AbstractContextManager[bool]:
        """True in the block for one process of all that use this database; False when another does this job now."""

    def catch_up(self) -> None:
        """After rows were put in from elsewhere: what follows from them, such as the search index and the next ids."""

    def distribute(self) -> list[str]:
        """Spread the tables over several nodes, where the engine can; gives those that were not yet.

        Raises:
            ConfigError: it cannot.
        """

    def facts(self) -> Mapping[str, str]:
        """What engine this is, for `doctor` and /readyz."""

    def check(self) -> list[str]:
        """What is wrong with the stored data; empty: it is sound."""

    def frugal(self) -> None:
        """From here on take little memory: for who reads everything once."""

    def scrub(self) -> Mapping[str, Any]:
        """Let nothing of what was deleted remain in the database's files; says what was done. Writers wait meanwhile."""

    def close(self) -> None: ...


class Blobs(Protocol):
    """Attachment bytes, by their SHA-256. Raises ServerFailed where the bytes cannot be reached now."""

    def put(self, data: bytes) -> str:
        """Keep the bytes for good, before this returns; gives their SHA-256."""

    def get(self, sha256: str) -> bytes:
        """The bytes. Raises NotFound when they are gone."""

    def open(self, sha256: str) -> BinaryIO:
        """The bytes as a file that can be read and sought in. Raises NotFound when they are gone."""

    def delete(self, sha256: str) -> None:
        """Let go of the bytes; those that are gone already are fine."""

    def each(self) -> Iterator[str]:
        """The SHA-256 of everything that is kept."""

    def older(self, than_us: int) -> Iterator[str]:
        """The SHA-256 of what was put before then for the last time; leftovers of writes cut short go on the way."""

    def check(self) -> str:
        """Where files are kept, for people; proves that they can be. Raises ServerFailed."""
