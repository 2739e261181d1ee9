"""What kind of file something is: from its name, or from its first bytes."""

from __future__ import annotations

import io
import json
import os
import re
from typing import Any

UNKNOWN = "application/octet-stream"
_OFFICE = "application/vnd.openxmlformats-officedocument."
_ODF = "application/vnd.oasis.opendocument."

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "application/pdf"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"\x00\x00\x01\x00", "image/x-icon"),
    (b"{\\rtf", "application/rtf"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
_ZIPPED = (
    ("xl/workbook.xml", _OFFICE + "spreadsheetml.sheet"),
    ("ppt/presentation.xml", _OFFICE + "presentationml.presentation"),
    ("word/document.xml", _OFFICE + "wordprocessingml.document"),
)
_BY_ENDING = {".md": "text/markdown", ".webp": "image/webp", ".csv": "text/csv", ".docx": _ZIPPED[2][1],
              ".xlsx": _ZIPPED[0][1], ".pptx": _ZIPPED[1][1], ".ico": "image/x-icon", ".js": "text/javascript",
              ".xml": "text/xml", ".odt": _ODF + "text", ".ods": _ODF + "spreadsheet"}  # fmt: skip
_MARKDOWN = re.compile(r"^#{1,6} \S|^\s*([-*+]|\d+\.) \S|```|\]\(|\*\*\S", re.MULTILINE)


def get_mime_type(thing: Any) -> str:
    """The MIME type of a file name (text), of bytes, or of an open file, whose position stays.

    >>> get_mime_type("notes.pdf"), get_mime_type(b"%PDF-1.7"), get_mime_type(b"a,b"), get_mime_type(b"5")
    ('application/pdf', 'application/pdf', 'text/csv', 'text/plain')
    """
    if isinstance(thing, str):
        return _by_name(thing)
    if isinstance(thing, (bytes, bytearray, memoryview)):
        return _by_content(bytes(thing))
    if hasattr(thing, "read") and hasattr(thing, "seek"):
        try:
            at = thing.tell()
            thing.seek(0)
            head = thing.read()
            thing.seek(at)
        except (OSError, ValueError):
            return UNKNOWN
        return _by_content(head) if isinstance(head, bytes) else "text/plain"
    return UNKNOWN


def _by_name(name: str) -> str:
    import mimetypes

    ending = os.path.splitext(name)[1].lower()
    return mimetypes.guess_type(name)[0] or _BY_ENDING.get(ending, UNKNOWN)


def _by_content(blob: bytes) -> str:
    for start, mime_type in _STARTS:
        if blob.startswith(start):
            return mime_type
    if blob.startswith(b"RIFF") and blob[8:12] in _RIFF:
        return _RIFF[blob[8:12]]
    if blob.startswith(b"PK\x03\x04"):
        return _zipped(blob)
    if blob[4:8] == b"ftyp":
        return "video/mp4"
    return _textual(blob)


def _zipped(blob: bytes) -> str:
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(blob)) as archive:
            names = set(archive.namelist())
            if "mimetype" in names:
                said = archive.read("mimetype")[:100].decode("ascii", "replace").strip()
                if said == "application/epub+zip" or said.startswith(_ODF):
                    return said
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return "application/zip"
    return next((mime_type for name, mime_type in _ZIPPED if name in names), "application/zip")


def _textual(blob: bytes) -> str:
    try:
        text = blob.decode("utf-8-sig")
    except UnicodeDecodeError:
        return UNKNOWN
    if not text or "\x00" in text:
        return UNKNOWN
    if sum(char.isprintable() or char in "\r\n\t" for char in text[:65_536]) < 0.8 * len(text[:65_536]):
        return UNKNOWN
    lowered = text.lstrip()[:64].lower()
    if lowered.startswith(("<!doctype html", "<html")):
        return "text/html"
    if lowered.startswith("<?xml"):
        return "text/xml"
    if _is_json(text):
        return "application/json"
    if _is_table(text):
        return "text/csv"
    return "text/markdown" if len(_MARKDOWN.findall(text)) >= 2 else "text/plain"


def _is_json(text: str) -> bool:
    if text.strip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _is_table(text: str) -> bool:
    """Whether most of the first lines have about as many commas as one another."""
    lines = [line for line in text.splitlines() if line.strip()][:20]
    commas = [line.count(",") for line in lines if "," in line]
    if not commas or len(commas) < max(1, len(lines) / 2) or len(lines[0]) > 1000:
        return False
    usual = sum(commas) / len(commas)
    return sum(abs(count - usual) <= max(2, usual / 2) for count in commas) >= 0.6 * len(commas)
