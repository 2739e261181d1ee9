"""What all suites share: one real server a test process, a fresh agent a test, and how an absent thing is treated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from served import Api, Postgresql, Server, absent

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the seeds and the sample data, which are not part of the repository."""
    if not SHARED.is_dir():
        absent(f"the folder {SHARED.name} with seeds and data is not beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """A PostgreSQL server that makes databases."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    started = Postgresql()
    yield started
    started.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What asks a server runs on both engines: where engines could differ always, elsewhere in `make test-all`."""
    if "server" in metafunc.fixturenames:
        room, _, name = metafunc.module.__name__.rpartition(".")
        if room in ONCE:
            return
        marks = () if name in ALWAYS_TWICE else (pytest.mark.exhaustive,)
        engines = ["sqlite", pytest.param("postgresql", marks=marks)]
        metafunc.parametrize("server", engines, indirect=True, scope="session")


ONCE = ("sdk", "seeds", "pages", "chat", "docs")  # rooms that do not care where the server keeps things
ALWAYS_TWICE = ("test_bad_input", "test_files", "test_isolation", "test_numbers", "test_order", "test_reading")


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A started server that all tests of this process share; each keeps to agents of its own."""
    is_sqlite = getattr(request, "param", "sqlite") == "sqlite"
    database = None if is_sqlite else request.getfixturevalue("postgresql").fresh()
    started = Server(tmp_path_factory.mktemp("server"), database=database)
    yield started
    log = started.log()
    assert started.stop() in (0, -15), "SIGTERM ends a server cleanly"
    assert "crashed" not in log, log[-4000:]


@pytest.fixture
def api(server: Server) -> Iterator[Api]:
    """A client with the key of an agent nobody else uses."""
    with server.api() as client:
        yield client


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers of one's own; whatever still runs at the end is ended."""
    running: list[Server] = []

    def starting(data: Path | None = None, **options: object) -> Server:
        running.append(Server(data or tmp_path / "data", **options))  # type: ignore[arg-type]
        return running[-1]

    yield starting
    for one in running:
        if one.process.poll() is None:
            one.kill()
