"""The engine the numbers are kept by: SQLite always, PostgreSQL too in `make test-all` (and over HTTP always)."""

from __future__ import annotations

import pytest

from . import both


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.exhaustive)])
def engine(request: pytest.FixtureRequest) -> str:
    """Whatever `Both` opens from here on lies there."""
    if request.param == "postgresql" and "postgresql" not in both.urls:
        both.urls["postgresql"] = request.getfixturevalue("postgresql").fresh()
    both.use(request.param)
    return str(request.param)
