"""Static files: read once, named by their content, compressed once."""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

STATIC = Path(__file__).parent.parent / "static"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    body: bytes
    packed: bytes
    media_type: str
    version: str


@cache
def asset(name: str) -> Asset | None:
    """The static file of that name; None when there is no such file to serve."""
    path = STATIC / name
    if path.parent != STATIC or path.suffix not in TYPES or not path.is_file():
        return None
    body = path.read_bytes()
    if path.suffix == ".css":
        body = squeeze(body.decode()).encode()
    return Asset(body, gzip.compress(body, 9), TYPES[path.suffix], hashlib.sha256(body).hexdigest()[:10])


def asset_url(name: str) -> str:
    """Where a page finds the file; changes with its content, so browsers may keep it for ever."""
    found = asset(name)
    return f"/static/{name}?v={found.version if found else 0}"


def squeeze(css: str) -> str:
    """The style sheet without comments and needless blanks.

    >>> squeeze("a { color: red; }  /* why */\\n.b > .c { margin: 0 auto }")
    'a{color:red}.b>.c{margin:0 auto}'
    """
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    css = re.sub(r"\s+", " ", css)
    css = re.sub(r" ?([{};,>]) ?", r"\1", css)
    return re.sub(r": (?=[^{}]*[;}])", ":", css).replace(";}", "}").strip()
