"""Which passwords are good enough, and how they are kept."""

from __future__ import annotations

import pytest

from agentsight.core import passwords
from agentsight.errors import Invalid, ServerFailed

WHO = "mia.maric@agency.example"


GOOD = """
a quiet little word|sunflower-91-cabin|blue kettle on fire|kX9#mPq2vL|ab12cd34ef|x7 k9 q2 w8|пароль длинный|8471920365
"""
GUESSED = """
Password123!|qwertyuiop1|welcome2026!!|aaaaaaaaaaaa|1234567890|0123456789|correcthorsebatterystaple|iloveyou2026
P@ssw0rd2024|1q2w3e4r5t|zaq12wsxcde3|abcabcabcabc|agentsight123|mia.maric2026|Maric-Agency-1
"""


def words(text: str) -> list[str]:
    return text.strip().replace("\n", "|").split("|")


@pytest.mark.parametrize("password", words(GOOD))
def test_length_is_enough_and_no_kind_of_character_is_asked_for(password: str):
    assert passwords.check(password, WHO) == password


@pytest.mark.parametrize("password", words(GUESSED))
def test_what_is_guessed_first_is_refused(password: str):
    with pytest.raises(Invalid, match="guessed first"):
        passwords.check(password, WHO)


def test_short_and_endless_ones_are_refused():
    for password, said in (("kX9#mPq2v", "at least 10"), ("kX9#" * 100, "longer than 256")):
        with pytest.raises(Invalid, match=said):
            passwords.check(password)


def test_a_password_is_kept_as_argon2id_of_19_mib():
    kept = passwords.hashed("a quiet little word")
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert passwords.proves(kept, "a quiet little word") and not passwords.proves(kept, "a quiet little wort")
    assert not passwords.proves(None, "what is compared where nobody is known, so that it takes as long")


def test_more_than_can_be_checked_at_once_is_asked_to_come_back():
    taken = [passwords._present.acquire(blocking=False) for _ in range(passwords.AT_ONCE + passwords.WAITING)]
    try:
        assert all(taken)
        with pytest.raises(ServerFailed) as busy:
            passwords.proves(None, "x")
        assert busy.value.retry_after_s
    finally:
        for _ in taken:
            passwords._present.release()
