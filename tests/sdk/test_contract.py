"""What callers of the older clients rely on: names, arguments, shapes, exceptions."""

from __future__ import annotations

import importlib
import io
import json
import logging
import subprocess
import sys
import time
from datetime import UTC, datetime
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recording import KEY, OTHER_KEY, fresh

import agentsight
from agentsight import errors, exceptions, wire
from agentsight.api import AgentSightAPI
from agentsight.config import Config
from agentsight.enums import AttachmentMode, Environment, LogLevel, Sender
from agentsight.helpers import generate_conversation_id, get_iso_timestamp, get_mime_type
from agentsight.manager import ConversationManager
from agentsight.snapshot import snapshot
from agentsight.tracker import ConversationTracker

NAMES = {
    "agentsight": "ConversationTracker conversation_tracker AgentSightAPI agentsight_api ConversationManager "
    "conversation_manager",
    "agentsight.client": "ConversationTracker conversation_tracker AgentSightAPI agentsight_api ConversationManager "
    "conversation_manager",
    "agentsight.client.client": "ConversationTracker",
    "agentsight.client.main_client": "ConversationTracker conversation_tracker",
    "agentsight.client.api_client": "AgentSightAPI agentsight_api",
    "agentsight.client.conversation_manager_client": "ConversationManager conversation_manager",
    "agentsight.helpers": "AgentSightJSONEncoder generate_conversation_id get_iso_timestamp get_mime_type "
    "prepare_form_data_payload_from_data format_conversation_metadata",
    "agentsight.helpers.attachments": "generate_filename_from_mime_type prepare_form_data_payload_from_data",
    "agentsight.helpers.conversation_utils": "generate_conversation_id get_iso_timestamp format_conversation_metadata",
    "agentsight.helpers.mime_types": "get_mime_type",
    "agentsight.helpers.serialization": "AgentSightJSONEncoder",
    "agentsight.enums": "LogLevel AgentType AttachmentMode Sender Environment TokenHandlerType Sentiment",
    "agentsight.exceptions": "NoApiKeyException InvalidApiKeyException ConversationTrackingException "
    "InvalidConversationDataException InvalidQuestionDataException InvalidAnswerDataException "
    "ConversationApiException NotFoundException UnauthorizedException ForbiddenException ConversationNetworkException "
    "MissingConversationIdException NoDataToSendException InvalidAttachmentException NoConversationIdException "
    "ApiServerException AgentSightClientNotInitializedException AgentSightApiJwtExpiredException",
    "agentsight.types": "FileData AttachmentInput TokenHandler",
    "agentsight.config": "Config ConfigDict API_KEY_PATTERN",
    "agentsight.http": "HTTPClient",
    "agentsight.http.client": "HTTPClient",
    "agentsight.validators": "validate_conversation_data validate_content_data validate_question_and_answer_data "
    "validate_conversation_id validate_button_data validate_action_data validate_and_process_attachments_flexible "
    "validate_feedback_data",
    "agentsight.validators.conversation_validators": "validate_content_data",
    "agentsight.validators.attachments_validators": "validate_and_process_attachments_flexible",
    "agentsight.token_handlers": "set_llamaindex_token_handler",
    "agentsight.logging": "logger configure_logging",
}


@pytest.mark.parametrize("module", NAMES)
def test_every_older_import_works(module):
    for name in NAMES[module].split():
        assert hasattr(importlib.import_module(module), name), name


def python(text, environment=None):
    import os

    env = {name: value for name, value in os.environ.items() if not name.startswith("AGENTSIGHT_")}
    return subprocess.run(
        [sys.executable, "-c", text], env={**env, **(environment or {})}, capture_output=True, text=True, timeout=20
    )


@pytest.mark.parametrize(
    "environment", [{}, {"AGENTSIGHT_API_KEY": "your_api_key"}, {"AGENTSIGHT_TOKEN_HANDLER_TYPE": "nonsense"}]
)
def test_importing_needs_no_usable_environment(environment):
    done = python("import agentsight, agentsight.enums\nfrom agentsight import conversation_tracker as t\n"
                  "t.track_human_message('hi')", environment)  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_importing_reads_no_environment_opens_nothing_and_is_light():
    done = python(
        "import os, sys\n"
        "class Watched(dict):\n"
        "    def __getitem__(self, name): reads.append(name); return super().__getitem__(name)\n"
        "    def get(self, name, *rest): reads.append(name); return super().get(name, *rest)\n"
        "import agentsight.wire, logging, json, threading\n"
        "reads = []; opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append((event, args)) if event in "
        "('socket.connect', 'os.mkdir') or "
        "(event == 'open' and isinstance(args[1], str) and set(args[1]) & set('wa+')) else None)\n"
        "os.environ = Watched(os.environ)\n"
        "from agentsight import *\n"
        "print([name for name in reads if 'AGENTSIGHT' in name], opened, "
        "sorted(set(sys.modules) & {'ssl', 'http.client', 'asyncio', 'requests', 'urllib.request'}))"
    )
    assert done.stdout.strip() == "[] [] []", done.stdout + done.stderr


def test_importing_costs_less_than_five_times_json():
    text = "import time\nstart = time.perf_counter()\nimport {}\nprint(time.perf_counter() - start)"
    costs = {
        module: min(float(python(text.format(module)).stdout) for _ in range(5)) for module in ("json", "agentsight")
    }
    assert costs["agentsight"] < 5 * costs["json"], costs


def test_a_dotenv_loaded_after_the_import_counts(script, recorder):
    done = script(
        f"import os\nos.environ.pop('AGENTSIGHT_API_KEY')\nfrom agentsight import conversation_tracker as t\n"
        f"os.environ['AGENTSIGHT_API_KEY'] = '{OTHER_KEY}'\nt.track_human_message('hi')\nprint(t.send_tracked_data())"
    )
    assert done.returncode == 0, done.err
    assert recorder.requests[0].headers["Authorization"] == f"Api-Key {OTHER_KEY}"


# -- construction and settings ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [ConversationTracker, ConversationManager, AgentSightAPI])
def test_one_object_a_class_whose_settings_stay_its_own(kind, tracker, manager, api):
    assert kind() is kind() is kind._instance
    assert len({id(client.config) for client in (tracker, manager, api)}) == 3


@pytest.mark.parametrize("kind", [ConversationTracker, ConversationManager, AgentSightAPI])
@pytest.mark.parametrize(
    ("key", "raised"),
    [
        (None, exceptions.NoApiKeyException),
        (" ", exceptions.NoApiKeyException),
        (KEY[:-8] + KEY[-7:], exceptions.InvalidApiKeyException),
        ("xyz" + KEY[3:], exceptions.InvalidApiKeyException),
        (KEY + "a", exceptions.InvalidApiKeyException),
        (f" {KEY} ", exceptions.InvalidApiKeyException),
        (KEY.upper().replace("AGS", "ags"), None),
        (KEY + "\n", None),
    ],
)
def test_explicit_construction_wants_a_usable_key_and_may_be_tried_again(kind, key, raised, tracker, environment):
    environment.delenv("AGENTSIGHT_API_KEY")
    before = kind._instance
    fresh(kind)
    try:
        if raised:
            with pytest.raises(raised) as caught:
                kind(api_key=key)
            assert key is None or not key.strip() or key.strip() not in str(caught.value)
            assert kind(api_key=KEY).config.api_key == KEY
        else:
            assert kind(api_key=key).config.api_key == key.strip()
    finally:
        kind._instance = before


def test_arguments_come_before_the_config_object_before_the_environment(environment):
    environment.setenv("AGENTSIGHT_API_ENDPOINT", "http://environment")
    environment.setenv("AGENTSIGHT_ENVIRONMENT", "production")
    assert Config().endpoint == "http://environment"
    before = ConversationTracker._instance
    try:
        fresh(ConversationTracker)
        made = ConversationTracker(endpoint="http://argument", config=Config(api_key=KEY, endpoint="http://config"))
        assert (made.config.endpoint, made.config.environment) == ("http://argument", "production")
    finally:
        ConversationTracker._instance = before


def test_later_constructor_arguments_are_ignored_with_a_warning(tracker, caplog):
    assert ConversationTracker(endpoint="http://first") is tracker
    assert tracker.config.endpoint == "http://first"
    assert ConversationTracker(api_key="nonsense", endpoint="http://second") is tracker
    assert tracker.config.endpoint == "http://first"
    assert "Ignored: api_key, endpoint" in caplog.text and "nonsense" not in caplog.text


def test_configure_changes_what_is_named_and_a_failure_changes_nothing(tracker, manager, caplog):
    tracker.configure(conversation_id="c")
    tracker.configure(conversation_id=None)
    assert tracker.config.conversation_id == "c"
    for client in (tracker, manager):
        with pytest.raises(exceptions.NoApiKeyException, match="API key cannot be None"):
            client.configure(api_key=None)
        with pytest.raises(exceptions.InvalidApiKeyException) as caught:
            client.configure(api_key="ags_secret", endpoint="http://other")
        assert "ags_secret" not in str(caught.value) + caplog.text
        assert client.config.api_key == KEY and "other" not in client.config.endpoint
        with pytest.raises(TypeError):
            client.configure(nonsense=1)
    assert KEY not in repr(tracker.config) + tracker.config.json()
    assert set(json.loads(tracker.config.json())) == set(tracker.config.dict()) and len(tracker.config.dict()) == 7


def test_the_environment_variable_wins_over_the_argument_and_members_work(tracker, recorder, environment, caplog):
    tracker.get_or_create_conversation("a", environment=Environment.PRODUCTION)
    assert not caplog.records
    tracker.get_or_create_conversation("b")
    tracker.get_or_create_conversation("b2")
    assert sum("stay out of analytics" in record.message for record in caplog.records) == 1
    tracker.configure(environment="production")
    tracker.get_or_create_conversation("c", environment="development")
    for name in "abc":
        tracker.configure(conversation_id=name)
        tracker.send_tracked_data()
    sent = {event["conversation_id"]: event["environment"] for event in recorder.events}
    assert sent == {"a": "production", "b": "development", "c": "production"}


def test_a_configured_environment_reaches_conversations_nobody_created(tracker, recorder, environment):
    environment.setenv("AGENTSIGHT_ENVIRONMENT", "production")
    tracker.track_human_message("one")
    assert len(tracker.send_tracked_data()["items"]) == 1
    tracker.track_human_message("two")
    tracker.send_tracked_data()
    assert [event["kind"] for event in recorder.events] == ["message", "conversation", "message"]
    assert recorder.events[1]["environment"] == "production"


def test_logging_leaves_the_applications_handlers_and_never_shows_content_or_keys(tracker, recorder, caplog):
    mine = logging.NullHandler()
    logger = logging.getLogger("agentsight")
    logger.addHandler(mine)
    caplog.set_level(logging.DEBUG, "agentsight")
    from agentsight.logging import configure_logging

    configure_logging()
    assert mine in logger.handlers and logger.propagate
    logger.removeHandler(mine)
    tracker.track_human_message("a secret wish")
    recorder.faults = [(500, {"detail": "x"})]
    tracker.send_tracked_data()
    assert "secret wish" not in caplog.text and KEY not in caplog.text
    assert LogLevel.from_string("loud") is LogLevel.INFO
    logger.setLevel(logging.NOTSET)


# -- tracking --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("nothing", ["", "  \n", None, []])
def test_empty_things_are_the_callers_mistake(tracker, nothing):
    for call in (tracker.track_human_message, tracker.track_question):
        with pytest.raises(exceptions.InvalidQuestionDataException):
            call(nothing)
    for call in (tracker.track_agent_message, tracker.track_answer):
        with pytest.raises(exceptions.InvalidAnswerDataException):
            call(nothing)
    for call in (tracker.track_action, lambda name: tracker.track_button("event", name, "value")):
        with pytest.raises(exceptions.InvalidConversationDataException):
            call(nothing)
    with pytest.raises(exceptions.MissingConversationIdException):
        tracker.initialize_conversation(nothing)
    assert tracker.get_tracked_data_summary()["items"] == []


def test_older_names_keep_their_own_argument_order_and_all_keywords_work(tracker):
    tracker.track_question("q", {"a": 1})
    tracker.track_answer("a", {"b": 2})
    tracker.track_human_message(question="q2")
    tracker.track_agent_message(answer="a2")
    tracker.track_question(question="q3")
    tracker.track_question(message="q4")
    tracker.track_answer(answer="a3")
    tracker.track_human_message("q5", [{"data": b"x"}], "form_data", {"c": 3})
    items = tracker.get_tracked_data_summary()["items"]
    assert [item["data"]["content"] for item in items] == ["q", "a", "q2", "a2", "q3", "q4", "a3", "q5"]
    assert [item["data"]["metadata"] for item in items] == [{"a": 1}, {"b": 2}, {}, {}, {}, {}, {}, {"c": 3}]
    assert items[-1]["data"]["attachments"][0]["filename"] == "attachment_0.txt"
    assert items[-1]["data"]["attachment_mode"] == "form_data"


def test_the_summary_has_its_shape_and_previews_and_is_a_copy(tracker):
    empty = tracker.get_tracked_data_summary()
    zeros = {"conversation": 0, "questions": 0, "answers": 0, "attachments": 0, "actions": 0, "buttons": 0, "total": 0}
    assert empty == {"items": [], "summary": zeros, "conversation_id": None}
    tracker.get_or_create_conversation("c", customer_id="u", name="N", environment="production")
    tracker.track_human_message("x" * 101, metadata={"deep": {"er": [1]}})
    tracker.track_attachments([{"data": b"1", "filename": f"{n}.txt"} for n in range(5)], mode="form-data")
    tracker.track_action("act", duration_ms=3, error_msg="boom")
    tracker.track_button("event", "label", "value")
    summary = tracker.get_tracked_data_summary()
    assert summary["summary"] == {**zeros, "conversation": 1, "questions": 1, "attachments": 1, "actions": 1,
                                  "buttons": 1, "total": 5}  # fmt: skip
    assert [item["preview"] for item in summary["items"]] == [
        {"conversation_id": "c", "customer_id": "u", "name": "N", "environment": "production"},
        {"content_preview": "x" * 100 + "...", "sender": "end_user", "has_metadata": True},
        {"count": 5, "mode": "form_data", "sender": "end_user",
         "files": ["0.txt", "1.txt", "2.txt", "... and 2 more"]},
        {"action_name": "act", "duration_ms": 3, "has_error": True, "has_response": False},
        {"label": "label", "value": "value", "event": "event"},
    ]  # fmt: skip
    assert [item["index"] for item in summary["items"]] == [0, 1, 2, 3, 4]
    assert all(item["timestamp"].endswith("+00:00") for item in summary["items"])
    assert summary["items"][3]["data"].keys() == {
        "action_name",
        "conversation_id",
        "metadata",
        "duration_ms",
        "error_msg",
    }
    summary["items"][1]["data"]["metadata"]["deep"]["er"].append(2)
    assert tracker.get_tracked_data_summary()["items"][1]["data"]["metadata"] == {"deep": {"er": [1]}}


class Odd:
    def __str__(self):
        raise RuntimeError("no")


class Plan(Enum):
    PRO = "pro"


def test_metadata_of_any_kind_is_kept_as_it_was_when_tracked(tracker, recorder):
    cycle: dict = {"name": "loop"}
    cycle["self"] = cycle
    metadata = {"when": datetime(2026, 1, 2, tzinfo=UTC), "plan": Plan.PRO, "nan": float("nan"), "cycle": cycle,
                "odd": Odd(), 7: {1}, "big": 2**70, "bytes": b"x", "surrogate": "\ud83d", "list": [1]}  # fmt: skip
    tracker.track_human_message("hi", metadata=metadata)
    metadata["list"].append(2)
    plain = {"step": 1}
    tracker.track_human_message("plain", metadata=plain)
    plain["step"] = 2
    tracker.track_action("act", tools_used={"o": Odd()}, response=Odd(), started_at="sometime", ended_at=Odd(),
                         duration_ms=-1)  # fmt: skip
    assert tracker.send_tracked_data()["summary"]["errors"] == 0
    message, flat, action = recorder.events
    assert flat["metadata"] == {"step": 1}
    assert message["metadata"] == {
        "when": "2026-01-02T00:00:00+00:00", "plan": "pro", "nan": "NaN", "cycle": {"name": "loop", "self": "<cycle>"},
        "odd": "<unprintable Odd>", "7": [1], "big": str(2**70), "bytes": "b'x'", "surrogate": "\ufffd", "list": [1],
    }  # fmt: skip
    assert action.keys() & {"started_at", "ended_at", "duration_ms"} == set()
    assert action["response"] == "<unprintable Odd>"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(Odd()) | st.datetimes(),
    lambda deeper: st.lists(deeper) | st.dictionaries(st.text() | st.integers(), deeper) | st.sets(st.integers()),
    max_leaves=30,
)


@given(anything)
def test_a_snapshot_of_anything_is_what_the_contract_takes(value):
    wire.check("message", {"sender": "agent", "content": "x", "metadata": snapshot({"value": value})})


def test_what_is_too_large_is_cut_visibly_and_not_lost(tracker, recorder):
    tracker.track_human_message("x" * 300_000, metadata={"deep": "y" * 100_000})
    tracker.get_or_create_conversation("c" * 300, customer_id="u" * 300, metadata={"a": [[[[[[[[[[[["deep"]]]]]]]]]]]]})
    tracker.track_human_message("after")
    tracker.send_tracked_data()
    tracker.configure(conversation_id=None)
    conversation = next(event for event in recorder.events if event["kind"] == "conversation")
    assert len(conversation["conversation_id"]) <= 255 and len(conversation["customer_id"]) == 255
    recorder.stored.clear()
    assert tracker.dropped == {}


@pytest.mark.parametrize("blank", ["", "  ", None])
def test_a_blank_conversation_id_is_replaced(tracker, recorder, blank):
    tracker.get_or_create_conversation(blank)
    tracker.track_human_message("hi")
    assert len(tracker.send_tracked_data()["items"]) == 2
    assert all(event["conversation_id"].startswith("conv_") for event in recorder.events)


# -- attachments -----------------------------------------------------------------------------------------------------
GOOD = {"filename": "a.txt", "mime_type": "text/plain", "data": "aGk="}


@pytest.mark.parametrize(
    ("files", "mode"),
    [
        ([], "base64"), (None, "base64"), ("text", "base64"), (["text"], "base64"),
        ([{**GOOD, "filename": " "}], "base64"), ([{**GOOD, "mime_type": ""}], "base64"),
        ([{"filename": "a", "data": "aGk="}], "base64"), ([{**GOOD, "data": b"hi"}], "base64"),
        ([{**GOOD, "data": "aG k="}], "base64"), ([{**GOOD, "data": "data:text/plain;base64,aGk="}], "base64"),
        ([{}], "form_data"), ([{"data": "text"}], "form_data"), ([{"data": None}], "form_data"), ([GOOD], 7),
    ],
)  # fmt: skip
def test_attachments_that_cannot_be_are_the_callers_mistake(tracker, files, mode):
    with pytest.raises(exceptions.InvalidAttachmentException):
        tracker.track_attachments(files, mode=mode)


def test_attachment_modes_and_empty_lists(tracker):
    with pytest.raises(ValueError, match="Invalid mode"):
        tracker.track_attachments([GOOD], mode="carrier pigeon")
    tracker.track_attachments([{**GOOD, "data": ""}], mode=AttachmentMode.BASE64, sender=Sender.AGENT)
    tracker.track_attachments([{"data": b"x"}], mode="FORM-DATA")
    tracker.track_human_message("no files", attachments=[])
    with pytest.raises(exceptions.InvalidQuestionDataException):
        tracker.track_human_message("", attachments="nonsense")
    assert tracker.get_tracked_data_summary()["summary"]["total"] == 3


def test_an_open_file_is_read_when_tracked_and_travels_with_its_message(tracker, recorder, tmp_path):
    path = tmp_path / "report.pdf"
    path.write_bytes(b"%PDF-1.7 hello")
    tracker.configure(conversation_id="c")
    with path.open("rb") as file:
        tracker.track_human_message("see this", attachments=[{"data": file}], attachment_mode="form_data")
        assert file.tell() == 0
    tracker.track_agent_message("and this", [GOOD, {**GOOD, "filename": "b.txt"}])
    tracker.get_tracked_data_summary()
    assert tracker.send_tracked_data()["summary"]["errors"] == 0
    events = recorder.events
    assert [event["kind"] for event in events] == ["message", "attachment", "message", "attachment", "attachment"]
    assert [event.get("message_event_id") for event in events] == [None, events[0]["id"], None, *[events[2]["id"]] * 2]
    assert events[1]["mime_type"] == "application/pdf" and events[1]["filename"] == "attachment_0.pdf"
    assert events[1]["data"] == "JVBERi0xLjcgaGVsbG8="
    assert {event["sender"] for event in events[3:]} == {"agent"}


def test_a_large_file_travels_by_itself(tracker, recorder):
    tracker.configure(conversation_id="c")
    tracker.track_human_message("look", [{"data": b"\x89PNG\r\n\x1a\n" + b"x" * 2_000_000}], "form_data")
    tracker.track_human_message("done")
    assert tracker.send_tracked_data()["summary"] == {
        "questions": 2, "answers": 0, "attachments": 0, "actions": 0, "buttons": 0, "errors": 0
    }  # fmt: skip
    assert [request.path for request in recorder.requests] == ["/api/batch/", "/api/attachments/", "/api/batch/"]
    upload = recorder.requests[1].raw
    for part in (
        b'name="conversation_id"\r\n\r\nc\r\n',
        b'name="event_id"',
        b'filename="attachment_0.png"',
        b"image/png",
    ):
        assert part in upload


def test_a_file_over_the_limit_costs_only_itself(tracker, recorder, monkeypatch):
    monkeypatch.setattr(wire, "MAX_FILE_BYTES", 1000)
    tracker.configure(conversation_id="c")
    tracker.track_human_message("look", [{"data": b"x" * 5000}, {"data": b"ok"}], "form_data")
    sent = tracker.send_tracked_data()
    assert sent["summary"]["errors"] == 1 and "over" in sent["items"][0]["error"]
    assert [event["kind"] for event in recorder.events] == ["message", "attachment"]
    assert tracker.dropped == {"too_large": 1}


@pytest.mark.parametrize(
    ("thing", "mime_type"),
    [
        (b"%PDF-1.4", "application/pdf"), (b"\xff\xd8\xff\xe0", "image/jpeg"), (b"GIF89a", "image/gif"),
        (b"RIFF0000WEBPVP8 ", "image/webp"), (b"RIFF0000WAVE", "audio/wav"), (b"ID3\x03", "audio/mpeg"),
        (b"\x00\x00\x00\x20ftypisom", "video/mp4"), (b"a,b", "text/csv"), (b"a,b\n1,2\n", "text/csv"),
        (b'{"a": 1}', "application/json"), (b"5", "text/plain"), (b"", "application/octet-stream"),
        (b"<!DOCTYPE html><p>", "text/html"), (b"<?xml version='1.0'?>", "text/xml"),
        (b"# Title\n\n- one\n- two\n", "text/markdown"), (b"\x00\x01\x02", "application/octet-stream"),
        (io.BytesIO(b"%PDF-1.4"), "application/pdf"), ("notes.csv", "text/csv"), 
        ("x.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("unknown.zzz", "application/octet-stream"), (None, "application/octet-stream"),
    ],
)  # fmt: skip
def test_the_type_of_a_file_is_found_by_name_or_content(thing, mime_type):
    assert get_mime_type(thing) == mime_type


# -- tokens ----------------------------------------------------------------------------------------------------------
def test_tokens_add_up_per_conversation_and_start_again_after_a_send(tracker, recorder):
    assert tracker.get_token_usage() == {}
    tracker.configure(conversation_id="a")
    tracker.track_human_message("hi")
    tracker.track_token_usage(1, 2, 3)
    tracker.track_token_usage(prompt_tokens=10, embedding_tokens=4)
    tracker.configure(conversation_id="b")
    tracker.track_token_usage(total_tokens=100)
    with pytest.raises(TypeError):
        tracker.track_token_usage(None)
    tracker.configure(conversation_id="a")
    usage = {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 3, "embedding_tokens": 4}
    assert tracker.get_token_usage() == usage
    sent = tracker.send_tracked_data()
    assert [item["type"] for item in sent["items"]] == ["question", "action"] and sent["summary"]["actions"] == 1
    assert tracker.get_token_usage() == dict.fromkeys(usage, 0)
    (event,) = [event for event in recorder.events if event["kind"] == "token_usage"]
    assert {name: event[name] for name in usage} == usage
    tracker.track_human_message("again")
    assert len(tracker.send_tracked_data()["items"]) == 1
    tracker.configure(conversation_id="b")
    tracker.track_token_usage(prompt_tokens=1, model="big-model")
    assert tracker.send_tracked_data()["summary"]["actions"] == 2
    assert {event.get("model") for event in recorder.events if event["conversation_id"] == "b"} == {None, "big-model"}


# -- the other calls -------------------------------------------------------------------------------------------------
def test_initializing_makes_one_request_now_and_changes_nothing_here(tracker, recorder):
    tracker.configure(conversation_id="current")
    tracker.initialize_conversation("new", "u", name="N", environment="production", metadata={"a": 1})
    (request,) = recorder.requests
    assert (request.method, request.path) == ("POST", "/api/conversations/")
    timestamp = request.body.pop("timestamp")
    assert timestamp.endswith("+00:00")
    assert request.body == {
        "conversation_id": "new", "customer_id": "u", "customer_ip_address": None, "device": None, "source": None,
        "language": None, "name": "N", "environment": "production", "metadata": {"a": 1}, "is_used": False,
    }  # fmt: skip
    assert tracker.config.conversation_id == "current"
    assert tracker.get_tracked_data_summary()["items"] == []
    recorder.faults = [(400, {"conversation_id": ["is odd"]})]
    with pytest.raises(exceptions.ConversationApiException, match="conversation_id: is odd") as caught:
        tracker.initialize_conversation("new")
    assert caught.value.status_code == 400 and caught.value.response_data == {"conversation_id": ["is odd"]}


@pytest.mark.timed
def test_tracking_makes_no_request_and_takes_less_than_a_millisecond(tracker, recorder):
    started = time.perf_counter()
    for _ in range(1000):
        tracker.track_human_message("hi", metadata={"a": 1})
    assert time.perf_counter() - started < 1
    assert recorder.requests == []


def test_ids_and_times_have_their_forms():
    assert len(generate_conversation_id()) == 17 and generate_conversation_id().startswith("conv_")
    assert get_iso_timestamp().endswith("+00:00")


def test_every_refusal_crosses_the_wire_as_its_class(manager, recorder, monkeypatch):
    monkeypatch.setattr("agentsight.transport.random.uniform", lambda low, high: 0)
    expected = {
        400: (exceptions.BadRequestException, errors.Invalid),
        401: (exceptions.UnauthorizedException, errors.Unauthorized),
        403: (exceptions.ForbiddenException, errors.Forbidden),
        404: (exceptions.NotFoundException, errors.NotFound),
        409: (exceptions.ConflictException, errors.Conflict),
        413: (exceptions.TooLargeException, errors.TooLarge),
        429: (exceptions.RateLimitedException, errors.RateLimited),
        500: (exceptions.ServerFailedException, errors.ServerFailed),
    }
    for status, (old, new) in expected.items():
        recorder.always = (status, {"detail": f"no {status}", "code": "x", "request_id": "r1"})
        with pytest.raises(old, match=f"no {status}") as caught:
            manager.delete_conversation(7)
        assert isinstance(caught.value, (new, exceptions.ConversationApiException))
        assert (caught.value.status_code, caught.value.request_id) == (status, "r1")
        assert isinstance(caught.value, exceptions.ConversationTrackingException)


def test_managing_sends_what_the_contract_says(manager, recorder):
    recorder.answers["GET", "/api/conversations/lookup/"] = (200, {"id": 318, "conversation_id": "wa 7/1"})
    manager.submit_feedback("wa 7/1", "positive", comment="", metadata={"stars": 5})
    manager.submit_feedback(318, exceptions and agentsight.enums.Sentiment.NEGATIVE, "bad")
    manager.rename_conversation("wa 7/1", "  Lost parcel ")
    manager.mark_conversation(318, 1)
    manager.update_conversation(318, name="N", customer_id=9, metadata={})
    manager.delete_conversation("wa 7/1")
    assert [(request.method, request.path, request.body) for request in recorder.requests] == [
        ("POST", "/api/conversation-feedbacks/",
         {"sentiment": "positive", "conversation_id": "wa 7/1", "metadata": {"stars": 5}}),
        ("POST", "/api/conversation-feedbacks/", {"sentiment": "negative", "conversation": 318, "comment": "bad"}),
        ("GET", "/api/conversations/lookup/?conversation_id=wa+7%2F1", None),
        ("PATCH", "/api/conversations/318/rename/", {"name": "Lost parcel"}),
        ("POST", "/api/conversations/318/mark/", {"is_marked": True}),
        ("PATCH", "/api/conversations/318/update/", {"name": "N", "customer_id": "9", "metadata": {}}),
        ("GET", "/api/conversations/lookup/?conversation_id=wa+7%2F1", None),
        ("DELETE", "/api/conversations/318/delete/", None),
    ]  # fmt: skip


def test_managing_refuses_mistakes_before_any_request(manager, recorder):
    data, plain = exceptions.InvalidConversationDataException, ValueError
    for raised, says, call in [
        (plain, "conversation_id is required", lambda: manager.rename_conversation("", "x")),
        (plain, "must be int or str", lambda: manager.delete_conversation(1.5)),
        (data, "Invalid sentiment", lambda: manager.submit_feedback("c", "happy")),
        (data, "must be a string", lambda: manager.submit_feedback("c", "positive", 5)),
        (data, "cannot exceed 5000", lambda: manager.submit_feedback("c", "positive", "x" * 5001)),
        (data, "non-empty string", lambda: manager.rename_conversation("c", "")),
        (data, "cannot be empty", lambda: manager.rename_conversation("c", "  ")),
        (data, "cannot exceed 255", lambda: manager.rename_conversation("c", "x" * 256)),
        (data, "must be a dictionary", lambda: manager.update_conversation("c", metadata=[1])),
        (plain, "At least one field", lambda: manager.update_conversation("c")),
    ]:
        with pytest.raises(raised, match=says):
            call()
    assert recorder.requests == []


def test_a_feedback_whose_answer_is_lost_is_not_given_twice(manager, recorder):
    recorder.always = "reset"
    with pytest.raises(exceptions.ConversationNetworkException):
        manager.submit_feedback("c", "positive")
    assert len(recorder.requests) == 1


def test_fetching_sends_what_the_contract_says(api, recorder):
    recorder.answers["GET", "/api/conversations/"] = (200, {"count": 1, "results": [{"id": 318}]})
    recorder.answers["GET", "/api/conversations/42/"] = (200, {"id": 42})
    page = api.fetch_conversations(
        has_messages=True, is_marked=False, metadata="tier:gold", page_size=5, name=None,
        started_at_after=datetime(2026, 1, 2, 3), feedback_sentiment="positive", escalated=True, tags=["a", "b"],
    )  # fmt: skip
    assert page["count"] == 1
    assert api.fetch_conversation(42) == {"id": 42}
    assert api.fetch_conversation("42") == {"id": 318}
    api.fetch_conversation_attachments("42")
    assert [request.path for request in recorder.requests] == [
        "/api/conversations/?has_messages=true&page_size=5&started_at_after=2026-01-02T03%3A00%3A00&is_marked=false"
        "&metadata=tier%3Agold&feedback_sentiment=positive&escalated=True&tags=a&tags=b",
        "/api/conversations/42/",
        "/api/conversations/?conversation_id=42",
        "/api/conversations/?conversation_id=42",
        "/api/conversations/318/attachments/",
    ]
    recorder.answers["GET", "/api/conversations/"] = (200, {"count": 0, "results": []})
    with pytest.raises(exceptions.NotFoundException):
        api.fetch_conversation("nobody")
    for mistake in (lambda: api.fetch_conversation(""), lambda: api.fetch_conversation(None),
                    lambda: api.fetch_conversations(feedback_sentiment="happy"),
                    lambda: api.fetch_conversations(feedback_source="me")):  # fmt: skip
        with pytest.raises(ValueError):
            mistake()
