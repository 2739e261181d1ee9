"""/openapi.json: every operation says who may ask, how it refuses, and what it answers is among what it says."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from served import Api, Server

OPEN = {"/healthz", "/readyz", "/metrics"}


@pytest.fixture(scope="module")
def paths(server: Server) -> dict[str, Any]:
    document: dict[str, Any] = httpx.get(f"{server.url}/openapi.json").json()
    assert document["security"]
    refusals = document["components"]["responses"]
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if "$ref" in response:
                    operation["responses"][status] = refusals[response["$ref"].rpartition("/")[2]]
    found: dict[str, Any] = document["paths"]
    return found


def test_every_operation_says_how_it_refuses_and_never_as_the_framework_would(paths: dict[str, Any]):
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert operation["responses"].keys() >= {"400", "401", "403", "404", "503"}, (method, path)
            assert "422" not in operation["responses"], (method, path)
            if method in ("post", "patch"):
                assert operation["requestBody"]["content"], (method, path)
            assert (operation.get("security") == []) == (path in OPEN or path == "/api/auth/token/"), (method, path)


def test_what_comes_back_is_what_was_said_to(api: Api, paths: dict[str, Any]):
    for path, operations in paths.items():
        for method, operation in operations.items():
            for body in (None, {"conversation_id": "c", "content": "x", "sender": "agent", "sentiment": "positive"}):
                answer = api.request(method, path.format(id=1, trace_id="0" * 32), json=body)
                assert str(answer.status_code) in operation["responses"], (method, path, answer.text)
