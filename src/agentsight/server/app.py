"""The server, put together: settings, storage, routes. The only file here that opens storage."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from itsdangerous import URLSafeTimedSerializer
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp

from agentsight import __version__
from agentsight.core import geo, prices, tombstones
from agentsight.core.ports import Storage
from agentsight.errors import AgentSightError, ConfigError, ServerFailed
from agentsight.storage import open_blobs, open_storage
from agentsight.storage.migrate import current, fits, latest, migrate

from . import (
    analytics,
    archive,
    auth,
    bodies,
    conversations,
    described,
    feedback,
    files,
    hosts,
    http,
    ingest,
    keeping,
    layers,
    ledger,
    manual,
    pages,
    singles,
    spans,
    telemetry,
    tickets,
    upkeep,
)
from .mail import Mailer
from .settings import Settings
from .tokens import Tokens
from .ui.headers import SecurityHeaders

_STARTED = f"{time.time_ns() // 1_000_000:x}{os.getpid():x}"


def open_app(settings: Settings) -> FastAPI:
    """The server on this database, its schema brought up to date first."""
    geo.use(settings.mmdb)
    prices.cost("gpt-4o-mini", 1, 1, 0, 0)  # reads the price table now, not when the first tokens wait for the writer
    storage = open_storage(settings.database_url, settings.read_database_url)
    migrate(storage)
    return create_app(settings, storage)


def create_app(settings: Settings, storage: Storage) -> FastAPI:
    """The server on a storage somebody opened; it is closed when the server stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with upkeep.running(storage, app.state.blobs), ledger.running(app.state.ledger):
            yield
        await asyncio.to_thread(storage.close)

    app = FastAPI(
        title="AgentSight",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        default_response_class=JSONResponse,
    )
    tombstones.use(settings.secret())
    state = app.state
    state.settings, state.storage = settings, storage
    state.blobs = open_blobs(settings.files)
    state.signer = URLSafeTimedSerializer(settings.secret(), salt="files")
    state.keys, state.keys_noted = {}, {}
    state.tokens, state.mailer = Tokens(settings.secret()), _mailer(settings)
    state.room, state.ledger = bodies.Room(), ledger.Ledger(storage)
    state.schema = latest()
    state.elsewhere = partial(upkeep.elsewhere, storage, state.blobs, settings.data)
    state.houses = hosts.Houses(storage)
    app.add_exception_handler(AgentSightError, http.on_refusal)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(Exception, http.on_crash)
    for room in (singles, spans, archive, feedback, tickets, conversations, files, analytics, auth, keeping, pages):
        app.include_router(room.router)
    for path, answer, says in (("/healthz", healthz, "The process is up"), ("/readyz", readyz, "The database answers")):
        app.add_api_route(path, answer, methods=["GET"], tags=["health"], summary=says)
        app.add_api_route(path, answer, methods=["HEAD"], include_in_schema=False)
    app.add_api_route("/docs", manual.manual, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route(
        "/metrics",
        telemetry.metrics,
        methods=["GET"],
        tags=["health"],
        summary="Prometheus text",
        response_class=PlainTextResponse,
    )
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    for _, path, endpoint in http.every_route(app.routes):
        if path != app.openapi_url:  # FastAPI's own, as open as /docs
            http.needed_by(endpoint)
    return app


async def on_http_exception(request: Request, error: Exception) -> Response:
    """A path nobody has: a page for people, our error shape for programs."""
    wanted = request.headers.get("accept", "")
    if getattr(error, "status_code", 0) == 404 and "text/html" in wanted and not request.url.path.startswith("/api/"):
        return pages.error_page(request, 404, "")
    return await http.on_http_exception(request, error)


def wrapped(app: FastAPI) -> ASGIApp:
    """`app` behind the layers that see every request first and every answer last."""
    numbers = itertools.count()
    inner = hosts.Hosts(layers.Express(app, "/api/batch/", ingest.batch), app.state.houses, ("/api/batch/", "/healthz"))
    return layers.Door(SecurityHeaders(inner), lambda: f"{_STARTED}-{next(numbers):x}", telemetry.answered)


def _mailer(settings: Settings) -> Mailer | None:
    """How mail goes out. Raises ConfigError where its links would have to believe what a request says of our name."""
    found = Mailer.of(settings.smtp_url, settings.mail_from)
    if found is not None and settings.public_url is None:
        raise ConfigError("AGENTSIGHT_SMTP_URL needs AGENTSIGHT_PUBLIC_URL: where the links in mails lead")
    return found


@http.needs("anybody")
async def healthz(request: Request) -> Response:
    return http.Json({"status": "ok"})


@http.needs("anybody")
async def readyz(request: Request) -> Response:
    storage = http.storage(request)
    revision = await asyncio.to_thread(current, storage)
    if not fits(revision):
        raise ServerFailed("the database schema is not this version's; run agentsight migrate", retry_after_s=5)
    await http.write(request, lambda store: None)
    return http.Json({"status": "ok", **storage.facts()})


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        schema["paths"]["/api/batch/"] = {"post": {**_BATCH, **described.BATCH}}
        routes = [route for route in http.every_route(app.routes) if route[1] != app.openapi_url]
        opened = {(method, path) for method, path, endpoint in routes if http.needed_by(endpoint) == "anybody"}
        described.complete(schema, opened)
        app.openapi_schema = orjson.loads(orjson.dumps(schema))
    document: dict[str, Any] = app.openapi_schema or {}
    return document


_BATCH = {
    "tags": ["ingest"],
    "summary": "Store a batch of events; a verdict per event, after the commit",
    "responses": {"200": {"description": "accepted, duplicate, rejected, and one result per event"}},
}
