"""Passwords: argon2id, a few at a time; length instead of rules of composition; the well-known ones refused."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from agentsight.errors import Invalid, ServerFailed

SHORTEST, LONGEST = 10, 256
AT_ONCE, WAITING = 2, 16  # each takes 19 MiB and a core for some 20 ms; what comes beyond is asked to come back

_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_nobody = _hasher.hash("what is compared where nobody is known, so that it takes as long")
_computing = threading.BoundedSemaphore(AT_ONCE)
_present = threading.BoundedSemaphore(AT_ONCE + WAITING)


@contextmanager
def _turn() -> Iterator[None]:
    """Raises ServerFailed when too many wait already."""
    if not _present.acquire(blocking=False):
        raise ServerFailed("too many sign-ins at once; try again", retry_after_s=2)
    try:
        with _computing:
            yield
    finally:
        _present.release()


def hashed(password: str) -> str:
    """How a password is kept."""
    with _turn():
        return _hasher.hash(password)


def proves(kept: str | None, password: str) -> bool:
    """Whether this is the password kept; where none is, the answer takes as long and is no."""
    with _turn():
        try:
            return _hasher.verify(kept or _nobody, password[:LONGEST]) and kept is not None
        except (Argon2Error, InvalidHashError):
            return False


def check(password: str, *personal: str) -> str:
    """Give back a password good enough to keep; `personal` are words about its owner it must not be made of.

    Raises:
        Invalid: it is short, well known, or says little more than who its owner is.

    >>> check("a quiet little word")
    'a quiet little word'
    """
    if len(password) < SHORTEST:
        raise Invalid.of("password", f"must have at least {SHORTEST} characters")
    if len(password) > LONGEST:
        raise Invalid.of("password", f"is longer than {LONGEST} characters")
    about = {part for text in personal for part in re.split(r"[^a-z0-9]+", text.lower()) if len(part) > 2}
    if _is_common(password, about):
        raise Invalid.of("password", "is one that is guessed first; take some words nobody else would put together")
    return password


_KEYBOARD = (
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "1234567890",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertzuiop",
    "azertyuiop",
)
_WALKS = (
    "1q2w3e4r5t6y7u8i9o0p",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "zaq12wsxcde34rfvbgt56yhn",
    "qazwsxedcrfvtgbyhnujm",
)
_COUNTED = ("12345678901234567890", "01234567890123456789")
_LOOKS = str.maketrans("0134578@$!+", "oieastbasit")
_WORDS = """
password passwort passwd pass lozinka secret geheim admin administrator root user login guest test testing demo
welcome willkommen hello hallo hi letmein changeme change default master access system server computer internet
love iloveyou you baby angel princess sunshine flower summer sommer winter spring autumn fall monday friday
january february march april may june july august september october november december football baseball
basketball hockey soccer liverpool arsenal chelsea barcelona dragon monkey tiger lion shadow superman batman
spiderman pokemon naruto starwars matrix michael jordan daniel jessica ashley charlie thomas robert jennifer
michelle andrea nicole mustang ferrari porsche mercedes harley killer freedom whatever trustno trust nothing
money business company office work google facebook microsoft apple windows samsung android iphone linux
cheese chocolate cookie banana orange pepper ginger coffee lovely forever family friends mother father
agentsight agent sight dashboard analytics chat chatbot support customer blink qwerty qwertz azerty asdf zxcv abc
secure security sesame open correct horse battery staple please enter the my is this new and me in of
"""  # ours, from what every published list begins with
_COMMON = frozenset(_WORDS.split())


def _is_common(password: str, about: set[str]) -> bool:
    """Whether little is left of it without rows of keys, repetitions, the words everybody takes, and a date or so."""
    text = password.casefold()
    walked = re.sub(r"[^a-z0-9]", "", text)
    if len(walked) > len(text) - 3 and any(walked in walk or walked in walk[::-1] for walk in _WALKS):
        return True
    left = re.sub(r"(.{1,4}?)\1{2,}", r"\1", text)
    words = _COMMON | about
    return min(_unexplained(left, words), _unexplained(left.translate(_LOOKS), words)) <= 3


def _unexplained(text: str, words: frozenset[str]) -> int:
    """How many characters no well-known word, row of keys or date accounts for."""
    runs = re.findall(r"[^\W\d_]+", text)
    letters = sum(len(run) for run in runs if len(run) < 3 or not _made_of(run, words))
    digits = "".join(re.findall(r"\d", text))
    is_plain = len(digits) <= 8 or len(set(digits)) < 4 or any(digits in row or digits[::-1] in row for row in _COUNTED)
    return letters + (0 if is_plain else len(digits) // 2)


def _made_of(part: str, words: frozenset[str]) -> bool:
    """Whether a run of letters is some of these words, or a stretch of a keyboard, put together."""
    reached = {0}
    for end in range(1, len(part) + 1):
        if any(start in reached and _known(part[start:end], words) for start in range(max(0, end - 26), end)):
            reached.add(end)
    return len(part) in reached


def _known(piece: str, words: frozenset[str]) -> bool:
    if piece in words:
        return True
    return len(piece) >= 3 and any(piece in row or piece in row[::-1] for row in _KEYBOARD)
