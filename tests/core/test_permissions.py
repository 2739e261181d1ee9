"""Who may do what, and how much of it they see."""

from __future__ import annotations

import pytest

from agentsight.core import sight
from agentsight.core.model import Conversation, Event, Feedback, Principal, Scope, Transcript
from agentsight.core.permissions import EVERY, KEYS, PEOPLE, PERMISSIONS, Role, may
from agentsight.core.sight import EVERYTHING, Sight
from agentsight.errors import Forbidden


def test_every_role_has_its_line_in_the_one_table():
    assert set(PERMISSIONS) == {*KEYS, *PEOPLE}
    assert all(allowed <= EVERY for allowed in PERMISSIONS.values())
    assert set().union(*PERMISSIONS.values()) == EVERY, "a permission nobody has"


def test_each_role_may_do_what_the_one_below_it_may():
    assert PERMISSIONS["client"] < PERMISSIONS["member"] < PERMISSIONS["owner"]
    assert PERMISSIONS["read"] < PERMISSIONS["write"]
    assert not any(name.endswith((".manage", ".change", ".delete", ".erase")) for name in PERMISSIONS["client"])


@pytest.mark.parametrize(("role", "words"), [("read", "this key is for read only"), ("client", "your role, client")])
def test_a_refusal_says_whose_limit_it_is(role: Role, words: str):
    key_id = 1 if role == "read" else None
    with pytest.raises(Forbidden, match=words):
        Principal(Scope(1, (1,)), role, key_id=key_id).require("keys.manage")


def test_pages_for_anybody_signed_in_are_not_for_keys():
    assert may("client", "signed_in") and not may("write", "signed_in") and may("read", "anybody")


# -- sight -----------------------------------------------------------------------------------------------------------
def transcript() -> Transcript:
    head = Conversation(1, 1, "c", 0, customer_id="mia", customer_ip_address="192.0.2.1", metadata={"a": 1})
    events = (
        Event(1, 1, 1, "e1", "message", 0, content="hi", metadata={"b": 2}),
        Event(2, 1, 1, "e2", "token_usage", 1, detail={"total_tokens": 3}),
    )
    return Transcript(head, events, (), (Feedback(1, 1, 1, "f", "positive", "customer", 2, metadata={"c": 3}),))


def test_everybody_but_clients_sees_everything():
    hidden = {"clients_see": dict.fromkeys(sight.NAMES, False)}
    assert sight.of("owner", hidden) == sight.of("member", hidden) == sight.of("read", hidden) == EVERYTHING
    assert sight.of("client", hidden) == Sight(False, False, False, False)
    assert sight.of("client", {}) == EVERYTHING


def test_the_switch_of_the_first_release_still_counts():
    assert sight.of("client", {"clients_see_tokens": False}) == Sight(costs=False, tokens=False)


def test_what_is_hidden_is_nowhere_in_a_transcript():
    whole = transcript()
    seen = Sight(metadata=False, customer=False, tokens=False).whole(whole)
    assert (seen.conversation.customer_id, seen.conversation.customer_ip_address) == (None, None)
    assert not seen.conversation.metadata and not any(event.metadata for event in seen.events)
    assert not seen.feedbacks[0].metadata and [event.kind for event in seen.events] == ["message"]
    assert whole == transcript(), "what is stored stays as it is"
    assert EVERYTHING.whole(whole) is whole
