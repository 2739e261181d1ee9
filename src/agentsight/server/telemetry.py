"""What the server counts of itself, for GET /metrics."""

from __future__ import annotations

import os
from collections.abc import Mapping

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
    multiprocess,
)
from starlette.requests import Request
from starlette.responses import Response

from .http import needs

REGISTRY = CollectorRegistry()
EVENTS = Counter("agentsight_events", "Events received, by verdict", ["verdict"], registry=REGISTRY)
CLIENT_DROPPED = Counter(
    "agentsight_client_dropped", "Events clients say they had to drop, by reason", ["reason"], registry=REGISTRY
)
REQUESTS = Counter("agentsight_requests", "HTTP answers, by class of status", ["status"], registry=REGISTRY)
DURATION = Histogram("agentsight_request_seconds", "Time to answer, in seconds", registry=REGISTRY)


_VERDICTS = {verdict: EVENTS.labels(verdict) for verdict in ("accepted", "duplicate", "rejected")}


def count(verdicts: Mapping[str, int]) -> None:
    """Count what became of some events."""
    for verdict, number in verdicts.items():
        _VERDICTS[verdict].inc(number)


def said_to_be_dropped(dropped: object) -> list[tuple[str, int]]:
    """(reason, how many) a client says it lost; anything but names and whole numbers is ignored."""
    told = list(dropped.items())[:20] if isinstance(dropped, dict) else []
    return [
        (reason[:40], number)
        for reason, number in told
        if isinstance(reason, str) and reason.isidentifier() and isinstance(number, int) and 0 < number < 10**9
    ]


def count_dropped(dropped: object) -> None:
    """Count what a client says it lost."""
    for reason, number in said_to_be_dropped(dropped):
        CLIENT_DROPPED.labels(reason).inc(number)


_CLASSES = {number: REQUESTS.labels(f"{number}xx") for number in range(1, 6)}


def answered(status: int, seconds: float) -> None:
    """Count an answer."""
    _CLASSES[status // 100].inc()
    DURATION.observe(seconds)


@needs("anybody")
async def metrics(request: Request) -> Response:
    """Prometheus text: what all workers of this server counted, whichever of them answers."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        multiprocess.MultiProcessCollector(registry := CollectorRegistry())  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
