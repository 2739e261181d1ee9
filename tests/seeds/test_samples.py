"""Every Python sample of seeds 000, 001 and 002 runs as written, and the server has what it tracked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from served import Api, Server, event, message

from .samples import Desk, fenced, seed, unfenced

CROWD = 100


def said(conversation: dict) -> list[tuple[str, str]]:
    return [(row["sender"], row["content"]) for row in conversation["messages"]]


def eventually(api: Api, count: int) -> list[str]:
    """The ids of all conversations, once there are so many; background tasks of a sample end after its answers."""
    until = time.monotonic() + 20
    while len(ids := api.ids()) < count and time.monotonic() < until:
        time.sleep(0.1)
    return ids


# -- seed 001: the tracker -------------------------------------------------------------------------------------------
def test_the_trackers_page_runs_from_top_to_bottom(server: Server, api: Api, shared: Path, tmp_path: Path):
    samples = unfenced(seed(shared, "001"))
    assert len(samples) == 15
    printed = Desk(tmp_path, server, api.key).run("\n".join(samples))
    assert said(api.conversation("chat-123")) == [("end_user", "Hello!"), ("agent", "Hi! How can I help?")]
    assert api.conversation("chat-123")["name"] == "Support Chat"
    support = api.conversation("support-123")
    assert (support["name"], support["customer_id"], support["device"], support["environment"]) == (
        "Password Reset",
        "user-456",
        "desktop",
        "production",
    )
    assert support["metadata"] == {"session_id": "abc123"} and support["is_used"]
    assert said(support) == [
        ("end_user", "How do I reset my password?"),
        ("agent", "Click 'Forgot Password' on the login page."),
        ("agent", "Action database_lookup performed"),
        ("end_user", "Confirm Order"),
        ("end_user", ""),
        ("end_user", ""),
        ("end_user", "Question"),
        ("agent", "Action search performed"),
        ("agent", "Answer"),
    ]
    files = [file for row in support["messages"] for file in row["attachments"]]
    assert [(file["filename"], file["mime_type"]) for file in files] == [
        ("report.pdf", "application/pdf"),
        ("document.pdf", "application/pdf"),
    ]
    assert httpx.get(files[1]["file_url"]).content == b"%PDF-1.4 document.pdf"
    assert "Total tokens: 125\nQuestions: 1\nAnswers: 1\nActions: 2\nErrors: 0\nTotal items: 0\n" in printed
    assert api.ids(action_name="token_usage") == ["support-123"]


def test_both_sending_patterns_of_the_page_deliver(server: Server, api: Api, shared: Path, tmp_path: Path):
    quick_start, patterns = (unfenced(seed(shared, "001"))[place] for place in (0, -1))
    Desk(tmp_path, server, api.key).run(
        quick_start
        + patterns
        + "class agent:\n    process = staticmethod(str.upper)\n"
        + "handle_query('one')\nhandle_session(['two', 'three'])\n"
    )
    texts = [content for _, content in said(api.conversation("chat-123"))]
    assert texts[2:] == ["one", "ONE", "two", "TWO", "three", "THREE"]


# -- seed 002: the concepts ------------------------------------------------------------------------------------------
def test_the_concepts_page_runs_from_top_to_bottom(start: Callable[..., Server], shared: Path, tmp_path: Path):
    server = start()
    api = server.api()
    api.batch(*(message(f"filler-{number}") for number in range(40)))
    api.batch(message("conv-123", "Where is my parcel?"))
    api.batch(message("the-42nd", "here"), event("feedback", "the-42nd", sentiment="positive"))
    assert api.conversation("the-42nd")["id"] == 42
    samples = fenced(seed(shared, "002"))
    assert len(samples) == 9
    checks = "assert conversation['conversation_id'] == 'the-42nd'\nassert len(conversation_id) == 17\n"
    Desk(tmp_path, server, api.key).run("from dotenv import load_dotenv; load_dotenv()\n" + "\n".join(samples) + checks)
    managed = api.conversation("conv-123")
    assert managed["name"] == "Resolved: Password Reset"
    assert [(given["sentiment"], given["comment"]) for given in managed["feedbacks"]] == [("positive", "Very helpful!")]
    assert said(api.conversation("user-123")) == [
        ("end_user", "Hello"),
        ("agent", "How can I help?"),
        ("end_user", "How do I reset my password?"),
        ("agent", "Action database_query performed"),
    ]
    assert said(api.conversation("user-456")) == [("end_user", "Hi there")]
    first = [row for row in api.ids() if row.startswith("conv_")]
    rows = [row for name in first for row in said(api.conversation(name))]
    assert rows[:2] == [("end_user", "Hello!"), ("agent", "Hi there!")]
    ordered = ["2 + 2 = ?", "Action calculate performed", "The answer is 4"]
    texts = [content for _, content in rows]
    place = texts.index(ordered[0])
    assert texts[place : place + 3] == ordered


# -- seed 000: FastAPI -----------------------------------------------------------------------------------------------
async def crowd(url: str, texts: list[str]) -> list[httpx.Response]:
    """All texts at once, each as the first message of a conversation of its own."""
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=httpx.Limits(max_connections=CROWD)) as client:
        asked = (client.post("/chat", json={"message": text, "conversation_id": f"c {text}"}) for text in texts)
        return await asyncio.gather(*asked)


def test_the_basic_app_keeps_a_hundred_conversations_at_once_apart(
    server: Server, api: Api, shared: Path, tmp_path: Path
):
    """The sample's endpoint reads a name it never defines, `customer_id`; the harness gives it one."""
    code = "customer_id = 'c-1'\n" + fenced(seed(shared, "000"))[0]
    texts = [f"hello {number}" for number in range(CROWD)]
    with Desk(tmp_path, server, api.key, AGENTSIGHT_TOKEN_HANDLER_TYPE="llamaindex").serving(code) as url:
        answers = asyncio.run(crowd(url, texts))
        assert [answer.json() for answer in answers] == [{"response": f"echo {text}"} for text in texts]
        eventually(api, CROWD)
    assert sorted(api.ids()) == sorted(f"c {text}" for text in texts)
    for text in texts:
        stored = api.conversation(f"c {text}")
        assert said(stored) == [("end_user", text), ("agent", f"echo {text}")]
        assert stored["customer_id"] == "c-1"


def test_the_advanced_app_keeps_tools_in_their_own_conversations(
    server: Server, api: Api, shared: Path, tmp_path: Path
):
    """Tools run in worker threads of their own."""
    code = fenced(seed(shared, "000"))[1]
    sums = [f"sum {number}+{number}" for number in range(40)]
    bad = [f"sum {number}/0" for number in range(10)]
    with Desk(tmp_path, server, api.key, AGENTSIGHT_TOKEN_HANDLER_TYPE="llamaindex").serving(code) as url:
        asyncio.run(crowd(url, [*sums, *bad]))
        eventually(api, len(sums) + len(bad))
    assert sorted(api.ids()) == sorted(f"c {text}" for text in [*sums, *bad])
    for number, text in enumerate(sums):
        rows = api.conversation(f"c {text}")["messages"]
        assert [row["content"] for row in rows] == [text, "Action calculate performed", str(number * 2)]
        assert rows[1]["action_logs"][0]["metadata"]["result"] == number * 2
    for text in bad:
        (_, tool, answer) = api.conversation(f"c {text}")["messages"]
        assert tool["action_logs"][0]["error_message"] == "division by zero"
        assert answer["content"] == "Error: division by zero"


def test_what_an_endpoint_tracked_before_it_raised_is_delivered_when_the_app_is_stopped(
    server: Server, api: Api, shared: Path, tmp_path: Path
):
    """Where an endpoint raises, FastAPI runs no background task; uvicorn dies of SIGTERM without running atexit."""
    code = fenced(seed(shared, "000"))[1]
    failing = [f"fail {number}" for number in range(10)]
    with Desk(tmp_path, server, api.key).serving(code) as url:
        assert {answer.status_code for answer in asyncio.run(crowd(url, failing))} == {500}
    assert sorted(api.ids()) == sorted(f"c {text}" for text in failing)
    for text in failing:
        asked, failed = api.conversation(f"c {text}")["messages"]
        assert (asked["content"], failed["action_name"]) == (text, "chat_error")
        assert failed["action_logs"][0]["error_message"] == text


def test_the_page_with_a_placeholder_for_a_key_imports_and_says_what_is_missing(
    server: Server, shared: Path, tmp_path: Path
):
    page = seed(shared, "000")
    assert "AGENTSIGHT_API_KEY=your_agentsight_api_key" in page
    printed = Desk(tmp_path, server, "your_agentsight_api_key").run(
        "from dotenv import load_dotenv; load_dotenv()\n"
        "from agentsight import ConversationTracker, conversation_tracker\n"
        "from agentsight.exceptions import InvalidApiKeyException\n"
        "try:\n    ConversationTracker()\nexcept InvalidApiKeyException as wrong:\n    print('refused', wrong)\n"
    )
    assert printed.startswith("refused") and "your_agentsight_api_key" not in printed


@pytest.mark.parametrize("number", ["000", "001", "002"])
def test_no_python_block_of_a_seed_is_left_out(shared: Path, number: str):
    page = seed(shared, number)
    blocks = unfenced(page) if number == "001" else fenced(page)
    for block in blocks:
        compile(block, f"seed {number}", "exec")
    assert len(blocks) == {"000": 2, "001": 15, "002": 9}[number]
