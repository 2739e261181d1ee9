"""Late, repeated and reordered deliveries from many senders at once come to each event once, in its place."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from served import Api, Server, at, event, message


@pytest.mark.parametrize("number", [1_500, pytest.param(10_000, marks=pytest.mark.exhaustive)])
def test_shuffled_events_sent_one_to_four_times_by_eight_senders_with_two_keys_are_each_there_once(
    server: Server, number: int
):
    pick = random.Random(number)
    events = [
        message(f"c-{n % 20}", f"{n}", occurred_at=at(n // 40), seq=n)
        if n % 5
        else event("token_usage", f"c-{n % 20}", occurred_at=at(n // 40), seq=n, total_tokens=n)
        for n in range(number)
    ]
    sendings = [one for one in events for _ in range(pick.randrange(1, 5))]
    pick.shuffle(sendings)
    batches = [sendings[start : start + 37] for start in range(0, len(sendings), 37)]
    agent = f"twice-{number}"
    with server.api(agent) as first, server.api(agent) as second:

        def send(place: int) -> dict[str, Any]:
            return (first, second)[place % 2].batch(*batches[place])

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(send, range(len(batches))))
        assert sum(answer["accepted"] for answer in answers) == number
        assert sum(answer["duplicate"] for answer in answers) == len(sendings) - number
        assert sum(answer["rejected"] for answer in answers) == 0
        _each_in_its_place(second, events)


def _each_in_its_place(api: Api, events: list[dict[str, Any]]) -> None:
    told: dict[str, list[str]] = {}
    for one in events:
        told.setdefault(one["conversation_id"], [])
        if one["kind"] == "message":
            told[one["conversation_id"]].append(one["content"])
    for name, contents in told.items():
        stored = api.conversation(name)
        assert [row["content"] for row in stored["messages"]] == contents
        assert stored["message_count"] == len(contents)
