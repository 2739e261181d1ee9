"""Files in an S3-compatible bucket: the same routes, and honest answers while the bucket is away."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from moto.server import ThreadedMotoServer

from agentsight.storage import open_blobs
from served import Server, at, environment, event

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20
WHERE = "s3://files/of/ours"


class Bucket:
    """An S3-compatible server with one bucket, which can go away and come back."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {
            "AGENTSIGHT_FILES": WHERE,
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL": self.url,
        }
        self.start()
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/files", method="PUT")).close()

    def start(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    made = Bucket()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def bucketed(bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("bucketed"), **bucket.env)
    yield server
    server.stop()


def upload(api: httpx.Client, data: bytes, name: str = "a.png", **place: Any) -> httpx.Response:
    files = [{"filename": name, "mime_type": "image/png", "data": base64.b64encode(data).decode()}]
    return api.post(
        "/api/attachments/", json={"conversation_id": "c", "timestamp": at(1), "attachments": files, **place}
    )


def test_a_file_goes_into_the_bucket_and_comes_out_whole_or_in_part(bucketed: Server):
    with bucketed.api() as api:
        sent = upload(api, PNG)
        assert sent.status_code == 201, sent.text
        url = sent.json()["attachments"][0]["file_url"]
        whole = httpx.get(url)
        assert (whole.content, whole.headers["content-length"]) == (PNG, str(len(PNG)))
        assert whole.headers["content-disposition"].startswith("attachment")
        part = httpx.get(url, headers={"Range": "bytes=1-3"})
        assert (part.status_code, part.content) == (206, b"PNG")
        assert httpx.get(url, params={"inline": 1}).headers["content-type"] == "image/png"
    assert not (bucketed.data / "files").exists()


def test_a_batch_with_a_file_is_stored_as_on_disk(bucketed: Server):
    with bucketed.api() as api:
        one = event("attachment", "c", filename="b.bin", data=base64.b64encode(b"bytes").decode())
        assert [api.batch(one)["accepted"], api.batch(one)["duplicate"]] == [1, 1]
        (row,) = api.conversation("c")["messages"]
        assert httpx.get(row["attachments"][0]["file_url"]).content == b"bytes"


def test_while_the_bucket_is_away_a_file_is_refused_and_nothing_of_it_is_stored(bucket: Bucket, bucketed: Server):
    data = b"later"
    with bucketed.api() as api:
        bucket.stop()
        try:
            refused = upload(api, data, event_id="once")
            told = api.batch(event("message", "words", sender="end_user", content="no file here"))
        finally:
            bucket.start()
            urllib.request.urlopen(urllib.request.Request(f"{bucket.url}/files", method="PUT")).close()
        assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (503, True)
        assert told["accepted"] == 1
        assert api.ids() == ["words"]
        assert upload(api, data, event_id="once").status_code == 201


def test_doctor_says_where_files_are_and_what_is_wrong_with_it(bucket: Bucket, tmp_path: Path):
    def files(**changed: str) -> dict[str, str]:
        ran = subprocess.run(
            [sys.executable, "-m", "agentsight.cli", "doctor", "--json", "--data", str(tmp_path / "data")],
            env=environment(**bucket.env | changed), capture_output=True, text=True, check=False,
        )  # fmt: skip
        found: dict[str, str] = next(one for one in json.loads(ran.stdout) if one["check"] == "files")
        return found

    assert files() == {"check": "files", "found": WHERE, "remedy": ""}
    assert files(AGENTSIGHT_FILES="s3://nobodys")["remedy"]
    assert "not ftp://" in files(AGENTSIGHT_FILES="ftp://x")["found"]


def test_what_is_kept_can_be_listed_and_let_go(bucket: Bucket, monkeypatch: pytest.MonkeyPatch):
    for name, value in bucket.env.items():
        monkeypatch.setenv(name, value)
    blobs = open_blobs("s3://files/alone")
    kept = [blobs.put(data) for data in (b"one", b"two")]
    assert sorted(blobs.each()) == sorted(kept)
    blobs.delete(kept[0])
    blobs.delete(kept[0])
    assert list(blobs.each()) == [kept[1]]
