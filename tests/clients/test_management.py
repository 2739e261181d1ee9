"""The manager and the API client of 0.0.44, unmodified, against the server."""

from __future__ import annotations

import pytest

from served import Api, at, event, message

from .old import OldClient

CALL = """
    from agentsight import agentsight_api, conversation_manager
    client = {"manager": conversation_manager, "api": agentsight_api}[who]
    try:
        result = getattr(client, method)(*arguments, **keywords)
    except Exception as wrong:
        result = {"raised": type(wrong).__name__, "said": str(wrong)}
"""


@pytest.fixture
def call(api: Api, newest: OldClient):
    """Call one method of an old client; gives its result, or what it raised."""

    def calling(who: str, method: str, *arguments: object, key: str | None = None, **keywords: object):
        given = {"who": who, "method": method, "arguments": arguments, "keywords": keywords}
        return newest.run(api, CALL, key=key, **given)

    return calling


@pytest.fixture
def stored(api: Api) -> dict:
    api.batch(
        event("conversation", "conv-123", customer_id="c-1", device="mobile", metadata={"tier": "gold"}),
        message("conv-123", "Where is my parcel?"),
        message("conv-123", "On its way.", "agent"),
    )
    return api.conversation("conv-123")


def test_every_change_a_manager_makes(api: Api, stored: dict, newest: OldClient):
    changed = newest.run(
        api,
        """
        from agentsight import conversation_manager as manager
        result = [
            manager.rename_conversation("conv-123", " Resolved "),
            manager.mark_conversation("conv-123", True),
            manager.mark_conversation(pk, True),
            manager.update_conversation("conv-123", language="hr", metadata={"a": {"b": 1}}),
            manager.submit_feedback("conv-123", "positive", comment="Very helpful!", metadata={"stars": 5}),
            manager.submit_feedback(pk, "negative"),
        ]
        """,
        pk=stored["id"],
    )
    named, marked, again, updated, liked, disliked = changed
    assert named == {"id": stored["id"], "conversation_id": "conv-123", "name": "Resolved"}
    assert marked == again == {"id": stored["id"], "conversation_id": "conv-123", "is_marked": True}
    assert (updated["language"], updated["metadata"]) == ("hr", {"a": {"b": 1}})
    assert (liked["sentiment"], liked["source"], liked["metadata"]) == ("positive", "customer", {"stars": 5})
    assert disliked["conversation"] == stored["id"]
    now = api.conversation("conv-123")
    assert (now["name"], now["is_marked"], now["language"], now["metadata"]) == (
        "Resolved",
        True,
        "hr",
        {"a": {"b": 1}},
    )
    assert [given["sentiment"] for given in now["feedbacks"]] == ["positive", "negative"]


def test_a_deleted_conversation_is_gone_for_both_clients(api: Api, stored: dict, newest: OldClient):
    said = newest.run(
        api,
        """
        from agentsight import agentsight_api, conversation_manager
        def tried(call, *arguments):
            try:
                return call(*arguments)
            except Exception as wrong:
                return type(wrong).__name__
        result = [
            tried(conversation_manager.delete_conversation, "conv-123"),
            tried(conversation_manager.delete_conversation, pk),
            tried(conversation_manager.rename_conversation, "conv-123", "x"),
            tried(agentsight_api.fetch_conversation, pk),
            tried(agentsight_api.fetch_conversation, "conv-123"),
            tried(lambda: agentsight_api.fetch_conversations(include_deleted=True)["count"]),
            tried(lambda: agentsight_api.fetch_conversations()["count"]),
        ]
        """,
        pk=stored["id"],
    )
    assert said[0]["is_deleted"] is True
    assert said[1:5] == ["NotFoundException"] * 4
    assert said[5:] == [1, 0]


def test_a_list_row_equals_the_detail_object(api: Api, stored: dict, newest: OldClient):
    row, detail = newest.run(
        api,
        """
        from agentsight import agentsight_api
        result = [agentsight_api.fetch_conversation("conv-123"), agentsight_api.fetch_conversation(pk)]
        """,
        pk=stored["id"],
    )
    assert row == detail
    assert [said["content"] for said in row["messages"]] == ["Where is my parcel?", "On its way."]


def test_every_filter_argument_of_the_old_client_is_understood(api: Api, stored: dict, newest: OldClient):
    api.batch(event("feedback", "conv-123", sentiment="positive"), event("action", "conv-123", action_name="look"))
    counts = newest.run(
        api,
        """
        from datetime import datetime, timedelta, timezone
        from agentsight import agentsight_api as client
        before = datetime.fromisoformat(moment) - timedelta(days=1)
        after = datetime.fromisoformat(moment) + timedelta(days=1)
        hits = [
            dict(action_name="look"), dict(conversation_id="conv-123"), dict(customer_id="c-1"),
            dict(device="mobile"), dict(has_messages=True), dict(message_contains="PARCEL"),
            dict(started_at_after=before), dict(started_at_before=after), dict(is_marked=False),
            dict(started_at_after=before.replace(tzinfo=None)), dict(include_deleted=False), dict(metadata="tier:gold"),
            dict(has_feedback=True), dict(feedback_sentiment="positive", feedback_source="customer"),
            dict(page=1, page_size=5), dict(unknown="x"), dict(environment="development"),
        ]
        misses = [
            dict(action_name="loo"), dict(customer_id="c"), dict(device="desktop"), dict(has_messages=False),
            dict(language="en"), dict(message_contains="invoice"), dict(started_at_after=after), dict(is_marked=True),
            dict(started_at_before=before), dict(name="x"), dict(metadata="tier:silver"), dict(has_feedback=False),
            dict(feedback_sentiment="negative"), dict(feedback_source="platform"), dict(customer_ip_address="1.1.1.1"),
        ]
        result = [[client.fetch_conversations(**asked)["count"] for asked in some] for some in (hits, misses)]
        """,
        moment=at(0),
    )
    assert counts == [[1] * 17, [0] * 15]


def test_a_key_the_server_does_not_know_is_unauthorized(call):
    unknown = "ags_" + "0" * 32 + "_" + "0" * 6
    assert call("api", "fetch_conversations", key=unknown)["raised"] == "UnauthorizedException"
    assert call("manager", "rename_conversation", "conv-123", "x", key=unknown)["raised"] == "UnauthorizedException"


def test_unknown_conversations_are_not_found(call):
    for arguments in (("api", "fetch_conversation", "nobody"), ("api", "fetch_conversation", 999_999_999)):
        assert call(*arguments)["raised"] == "NotFoundException", arguments
    answer = call("manager", "submit_feedback", "nobody", "positive")
    assert answer == {"raised": "NotFoundException", "said": "no such conversation"}


def test_files_are_listed_by_either_id(api: Api, stored: dict, newest: OldClient):
    api.batch(event("attachment", "conv-123", filename="a.txt", mime_type="text/plain", data="aGVsbG8="))
    by_row, by_name = newest.run(
        api,
        """
        from agentsight import agentsight_api as client
        result = [client.fetch_conversation_attachments(pk), client.fetch_conversation_attachments("conv-123")]
        """,
        pk=stored["id"],
    )
    for listing in (by_row, by_name):
        assert (listing["conversation_id"], listing["conversation"]) == ("conv-123", stored["id"])
        (row,) = listing["messages"]
        (file,) = row["attachments"]
        assert (file["type"], file["filename"], file["size_bytes"]) == ("text", "a.txt", 5)
