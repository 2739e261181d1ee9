"""What the first bytes of a picture or font say: its type and how large it is. Nothing is decoded."""

from __future__ import annotations

import struct

from .attachments import sniffed

ICON = "image/x-icon"
_FRAMES = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)))


def kind(data: bytes) -> str | None:
    """The type the bytes show: one of the pictures browsers draw, or None."""
    if data.startswith(b"\x00\x00\x01\x00"):
        return ICON
    found = sniffed(data)
    return found if found and found.startswith("image/") else None


def size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels; None where they cannot be read."""
    try:
        match kind(data):
            case "image/png":
                return _pair(">II", data, 16) if data[12:16] == b"IHDR" else None
            case "image/gif":
                return _pair("<HH", data, 6)
            case "image/webp":
                return _webp(data)
            case "image/jpeg":
                return _jpeg(data)
            case "image/x-icon":
                return (data[6] or 256, data[7] or 256) if data[4:6] != b"\x00\x00" else None
    except (struct.error, IndexError):
        pass
    return None


def is_font(data: bytes) -> bool:
    """Whether this is one WOFF2 file, whole: its head says how long it is."""
    if len(data) < 48 or data[:4] != b"wOF2":
        return False
    length, tables, reserved, _, packed = struct.unpack_from(">IHHII", data, 8)
    return bool(length == len(data) and 0 < tables < 256 and reserved == 0 and 0 < packed < length)


def _pair(how: str, data: bytes, at: int) -> tuple[int, int]:
    width, height = struct.unpack_from(how, data, at)
    return width, height


def _webp(data: bytes) -> tuple[int, int] | None:
    if data[12:16] == b"VP8 ":
        width, height = _pair("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if data[12:16] == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while data[at] == 0xFF:
        marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        if marker in _FRAMES:
            height, width = _pair(">HH", data, at + 5)
            return width, height
        at += 2 + length
    return None
