"""However a process ends, what it tracked is delivered or waits on disk for the next one."""

from __future__ import annotations

import json
import signal
import stat
import time
from pathlib import Path

import pytest
from recording import KEY, free_port

TRACK = """
from agentsight import conversation_tracker as tracker
tracker.configure(conversation_id="c")
for number in range(500):
    tracker.track_human_message(f"{number}")
"""
FOREVER = "\nprint('tracked', flush=True)\nimport time\nwhile True: time.sleep(0.05)\n"


def spooled(folder: Path) -> list[dict]:
    return [
        json.loads(line.split(b" ", 3)[3])["e"]
        for path in sorted(folder.rglob("*.aspool"))
        for line in path.read_bytes().splitlines()
        if b'{"e":' in line
    ]


@pytest.mark.parametrize(
    "ending", ["", "import sys; sys.exit(3)", "raise RuntimeError('mine')"], ids=["return", "exit", "exception"]
)
def test_a_script_that_ends_delivers_everything(script, recorder, ending):
    done = script(TRACK + ending)
    assert recorder.contents("c") == [str(number) for number in range(500)]
    assert done.returncode == (0 if not ending else 3 if "exit" in ending else 1)


def test_sigterm_delivers_everything_and_the_process_still_dies_of_it(script, recorder):
    process = script(TRACK + FOREVER, wait=False)
    assert process.stdout.readline() == "tracked\n"
    process.terminate()
    assert process.wait(10) == -signal.SIGTERM
    assert len(recorder.contents("c")) == 500


def test_a_hosts_own_sigterm_handler_stays(script, recorder):
    process = script(
        "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *a: sys.exit(7))\n" + TRACK + FOREVER, wait=False
    )
    assert process.stdout.readline() == "tracked\n"
    process.terminate()
    assert process.wait(10) == 7
    assert len(recorder.contents("c")) == 500


def test_a_host_that_handles_sigterm_and_then_dies_of_it_as_uvicorn_does_loses_nothing(script, recorder, tmp_path):
    process = script(
        "import os, signal, time\nseen = []\nsignal.signal(signal.SIGTERM, lambda *a: seen.append(a))\n"
        + TRACK
        + """
print("tracked", flush=True)
while not seen: time.sleep(0.01)
tracker.track_human_message("while it shuts down")
signal.signal(signal.SIGTERM, signal.SIG_DFL)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(5)
""",
        wait=False,
    )
    assert process.stdout.readline() == "tracked\n"
    process.terminate()
    assert process.wait(10) == -signal.SIGTERM
    assert len(recorder.contents("c")) == 500
    assert [event["content"] for event in spooled(tmp_path / "spool")] == ["while it shuts down"]
    script("from agentsight import conversation_tracker as t\nt.track_human_message('next')\nt.send_tracked_data()")
    assert len(recorder.contents("c")) == 501


@pytest.mark.parametrize("ending", ["return", "sigterm"])
def test_a_slow_server_bounds_the_end_and_nothing_is_lost(script, recorder, tmp_path, ending):
    recorder.always = lambda handler, body: time.sleep(8)
    process = script(TRACK + (FOREVER if ending == "sigterm" else "print('tracked', flush=True)"), wait=False)
    assert process.stdout.readline() == "tracked\n"
    started = time.monotonic()
    if ending == "sigterm":
        process.terminate()
    process.wait(12)
    assert time.monotonic() - started < 6.5
    assert len(spooled(tmp_path / "spool")) == 500


def test_what_one_process_could_not_send_the_next_delivers_once_and_the_files_go(script, recorder, tmp_path):
    down = f"http://127.0.0.1:{free_port()}"
    folder = tmp_path / "spool"
    # the folder's name comes from the endpoint: the first process meets a server that refuses, then the same one works
    recorder.always = (503, {"detail": "storage is full"})
    first = script(TRACK + "print(tracker.send_tracked_data()['summary'])")
    assert "'errors': 500" in first.out, first.err
    assert len(spooled(folder)) == 500
    for path in folder.rglob("*.aspool"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert KEY.encode() not in path.read_bytes()
    recorder.always = None
    second = script(
        "from agentsight import conversation_tracker as t\nt.track_human_message('later')\nt.send_tracked_data()"
    )
    assert second.returncode == 0, second.err
    assert sorted(recorder.contents()) == sorted([*map(str, range(500)), "later"])
    assert list(folder.rglob("*.aspool")) == []
    assert down


def test_kill_9_loses_nothing_when_every_event_is_on_disk_first(script, recorder, tmp_path):
    tracked = []
    for _ in range(5):
        process = script(
            """
from agentsight import conversation_tracker as tracker
import uuid
tracker.configure(conversation_id="c")
while True:
    text = uuid.uuid4().hex
    tracker.track_human_message(text)
    print(text, flush=True)
""",
            wait=False,
            AGENTSIGHT_SPOOL="always",
        )
        for _ in range(40):
            tracked.append(process.stdout.readline().strip())
        process.kill()
        rest = process.stdout.read().split("\n")[:-1]
        tracked += [line for line in rest if len(line) == 32]
        process.wait()
    script("from agentsight import conversation_tracker as t\nt.track_human_message('x')\nt.send_tracked_data()")
    recorder.wait(len(set(tracked)))
    assert set(tracked) <= set(recorder.contents())
    assert len(recorder.contents()) == len(set(recorder.contents()))
    assert list((tmp_path / "spool").rglob("*.aspool")) == []


def test_kill_9_after_a_failed_send_loses_nothing_either(script, recorder, tmp_path):
    recorder.always = (503, {"detail": "later"})
    process = script(TRACK + "tracker.send_tracked_data()" + FOREVER, wait=False)
    assert process.stdout.readline() == "tracked\n"
    process.kill()
    process.wait()
    recorder.always = None
    script("from agentsight import conversation_tracker as t\nt.track_human_message('x')\nt.send_tracked_data()")
    assert len(recorder.contents("c")) == 500


def test_nothing_touches_the_disk_while_the_server_answers(script, recorder, tmp_path):
    script(TRACK + "tracker.send_tracked_data()")
    assert not (tmp_path / "spool").exists()


def test_a_folder_that_cannot_be_written_is_given_up_with_one_warning(script, recorder, tmp_path):
    (tmp_path / "file").write_text("")
    recorder.always = (503, {"detail": "later"})
    done = script(
        "import logging; logging.basicConfig()\n" + TRACK + "print(tracker.send_tracked_data()['summary']['errors'])",
        AGENTSIGHT_SPOOL_DIR=str(tmp_path / "file" / "below"),
    )
    assert done.returncode == 0 and done.out.strip() == "500"
    assert done.err.count("cannot keep events on disk") == 1
    assert done.err.count("the process ends") <= 1


def test_a_torn_or_spoilt_record_costs_only_itself(script, recorder, tmp_path):
    recorder.always = (503, {"detail": "later"})
    script(TRACK)
    (path,) = (tmp_path / "spool").rglob("*.aspool")
    path.write_bytes(path.read_bytes() + b'AS1 900 00000000 {"e":{"id"')
    recorder.always = None
    done = script("from agentsight import conversation_tracker as t\nt.track_human_message('x')\nt.send_tracked_data()")
    assert done.returncode == 0, done.err
    assert len(recorder.contents("c")) == 500
    assert len(list((tmp_path / "spool").rglob("*.bad"))) == 1
