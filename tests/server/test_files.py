"""Files in, in both modes; files out, by a signed link that ends."""

from __future__ import annotations

import base64
from collections.abc import Callable

import httpx
import pytest
from itsdangerous import URLSafeTimedSerializer

from agentsight.server.settings import Settings
from served import Api, Server, at, event, message

ROUTE = "/api/attachments/"
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20


def as_json(api: Api, *files: tuple[str, bytes, str], **place: object) -> httpx.Response:
    attached = [{"filename": n, "mime_type": m, "data": base64.b64encode(d).decode()} for n, d, m in files]
    return api.post(ROUTE, json={"timestamp": at(1), "attachments": attached, "sender": "end_user", **place})


def as_form(api: Api, *files: tuple[str, bytes, str], **place: object) -> httpx.Response:
    parts = {f"attachment_{n}": file for n, file in enumerate(files)}
    told = {"timestamp": at(1), "sender": "end_user", "mode": "form_data", "metadata": '{"k": 1}', **place}
    return api.post(ROUTE, data=told, files=parts)


both_modes = pytest.mark.parametrize("send", [as_json, as_form])
Sending = Callable[..., httpx.Response]


@pytest.fixture
def said(api: Api) -> dict:
    """A stored message with its two ids: `id` and `conversation`."""
    api.batch(message("c", "look at this"))
    return api.conversation("c")["messages"][0]


def listed(api: Api, conversation: int) -> list[dict]:
    return api.get(f"/api/conversations/{conversation}/attachments/").json()["messages"]


@both_modes
@pytest.mark.parametrize("spelled", [int, str])
def test_files_of_a_message_stand_under_it(api: Api, said: dict, send: Sending, spelled: type):
    answer = send(api, ("a.txt", b"hello", "text/plain"), message=spelled(said["id"]))
    assert answer.status_code == 201, answer.text
    assert answer.json()["message_id"] == said["id"]
    (row,) = api.conversation("c")["messages"]
    assert [file["filename"] for file in row["attachments"]] == ["a.txt"]


@both_modes
@pytest.mark.parametrize("place", [{"conversation": "None"}, {"conversation": "None", "conversation_id": "None"}])
def test_the_text_none_is_no_place_when_the_message_is_known(api: Api, said: dict, send: Sending, place: dict):
    """What 0.0.44 sends for the files of an answer."""
    assert send(api, ("a.txt", b"hello", "text/plain"), message=said["id"], **place).status_code == 201
    assert api.ids() == ["c"]
    assert len(api.conversation("c")["messages"]) == 1


@both_modes
def test_files_on_their_own_are_one_row_of_the_transcript(api: Api, said: dict, send: Sending):
    files = [("a.txt", b"hello", "text/plain"), ("b.png", PNG, "image/png")]
    answer = send(api, *files, conversation=said["conversation"], sender="agent")
    rows = api.conversation("c")["messages"]
    own = next(row for row in rows if row["id"] != said["id"])
    assert answer.json()["message_id"] == own["id"]
    assert (own["sender"], own["content"]) == ("agent", "")
    assert [file["filename"] for file in own["attachments"]] == ["a.txt", "b.png"]


@both_modes
def test_files_without_a_place_are_refused(api: Api, send: Sending):
    answer = send(api, ("a.txt", b"hello", "text/plain"))
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["conversation"])


@both_modes
def test_files_of_a_strangers_message_or_conversation_are_not_found(server: Server, said: dict, send: Sending):
    with server.api() as stranger:
        for place in ({"message": said["id"]}, {"conversation": said["conversation"]}):
            assert send(stranger, ("a.txt", b"hello", "text/plain"), **place).status_code == 404


@both_modes
def test_the_same_upload_again_is_stored_once(api: Api, said: dict, send: Sending):
    statuses = [send(api, ("a.txt", b"hello", "text/plain"), message=said["id"]).status_code for _ in range(2)]
    assert statuses == [201, 200]
    assert len(api.conversation("c")["messages"][0]["attachments"]) == 1


def test_a_multipart_file_name_keeps_its_letters_and_loses_its_folders(api: Api, said: dict):
    names = {
        "račun ž 😀.pdf": "račun ž 😀.pdf",
        "../../etc/passwd": "passwd",
        "C:\\temp\\a.txt": "a.txt",
        "a\u202egnp.exe": "agnp.exe",
        "x" * 300 + ".txt": "x" * 251 + ".txt",
        "": None,
        "..": None,
        "<script>.html": "script.html",
    }
    for given, kept in names.items():
        (file,) = as_json(api, (given, given.encode(), "text/plain"), conversation_id="c").json()["attachments"]
        assert file["filename"] == kept or (kept is None and file["filename"])
    (file,) = as_form(api, ("račun ž 😀.pdf", b"1", "application/pdf"), conversation_id="c").json()["attachments"]
    assert file["filename"] == "račun ž 😀.pdf"


@pytest.mark.parametrize(
    "parameter", ['filename="ra%C4%8Dun.pdf"', "filename*=utf-8''ra%C4%8Dun.pdf", 'filename="račun.pdf"']
)
def test_file_names_are_read_as_every_http_library_writes_them(api: Api, said: dict, parameter: str):
    body = (
        f'--b\r\nContent-Disposition: form-data; name="message"\r\n\r\n{said["id"]}\r\n'
        f'--b\r\nContent-Disposition: form-data; name="attachment_0"; {parameter}\r\n'
        "Content-Type: application/pdf\r\n\r\n%PDF-1.4\r\n--b--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = api.post(ROUTE, content=body.encode(), headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.json()["attachments"][0]["filename"] in ("račun.pdf", "ra%C4%8Dun.pdf")


def test_the_listing_has_only_rows_with_files_and_their_true_number_and_size(api: Api, said: dict):
    as_json(api, ("a.txt", b"hello", "text/plain"), message=said["id"])
    as_json(api, ("b.png", PNG, "image/png"), ("c", b"", ""), conversation_id="c", timestamp=at(2))
    api.batch(message("c", "no files here"))
    listing = api.get(f"/api/conversations/{said['conversation']}/attachments/").json()
    assert (listing["conversation_id"], listing["total_attachments"]) == ("c", 3)
    files = [(f["type"], f["filename"], f["size_bytes"]) for row in listing["messages"] for f in row["attachments"]]
    assert sorted(files) == [("image", "b.png", 28), ("other", "c", 0), ("text", "a.txt", 5)]
    assert {"message_id", "sender", "timestamp", "attachments"} <= set(listing["messages"][0])


@pytest.mark.parametrize(
    ("mime_type", "kind"),
    [
        ("image/png", "image"),
        ("audio/mpeg", "audio"),
        ("video/mp4", "video"),
        ("text/csv", "text"),
        ("application/pdf", "document"),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "document"),
        ("application/zip", "other"),
        ("nonsense", "other"),
    ],
)
def test_a_files_kind_follows_its_type(api: Api, mime_type: str, kind: str):
    (file,) = as_json(api, ("a", b"x", mime_type), conversation_id="c").json()["attachments"]
    assert file["type"] == kind


def test_a_link_gives_the_bytes_to_anybody_and_can_not_be_forged_or_kept(server: Server, api: Api, said: dict):
    as_json(api, ("a.txt", b"<script>alert(1)</script>", "text/html"), message=said["id"])
    (row,) = listed(api, said["conversation"])
    url = row["attachments"][0]["file_url"]
    fetched = httpx.get(url)
    assert fetched.content == b"<script>alert(1)</script>"
    assert fetched.headers["content-disposition"].startswith("attachment")
    assert fetched.headers["x-content-type-options"] == "nosniff"
    assert fetched.headers["content-type"] == "application/octet-stream"
    token = url.split("/files/")[1].split("/")[0]
    other = token[:2] + ("A" if token[2] != "A" else "B") + token[3:]
    forged = URLSafeTimedSerializer("guessed", salt="files").dumps(row["attachments"][0]["id"])
    for wrong in (other, forged, "x", "%00", token[:-1]):
        assert httpx.get(url.replace(token, wrong)).status_code == 404, wrong
    assert httpx.get(url.replace(token, _expired(server, row["attachments"][0]["id"]))).status_code == 404


def _expired(server: Server, id: int) -> str:
    """A token this server signed two hours ago."""

    class Past(URLSafeTimedSerializer):
        class Signer(URLSafeTimedSerializer.default_signer):
            def get_timestamp(self) -> int:
                return super().get_timestamp() - 7_200

        default_signer = Signer

    return str(Past(Settings.of(server.data).secret(), salt="files").dumps(id))


def test_html_that_calls_itself_a_picture_is_never_shown_inline(api: Api, said: dict):
    as_json(api, ("a.png", b"<html><script>", "image/png"), ("b.png", PNG, "image/png"), message=said["id"])
    (row,) = listed(api, said["conversation"])
    page, picture = (httpx.get(file["file_url"], params={"inline": 1}) for file in row["attachments"])
    assert page.headers["content-disposition"].startswith("attachment")
    assert (picture.headers["content-type"], picture.headers["content-disposition"][:6]) == ("image/png", "inline")
    assert "sandbox" in picture.headers["content-security-policy"]


def test_nothing_a_client_names_reaches_the_disk(server: Server, api: Api):
    for name in ("../../evil", "CON", "a/b/c", "%2e%2e"):
        as_json(api, (name, name.encode(), "text/plain"), conversation_id="c")
    on_disk = [path.name for path in (server.data / "files").rglob("*") if path.is_file()]
    assert on_disk and all(len(name) == 64 and set(name) <= set("0123456789abcdef") for name in on_disk)


@pytest.mark.parametrize(
    ("data", "status"),
    [("aGVs\nbG8=\r\n", 201), ("", 201), ("aGVsbG8", 400), ("data:text/plain;base64,aGVsbG8=", 400), ("ščž", 400)],
)
def test_base64_is_read_strictly_but_for_line_breaks(api: Api, data: str, status: int):
    body = {"conversation_id": "c", "attachments": [{"filename": "a", "mime_type": "text/plain", "data": data}]}
    answer = api.post(ROUTE, json=body)
    assert answer.status_code == status, answer.text
    if status == 400:
        assert list(answer.json()["fields"]) == ["attachments"]
        assert api.ids() == []


@pytest.mark.parametrize("told", [None, [], {}, "x", [1], [{}], [{"data": 5}], [{"data": None}]])
def test_attachments_of_another_shape_are_refused_by_name(api: Api, told: object):
    answer = api.post(ROUTE, json={"conversation_id": "c", "attachments": told})
    assert (answer.status_code, list(answer.json()["fields"])) == (400, ["attachments"])


def test_one_bad_file_of_an_upload_stores_none_of_it(api: Api):
    files = [{"filename": "a", "mime_type": "text/plain", "data": data} for data in ("aGVsbG8=", "!!!")]
    assert api.post(ROUTE, json={"conversation_id": "c", "attachments": files}).status_code == 400
    assert api.ids() == []


def test_a_file_over_the_limit_is_413_in_both_modes_and_in_a_batch_costs_only_itself(api: Api):
    big = b"0" * (25 * 1024 * 1024 + 1)
    assert as_form(api, ("big", big, ""), conversation_id="c").status_code == 413
    refused = as_json(api, ("big", big, ""), conversation_id="c")
    assert refused.status_code == 413 and isinstance(refused.json()["detail"], str)
    assert as_json(api, *[("a", b"x", "")] * 11, conversation_id="c").status_code == 413
    assert as_form(api, *[("a", b"x", "")] * 11, conversation_id="c").status_code == 413
    assert api.ids() == []
    answer = api.batch(message("c"), event("attachment", "c", data="!!!"), event("attachment", "c", data="aGVsbG8="))
    assert [result["verdict"] for result in answer["results"]] == ["accepted", "rejected", "accepted"]
    assert answer["results"][1]["field"] == "data"


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=b", b"", 400),
        ("multipart/form-data; boundary=b", b"--b\r\nnonsense", 400),
        ("multipart/form-data; boundary=b", b"--c--\r\n", 400),
        ("multipart/form-data; boundary=b", b"\x00" * 1_000_000, 400),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n' * 10_000 + b"--b--\r\n",
            413,
        ),
        ("multipart/mixed; boundary=b", b"--b--\r\n", 415),
        ("application/x-www-form-urlencoded", b"a=1", 415),
        ("text/plain", b"x", 415),
    ],
)
def test_a_broken_upload_is_refused(api: Api, content_type: str, body: bytes, status: int):
    answer = api.post(ROUTE, content=body, headers={"Content-Type": content_type})
    assert answer.status_code == status, answer.text


def test_the_same_part_twice_keeps_both_files(api: Api, said: dict):
    parts = [("attachment_0", ("a.txt", b"1", "text/plain")), ("attachment_0", ("b.txt", b"2", "text/plain"))]
    answer = api.post(ROUTE, data={"message": str(said["id"])}, files=parts)
    assert [file["filename"] for file in answer.json()["attachments"]] == ["a.txt", "b.txt"]


@pytest.mark.parametrize(
    ("told", "kept"), [("null", {}), ("", {}), ("[1]", {"value": [1]}), ("{bad", {"value": "{bad"})]
)
def test_multipart_metadata_is_json_text_or_kept_as_it_is(api: Api, told: str, kept: dict):
    as_form(api, ("a", b"1", "text/plain"), conversation_id="c", metadata=told)
    assert api.conversation("c")["messages"][0]["metadata"] == kept


def test_a_range_that_is_no_single_range_gives_the_whole_file(api: Api, said: dict):
    as_json(api, ("a.txt", b"0123456789", "text/plain"), message=said["id"])
    url = listed(api, said["conversation"])[0]["attachments"][0]["file_url"]
    assert httpx.get(url, headers={"Range": "bytes=2-4"}).content == b"234"
    many = httpx.get(url, headers={"Range": "bytes=" + "0-0," * 2_000})
    assert (many.status_code, many.content) == (200, b"0123456789")
    assert httpx.get(url, headers={"Range": "bytes=50-"}).status_code == 416


def test_who_has_the_file_already_is_not_sent_it_again(api: Api, said: dict):
    as_json(api, ("a.txt", b"0123456789", "text/plain"), message=said["id"])
    url = listed(api, said["conversation"])[0]["attachments"][0]["file_url"]
    tag = httpx.get(url).headers["etag"]
    for told in (tag, f'"other", W/{tag}'):
        again = httpx.get(url, headers={"If-None-Match": told})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert httpx.get(url, headers={"If-None-Match": '"other"'}).content == b"0123456789"
