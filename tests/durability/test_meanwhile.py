"""Files that one process looks at while another puts them there and takes them away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agentsight.spool import Spool
from agentsight.storage.blobs import FileBlobs

TIMES = 500


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """`work` goes on and on in another thread inside the block."""
    stopped = threading.Event()

    def go_on() -> None:
        while not stopped.is_set():
            work()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def test_a_spool_is_measured_while_others_deliver_its_segments(tmp_path: Path):
    def churn() -> None:
        segments = [tmp_path / f"{number}.aspool" for number in range(50)]
        for segment in segments:
            segment.write_bytes(b"x" * 10)
        for segment in segments:
            segment.unlink()

    with meanwhile(churn):
        for _ in range(TIMES):
            assert 0 <= Spool(str(tmp_path))._used() <= 500


def test_a_file_is_kept_while_a_sweep_takes_the_one_before_away(tmp_path: Path):
    blobs = FileBlobs(tmp_path)
    sha256 = blobs.put(b"again and again")
    with meanwhile(lambda: blobs.delete(sha256)):
        for _ in range(TIMES):
            assert blobs.put(b"again and again") == sha256
    assert blobs.put(b"again and again") == sha256 and blobs.get(sha256) == b"again and again"
