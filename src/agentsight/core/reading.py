"""Values out of a query string, for every list there is; some out of a body or a form, too.

What a value may be says `wire`, which raises InvalidEvent: for whoever asked it is the same answer as Invalid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any

from agentsight import wire
from agentsight.errors import Invalid

Reader = Callable[[str, str], Any]
"""Text and the name it stands under -> the value. Raises Invalid or InvalidEvent."""

_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
_DAY_US = 86_400_000_000
NAME_CHARS = 200


def asked(params: Mapping[str, Sequence[str]], readers: Mapping[str, Reader]) -> dict[str, Any]:
    """The filters a query string names, of those there are; the last one counts, and an empty one is none.

    Raises:
        Invalid, InvalidEvent: names the first parameter that cannot be read.
    """
    found: dict[str, Any] = {}
    for name, read in readers.items():
        values = params.get(name) or (params.get("env") if name == "environment" else None) or ()
        told = [value for value in values if value != ""]
        if told:
            found[name] = read(told[-1], name) if read not in _MANY else [read(one, name) for one in told]
    return found


def ordering(params: Mapping[str, Sequence[str]], fields: Sequence[str], otherwise: str) -> str:
    """`field` or `-field`, of these; an order there is not is none."""
    told = (params.get("ordering") or [""])[-1]
    return told if told.removeprefix("-") in fields else otherwise


def text(told: str, name: str) -> str:
    return wire.read_text(told, name, 1_000)


def flag(told: str, name: str) -> bool:
    if told.strip().lower() in _TRUE:
        return True
    if told.strip().lower() in _FALSE:
        return False
    raise Invalid.of(name, "must be true or false")


def choice(*allowed: str) -> Reader:
    def read(told: str, name: str) -> str:
        if told in allowed:
            return told
        raise Invalid.of(name, f"must be one of {', '.join(allowed)}")

    return read


def several(*allowed: str) -> Reader:
    """As `choice`, given as often as one likes: any of them."""
    read = choice(*allowed)
    _MANY.add(read)
    return read


_MANY: set[Reader] = set()


def number(told: str, name: str) -> int:
    """An id of ours; one that is none finds nothing, so it is only refused when it is no number."""
    digits = told.strip()
    if not (digits.isascii() and digits.isdigit()):
        raise Invalid.of(name, "must be an id, a whole number")
    return int(digits) if len(digits) < 19 else 2**62


def environment(told: str, name: str) -> str:
    known = {"prod": "production", "dev": "development"}.get(told.strip().lower(), told.strip().lower())
    return str(choice(*wire.ENVIRONMENTS)(known, name))


def moment(told: str, name: str) -> int:
    """An instant or a whole date, both included: after a date is from its first moment, before it up to its last."""
    told = told.strip().replace(" ", "+") if "T" in told else told.strip()  # a raw + arrives as a blank
    try:
        day = date.fromisoformat(told)
    except ValueError:
        return wire.read_instant(told, name)
    start_us = wire.read_instant(datetime.combine(day, time()).isoformat(), name)
    return start_us + _DAY_US - 1 if name.endswith("_before") else start_us


# -- out of a body ---------------------------------------------------------------------------------------------------
def required(value: Any, name: str, max_chars: int) -> str:
    """Text without blanks around it. Raises Invalid where there is none, InvalidEvent where it is something else."""
    clean = wire.read_text("" if value is None else value, name, max_chars).strip()
    if not clean:
        raise Invalid.of(name, "is required")
    return clean


def named(name: str) -> str:
    """What people call something, blanks put in order. Raises Invalid."""
    clean = " ".join(name.split())
    if not clean:
        raise Invalid.of("name", "must not be blank")
    if len(clean) > NAME_CHARS:
        raise Invalid.of("name", f"is longer than {NAME_CHARS} characters")
    return clean


def row(value: Any, name: str) -> int:
    """An id of ours, a whole number or its digits. Raises Invalid."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise Invalid.of(name, "must be an id, a whole number")
    return number(value, name)
