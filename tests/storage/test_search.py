"""Search finds exactly what contains the text, whatever the case, the script or the signs; a naive reading is the judge."""

from __future__ import annotations

import random
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agentsight.core.model import Agent, Filter
from agentsight.core.ports import Storage
from served import event, message

from .conftest import accepting, new_agent, scope_of

SIGNS = "aAbBkK ćĆčšžßẞİıIiΣσςĄé\u0301🙂👍漢字\u200d%_\\\"'*()-:^␀\n\t.,ALT&|"
TEXTS = st.text(st.sampled_from(SIGNS), max_size=12)
WORDS = st.sampled_from(
    ["paket", "PAKET", "Gdje je moj paket?", "AND", "OR NOT", "a AND (b", '"', "NEAR(a b)", "col:on", "*"]
)
SOME = st.lists(TEXTS | WORDS | st.text(max_size=6), min_size=1, max_size=8)
quickly = settings(max_examples=120, suppress_health_check=list(HealthCheck))


def found(storage: Storage, agent: Agent, where: Filter) -> set[str]:
    heads, _ = storage.read(lambda store: store.conversations.page(scope_of(agent), where, limit=1_000))
    assert storage.read(lambda store: store.conversations.count(scope_of(agent), where)) == len(heads)
    return {head.conversation_id for head in heads}


def stored(storage: Storage, contents: list[str]) -> tuple[Agent, dict[str, str]]:
    """One conversation a content, under an agent of its own; conversation id -> what is kept of it."""
    agent = new_agent(storage)
    told = {uuid.uuid4().hex: content for content in contents if content.strip()}
    if told:
        storage.write(accepting(agent, *(message(name, content) for name, content in told.items()))).result()
    return agent, {name: content.replace("\x00", "␀") for name, content in told.items()}


@quickly
@given(contents=SOME, needle=TEXTS | WORDS)
@example(contents=["İstanbul", "istanbul", "at İs"], needle="t İ")
@example(contents=["ΟΔΟΣ ΟΔΟΣ"], needle="ΟΔΟΣ")
@example(contents=["straße", "STRASSE", "STRAẞE"], needle="ß")
@example(contents=["ΟΔΟΣ", "οδος"], needle="ΟΔΟΣ")
@example(contents=["xx%yy", "xx_yy", "xxzyy"], needle="x%y")
def test_a_message_is_found_by_every_part_of_it_and_by_nothing_else(storage: Storage, contents: list[str], needle: str):
    agent, kept = stored(storage, contents)
    if needle:
        wanted = {name for name, content in kept.items() if needle.casefold() in content.casefold()}
        assert found(storage, agent, Filter(message_contains=needle)) == wanted


@quickly
@given(contents=SOME, data=st.data())
def test_every_part_of_what_was_said_finds_it_again(storage: Storage, contents: list[str], data: Any):
    agent, kept = stored(storage, contents)
    for name, content in kept.items():
        start = data.draw(st.integers(0, len(content) - 1))
        part = content[start : start + data.draw(st.integers(1, 6))]
        assert name in found(storage, agent, Filter(message_contains=part.swapcase() if part.isascii() else part))


@quickly
@given(
    rows=st.lists(st.tuples(TEXTS | WORDS, TEXTS | WORDS, TEXTS | WORDS), min_size=1, max_size=6),
    needle=TEXTS | WORDS,
)
def test_the_search_box_looks_at_names_ids_and_messages(storage: Storage, rows: list[Any], needle: str):
    agent = new_agent(storage)
    events, wanted = [], set()
    for number, (name, customer, content) in enumerate(rows):
        id = f"id-{number}-x"
        events.append(event("conversation", id, name=name, customer_id=customer))
        if content.strip():
            events.append(message(id, content))
        said = [id, name, customer, *([content] if content.strip() else [])]
        if any(needle.casefold() in text.casefold() for text in said):
            wanted.add(id)
    storage.write(accepting(agent, *events)).result()
    if needle:
        assert found(storage, agent, Filter(search=needle)) == wanted


def test_only_messages_are_searched_and_only_the_agents_own(storage: Storage, agent: Agent):
    other, _ = stored(storage, ["needle of another"])
    storage.write(
        accepting(
            agent,
            event("action", "c", action_name="needle"),
            event("button", "c", button_event="needle", label="needle", value="needle"),
            event("feedback", "c", sentiment="positive", comment="needle"),
        )
    ).result()
    assert found(storage, agent, Filter(message_contains="needle")) == set()
    assert len(found(storage, other, Filter(message_contains="needle"))) == 1


@pytest.mark.parametrize("many", [10, 2_500])
def test_a_word_everybody_says_is_found_everywhere_and_a_rare_one_where_it_is(storage: Storage, many: int):
    """Past a number of hits the index gives way to reading; both must find the same."""
    agent = new_agent(storage)
    rare = random.Random(7).sample(range(many), 5)
    events = [
        message(f"c-{number}", f"the common word {number}" + (" rarity" if number in rare else ""))
        for number in range(many)
    ]
    for start in range(0, many, 500):
        storage.write(accepting(agent, *events[start : start + 500])).result()

    def count(text: str) -> int:
        return storage.read(lambda store: store.conversations.count(scope_of(agent), Filter(message_contains=text)))

    assert (count("COMMON"), count("rarity"), count("common rarity"), count("om")) == (many, 5, 0, many)
