"""What all suites share: one real server a test process, a fresh agent a test, and how an absent thing is treated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from served import ENGINE, Api, Postgresql, Server, absent, shared_postgresql

settings.register_profile("here", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("here")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the seeds and the sample data, which are not part of the repository."""
    if not SHARED.is_dir():
        absent(f"the folder {SHARED.name} with seeds and data is not beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def postgresql() -> Postgresql:
    """A PostgreSQL server that makes databases."""
    return shared_postgresql()


def pytest_sessionfinish() -> None:
    if shared_postgresql.cache_info().currsize:
        shared_postgresql().close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Where engines could differ most, what asks a server runs on both in every run."""
    if "server" in metafunc.fixturenames:
        name = metafunc.module.__name__.rpartition(".")[2]
        engines = ["sqlite", "postgresql"] if name in ALWAYS_TWICE else [ENGINE]
        metafunc.parametrize("server", engines, indirect=True, scope="session")


ALWAYS_TWICE = ("test_bad_input", "test_files", "test_isolation", "test_numbers", "test_order", "test_reading")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A run for another engine (`make test-postgresql`) leaves out what names its engine itself, or needs none: it ran before."""
    if ENGINE == "sqlite":
        return
    kept: dict[bool, list[pytest.Item]] = {True: [], False: []}
    for item in items:
        kept[_names_its_engine(item)].append(item)
    config.hook.pytest_deselected(items=kept[True])
    items[:] = kept[False]


def _names_its_engine(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    asked = dict(item.callspec.params) if hasattr(item, "callspec") else {}
    shared = asked.pop("server", None)
    twice = item.path.stem in ALWAYS_TWICE and shared is not None
    marked = any(item.get_closest_marker(name) for name in ("sqlite", "drawn"))
    return marked or twice or "postgresql" in fixtures or bool({"sqlite", "postgresql"} & set(map(str, asked.values())))


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A started server that all tests of this process share; each keeps to agents of its own."""
    folder = tmp_path_factory.mktemp("server")
    is_sqlite = request.param == "sqlite"
    database = f"sqlite:///{folder / 'a.db'}" if is_sqlite else request.getfixturevalue("postgresql").fresh()
    started = Server(folder, database=database)
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
