"""Rows as CSV a spreadsheet cannot be tricked by, and as JSON; a piece at a time."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

_STARTS_A_FORMULA = tuple("=+-@\t\r\n|＝＋－＠")
_AFTER = (",", ";", '"', "'", "\n", "\t")


def cell(value: Any) -> str:
    """A value as text no spreadsheet computes. Numbers stay numbers.

    >>> cell("=1+1"), cell(-3.5), cell("a,=1+1"), cell(None)
    ("'=1+1", '-3.5', "'a,=1+1", '')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    text = str(value)
    return f"'{text}" if _dangerous(text) else text


def _dangerous(text: str) -> bool:
    bare = text.lstrip(" \u00a0\ufeff\u200b")
    if bare.startswith(_STARTS_A_FORMULA):
        return True
    return any(f"{after}{sign}" in text for after in _AFTER for sign in "=+-@")


def csv_lines(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """CSV with every cell quoted."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([cell(row.get(column)) for column in columns])
        if buffer.tell() > 32_768:
            yield _drain(buffer)
    yield _drain(buffer)


def json_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """One JSON array, an object a line."""
    yield "["
    for place, row in enumerate(rows):
        yield (",\n" if place else "\n") + json.dumps(row, ensure_ascii=False, default=str)
    yield "\n]\n"


def _drain(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text
