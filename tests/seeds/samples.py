"""The seeds' Python samples, taken from their pages as they stand; indentation the text lost is put back."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from served import Server, absent, environment

STUBS = Path(__file__).parent / "stubs"
_FENCE = re.compile(r"```python\n(.*?)```", re.DOTALL)

# Seed 001 has neither fences nor indentation: its samples stand between these ends, and these lines open so many others.
_STARTS = (
    "from agentsight import conversation_tracker\n",
    'conversation_tracker.get_or_create_conversation(\nconversation_id="support-123"',
    "# Sends to API right away",
    "conversation_tracker.track_human_message(\n",
    "conversation_tracker.track_agent_message(\n",
    "conversation_tracker.track_action(\n",
    "conversation_tracker.track_button(\n",
    "import base64\n",
    "with open('document.pdf', 'rb') as f:",
    "conversation_tracker.track_token_usage(\n",
    "# Send all tracked data at once",
    '{\n"items": [',
    "# View what's in memory before sending",
    "# ✅ Correct chronological order",
    "# Option 1: After each interaction",
)
_ENDS = re.compile(
    r"(Configuration|Create Immediately|Tracking Methods|Track [A-Z][a-z]+( [A-Z][a-z]+)?|Form Data Mode:|Sending Tracked Data|"
    r"Response Structure|View Tracked Data|Best Practices|2\. Send at Appropriate Times|Key Features)(?=\n)"
)
_BODIES = {"with open": 1, "for item in": 1, "def handle_": 4, "for query in": 2}


def seed(shared: Path, number: str) -> str:
    found = list((shared / "seeds").glob(f"{number}_*.txt"))
    if not found:
        absent(f"seed {number} is not in the shared folder")
    return found[0].read_text(encoding="utf-8")


def fenced(page: str) -> list[str]:
    return _FENCE.findall(page)


def unfenced(page: str) -> list[str]:
    samples = []
    for start in _STARTS:
        begin = page.index(start)
        end = _ENDS.search(page, begin)
        samples.append(_indented(page[begin : end.start() if end else len(page)]))
    return samples


def _indented(text: str) -> str:
    lines, open_for = [], []
    for line in text.splitlines():
        lines.append("    " * len(open_for) + line)
        open_for = [left - 1 for left in open_for if left > 1]
        open_for += [count for opener, count in _BODIES.items() if line.startswith(opener)]
    return "\n".join(lines) + "\n"


class Desk:
    """A folder to run samples in: a `.env` with a real key, two files, a process without any setting of its own."""

    def __init__(self, folder: Path, server: Server, key: str, **settings: str):
        self.folder = folder
        self.env = environment(PYTHONPATH=str(STUBS), PYTHONUNBUFFERED="1")
        settings = {"AGENTSIGHT_API_KEY": key, "AGENTSIGHT_API_ENDPOINT": server.url, **settings}
        (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        for name in ("report.pdf", "document.pdf"):
            (folder / name).write_bytes(b"%PDF-1.4 " + name.encode())

    def run(self, code: str) -> str:
        """Run one script to its end; gives what it printed."""
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    @contextmanager
    def serving(self, code: str) -> Iterator[str]:
        """Serve the FastAPI `app` of this code on a port of its own; gives the URL."""
        (self.folder / "sample.py").write_text(code)
        log = open(self.folder / "sample.log", "w")  # noqa: SIM115 -- open as long as the process
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE], cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            line = process.stdout.readline() if process.stdout else ""
            assert line.strip().isdigit(), (self.folder / "sample.log").read_text()[-3000:]
            yield f"http://127.0.0.1:{line.strip()}"
        finally:
            process.terminate()
            process.wait(20)
            if process.stdout:
                process.stdout.close()
            log.close()


_SERVE = """\
import asyncio, os, socket, sys, uvicorn
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(256)
sys.path.insert(0, os.getcwd())
import sample
print(listener.getsockname()[1], flush=True)
sys.stdout = sys.stderr
uvicorn.Server(uvicorn.Config(sample.app, log_level="warning")).run(sockets=[listener])
"""
