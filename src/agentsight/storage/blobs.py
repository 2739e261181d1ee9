"""Attachment bytes by their hash: in a folder, or in a bucket of an S3-compatible store (`s3.py`).

Nothing a client names reaches the file system.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from agentsight.errors import NotFound, ServerFailed

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_HASH = re.compile(r"[0-9a-f]{64}")


def place(sha256: str) -> str:
    """Where the bytes lie below the root. Raises NotFound for what is no hash."""
    if not _HASH.fullmatch(sha256):
        raise NotFound("this file is gone")
    return f"{sha256[:2]}/{sha256}"


class FileBlobs:
    def __init__(self, folder: Path):
        self._folder = folder

    def put(self, data: bytes) -> str:
        """Keep `data` and give its SHA-256; on disk, whole, before this returns. Raises ServerFailed: the disk is full."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self._path(sha256)
        try:
            try:
                os.utime(path)  # somebody needs it again: no sweep may take it before its row is there
            except FileNotFoundError:
                self._write(path, data)
        except OSError as wrong:
            raise ServerFailed(
                "storage is full" if wrong.errno in _FULL else "files cannot be kept now", retry_after_s=5
            ) from wrong
        return sha256

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
        try:
            with open(part, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def get(self, sha256: str) -> bytes:
        with self.open(sha256) as file:
            return file.read()

    def open(self, sha256: str) -> BinaryIO:
        try:
            return open(self._path(sha256), "rb")
        except FileNotFoundError:
            raise NotFound("this file is gone") from None

    def delete(self, sha256: str) -> None:
        self._path(sha256).unlink(missing_ok=True)

    def each(self) -> Iterator[str]:
        return (path.name for path in sorted(self._folder.glob("*/*")) if _HASH.fullmatch(path.name))

    def older(self, than_us: int) -> Iterator[str]:
        for path in self._folder.glob("*/*"):
            try:
                old = path.stat().st_mtime_ns // 1_000 < than_us
            except FileNotFoundError:
                continue
            if old and path.suffix == ".part":
                path.unlink(missing_ok=True)
            elif old and _HASH.fullmatch(path.name):
                yield path.name

    def check(self) -> str:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(self._folder, os.W_OK):
            raise ServerFailed(f"{self._folder} cannot be written")
        return str(self._folder)

    def _path(self, sha256: str) -> Path:
        return self._folder / place(sha256)
