"""One file that holds many parts and says of each what it must be: what backups and exports of organizations are made of.

A zip file. `manifest.json`, written last, tells form, counts, and the SHA-256 of every part but files: those are named by
theirs. Nothing is ever unpacked by the name it has inside.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from agentsight.errors import Refused

MANIFEST = "manifest.json"
CHUNK = 1 << 20
_MOST_MANIFEST = 1 << 24
_FILE = re.compile(r"files/([0-9a-f]{2})/(\1[0-9a-f]{62})")


class Unreadable(Refused):
    """An archive that cannot be used; the message is the one line people read."""

    code, status = "unreadable", 400


class Writing:
    """An archive being written to `target`, a file or anything that takes bytes."""

    def __init__(self, target: BinaryIO | IO[bytes], form: str):
        self._zip = zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, allowZip64=True, compresslevel=1)
        self._form = form
        self._parts: list[dict[str, Any]] = []
        self._files = self._file_bytes = 0

    @contextmanager
    def part(self, name: str) -> Iterator[_Part]:
        """Takes the bytes of one part with `write`, inside the block."""
        with self._zip.open(name, "w", force_zip64=True) as entry:
            part = _Part(entry)
            yield part
        self._parts.append({"name": name, "bytes": part.size, "sha256": part.digest.hexdigest()})

    def add(self, name: str, source: BinaryIO) -> None:
        """One part, from a file."""
        with self.part(name) as part:
            while some := source.read(CHUNK):
                part.write(some)

    def file(self, sha256: str, source: BinaryIO) -> None:
        """A file of somebody's, by the hash of its bytes; most are packed already."""
        entry = zipfile.ZipInfo(f"files/{sha256[:2]}/{sha256}")
        with self._zip.open(entry, "w", force_zip64=True) as packed:
            while some := source.read(CHUNK):
                packed.write(some)
                self._file_bytes += len(some)
        self._files += 1

    def close(self, **facts: Any) -> dict[str, Any]:
        """Write the manifest and give it."""
        manifest = {
            "format": self._form,
            **facts,
            "files": {"count": self._files, "bytes": self._file_bytes},
            "parts": self._parts,
        }
        self._zip.writestr(MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=1))
        self._zip.close()
        return manifest


class _Part:
    def __init__(self, entry: IO[bytes]):
        self._entry, self.size, self.digest = entry, 0, hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._entry.write(data)
        self.digest.update(data)
        self.size += len(data)


class Reading:
    """An archive somebody gave us. Nothing of it is believed before `verify`.

    Raises:
        Unreadable: it is no archive of this form, or one of a later version.
    """

    def __init__(self, path: Path, form: str):
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile):
            raise Unreadable(f"{path} cannot be read, or is no archive of AgentSight") from None
        self._path, self._form = path, form
        self.manifest = self._manifest()

    def _manifest(self) -> dict[str, Any]:
        kind, _, version = self._form.partition("/")
        try:
            if self._zip.getinfo(MANIFEST).file_size > _MOST_MANIFEST:
                raise ValueError
            manifest = json.loads(self._zip.read(MANIFEST))
            told, _, theirs = str(manifest["format"]).partition("/")
            if told == kind and theirs.isdigit() and int(theirs) > int(version):
                raise Unreadable(f"{self._path} was made by a later version of AgentSight; update this one first")
            sound = manifest["format"] == self._form and isinstance(manifest["files"]["count"], int)
            parts = {part["name"]: (int(part["bytes"]), str(part["sha256"])) for part in manifest["parts"]}
        except (
            KeyError,
            TypeError,
            ValueError,
            zipfile.BadZipFile,
            OSError,
            EOFError,
            NotImplementedError,
            RuntimeError,
        ):
            sound, parts, manifest = False, {}, {}
        if not sound:
            raise Unreadable(f"{self._path} is no {kind.removeprefix('agentsight-')} of AgentSight, or is damaged")
        self.parts: Mapping[str, tuple[int, str]] = parts
        return dict(manifest)

    def verify(self) -> None:
        """Every part is there, whole, and nothing else is. Raises Unreadable, naming what is not."""
        names = self._zip.namelist()
        known = {MANIFEST, *self.parts}
        strange = next((name for name in names if name not in known and not _FILE.fullmatch(name)), None)
        if strange is not None or len(set(names)) != len(names):
            raise Unreadable(f"{self._path} is damaged: it holds {strange or 'a part twice'}")
        for name, (size, sha256) in self.parts.items():
            if self._hash(name, size) != sha256:
                raise Unreadable(f"{self._path} is damaged: {name} is not what the manifest says")
        files = list(self.files())
        for sha256 in files:
            if self._hash(_place(sha256), None) != sha256:
                raise Unreadable(f"{self._path} is damaged: the file {sha256[:12]} is not what its name says")
        if len(files) != self.manifest["files"]["count"]:
            raise Unreadable(f"{self._path} is damaged: files are missing")

    def _hash(self, name: str, size: int | None) -> str:
        digest, read = hashlib.sha256(), 0
        try:
            with self._zip.open(name) as part:
                while some := part.read(CHUNK):
                    digest.update(some)
                    read += len(some)
                    if size is not None and read > size:
                        return ""
        except (KeyError, zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError):
            return ""
        except Exception as wrong:  # zlib.error, and whatever else a damaged stream makes of a decompressor
            if type(wrong).__name__ == "error":
                return ""
            raise
        return digest.hexdigest() if size in (None, read) else ""

    def files(self) -> Iterator[str]:
        """The hashes of the files inside."""
        found = (_FILE.fullmatch(name) for name in self._zip.namelist())
        return (match[2] for match in found if match)

    def file(self, sha256: str) -> IO[bytes]:
        return self._zip.open(_place(sha256))

    def part(self, name: str) -> IO[bytes]:
        return self._zip.open(name)

    def copy(self, name: str, to: BinaryIO) -> None:
        """A part's bytes into a file of ours."""
        with self.part(name) as part:
            while some := part.read(CHUNK):
                to.write(some)

    def lines(self, name: str) -> Iterable[bytes]:
        """A part line by line; none where there is no such part."""
        if name in self.parts:
            with self.part(name) as part:
                yield from part

    def close(self) -> None:
        self._zip.close()


def _place(sha256: str) -> str:
    return f"files/{sha256[:2]}/{sha256}"
