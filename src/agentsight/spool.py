"""Events on disk while they cannot be delivered; the next process, or this one, delivers what it finds.

A segment is an append-only file of records `AS1 <length> <crc32> <json>\\n`: `{"e": event}`, or `{"d": [ids]}` for
events delivered since. Whoever writes a segment holds its lock, so an unlocked one is nobody's and may be adopted.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from .wire import MAX_FILE_BYTES

try:
    import fcntl
except ImportError:  # Windows: one writer per file name, adopted once it has been quiet for a while
    fcntl = None  # type: ignore[assignment]

SEGMENT_BYTES = 1024 * 1024  # a few thousand events: what is read back at once
MAX_BYTES = 64 * 1024 * 1024
MAX_AGE_S = 7 * 24 * 3600
QUIET_S = 120  # without locks: how long a file must not have been written to
_HEAD = b"AS1 "


class SpoolFull(Exception):
    """The folder holds all it may."""


def folder(root: str, endpoint: str, api_key: str) -> str:
    """Where events for this endpoint and key wait; the name does not give the key away."""
    return os.path.join(root, hashlib.sha256(f"{endpoint}{api_key}".encode()).hexdigest()[:12])


class Segment:
    """One open file and how many of its events are not delivered yet."""

    def __init__(self, path: str, fd: int, live: int = 0):
        self.path, self.fd, self.live = path, fd, live
        self.bytes = os.fstat(fd).st_size

    def write(self, records: list[bytes]) -> None:
        blob = b"".join(records)
        try:
            written = os.write(self.fd, blob)
        except OSError:
            written = 0
        if written < len(blob):  # never leave half a record behind: what follows it would be unreadable
            os.ftruncate(self.fd, self.bytes)
            raise SpoolFull(self.path)
        self.bytes += written

    def close(self, *, delete: bool = False) -> None:
        if delete:
            with _quietly():
                os.unlink(self.path)
        with _quietly():
            os.close(self.fd)


class _quietly:
    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, *rest: Any) -> bool:
        return kind is not None and issubclass(kind, OSError)


class Spool:
    """The segments of one folder. Every method may raise OSError; SpoolFull means nothing was written.

    The caller serialises calls.
    """

    def __init__(self, path: str):
        self.path = path
        self._open: list[Segment] = []
        self._journal: Segment | None = None
        self._spill: Segment | None = None
        self._names = 0
        self._size: int | None = None
        self.expired = self.broken = 0

    # -- writing -----------------------------------------------------------------------------------------------------
    def keep(self, events: list[bytes]) -> list[Segment]:
        """Write events that stay in memory too; gives back the segment each is in, for `done`."""
        return [self._append("_journal", body) for body in events]

    def spill(self, event: bytes) -> None:
        """Write an event that memory has no room for; `adopt` brings it back."""
        self._append("_spill", event)

    def done(self, delivered: Iterable[tuple[Segment, str]]) -> None:
        """Forget delivered events; a segment with none left goes."""
        by_segment: dict[Segment, list[str]] = {}
        for segment, event_id in delivered:
            by_segment.setdefault(segment, []).append(event_id)
        for segment, ids in by_segment.items():
            segment.live -= len(ids)
            if segment.live <= 0:
                self._drop(segment, delete=True)
            else:
                with _quietly():
                    segment.write([_record({"d": ids})])

    def close(self) -> None:
        """Let go of everything: what is not delivered waits for the next process."""
        for segment in list(self._open):
            self._drop(segment, delete=segment.live <= 0)

    def abandon(self) -> None:
        """Let go in a forked child: the locks stay with the parent."""
        for segment in self._open:
            segment.close()
        self._open.clear()
        self._journal = self._spill = None

    def _append(self, which: str, body: bytes) -> Segment:
        record = _line(b'{"e":' + body + b"}")
        segment: Segment | None = getattr(self, which)
        if self._used() + len(record) > MAX_BYTES:
            raise SpoolFull(self.path)
        if segment is None or segment.bytes + len(record) > SEGMENT_BYTES:
            if segment is not None and segment is self._spill:
                self._drop(segment)
            segment = self._create()
            setattr(self, which, segment)
        segment.write([record])
        segment.live += 1
        self._size = self._used() + len(record)
        return segment

    def _create(self) -> Segment:
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        self._names += 1
        name = f"{time.time_ns() // 1000:016x}{self._names:04x}.{os.getpid()}.aspool"
        path = os.path.join(self.path, name)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        if fcntl is not None:
            fcntl.flock(fd, fcntl.LOCK_EX)
        segment = Segment(path, fd)
        self._open.append(segment)
        return segment

    def _drop(self, segment: Segment, *, delete: bool = False) -> None:
        if segment in self._open:
            self._open.remove(segment)
            if delete:
                self._size = max(0, self._used() - segment.bytes)
        segment.close(delete=delete)
        if segment is self._journal:
            self._journal = None
        if segment is self._spill:
            self._spill = None

    def _used(self) -> int:
        if self._size is None:
            self._size = 0
            with os.scandir(self.path) if os.path.isdir(self.path) else _nothing() as entries:
                for entry in entries:
                    if entry.name.endswith(".aspool"):
                        with _quietly():  # another process delivered it meanwhile
                            self._size += entry.stat().st_size
        return self._size

    # -- reading -----------------------------------------------------------------------------------------------------
    def adopt(self) -> Iterator[tuple[Segment, list[tuple[str, bytes]]]]:
        """Segments nobody holds, oldest first, each locked for us, with the (id, event) pairs still to deliver."""
        if self._spill is not None:
            self._drop(self._spill)
        self._size = None
        with os.scandir(self.path) if os.path.isdir(self.path) else _nothing() as entries:
            paths = sorted(entry.path for entry in entries if entry.name.endswith(".aspool"))
        mine = {segment.path for segment in self._open}
        for path in paths:
            segment = None if path in mine else self._lock(path)
            if segment is None:
                continue
            events = list(self._read(segment).items())
            segment.live = len(events)
            if events:
                self._open.append(segment)
                yield segment, events
            else:
                segment.close(delete=True)

    def _lock(self, path: str) -> Segment | None:
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND)
        except OSError:
            return None
        try:
            if fcntl is not None:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(fd).st_nlink == 0:  # its owner deleted it while we were opening it
                    raise OSError
            elif time.time() - os.fstat(fd).st_mtime < QUIET_S:
                raise OSError
        except OSError:
            os.close(fd)
            return None
        return Segment(path, fd)

    def _read(self, segment: Segment) -> dict[str, bytes]:
        with open(segment.path, "rb") as file:
            blob = file.read(MAX_BYTES + 2 * MAX_FILE_BYTES)
        if time.time() - os.fstat(segment.fd).st_mtime > MAX_AGE_S:
            self.expired += len(_parse(blob)[0])
            return {}
        events, good = _parse(blob)
        if good < len(blob):
            self.broken += 1
            with _quietly(), open(f"{segment.path}.bad", "xb", opener=_private) as bad:
                bad.write(blob[good:])
            os.ftruncate(segment.fd, good)
            segment.bytes = good
        return events


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class _nothing:
    def __enter__(self) -> list[os.DirEntry[str]]:
        return []

    def __exit__(self, *_: Any) -> None:
        pass


def _line(body: bytes) -> bytes:
    return b"%b%d %08x %b\n" % (_HEAD, len(body), zlib.crc32(body), body)


def _record(value: Any) -> bytes:
    return _line(json.dumps(value, separators=(",", ":")).encode())


def _parse(blob: bytes) -> tuple[dict[str, bytes], int]:
    """The events still to deliver, and how far the file makes sense."""
    events: dict[str, bytes] = {}
    at = 0
    while blob.startswith(_HEAD, at):
        head = blob[at : at + 40].split(b" ", 3)
        if len(head) < 4 or not head[1].isdigit():
            break
        start = at + len(_HEAD) + len(head[1]) + len(head[2]) + 2
        body = blob[start : start + int(head[1])]
        end = start + len(body)
        if len(body) < int(head[1]) or blob[end : end + 1] != b"\n" or b"%08x" % zlib.crc32(body) != head[2]:
            break
        record = json.loads(body)
        if "e" in record:
            events[record["e"]["id"]] = body[5:-1]
        for event_id in record.get("d", ()):
            events.pop(event_id, None)
        at = end + 1
    return events, at
