"""The chat surfaces of seeds 000 and 004, the page, and how a browser signs in to it. Thin skins over `Runs`."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from functools import cache, lru_cache
from importlib.resources import files
from typing import Annotated

from babel import Locale
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from jinja2 import Environment, StrictUndefined, Template
from pydantic import BaseModel, ConfigDict, Field

from agentsight.chat import words
from agentsight.chat.api import MAX_MESSAGE_CHARS, Plain, answered, chat_of
from agentsight.chat.database import now_us
from agentsight.chat.errors import FAILURES, Refusal, invalid
from agentsight.chat.http import COOKIE, SignedIn, bearer, body_schema, fit, read_body, signed_in
from agentsight.chat.runs import Ask
from agentsight.chat.stream import NDJSON, STREAM_HEADERS, Line
from agentsight.chat.tokens import unauthenticated
from agentsight.chat.views import instant
from agentsight.errors import InvalidEvent
from agentsight.languages import translations
from agentsight.wire import read_conversation_id

PAGE_THREAD = "page"  # seed 004 has one thread a user
SMOOTH_S = 0.05  # how often a growing answer is repeated in seed 004's format
ASSETS = {"chat.css": "text/css; charset=utf-8", "chat.js": "text/javascript; charset=utf-8",
          "icon.svg": "image/svg+xml"}  # fmt: skip
router = APIRouter(tags=["chat page"])


class SimpleRequest(BaseModel):
    """Seed 000's body. The customer is the signed-in user; naming somebody else is a mistake."""

    model_config = ConfigDict(extra="ignore")
    message: Annotated[Plain, Field(max_length=MAX_MESSAGE_CHARS)]
    conversation_id: str | None = None
    customer_id: str | None = None


class Prompt(BaseModel):
    """Seed 004's form."""

    prompt: Annotated[Plain, Field(max_length=MAX_MESSAGE_CHARS)]


# -- seed 000 --------------------------------------------------------------------------------------------------------
@router.post("/chat", openapi_extra=body_schema(SimpleRequest))
async def simple_chat(request: Request, user: SignedIn) -> Response:
    """Seed 000: a message in, `{"response"}` out; the client names its conversations itself."""
    body = await read_body(request, SimpleRequest)
    if body.customer_id not in (None, user):
        raise invalid("customer_id", "must be the signed-in user, or left out")
    try:
        thread = read_conversation_id(body.conversation_id) if body.conversation_id is not None else None
    except InvalidEvent as wrong:
        raise invalid(wrong.field, wrong.reason) from None
    runs = chat_of(request).runs
    begun = await runs.start(user, Ask(body.message, external_id=thread))
    view = await runs.result(user, begun.run_id)
    if view["error"]:
        return answered(request, view)
    return JSONResponse({"response": view["response"], "conversation_id": thread or str(view["conversation_id"])})


# -- seed 004 --------------------------------------------------------------------------------------------------------
@router.head("/", include_in_schema=False)
@router.get("/", include_in_schema=False)
async def root(request: Request) -> Response:
    """The chat page."""
    return page(request)


@router.get("/chat", include_in_schema=False)
@router.head("/chat/", include_in_schema=False)
@router.get("/chat/")
async def page_or_history(request: Request) -> Response:
    """The chat page for a browser that opens it; for a program seed 004's history, oldest first."""
    if "text/html" in request.headers.get("accept", ""):
        return page(request)
    user = await signed_in(request)
    chat = chat_of(request)
    lines: list[bytes] = []
    if number := await chat.db.call(chat.store.named, user, PAGE_THREAD):
        said = await chat.db.call(chat.store.messages, user, number, None, 200)
        roles = {"user": "user", "assistant": "model"}
        lines = [_seed_line(roles[one["role"]], one["created_at"], one["content"]) for one in said["items"][::-1]]
    return Response(b"".join(lines), media_type=NDJSON)


@router.post("/chat/", openapi_extra=body_schema(Prompt, "application/x-www-form-urlencoded"))
async def form_chat(request: Request, user: SignedIn) -> Response:
    """Seed 004: a form's `prompt` in, NDJSON out: the prompt, then the answer, whole each time it has grown."""
    form = await request.form(max_files=0, max_fields=10)
    prompt = fit(Prompt, dict(form)).prompt
    begun = await chat_of(request).runs.start(user, Ask(prompt, external_id=PAGE_THREAD))
    lines = _seed_lines(prompt, chat_of(request).runs.follow(user, begun.run_id))
    return StreamingResponse(lines, media_type=NDJSON, headers=STREAM_HEADERS)


async def _seed_lines(prompt: str, batches: AsyncIterator[list[Line]]) -> AsyncIterator[bytes]:
    stamp = now_us()
    yield _seed_line("user", instant(stamp), prompt)
    text = ""
    async for batch in batches:
        for event in (json.loads(one.json) for one in batch):
            text += event.get("delta", "")
            if event["type"] == "error":
                text = f"{text}\n\n{FAILURES[event['code']].detail}".strip()
        if text:
            yield _seed_line("model", instant(stamp + 1), text)
            await asyncio.sleep(SMOOTH_S)


def _seed_line(role: str, timestamp: str | None, content: str) -> bytes:
    return json.dumps({"role": role, "timestamp": timestamp, "content": content}).encode() + b"\n"


# -- the page --------------------------------------------------------------------------------------------------------
@router.get("/chat/session")
async def session(request: Request) -> Response:
    """Who is signed in, and who answers; `user_id` is null for a browser that is not, or not any more."""
    try:
        user = await signed_in(request)
    except Refusal:
        if bearer(request) is not None:
            raise
        return JSONResponse({"user_id": None})
    responder = chat_of(request).runs.responder
    return JSONResponse({"user_id": user, "provider": responder.provider, "model": responder.model})


@router.post("/chat/session")
async def sign_in(request: Request) -> Response:
    """Trade a token for a cookie that scripts cannot read, good as long as the token is."""
    token = bearer(request)
    if token is None:
        raise unauthenticated()
    user = await chat_of(request).verifier.check(token)
    answer = JSONResponse({"user_id": user})
    answer.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return answer


@router.delete("/chat/session", status_code=204)
async def sign_out(request: Request) -> Response:
    """Forget the cookie."""
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


@router.head("/chat/static/{name}", include_in_schema=False)
@router.get("/chat/static/{name}", include_in_schema=False)
async def asset(request: Request, name: str) -> Response:
    """A file of the page; its address carries its hash, so it may be kept for a year."""
    if name not in ASSETS:
        raise Refusal("not_found", "Not Found.")
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(_file(name), media_type=ASSETS[name], headers=headers)


def page(request: Request) -> Response:
    """The chat page: one file, no script of anybody else's, in the visitor's language and theme.

    A server around this app may dress it: `app.state.sheet` and `app.state.icon` are addresses of a brand's.
    """
    state, theme = request.app.state, request.cookies.get("theme")
    theme = theme if theme in ("light", "dark") else "auto"
    html = _page(words.locale(request), theme, getattr(state, "sheet", ""), getattr(state, "icon", ""))
    headers = {"Cache-Control": "no-cache", "Vary": "Accept-Language, Cookie"}
    return Response(html, media_type="text/html; charset=utf-8", headers=headers)


@cache
def _file(name: str) -> bytes:
    return (files("agentsight.chat") / "page" / name).read_bytes()


@lru_cache(maxsize=64)
def _page(locale: Locale, theme: str, sheet: str, icon: str) -> str:
    known = {name: f"/chat/static/{name}?v={hashlib.sha256(_file(name)).hexdigest()[:12]}" for name in ASSETS}
    return _template().render(
        _=translations(locale.language).gettext,
        tag=str(locale).replace("_", "-"),
        direction=locale.text_direction,
        theme=theme,
        files=known,
        sheet=sheet,
        icon=icon or known["icon.svg"],
        words=words.words(locale),
    )


@cache
def _template() -> Template:
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(_file("chat.html").decode())
