"""Several processes of one server behind one listening socket: started, watched, replaced and ended together."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from types import FrameType
from typing import Any

from .options import Refusal, say
from .running import DRAIN_S, READY, Listener

PATIENCE_S = 120  # for a worker to say that it serves
AGAIN_S = (0.0, 0.5, 1, 2, 5, 10, 30)  # before a worker that ended is replaced, the more often it failed to start
KILLED_AGAIN = 2  # so far along these when it was killed
STEADY_S = 5  # one that served for so long is replaced at once


class Worker:
    """One process. It says that it serves in a line, and ends when its standard input does, so that none is left behind."""

    def __init__(self, command: Sequence[str], listener: Listener, env: dict[str, str]):
        self.born, self.is_ready = time.monotonic(), False
        self.process = subprocess.Popen(
            [*command, "--fd", str(listener.socket.fileno()), "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | env,
            pass_fds=[listener.socket.fileno()],
        )

    @property
    def output(self) -> Any:
        return self.process.stdout

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class Workers:
    """`count` workers until SIGTERM or Ctrl-C; whichever ends before is replaced, sooner or later."""

    def __init__(self, count: int, options: Sequence[str], listener: Listener, env: dict[str, str]):
        self._command = [sys.executable, "-m", "agentsight.cli", "serve", *options]
        self._listener, self._env = listener, env
        self._due = [0.0] * count  # when each place is filled again
        self._failures = [0] * count
        self._workers: list[Worker | None] = [None] * count
        self._stopping = threading.Event()
        self._was_ready = False
        self._outputs = selectors.DefaultSelector()

    def run(self, lines: Iterable[str] = ()) -> None:
        """Returns when all have ended. Raises Refusal when one cannot even start."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        began = time.monotonic()
        try:
            while not self._stopping.is_set():
                self._fill()
                self._listen()
                if not self._was_ready and all(worker and worker.is_ready for worker in self._workers):
                    self._was_ready = True
                    for line in (f"{READY}{self._listener.url}", *lines):
                        print(line, flush=True)
                if not self._was_ready and time.monotonic() - began > PATIENCE_S:
                    raise Refusal(f"the workers did not start within {PATIENCE_S} seconds; see what they said above")
        finally:
            self._end()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping.set()

    def _fill(self) -> None:
        """Start whoever is missing."""
        for place, worker in enumerate(self._workers):
            if worker is not None and worker.process.poll() is not None:
                self._bury(place, worker)
            if self._workers[place] is None and self._due[place] <= time.monotonic():
                self._workers[place] = fresh = Worker(self._command, self._listener, self._env)
                self._outputs.register(fresh.output, selectors.EVENT_READ, fresh)

    def _bury(self, place: int, worker: Worker) -> None:
        if not self._was_ready:
            raise Refusal(f"a worker did not start (status {worker.process.returncode}); it says why above")
        self._failures[place] = self._failures_after(worker, self._failures[place])
        self._due[place] = time.monotonic() + AGAIN_S[self._failures[place]]
        say(f"agentsight: worker {worker.process.pid} ended ({worker.process.returncode}); another takes its place")
        self._forget(worker)
        self._workers[place] = None

    @staticmethod
    def _failures_after(worker: Worker, before: int) -> int:
        """Only one that ends by itself before it serves is likely to do so again; who was killed, or served, is missed."""
        if worker.is_ready:
            return 0 if time.monotonic() - worker.born > STEADY_S else 1
        was_killed = worker.process.returncode < 0
        return min(before + 1, KILLED_AGAIN if was_killed else len(AGAIN_S) - 1)

    def _forget(self, worker: Worker) -> None:
        if worker.output in self._outputs.get_map():
            self._outputs.unregister(worker.output)
        worker.close()

    def _listen(self) -> None:
        """What workers say, for a moment."""
        for key, _ in self._outputs.select(timeout=0.1):
            worker: Worker = key.data
            said = os.read(worker.output.fileno(), 65_536)
            if said.startswith(READY.encode()):
                worker.is_ready = True
            elif not said:
                self._outputs.unregister(worker.output)
        if not self._outputs.get_map():
            time.sleep(0.1)

    def _end(self) -> None:
        """All at once, each finishing what is under way."""
        left = [worker for worker in self._workers if worker is not None]
        for worker in left:
            worker.process.terminate()
        until = time.monotonic() + DRAIN_S + 4
        for worker in left:
            try:
                worker.process.wait(timeout=max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            self._forget(worker)
