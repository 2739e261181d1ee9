"""The old releases, as fixtures."""

from __future__ import annotations

from functools import cache

import pytest

from served import absent

from .old import OldClient, Unavailable


@cache
def _release(version: str) -> OldClient | Unavailable:
    try:
        return OldClient(version)
    except Unavailable as wrong:
        return wrong


def release(version: str) -> OldClient:
    found = _release(version)
    if isinstance(found, Unavailable):
        absent(f"agentsight {version} cannot be installed from the package index: {found}")
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
