"""Text other people wrote, made safe to look at."""

from __future__ import annotations

import re

_INVISIBLE = re.compile("[\u00ad\u180e\u200b\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    """`text` with what could turn or hide the rest of it spelled out.

    Joiners stay (Persian and emoji need them), tabs and line breaks stay.

    >>> visible("invoice\\u202efdp.exe")
    'invoice[U+202E]fdp.exe'
    """
    if text.isascii() and not _CONTROL.search(text):
        return text
    return _CONTROL.sub(_name, _INVISIBLE.sub(_name, text))


def _name(found: re.Match[str]) -> str:
    return f"[U+{ord(found[0]):04X}]"


def initials(name: str) -> str:
    """One or two letters to stand for a person.

    >>> initials("mia.kovac@example.com"), initials("Ann")
    ('MK', 'A')
    """
    words = re.findall(r"[^\W\d_]+", name.split("@")[0])
    return "".join(word[0] for word in words[:2]).upper() or "?"
