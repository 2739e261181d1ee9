"""A person is taken out of everything, beside a running server; the numbers stay, the certificate says what is true."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from agentsight.storage import open_storage
from served import ENGINE, Api, Server, event, message
from spanned import send, tool, turn

from .commands import agentsight, holds, numbers, told

pytestmark = pytest.mark.slow

WHO = "victim-7731@example.com"
SECRETS = (
    WHO,
    "Mein Kennwort lautet Straßenbahnhöhle 4711",  # folded by us in the index, for it is not ASCII
    "mein kennwort lautet strassenbahnhöhle 4711",
    "my passport is XQ-99183-ZZ and nobody else's",
    "the answer that only the victim got",
    "198.51.100.231",
    "Victoria Victimson",
    "renamed after the victim by hand",
    "vip-metadata-of-the-victim",
    "a comment only the victim would make",
    "file-of-the-victim.txt",
    "bytes of the victim's own file",
    "tool argument about the victim",
    "tool result about the victim",
    "tool error about the victim",
    "button made for the victim",
    "a span that tells of the victim",
    "a ticket about the victim",
    "a note in the ticket of the victim",
    "why the victim did not like it",
)

FILTERS = ((), (("language", "de"),), (("from", "2026-03-02T09:01:00Z"), ("to", "2026-03-02T23:59:00Z")))


def _life(api: Api, who: str, conversation_id: str, secrets: bool) -> None:
    """A conversation with one of everything; with all the secrets in it or with none."""
    say = (lambda place: SECRETS[place]) if secrets else (lambda place: f"plain words {place}")
    data = base64.b64encode((SECRETS[11] if secrets else "shared bytes").encode()).decode()
    shared = base64.b64encode(b"a file many people send").decode()
    api.batch(
        event(
            "conversation",
            conversation_id,
            customer_id=who,
            customer_ip_address=SECRETS[5] if secrets else "8.8.8.8",
            name=say(6),
            device="iPhone",
            source="web",
            language="de",
            environment="production",
            metadata={"tier": say(8)},
        ),
        message(conversation_id, say(1)),
        message(conversation_id, say(3), metadata={"note": say(8)}),
        event(
            "action",
            conversation_id,
            action_name="lookup",
            tools_used={"q": say(12)},
            response=say(13),
            error_msg=say(14),
        ),
        message(conversation_id, say(4), sender="agent"),
        event("button", conversation_id, button_event="choose", label=say(15), value="yes"),
        event("token_usage", conversation_id, prompt_tokens=11, completion_tokens=7, total_tokens=18, model="gpt-4o"),
        event("attachment", conversation_id, sender="end_user", filename=say(10), mime_type="text/plain", data=data),
        event(
            "attachment",
            conversation_id,
            sender="end_user",
            filename="everybody.txt",
            mime_type="text/plain",
            data=shared,
        ),
        event("feedback", conversation_id, sentiment="negative", comment=say(9)),
    )
    said = turn(("end_user", say(1)), ("agent", say(4)), second=30)
    send(api, conversation_id, said, tool(said, "look", 30.1, **{"agentsight.tool.response": say(16)}))
    head = api.conversation(conversation_id)
    ticket = api.post("/api/tickets/", json={"title": say(17), "conversation_id": head["id"], "tags": [say(8)]}).json()
    api.post(f"/api/tickets/{ticket['id']}/comments/", json={"body": say(18)})
    vote = {"kind": "message", "message": head["messages"][0]["id"], "sentiment": "negative", "comment": say(19)}
    assert api.post("/api/feedbacks/", json=vote).status_code == 201


@pytest.fixture(scope="module")
def erased(tmp_path_factory: pytest.TempPathFactory):
    """A server with four customers, one of whom was erased while it ran; what it said before and after."""
    server = Server(tmp_path_factory.mktemp("erase"))
    with server.api("Support") as api:
        for number in range(30):  # so many that pages split and copies of what moved stay behind
            _life(api, f"customer-{number}", f"other-{number}", secrets=False)
            if number % 10 == 0:
                _life(api, WHO, f"victim-thread-{number}", secrets=True)
        head = api.conversation("victim-thread-0")
        api.patch(f"/api/conversations/{head['id']}/", json={"name": SECRETS[7], "metadata": {"by hand": SECRETS[8]}})
        deleted = api.conversation("victim-thread-10")
        api.delete(f"/api/conversations/{deleted['id']}/")
        before = {filters: numbers(api, **dict(filters)) for filters in FILTERS}
        copy = server.data / "backups" / "before-0001.db"
        copy.parent.mkdir()
        copy.write_bytes(WHO.encode())
        storage = open_storage(server.database)
        storage.catch_up()  # statistics are made of what is there, as a server makes them by itself in a while
        storage.close()
        assert holds(server, *SECRETS), "the scan finds what is there"
        certificate = told("erase", "--customer", WHO, "--agent", "Support", "--organization", "acme", data=server.data)
        yield server, api, before, certificate
    server.stop()


def test_no_byte_of_the_person_is_left_in_the_data_folder(erased):
    server, _, _, _ = erased
    assert holds(server, *SECRETS, "victim-thread") == []


def test_the_numbers_are_what_they_were_split_and_filtered_in_every_way(erased):
    _, api, before, _ = erased
    for filters, answers in before.items():
        assert numbers(api, **dict(filters)) == answers
    assert before[()][""][0]["total"] > 0


def test_computing_every_number_again_finds_nothing_to_put_right(erased):
    server, api, before, _ = erased
    assert "nothing differed" in agentsight("rebuild", data=server.data)
    assert numbers(api) == before[()]
    assert json.loads(agentsight("doctor", "--json", data=server.data))[-1]["remedy"] == ""


def test_the_certificate_counts_what_went_and_only_this_installation_can_have_made_it(erased, tmp_path: Path):
    server, _, _, certificate = erased
    removed = certificate["removed"]
    assert (removed["conversations"], removed["messages"], removed["feedback"]) == (3, 15, 6)
    assert (removed["spans"], removed["tickets"]) == (6, 3)
    assert (removed["attachments"], removed["buttons"], removed["local_copies"]) == (6, 1, 1)
    assert removed["other_events"] == 3 * 7
    sqlite = ENGINE == "sqlite"
    stored = {"engine": "SQLite" if sqlite else "PostgreSQL", "rewritten": True, "log_emptied": sqlite}
    assert certificate["storage"] == stored
    kept = tmp_path / "certificate.json"
    kept.write_text(json.dumps(certificate))
    assert "Made here" in agentsight("erase", "--verify", str(kept), data=server.data)
    kept.write_text(json.dumps({**certificate, "removed": {**removed, "messages": 10}}))
    assert "was changed" in agentsight("erase", "--verify", str(kept), data=server.data, fails=True)


def test_everybody_else_still_has_everything(erased):
    _, api, _, _ = erased
    assert len(api.ids(page_size=100)) == 30
    head = api.conversation("other-7")
    whole = api.get(f"/api/conversations/{head['id']}/").json()
    assert whole["messages"][0]["content"] == "plain words 1"
    files = api.get(f"/api/conversations/{head['id']}/attachments/").json()
    urls = [file["file_url"] for row in files["messages"] for file in row["attachments"]]
    assert sorted(api.get(url).content for url in urls) == [b"a file many people send", b"shared bytes"]
    assert api.ids(search="plain words 3"), "the search index still knows the others"


def test_what_comes_late_is_accepted_and_discarded(erased):
    server, api, before, _ = erased
    late = api.batch(
        message("victim-thread-0", SECRETS[3]),
        event("conversation", "new-thread", customer_id=WHO),
        message("new-thread", SECRETS[1]),
    )
    assert (late["accepted"], [result.get("discarded") for result in late["results"]]) == (3, [True] * 3)
    old = api.post("/api/conversations/", json={"conversation_id": "victim-thread-20", "customer_id": WHO})
    assert (old.status_code, old.json()["discarded"]) == (200, True)
    said = api.post(
        "/api/track/", json={"conversation_id": "victim-thread-20", "sender": "end_user", "content": SECRETS[3]}
    )
    assert (said.status_code, said.json()["discarded"]) == (200, True)
    for key in ("victim-thread-20", "new-thread"):
        send(api, key, turn(("end_user", SECRETS[3])), customer_id=WHO)
    assert api.get("/api/spans/", params={"conversation_id": "new-thread"}).json()["count"] == 0
    assert numbers(api) == before[()]
    assert holds(server, SECRETS[3], "new-thread") == []


def test_words_that_come_before_their_conversation_says_whose_they_are_go_when_it_does(erased):
    _, api, before, _ = erased
    api.batch(message("split-thread", "words of nobody yet"))
    assert api.ids(search="nobody yet") == ["split-thread"]
    late = api.batch(event("conversation", "split-thread", customer_id=WHO, environment="production"))
    assert late["results"][0]["discarded"] is True
    assert api.ids(search="nobody yet") == []
    assert numbers(api) == before[()]


def test_erasing_again_finds_nothing_and_changes_nothing(erased):
    server, api, before, _ = erased
    again = told("erase", "--customer", WHO, "--agent", "Support", "--organization", "acme", data=server.data)
    assert again["removed"]["conversations"] == 0
    assert numbers(api) == before[()]


def test_ids_of_what_went_are_never_given_again(start: Callable[..., Server]):
    server = start()
    with server.api("A", "acme") as api:
        api.batch(event("conversation", "first", customer_id="gone"), message("first"))
        last = api.conversation("first")["id"]
        told("erase", "--customer", "gone", "--agent", "A", "--organization", "acme", data=server.data)
        api.batch(message("second"))
        assert api.conversation("second")["id"] > last
