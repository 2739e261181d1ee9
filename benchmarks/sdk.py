"""What tracking costs, beside its peers, in one run: `python benchmarks/sdk.py`.

Each contender runs in a process of its own against a loopback server that answers at once, rounds alternating.
Peers are installed once, by package name, under the user's cache folder. Prints medians, and whether targets hold:
T7, a tracked event costs at most 4 times the floor, 0.3 times AgentSight 0.0.44, 0.2 times an OpenTelemetry span and
0.05 times a Langfuse event; T8, at most one request per 100 events, and sending costs at most 0.05 times 0.0.44's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

KEY = "ags_" + "a" * 32 + "_" + "b" * 6
TEXT = "Hi, I would like to know where my order 12345 is, it was due to arrive last Tuesday."
METADATA = {"page": "/orders", "plan": "pro"}
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agentsight-benchmarks"
PACKAGES = {
    "agentsight-0.0.44": ["agentsight==0.0.44"],
    "agentsight-0.1.4": ["agentsight==0.1.4"],
    "opentelemetry": ["opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"],
    "langfuse": ["langfuse"],
    "posthog": ["posthog"],
}


# -- contenders: each gives back how to track one event, and how to deliver what was tracked -------------------------
Contender = tuple[Callable[[], Any], Callable[[], Any] | None]


def floor(url: str) -> Contender:
    from collections import deque

    lock, kept = threading.Lock(), deque[Any]()

    def track() -> None:
        event = {"type": "message", "id": None, "ts": time.time_ns(), "conversation_id": "c1", "sender": "user",
                 "content": TEXT, "metadata": dict(METADATA)}  # fmt: skip
        with lock:
            kept.append(event)

    return track, None


def ours(url: str) -> Contender:
    os.environ.update(AGENTSIGHT_API_KEY=KEY, AGENTSIGHT_API_ENDPOINT=url, AGENTSIGHT_SPOOL="off")
    from agentsight import conversation_tracker

    conversation_tracker.configure(conversation_id="c1")
    return lambda: conversation_tracker.track_human_message(TEXT, metadata=METADATA), _checked(conversation_tracker)


def older(url: str, level: str) -> Contender:
    os.environ.update(AGENTSIGHT_API_KEY=KEY, AGENTSIGHT_API_ENDPOINT=url, AGENTSIGHT_LOG_LEVEL=level)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115  its log lines cost what they cost, but nobody reads them here
    from agentsight import conversation_tracker

    conversation_tracker.configure(conversation_id="c1")
    return lambda: conversation_tracker.track_human_message(TEXT, metadata=METADATA), _checked(conversation_tracker)


def _checked(tracker: Any) -> Callable[[], None]:
    def send() -> None:
        summary = tracker.send_tracked_data()["summary"]
        assert summary["errors"] == 0, summary

    return send


def opentelemetry(url: str) -> Contender:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{url}/v1/traces")))
    tracer = provider.get_tracer("benchmark")
    attributes = {"session.id": "c1", "sender": "user", "content": TEXT, "page": "/orders", "plan": "pro"}
    return lambda: tracer.start_span("message", attributes=attributes).end(), provider.force_flush


def langfuse(url: str) -> Contender:
    import logging

    logging.disable(logging.CRITICAL)
    from langfuse import Langfuse

    client = Langfuse(public_key="pk", secret_key="sk", base_url=url)
    return lambda: client.create_event(name="message", input=TEXT, metadata=METADATA), client.flush


def spans_based(url: str) -> Contender:
    """0.1.4, which is built on OpenTelemetry: a message inside a turn, its cheapest call."""
    import logging

    logging.disable(logging.CRITICAL)
    import agentsight

    agentsight.init(api_key=KEY, endpoint=url)
    agentsight.conversation("c1").__enter__()
    agentsight.turn().__enter__()
    return lambda: agentsight.user_message(TEXT, metadata=METADATA), None


def posthog(url: str) -> Contender:
    import logging

    logging.disable(logging.CRITICAL)
    from posthog import Posthog

    client = Posthog("phc_x", host=url, disable_geoip=True)
    told = {"conversation_id": "c1", "sender": "user", "content": TEXT, **METADATA}
    return lambda: client.capture("message", distinct_id="u1", properties=dict(told)), client.flush


CONTENDERS: dict[str, tuple[str | None, Callable[[str], Contender], int]] = {  # name -> environment, contender, sent
    "floor": (None, floor, 0),
    "AgentSight": (None, ours, 5_000),
    "AgentSight 0.0.44": ("agentsight-0.0.44", lambda url: older(url, "INFO"), 200),
    "AgentSight 0.0.44 at ERROR": ("agentsight-0.0.44", lambda url: older(url, "ERROR"), 200),
    "AgentSight 0.1.4": ("agentsight-0.1.4", spans_based, 0),
    "OpenTelemetry span": ("opentelemetry", opentelemetry, 0),
    "Langfuse event": ("langfuse", langfuse, 0),
    "PostHog capture": ("posthog", posthog, 0),
}


def measure(name: str, url: str, events: int) -> dict[str, float]:
    """Median microseconds of a track call, and of delivering one event."""
    _, make, sent = CONTENDERS[name]
    track, send = make(url)
    for _ in range(200):
        track()
    if send:
        send()
    took = []
    clock, cpu = time.perf_counter, time.process_time()
    for _ in range(events):
        started = clock()
        track()
        took.append(clock() - started)
    if send:
        send()
    result = {"track_us": statistics.median(took) * 1e6, "p99_us": sorted(took)[int(events * 0.99)] * 1e6,
              "cpu_us": (time.process_time() - cpu) / events * 1e6}  # fmt: skip
    if send and sent:
        for _ in range(sent):
            track()
        started = clock()
        send()
        result["send_us"] = (clock() - started) / sent * 1e6
    return result


# -- the server everybody talks to -------------------------------------------------------------------------------------
class Sink(asyncio.Protocol):
    """Answers any request at once, and counts them."""

    requests = 0
    body = b'{"id":1,"status":"ok","successes":[],"errors":[]}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    def connection_made(self, transport: Any) -> None:
        self.transport, self.left, self.head = transport, 0, b""

    def data_received(self, data: bytes) -> None:
        while data:
            if self.left:
                taken = min(self.left, len(data))
                self.left, data = self.left - taken, data[taken:]
            else:
                self.head += data
                end = self.head.find(b"\r\n\r\n")
                if end < 0:
                    return
                length = self.head[:end].lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
                self.left, data, self.head = int(length or 0), self.head[end + 4 :], b""
            if not self.left:
                Sink.requests += 1
                self.transport.write(self.answer)


def serve() -> str:
    started: list[str] = []
    ready = threading.Event()

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
        started.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        ready.set()
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(run()), daemon=True).start()
    ready.wait()
    return started[0]


# -- the run -----------------------------------------------------------------------------------------------------------
def python_for(environment: str | None) -> str:
    """The interpreter a contender runs in; its environment is made when it is not there yet."""
    if environment is None:
        return sys.executable
    folder = CACHE / environment
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not (folder / "ready").exists():
        print(f"installing {' '.join(PACKAGES[environment])} ...", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES[environment]], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        (folder / "ready").touch()
    return str(python)


def run(names: list[str], events: int, rounds: int) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    url = serve()
    pythons: dict[str, str] = {}
    for name in list(names):
        try:
            pythons[name] = python_for(CONTENDERS[name][0])
        except (OSError, subprocess.CalledProcessError) as wrong:
            print(f"{name} cannot be installed here: {wrong}", file=sys.stderr)
            names.remove(name)
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    requests: dict[str, float] = {}
    for _ in range(rounds):
        for name in names:
            before = Sink.requests
            command = [pythons[name], __file__, "--measure", name, "--url", url, "--events", str(events)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
            figures[name].append(json.loads(done.stdout.splitlines()[-1]))
            requests[name] = Sink.requests - before
    medians = {
        name: {key: statistics.median(figure[key] for figure in rounds) for key in rounds[0]}
        for name, rounds in figures.items()
    }
    return medians, requests


def report(figures: dict[str, dict[str, float]], requests: dict[str, float], events: int) -> bool:
    import table  # not at the top: contenders run this file in environments of their own
    from table import Row

    print(f"{'':26}{'track us':>10}{'p99 us':>10}{'CPU us/event':>14}{'send us/event':>15}")
    for name, figure in figures.items():
        cells = "".join(f"{figure.get(key, float('nan')):{width}.2f}" for key, width in
                        (("track_us", 10), ("p99_us", 10), ("cpu_us", 14), ("send_us", 15)))  # fmt: skip
        print(f"{name:26}{cells.replace('nan', '  -')}")
    mine = figures["AgentSight"]
    per_request = (events + 200 + 5_000) / max(1, requests["AgentSight"])
    checks = [
        (f"T7 track <= {limit} x {peer}", mine["track_us"] / figures[peer]["track_us"], limit)
        for peer, limit in (
            ("floor", 4),
            ("AgentSight 0.0.44", 0.3),
            ("OpenTelemetry span", 0.2),
            ("Langfuse event", 0.05),
        )
        if peer in figures
    ]
    if "OpenTelemetry span" in figures:
        checks.append(
            ("T7 CPU <= 0.4 x OpenTelemetry span", mine["cpu_us"] / figures["OpenTelemetry span"]["cpu_us"], 0.4)
        )
    if "AgentSight 0.0.44" in figures:
        checks.append(
            ("T8 send <= 0.05 x AgentSight 0.0.44", mine["send_us"] / figures["AgentSight 0.0.44"]["send_us"], 0.05)
        )
    checks.append(("T8 requests per 100 events <= 1", 100 / per_request, 1))
    for peer in ("AgentSight 0.1.4", "PostHog capture"):
        if peer in figures:
            checks.append((f"- track of {peer}", mine["track_us"] / figures[peer]["track_us"], None))
    print()
    table.give(
        Row(says.split()[0].strip("-"), says.partition(" ")[2], ratio=ratio, bound=f"<= {limit}" if limit else "")
        for says, ratio, limit in checks
    )
    checks = [check for check in checks if check[2]]
    return all(ratio <= limit for _, ratio, limit in checks)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=8_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="contenders, separated by commas", default=",".join(CONTENDERS))
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(asked.measure, asked.url, asked.events)))
        return
    names = [name for name in CONTENDERS if name in asked.only.split(",") or name in ("floor", "AgentSight")]
    sys.exit(0 if report(*run(names, asked.events, asked.rounds), asked.events) else 1)


if __name__ == "__main__":
    main()
