"""A process with our SDK, a real server, and what the API then says."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from served import Api, Server, environment

PRELUDE = "from agentsight import agentsight_api, conversation_manager, conversation_tracker as tracker\n"


def run(api: Api, code: str, *, wait: bool = True, **env: str) -> subprocess.Popen[str]:
    """A script in a process of its own that knows the key and the server from its environment."""
    told = environment(AGENTSIGHT_API_KEY=api.key, AGENTSIGHT_API_ENDPOINT=api.url, **env)
    process = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(code)],
        env=told,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if wait:
        out, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors[-3000:]
        process.out = out  # type: ignore[attr-defined]
    return process


def texts(conversation: dict) -> list[str]:
    return [row["content"] for row in conversation["messages"]]


def test_everything_a_tracker_can_say_is_read_back_as_it_was_said(api: Api):
    run(
        api,
        """
        tracker.get_or_create_conversation(
            "all", customer_id="c-1", customer_ip_address="8.8.8.8", device="mobile", source="whatsapp",
            language="hr", name="Everything", environment="production", metadata={"tier": "gold", "deep": {"er": [1]}})
        text = {"filename": "note.txt", "mime_type": "text/plain", "data": "aGVsbG8="}
        tracker.track_human_message("Where?", attachments=[text], metadata={"n": 1})
        tracker.track_action("look", duration_ms=12, tools_used={"a": 1}, response="r", error_msg="e", metadata={"m": 2})
        tracker.track_agent_message("There.")
        tracker.track_button("helpful", "👍", "yes")
        tracker.track_attachments([{"data": b"%PDF-1.4", "filename": "račun.pdf"}], sender="agent", mode="form_data")
        tracker.track_token_usage(prompt_tokens=45, completion_tokens=32, total_tokens=77)
        sent = tracker.send_tracked_data()
        assert sent["summary"]["errors"] == 0, sent
        conversation_manager.submit_feedback("all", "positive", comment="Very helpful!")
        """,
    )
    stored = api.conversation("all")
    assert texts(stored) == ["Where?", "Action look performed", "There.", "👍", ""]
    assert (stored["name"], stored["geo_location"]["country"], stored["metadata"]) == (
        "Everything",
        "US",
        {"tier": "gold", "deep": {"er": [1]}},
    )
    asked, acted, _, clicked, filed = stored["messages"]
    assert (asked["metadata"], [file["filename"] for file in asked["attachments"]]) == ({"n": 1}, ["note.txt"])
    (log,) = acted["action_logs"]
    assert (log["duration_ms"], log["tools_used"], log["response"], log["error_message"]) == (12, {"a": 1}, "r", "e")
    assert clicked["button"]["value"] == "yes"
    assert (filed["sender"], filed["attachments"][0]["filename"]) == ("agent", "račun.pdf")
    assert stored["feedbacks"][0]["comment"] == "Very helpful!"
    assert api.ids(action_name="token_usage") == ["all"]


def test_what_the_sdk_reads_is_what_the_api_says(api: Api):
    out = run(
        api,
        """
        import json
        tracker.get_or_create_conversation("read", name="Read me")
        tracker.track_human_message("hello")
        tracker.send_tracked_data()
        one = agentsight_api.fetch_conversation("read")
        assert one == agentsight_api.fetch_conversation(one["id"])
        assert agentsight_api.fetch_conversations(message_contains="HELL")["count"] == 1
        print(json.dumps(conversation_manager.rename_conversation("read", "Renamed")))
        """,
    ).out  # type: ignore[attr-defined]
    assert '"name": "Renamed"' in out and api.conversation("read")["name"] == "Renamed"


def test_a_thousand_mixed_items_keep_their_order(api: Api):
    run(
        api,
        """
        tracker.get_or_create_conversation("long")
        for n in range(1000):
            (tracker.track_human_message, tracker.track_agent_message, tracker.track_action)[n % 3](f"item {n}")
        assert tracker.send_tracked_data()["summary"]["errors"] == 0
        """,
    )
    said = [
        row["content"].removeprefix("Action ").removesuffix(" performed")
        for row in api.conversation("long")["messages"]
    ]
    assert said == [f"item {n}" for n in range(1_000)]


def test_threads_with_conversations_of_their_own_never_mix(api: Api):
    run(
        api,
        """
        from concurrent.futures import ThreadPoolExecutor
        def talk(n):
            tracker.get_or_create_conversation(f"t-{n}")
            for turn in range(5):
                tracker.track_human_message(f"{n}/{turn}")
            return tracker.send_tracked_data()["summary"]["errors"]
        with ThreadPoolExecutor(20) as pool:
            assert sum(pool.map(talk, range(100))) == 0
        """,
    )
    for n in range(100):
        assert texts(api.conversation(f"t-{n}")) == [f"{n}/{turn}" for turn in range(5)]


@pytest.mark.slow
def test_a_server_that_is_killed_while_clients_send_has_everything_once_when_it_is_back(
    start: Callable[..., Server], tmp_path: Path
):
    server = start(tmp_path / "data")
    api = server.api()
    process = run(
        api,
        """
        import time
        tracker.get_or_create_conversation("through")
        for n in range(60):
            tracker.track_human_message(f"item {n}")
            tracker.send_tracked_data()
            time.sleep(0.05)
        deadline = time.time() + 30
        while time.time() < deadline:
            try:
                if tracker.get_delivery_stats().get("pending", 0) == 0:
                    break
            except AttributeError:
                break
            time.sleep(0.2)
        """,
        wait=False,
        AGENTSIGHT_SPOOL_DIR=str(tmp_path / "spool"),
        AGENTSIGHT_LOG_LEVEL="CRITICAL",
    )
    port = server.port
    for _ in range(3):
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.6)
        server.kill()
        server = start(tmp_path / "data", port=port)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 0, errors[-2000:]
    assert sorted(texts(api.conversation("through"))) == sorted(f"item {n}" for n in range(60))
