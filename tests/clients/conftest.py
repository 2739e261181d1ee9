"""The old releases, as fixtures."""

from __future__ import annotations

from functools import cache

import pytest

from served import absent

from .old import OldClient, Unavailable


@cache
def _release(version: str, *packages: str) -> OldClient | Unavailable:
    try:
        return OldClient(version, packages)
    except Unavailable as wrong:
        return wrong


def release(version: str, *packages: str) -> OldClient:
    found = _release(version, *packages)
    if isinstance(found, Unavailable):
        absent(f"{packages or version} cannot be installed from the package index: {found}")
    return found


@pytest.fixture(params=["0.0.12", "0.0.18"])
def first_generation(request: pytest.FixtureRequest) -> OldClient:
    """A release whose tracker knows questions and answers."""
    return release(request.param)


@pytest.fixture
def newest() -> OldClient:
    """The last release of the 0.0 line: tracker, manager and API client."""
    return release("0.0.44")


@pytest.fixture
def spans() -> OldClient:
    """The 0.1 line: conversations, turns and spans, exported in the background."""
    return release("0.1.4")


@pytest.fixture
def otel() -> OldClient:
    """OpenTelemetry's own SDK and exporter, which know nothing of us."""
    return release("otel", "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http", "requests")
