"""Whatever the order and number of deliveries, the same events make the same conversation."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from served import Api, at, event

TEXT = st.sampled_from(["hello", "Gdje je paket?", "ok", "👍", "%"])
METADATA = st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 3), max_size=2)
KINDS = {
    "conversation": st.fixed_dictionaries(
        {"metadata": METADATA},
        optional={
            "customer_id": st.sampled_from(["c-1", "c-2"]),
            "device": st.sampled_from(["mobile", "desktop"]),
            "name": st.sampled_from(["One", "Two"]),
            "environment": st.sampled_from(["production", "development"]),
            "customer_ip_address": st.sampled_from(["8.8.8.8", "testclient"]),
            "is_used": st.booleans(),
        },
    ),
    "message": st.fixed_dictionaries(
        {"sender": st.sampled_from(["end_user", "agent", "system"]), "content": TEXT, "metadata": METADATA}
    ),
    "action": st.fixed_dictionaries(
        {"action_name": st.sampled_from(["look", "ticket"])},
        optional={"error_msg": TEXT, "duration_ms": st.integers(0, 9), "response": METADATA},
    ),
    "button": st.fixed_dictionaries({"button_event": TEXT, "label": TEXT, "value": TEXT}),
    "feedback": st.fixed_dictionaries(
        {"sentiment": st.sampled_from(["positive", "negative"])}, optional={"comment": TEXT}
    ),
    "token_usage": st.fixed_dictionaries({"prompt_tokens": st.integers(0, 9)}),
    "attachment": st.fixed_dictionaries({"data": st.sampled_from(["YQ==", "Yg=="]), "filename": TEXT}),
}
IDS = ("id", "conversation", "agent", "message", "file_url", "message_id")


@st.composite
def events(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A conversation's events, no two at the same place in time; some at the same moment but for their seq."""
    kinds = draw(st.lists(st.sampled_from([*sorted(KINDS), "conversation"]), min_size=1, max_size=9))
    seconds = draw(st.lists(st.integers(0, 3), min_size=len(kinds), max_size=len(kinds)))
    made = [
        event(kind, "?", occurred_at=at(second), seq=seq, **draw(KINDS[kind]))
        for seq, (kind, second) in enumerate(zip(kinds, seconds, strict=True))
    ]
    said = [one["id"] for one in made if one["kind"] == "message"]
    for one in made:
        if one["kind"] == "attachment" and said and draw(st.booleans()):
            one["message_event_id"] = draw(st.sampled_from(said))
    return made


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[list[int]]]:
    """Events, and batches of them by their place: each at least once, in any order."""
    made = draw(events())
    again = draw(st.lists(st.integers(0, len(made) - 1), max_size=6))
    order = draw(st.permutations([*range(len(made)), *again]))
    cuts = sorted(draw(st.sets(st.integers(1, len(order)), max_size=4)))
    batches = [order[start:end] for start, end in itertools.pairwise([0, *cuts, len(order)])]
    return made, [batch for batch in batches if batch]


def plain(value: Any) -> Any:
    """JSON without the ids we give, which count arrivals."""
    if isinstance(value, dict):
        return {name: plain(child) for name, child in value.items() if name not in (*IDS, "conversation_id")}
    return [plain(child) for child in value] if isinstance(value, list) else value


def delivered(api: Api, made: list[dict[str, Any]], batches: list[list[int]]) -> Any:
    """The conversation these deliveries make, under a name of its own."""
    name = uuid.uuid4().hex
    told = [{**one, "id": f"{name}-{one['id']}", "conversation_id": name} for one in made]
    for one in told:
        if "message_event_id" in one:
            one["message_event_id"] = f"{name}-{one['message_event_id']}"
    for batch in batches:
        api.batch(*(told[place] for place in batch))
    return plain(api.conversation(name))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(deliveries())
def test_any_order_and_number_of_deliveries_makes_the_same_conversation(api: Api, sent: Any):
    made, batches = sent
    in_order = sorted(range(len(made)), key=lambda place: (made[place]["occurred_at"], made[place]["seq"]))
    assert delivered(api, made, batches) == delivered(api, made, [in_order])
