"""Addresses of ours: query strings, and whether one stays on this server."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote_plus


def query(pairs: Iterable[tuple[str, object]]) -> str:
    """A query string with its `?`; empty when there is nothing to say. A list says its name once for each value."""
    every = ((name, one) for name, value in pairs for one in (value if isinstance(value, list) else (value,)))
    given = [f"{_quoted(name)}={_quoted(str(value))}" for name, value in every if value is not None and value != ""]
    return "?" + "&".join(given) if given else ""


_quoted = lru_cache(maxsize=4_096)(quote_plus)  # what a page's many links say differs in a word or two


def local(url: object, otherwise: str) -> str:
    """`url` if it stays on this server."""
    fine = isinstance(url, str) and url.startswith("/") and not url.startswith(("//", "/\\")) and url.isprintable()
    return str(url) if fine else otherwise
