"""Files people send: bytes in by hash, under no client's name; a signed link out."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Collection, Mapping
from itertools import islice
from typing import Any

from agentsight import wire
from agentsight.errors import InvalidEvent, TooLarge

from .ports import Blobs, Storage

LINK_LIFETIME_S = 3_600
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*\u200e\u200f\u202a-\u202e\u2066-\u2069]')
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
)
_DOCUMENTS = re.compile(r"pdf|msword|officedocument|ms-excel|ms-powerpoint|opendocument|rtf")


def safe_name(name: Any) -> str:
    """A file name fit to show and to offer: no folders, no control or direction marks, at most 255 characters.

    >>> safe_name("../../etc/passwd")
    'passwd'
    """
    text = wire.storable(str(name or "")).replace("\\", "/").rsplit("/", 1)[-1]
    clean = _UNSAFE.sub("", unicodedata.normalize("NFC", text)).strip(" .")
    if len(clean) > 255:
        stem, dot, extension = clean.rpartition(".")
        clean = stem[: 254 - len(extension)] + dot + extension if dot and len(extension) < 20 else clean[:255]
    return clean or "attachment.bin"


def sniffed(data: bytes) -> str | None:
    """The type the bytes themselves show, of the few that may be shown inline; None for anything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((mime for magic, mime in _MAGIC if data.startswith(magic)), None)


def category(mime_type: str) -> str:
    """What people call a file of this type: image, audio, video, text, document or other."""
    family = mime_type.partition("/")[0]
    if family in ("image", "audio", "video", "text"):
        return family
    return "document" if _DOCUMENTS.search(mime_type) else "other"


def decode(data: str, field: str = "data") -> bytes:
    """The bytes of base64 text; line breaks in it are fine. Raises InvalidEvent."""
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidEvent(field, "is not base64") from None


def keep(blobs: Blobs, data: bytes, filename: Any, mime_type: Any) -> dict[str, Any]:
    """Put a file's bytes away; gives the fields of its row: filename, mime_type, size_bytes, sha256.

    Raises:
        TooLarge: it is over the limit of one file.
    """
    if len(data) > wire.MAX_FILE_BYTES:
        raise TooLarge(f"a file may have {wire.MAX_FILE_BYTES // 2**20} MiB at most")
    told = str(mime_type or "").strip().lower()
    return {
        "filename": safe_name(filename),
        "mime_type": wire.storable(told)[:255] or sniffed(data) or "application/octet-stream",
        "size_bytes": len(data),
        "sha256": blobs.put(data),
    }


def kept(blobs: Blobs, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an `attachment` event with its bytes put away: `data`, `filename`, `mime_type` become `files`."""
    data = decode(fields["data"])
    if len(data) > wire.MAX_FILE_BYTES:
        raise InvalidEvent("data", f"is a file over {wire.MAX_FILE_BYTES // 2**20} MiB")
    rest = {name: value for name, value in fields.items() if name not in ("data", "filename", "mime_type")}
    return {**rest, "files": [keep(blobs, data, fields.get("filename"), fields.get("mime_type"))]}


def let_go(storage: Storage, blobs: Blobs, hashes: Collection[str]) -> int:
    """Delete those of these files that nothing names any more; how many went."""
    unused = storage.read(lambda store: store.keeping.unused(hashes)) if hashes else set()
    for sha256 in unused:
        blobs.delete(sha256)
    return len(unused)


def sweep(storage: Storage, blobs: Blobs, before_us: int) -> int:
    """Delete files older than that which nothing names: a process died between the bytes and the row. How many went.

    `before_us` leaves files alone whose row may still be on its way.
    """
    gone, old = 0, blobs.older(before_us)
    while some := list(islice(old, 500)):
        gone += let_go(storage, blobs, some)
    return gone
