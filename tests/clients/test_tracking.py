"""What unmodified old trackers send arrives whole, once and in order."""

from __future__ import annotations

import hashlib

import httpx

from served import Api

from .cutting import cutting
from .old import OldClient

FIRST_GENERATION_FLOW = """
    from agentsight.client import ConversationTracker
    tracker = ConversationTracker()
    tracker.get_or_create_conversation(
        conversation_id="wa-7781", customer_id="c-9", customer_ip_address="testclient", device="mobile",
        source="whatsapp", language="hr", metadata={"tier": "gold", "nested": {"a": [1, None]}})
    tracker.track_question("Gdje je moj paket? 📦", {"k": "v"})
    tracker.track_action(action_name="parcel_lookup", duration_ms=320, tools_used={"api": "courier"},
        response="found", error_msg="timeout", metadata={"try": 1})
    tracker.track_answer("Na putu je.")
    tracker.track_button("parcel_next_step", "Call courier", "call")
    tracker.track_attachments([{"filename": "label.txt", "mime_type": "text/plain", "data": "WkFHUkVC"}])
    tracker.track_attachments([{"filename": "račun.pdf", "data": b"%PDF-1.4 zagreb"}], mode="form_data")
    tracker.track_token_usage(prompt_tokens=10, completion_tokens=5, total_tokens=15)
    result = tracker.send_tracked_data()
"""


def kinds(conversation: dict) -> list[str]:
    """What each row of a transcript is."""
    return [
        "action"
        if row["action_logs"]
        else "button"
        if row["button"]
        else "file"
        if row["attachments"]
        else row["sender"]
        for row in conversation["messages"]
    ]


def test_a_whole_conversation_of_the_first_generation_is_stored_once_and_in_order(
    api: Api, first_generation: OldClient
):
    sent = first_generation.run(api, FIRST_GENERATION_FLOW)
    assert sent["summary"]["errors"] == 0
    assert all(item["success"] for item in sent["items"])
    stored = api.conversation("wa-7781")
    assert kinds(stored) == ["end_user", "action", "agent", "button", "file", "file"]
    assert (stored["environment"], stored["customer_ip_address"], stored["geo_location"]) == (
        "production",
        "testclient",
        None,
    )
    assert (stored["device"], stored["source"], stored["language"]) == ("mobile", "whatsapp", "hr")
    asked, acted, said, clicked, _, invoice = stored["messages"]
    assert (asked["content"], asked["metadata"]) == ("Gdje je moj paket? 📦", {"k": "v"})
    assert acted["action_name"] == "parcel_lookup"
    assert acted["content"] == "Action parcel_lookup performed"
    (log,) = acted["action_logs"]
    assert (log["duration_ms"], log["tools_used"], log["error_message"]) == (320, {"api": "courier"}, "timeout")
    assert said["content"] == "Na putu je."
    assert (clicked["button"]["label"], clicked["button"]["value"]) == ("Call courier", "call")
    assert invoice["attachments"][0]["filename"].endswith(".pdf")
    assert api.ids(action_name="token_usage") == ["wa-7781"]


def test_metadata_the_oldest_release_flattened_is_kept_as_it_came(api: Api, first_generation: OldClient):
    first_generation.run(api, FIRST_GENERATION_FLOW)
    flattened = first_generation.version == "0.0.12"
    nested = "{'a': [1, None]}" if flattened else {"a": [1, None]}
    assert api.conversation("wa-7781")["metadata"] == {"tier": "gold", "nested": nested}


def test_names_of_0_0_18_arrive(api: Api, first_generation: OldClient):
    named = first_generation.version == "0.0.18"
    first_generation.run(
        api,
        """
        from agentsight import ConversationTracker
        tracker = ConversationTracker()
        arguments = {"name": "Lost parcel"} if named else {}
        tracker.get_or_create_conversation(conversation_id="named", **arguments)
        tracker.track_question("Hello")
        result = tracker.send_tracked_data()
        """,
        named=named,
    )
    assert api.conversation("named")["name"] == ("Lost parcel" if named else None)


def test_files_with_a_message_are_stored_under_it_in_both_modes(api: Api, newest: OldClient):
    """Of an answer's files 0.0.44 sends the text None as conversation id; the message alone tells the place."""
    sent = newest.run(
        api,
        """
        from agentsight import conversation_tracker as tracker
        text = {"filename": "note.txt", "mime_type": "text/plain", "data": "aGVsbG8="}
        picture = {"filename": "slika ž.png", "mime_type": "image/png", "data": b"\\x89PNG\\r\\n\\x1a\\n1234"}
        tracker.get_or_create_conversation("files", name="Files", environment="production")
        tracker.track_human_message("asked", attachments=[text])
        tracker.track_agent_message("answered", attachments=[text, {**text, "filename": "b.txt"}])
        tracker.track_human_message("shown", attachments=[picture], attachment_mode="form_data")
        tracker.track_agent_message("drawn", attachments=[picture], attachment_mode="form_data", metadata={"n": 1})
        result = tracker.send_tracked_data()
        """,
    )
    assert sent["summary"]["errors"] == 0
    rows = api.conversation("files")["messages"]
    assert [(row["content"], [file["filename"] for file in row["attachments"]]) for row in rows] == [
        ("asked", ["note.txt"]),
        ("answered", ["note.txt", "b.txt"]),
        ("shown", ["slika ž.png"]),
        ("drawn", ["slika ž.png"]),
    ]
    assert len(api.ids()) == 1, "no stray conversation was made for the text None"
    shown = rows[2]["attachments"][0]
    assert (shown["type"], shown["mime_type"], shown["size_bytes"]) == ("image", "image/png", 12)


def test_a_send_without_a_conversation_item_lands_in_the_conversation_it_names(api: Api, newest: OldClient):
    """After a first send the tracker sends conversation null and knows only its own id."""
    sent = newest.run(
        api,
        """
        from agentsight import conversation_tracker as tracker
        tracker.get_or_create_conversation("twice")
        tracker.track_human_message("one")
        first = tracker.send_tracked_data()
        tracker.track_agent_message("two")
        tracker.track_action("look", duration_ms=5)
        tracker.track_button("helpful", "👍", "yes")
        result = [first["summary"]["errors"], tracker.send_tracked_data()["summary"]["errors"]]
        """,
    )
    assert sent == [0, 0]
    assert kinds(api.conversation("twice")) == ["end_user", "agent", "action", "button"]


def test_opening_first_and_using_later_is_one_conversation(api: Api, newest: OldClient):
    newest.run(
        api,
        """
        from agentsight import conversation_tracker as tracker
        tracker.initialize_conversation("opened", name="Widget", customer_id="c-1")
        result = None
        """,
    )
    assert not api.conversation("opened")["is_used"]
    newest.run(
        api,
        """
        from agentsight import conversation_tracker as tracker
        tracker.get_or_create_conversation("opened", name="Another", customer_id="c-2", device="desktop")
        tracker.track_human_message("hi")
        tracker.send_tracked_data()
        tracker.initialize_conversation("opened")
        result = None
        """,
    )
    stored = api.conversation("opened")
    assert (stored["is_used"], stored["name"], stored["customer_id"], stored["device"]) == (
        True,
        "Widget",
        "c-1",
        "desktop",
    )


def test_an_endpoint_with_a_trailing_slash_works(api: Api, newest: OldClient):
    sent = newest.run(
        api,
        """
        from agentsight import conversation_tracker as tracker
        tracker.get_or_create_conversation("slashes")
        tracker.track_human_message("hello")
        result = tracker.send_tracked_data()
        """,
        url=api.url + "/",
    )
    assert sent["summary"]["errors"] == 0
    assert kinds(api.conversation("slashes")) == ["end_user"]


def test_text_no_database_can_hold_is_made_storable(api: Api, newest: OldClient):
    sent = newest.run(
        api,
        """
        from agentsight import conversation_tracker as tracker
        tracker.get_or_create_conversation("odd")
        tracker.track_human_message("half \\ud83d and \\x00 nul", metadata={"k\\ud83d": "v\\x00"})
        result = tracker.send_tracked_data()
        """,
    )
    assert sent["summary"]["errors"] == 0
    (row,) = api.conversation("odd")["messages"]
    assert (row["content"], row["metadata"]) == ("half � and ␀ nul", {"k�": "v␀"})


def test_a_retry_after_a_lost_answer_doubles_nothing(api: Api, newest: OldClient):
    with cutting(api.url) as (url, cut):
        sent = newest.run(
            api,
            """
            import time; time.sleep = lambda seconds: None
            from agentsight import conversation_tracker as tracker
            text = {"filename": "note.txt", "mime_type": "text/plain", "data": "aGVsbG8="}
            tracker.get_or_create_conversation("cut")
            tracker.track_human_message("hello", attachments=[text])
            tracker.track_action("look")
            tracker.track_button("helpful", "Yes", "yes")
            tracker.track_attachments([{"data": b"%PDF-1.4", "filename": "a.pdf"}], mode="form_data")
            tracker.track_token_usage(prompt_tokens=3)
            tracker.track_agent_message("bye")
            result = tracker.send_tracked_data()
            """,
            url=url,
        )
    assert sent["summary"]["errors"] == 0
    once = ["/api/conversations/", "/api/buttons/"]
    assert sorted(cut) == sorted([*once, *["/api/track/", "/api/attachments/", "/api/action_logs/"] * 2])
    stored = api.conversation("cut")
    assert kinds(stored) == ["file", "action", "button", "file", "agent"]
    assert [len(row["attachments"]) for row in stored["messages"]] == [1, 0, 0, 1, 0]


def test_fifty_items_and_their_files_are_all_there(api: Api, newest: OldClient):
    sent = newest.run(
        api,
        """
        from agentsight import conversation_tracker as tracker
        tracker.get_or_create_conversation("long")
        for turn in range(25):
            tracker.track_human_message(f"question {turn}")
            tracker.track_agent_message(f"answer {turn}")
        result = tracker.send_tracked_data()
        """,
    )
    assert sent["summary"] | {"questions": 25, "answers": 25, "errors": 0} == sent["summary"]
    said = [row["content"] for row in api.conversation("long")["messages"]]
    assert said == [f"{kind} {turn}" for turn in range(25) for kind in ("question", "answer")]


def test_a_big_file_keeps_its_bytes_and_downloads_without_a_key(api: Api, newest: OldClient):
    newest.run(
        api,
        """
        from agentsight import conversation_tracker as tracker
        import base64
        data = bytes(range(256)) * 4096
        tracker.get_or_create_conversation("big")
        tracker.track_attachments([{"data": data, "filename": "form.bin"}], mode="form_data")
        tracker.track_attachments([{"data": base64.b64encode(data).decode(), "filename": "b64.bin",
            "mime_type": "application/octet-stream"}])
        result = tracker.send_tracked_data()
        """,
    )
    listing = api.get(f"/api/conversations/{api.conversation('big')['id']}/attachments/").json()
    assert listing["total_attachments"] == 2
    wanted = hashlib.sha256(bytes(range(256)) * 4096).hexdigest()
    for row in listing["messages"]:
        (file,) = row["attachments"]
        fetched = httpx.get(file["file_url"])
        assert (file["size_bytes"], hashlib.sha256(fetched.content).hexdigest()) == (2**20, wanted)


def test_what_the_server_refuses_reads_well_in_an_old_client(api: Api, newest: OldClient):
    sent = newest.run(
        api,
        """
        from agentsight import conversation_tracker as tracker
        tracker.get_or_create_conversation("refused")
        tracker.track_human_message("kept")
        tracker.track_attachments([{"filename": "a.txt", "mime_type": "text/plain", "data": "aGVsbG8="}] * 11)
        tracker.track_human_message("x" * 300_000)
        tracker.track_agent_message("kept too")
        result = tracker.send_tracked_data()
        """,
    )
    refused = [item["error"] for item in sent["items"] if not item["success"]]
    assert len(refused) == sent["summary"]["errors"] == 2
    assert "10 files at most" in refused[0]
    assert "content: is longer than 262144 characters" in refused[1]
    assert [row["content"] for row in api.conversation("refused")["messages"]] == ["kept", "kept too"]


def test_tokens_of_old_clients_stay_out_of_the_transcript(api: Api, newest: OldClient):
    newest.run(
        api,
        """
        from agentsight import conversation_tracker as tracker
        tracker.get_or_create_conversation("tokens")
        tracker.track_human_message("hello")
        tracker.track_token_usage(prompt_tokens=7, completion_tokens=3, total_tokens=10)
        result = tracker.send_tracked_data()
        """,
    )
    assert kinds(api.conversation("tokens")) == ["end_user"]
    assert api.ids(action_name="token_usage") == ["tokens"]
    assert api.ids(has_action=True) == []
