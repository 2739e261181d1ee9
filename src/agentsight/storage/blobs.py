"""Attachment bytes on disk, by their hash; nothing a client names reaches the file system."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from agentsight.errors import NotFound

_HASH = re.compile(r"[0-9a-f]{64}")


class FileBlobs:
    def __init__(self, folder: Path):
        self._folder = folder

    def put(self, data: bytes) -> str:
        """Keep `data` and give its SHA-256; on disk, whole, before this returns."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self._path(sha256)
        if path.exists():
            return sha256
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = path.with_name(f"{sha256}.{os.getpid()}.{os.urandom(4).hex()}.part")
        with open(part, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return sha256

    def get(self, sha256: str) -> bytes:
        try:
            return self._path(sha256).read_bytes()
        except FileNotFoundError:
            raise NotFound("this file is gone") from None

    def path(self, sha256: str) -> Path:
        """Where the bytes lie, for sending them without reading them into memory."""
        return self._path(sha256)

    def _path(self, sha256: str) -> Path:
        if not _HASH.fullmatch(sha256):
            raise NotFound("this file is gone")
        return self._folder / sha256[:2] / sha256
