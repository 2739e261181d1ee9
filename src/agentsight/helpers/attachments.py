"""Attachments as callers give them, read and checked at once."""

from __future__ import annotations

import base64
import binascii
import json
from io import BytesIO
from typing import Any

from ..enums import AttachmentMode
from ..exceptions import InvalidAttachmentException
from ..snapshot import snapshot
from .conversation_utils import get_iso_timestamp
from .mime_types import UNKNOWN, get_mime_type

_MODES = {mode.value: mode for mode in AttachmentMode} | {"form-data": AttachmentMode.FORM_DATA}

_OFFICE = "application/vnd.openxmlformats-officedocument."
_ODF = "application/vnd.oasis.opendocument."
_ENDINGS = {
    "image/jpeg": ".jpg", "image/png": ".png", "image/gif": ".gif", "image/webp": ".webp", "image/bmp": ".bmp",
    "image/tiff": ".tiff", "image/x-icon": ".ico", "image/svg+xml": ".svg", "image/avif": ".avif",
    "application/pdf": ".pdf", "application/rtf": ".rtf", "text/rtf": ".rtf", "application/msword": ".doc",
    "application/vnd.ms-excel": ".xls", "application/vnd.ms-powerpoint": ".ppt",
    _OFFICE + "wordprocessingml.document": ".docx", _OFFICE + "spreadsheetml.sheet": ".xlsx",
    _OFFICE + "presentationml.presentation": ".pptx", _ODF + "text": ".odt", _ODF + "spreadsheet": ".ods",
    _ODF + "presentation": ".odp", _ODF + "graphics": ".odg", _ODF + "formula": ".odf", _ODF + "database": ".odb",
    "application/zip": ".zip", "application/x-rar-compressed": ".rar", "application/x-tar": ".tar",
    "application/gzip": ".gz", "application/x-7z-compressed": ".7z", "application/epub+zip": ".epub",
    "audio/mpeg": ".mp3", "audio/wav": ".wav", "audio/ogg": ".ogg", "audio/aac": ".aac", "audio/webm": ".weba",
    "audio/flac": ".flac", "audio/x-ms-wma": ".wma", "video/mp4": ".mp4", "video/webm": ".webm",
    "video/quicktime": ".mov", "video/x-msvideo": ".avi", "video/x-matroska": ".mkv", "video/ogg": ".ogv",
    "video/x-flv": ".flv", "video/x-ms-wmv": ".wmv", "text/plain": ".txt", "text/html": ".html", "text/css": ".css",
    "text/csv": ".csv", "text/xml": ".xml", "text/javascript": ".js", "text/markdown": ".md", "text/x-python": ".py",
    "text/x-java-source": ".java", "text/x-c": ".c", "text/x-c++": ".cpp", "text/yaml": ".yml", "text/x-ini": ".ini",
    "application/json": ".json", "application/xml": ".xml", "application/xhtml+xml": ".xhtml",
    "application/atom+xml": ".atom", "application/rss+xml": ".rss", "message/rfc822": ".eml",
    "application/vnd.ms-outlook": ".msg", "font/woff": ".woff", "font/woff2": ".woff2", "font/ttf": ".ttf",
    "font/otf": ".otf", "application/acad": ".dwg", "application/dxf": ".dxf",
    "application/x-mobipocket-ebook": ".mobi",
    "application/vnd.amazon.ebook": ".azw", "application/x-sqlite3": ".sqlite", "application/x-yaml": ".yaml",
    "application/toml": ".toml", "application/x-php": ".php", "application/x-ruby": ".rb", "application/x-perl": ".pl",
    "application/x-sh": ".sh", "application/x-powershell": ".ps1", "application/x-bat": ".bat",
    "application/octet-stream": ".bin", "application/x-msdos-program": ".exe", "application/x-msdownload": ".exe",
}  # fmt: skip


def read_attachments(attachments: Any, mode: Any, required: bool = False) -> tuple[list[dict[str, Any]], str]:
    """The files with `filename`, `mime_type` and `data` each, and the mode's name.

    Open files are read here and left where they were.

    Raises:
        InvalidAttachmentException: the list is empty though `required`, or a file lacks what its mode needs.
        ValueError: an unknown mode.
    """
    mode = read_mode(mode)
    if not attachments and required:
        raise InvalidAttachmentException("Attachments list cannot be empty")
    if not isinstance(attachments, (list, tuple)):
        raise InvalidAttachmentException("Attachments must be provided as a list")
    read = _read_base64 if mode is AttachmentMode.BASE64 else _read_bytes
    files = []
    for index, file in enumerate(attachments):
        if not isinstance(file, dict):
            raise InvalidAttachmentException(f"Attachment {index + 1}: must be a dictionary with required keys")
        files.append(read(file, index))
    return files, mode.value


def read_mode(mode: Any) -> AttachmentMode:
    """The mode by its name in any case."""
    if isinstance(mode, AttachmentMode):
        return mode
    if not isinstance(mode, str):
        raise InvalidAttachmentException(f"Invalid mode: {mode}")
    if mode.lower() not in _MODES:
        raise ValueError(f"Invalid mode: {mode}. Must be 'base64' or 'form_data'")
    return _MODES[mode.lower()]


def _read_base64(file: dict[str, Any], index: int) -> dict[str, Any]:
    where = f"Attachment {index + 1}"
    missing = [key for key in ("filename", "mime_type", "data") if key not in file]
    if missing:
        raise InvalidAttachmentException(f"{where} missing required keys: {', '.join(missing)}")
    for key in ("filename", "mime_type"):
        if not isinstance(file[key], str) or not file[key].strip():
            raise InvalidAttachmentException(f"{where} has invalid or empty {key}")
    if not isinstance(file["data"], str):
        raise InvalidAttachmentException(f"{where}: In base64 mode, 'data' must be a base64 string")
    try:
        base64.b64decode(file["data"], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidAttachmentException(f"{where} '{file['filename']}' has invalid base64 data") from None
    return {key: str(file[key]) for key in ("filename", "mime_type", "data")}


def _read_bytes(file: dict[str, Any], index: int) -> dict[str, Any]:
    if "data" not in file:
        raise InvalidAttachmentException(f"Attachment {index + 1} missing required key: 'data'")
    content = _content(file["data"], f"Attachment {index + 1}")
    filename, mime_type = file.get("filename"), file.get("mime_type") or file.get("content_type")
    if not mime_type and filename:
        mime_type = get_mime_type(str(filename))
    if not mime_type or (mime_type == UNKNOWN and not file.get("mime_type")):
        mime_type = get_mime_type(content)
    more = {key: snapshot(file[key]) for key in file if key not in ("data", "filename", "mime_type", "content_type")}
    named = str(filename) if filename else generate_filename_from_mime_type(str(mime_type), index)
    return {"data": content, "filename": named, "mime_type": str(mime_type), **more}


def _content(data: Any, where: str) -> bytes:
    if isinstance(data, str):
        raise InvalidAttachmentException(
            f"{where}: In form_data mode, 'data' must be bytes or file-like object, not string"
        )
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    if not hasattr(data, "read"):
        raise InvalidAttachmentException(f"{where}: 'data' must be bytes or file-like object")
    try:
        at = data.tell() if hasattr(data, "seek") else None
        if at is not None:
            data.seek(0)
        content = data.read()
        if at is not None:
            data.seek(at)
    except (OSError, ValueError) as wrong:
        raise InvalidAttachmentException(f"{where}: 'data' cannot be read: {wrong}") from None
    return content.encode() if isinstance(content, str) else bytes(content)


def generate_filename_from_mime_type(mime_type: str, index: int) -> str:
    """A name for a file that came without one.

    >>> generate_filename_from_mime_type("text/csv; charset=utf-8", 0)
    'attachment_0.csv'
    """
    return f"attachment_{index}{_ENDINGS.get(mime_type.partition(';')[0].strip().lower(), '.bin')}"


def prepare_form_data_payload_from_data(
    attachments: list[dict[str, Any]],
    conversation_id: Any,
    sender: Any = "end_user",
    metadata: dict[str, Any] | None = None,
    timestamp: str | None = None,
) -> dict[str, Any]:
    """The parts of a multipart upload: name -> (filename or None, content[, mime type])."""
    parts: dict[str, Any] = {
        "timestamp": (None, timestamp or get_iso_timestamp()),
        "conversation": (None, conversation_id),
        "sender": (None, getattr(sender, "value", sender)),
        "mode": (None, AttachmentMode.FORM_DATA.value),
        "metadata": (None, json.dumps(snapshot(metadata))),
    }
    for index, file in enumerate(attachments):
        read = _read_bytes(file, index)
        parts[f"attachment_{index}"] = (read["filename"], BytesIO(read["data"]), read["mime_type"])
    return parts
