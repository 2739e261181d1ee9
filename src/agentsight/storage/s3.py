"""Attachment bytes in a bucket of an S3-compatible store, through `obstore`, which reads the usual AWS_* variables."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import BinaryIO, cast

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from agentsight.errors import ConfigError, NotFound, ServerFailed

from .blobs import place

PATIENCE_S = 10  # of one request, all its attempts together: less than any client waits for its answer


class S3Blobs:
    """`s3://BUCKET/PREFIX`. What is put is whole or not there: S3 shows an object when its last byte has arrived."""

    def __init__(self, url: str):
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        if not bucket:
            raise ConfigError("AGENTSIGHT_FILES: say which bucket: s3://BUCKET/PREFIX")
        try:
            self._store = S3Store(
                bucket,
                prefix=prefix.strip("/") or None,
                client_options={"allow_http": True, "connect_timeout": "3s", "timeout": f"{PATIENCE_S}s"},
                retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=PATIENCE_S)},
            )
        except BaseError as wrong:
            raise ConfigError(f"AGENTSIGHT_FILES: {_first_line(wrong)}") from None
        self._url = url

    def put(self, data: bytes) -> str:
        """Keep `data` and give its SHA-256; stored before this returns. Raises ServerFailed: the store does not take it."""
        sha256 = hashlib.sha256(data).hexdigest()
        with _told("files cannot be kept now; try again"):
            self._store.put(place(sha256), data, use_multipart=False)
        return sha256

    def get(self, sha256: str) -> bytes:
        with _told("files cannot be read now; try again"), _gone():
            return bytes(self._store.get(place(sha256)).bytes())

    def open(self, sha256: str) -> BinaryIO:
        with _told("files cannot be read now; try again"), _gone():
            return cast(BinaryIO, obstore.open_reader(self._store, place(sha256)))

    def delete(self, sha256: str) -> None:
        with _told("files cannot be deleted now; try again"):
            self._store.delete(place(sha256))

    def each(self) -> Iterator[str]:
        with _told("files cannot be listed now; try again"):
            for some in self._store.list():
                yield from (found["path"].rpartition("/")[2] for found in some)

    def older(self, than_us: int) -> Iterator[str]:
        with _told("files cannot be listed now; try again"):
            for some in self._store.list():
                for found in some:
                    if found["last_modified"].timestamp() * 1_000_000 < than_us:
                        yield found["path"].rpartition("/")[2]

    def check(self) -> str:
        probe = hashlib.sha256(b"").hexdigest()
        try:
            self._store.put(f"{probe}.probe", b"", use_multipart=False)
            self._store.delete(f"{probe}.probe")
        except (BaseError, OSError) as wrong:
            raise ServerFailed(f"{self._url} cannot be written: {_first_line(wrong)}") from None
        return self._url


@contextmanager
def _told(what: str) -> Iterator[None]:
    """The store's troubles as ours. Raises ServerFailed."""
    try:
        yield
    except (BaseError, OSError) as wrong:
        raise ServerFailed(what, retry_after_s=5) from wrong


@contextmanager
def _gone() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NotFound("this file is gone") from None


def _first_line(wrong: BaseException) -> str:
    return str(wrong).partition("\n")[0][:200]
