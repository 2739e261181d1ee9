"""The chat API: seed 003's endpoint, and what people need around it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr

from agentsight.chat.errors import FAILURES, Refusal, invalid
from agentsight.chat.http import MAX_ID, Owner, body_schema, path_number, problem, query_number, read_body
from agentsight.chat.render import render
from agentsight.chat.runs import Ask, Begun
from agentsight.chat.stream import STREAM_HEADERS, Line, encoder

if TYPE_CHECKING:
    from agentsight.chat.app import Chat

MAX_MESSAGE_CHARS = 32_000
router = APIRouter(prefix="/api/{user_id}/chat", tags=["chat"])


def plain(text: str) -> str:
    """Text that says something and that every database can hold."""
    if not text.strip():
        raise ValueError("must not be blank")
    if "\0" in text:
        raise ValueError("must not contain NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode") from None
    return text


Plain = Annotated[StrictStr, AfterValidator(plain)]
Number = Annotated[int, Field(strict=True, ge=1, le=MAX_ID)]


class ChatRequest(BaseModel):
    """A message, and the conversation it belongs to (none: a new one)."""

    model_config = ConfigDict(extra="forbid")
    message: Annotated[Plain, Field(max_length=MAX_MESSAGE_CHARS)]
    conversation_id: Number | None = None


class Rename(BaseModel):
    """A new title."""

    model_config = ConfigDict(extra="forbid")
    title: Annotated[Plain, Field(max_length=200)]


def chat_of(request: Request) -> Chat:
    """The chat backend that serves this request."""
    chat: Chat = request.app.state.chat
    return chat


async def begin(request: Request, user: str) -> Begun:
    """A run for the request's body. Everything that can be refused is refused here, before a byte is sent."""
    body = await read_body(request, ChatRequest)
    ask = Ask(body.message, body.conversation_id, key=_idempotency_key(request))
    return await chat_of(request).runs.start(user, ask)


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= 255 and key.isprintable()):
        raise invalid("Idempotency-Key", "must be 1 to 255 printable characters")
    return key


def answered(request: Request, view: dict[str, Any]) -> Response:
    """The run as an answer; a failed one has the shape of an error and shows what was saved."""
    failure = FAILURES.get((view["error"] or {}).get("code", ""))
    if failure is None:
        return JSONResponse(view)
    body = view | problem(request, failure.status, view["error"]["code"], failure.detail)
    return JSONResponse(body, failure.status, {"Retry-After": "5"} if failure.retryable else None)


def streamed(request: Request, lines: AsyncIterator[list[Line]]) -> Response:
    """The lines as the client asked for them."""
    media_type, encode = encoder(request.headers.get("accept", ""))

    async def chunks() -> AsyncIterator[bytes]:
        async for batch in lines:
            yield encode(batch)

    return StreamingResponse(chunks(), media_type=media_type, headers=STREAM_HEADERS)


def _conversation_number(text: str) -> int:
    return path_number(text, "conversation_not_found", "There is no such conversation.")


@router.post("", openapi_extra=body_schema(ChatRequest))
async def chat(request: Request, user_id: str, user: Owner) -> Response:
    """Say something and get the whole answer."""
    begun = await begin(request, user)
    return answered(request, await chat_of(request).runs.result(user, begun.run_id))


@router.post("/stream", openapi_extra=body_schema(ChatRequest))
async def chat_stream(request: Request, user_id: str, user: Owner) -> Response:
    """Say something and get the answer as it is written: NDJSON, or server-sent events if `Accept` says so."""
    begun = await begin(request, user)
    return streamed(request, chat_of(request).runs.follow(user, begun.run_id))


@router.get("/runs/{run_id}")
async def run(request: Request, user_id: str, run_id: str, user: Owner) -> Response:
    """A run as it stands."""
    return JSONResponse(await chat_of(request).runs.view(user, _run(run_id)))


@router.get("/runs/{run_id}/events")
async def run_events(request: Request, user_id: str, run_id: str, user: Owner) -> Response:
    """The run's stream again, from the line after `after` (or `Last-Event-ID`) on."""
    after = query_number(request, "after", 0, 0, MAX_ID) or 0
    if (last := request.headers.get("last-event-id")) is not None:
        if not (last.isascii() and last.isdigit() and len(last) <= 10):
            raise invalid("Last-Event-ID", "must be a whole number")
        after = int(last)
    runs = chat_of(request).runs
    await runs.view(user, _run(run_id))
    return streamed(request, runs.follow(user, run_id, after))


@router.post("/runs/{run_id}/stop")
async def run_stop(request: Request, user_id: str, run_id: str, user: Owner) -> Response:
    """Stop a run; what was written is kept. Answers once it is saved; stopping twice is no mistake."""
    return JSONResponse(await chat_of(request).runs.stop(user, _run(run_id)))


def _run(run_id: str) -> str:
    if not (len(run_id) == 36 and run_id.isascii() and run_id.isprintable()):
        raise Refusal("run_not_found", "There is no such run.")
    return run_id


@router.get("/conversations")
async def conversations(request: Request, user_id: str, user: Owner) -> Response:
    """The user's conversations, newest first."""
    chat = chat_of(request)
    before, limit = query_number(request, "before", None, 1, MAX_ID), query_number(request, "limit", 50, 1, 200)
    return JSONResponse(await chat.db.call(chat.store.conversations, user, before, limit or 50))


@router.get("/conversations/{number}")
async def conversation(request: Request, user_id: str, number: str, user: Owner) -> Response:
    """One conversation; `live_run_id` names the run that is being written now."""
    chat = chat_of(request)
    return JSONResponse(await chat.db.call(chat.store.conversation, user, _conversation_number(number)))


@router.patch("/conversations/{number}", openapi_extra=body_schema(Rename))
async def conversation_rename(request: Request, user_id: str, number: str, user: Owner) -> Response:
    """Give a conversation another title."""
    chat, wanted = chat_of(request), _conversation_number(number)
    title = (await read_body(request, Rename)).title
    return JSONResponse(await chat.db.call(chat.store.rename, user, wanted, " ".join(title.split())))


@router.delete("/conversations/{number}", status_code=204)
async def conversation_delete(request: Request, user_id: str, number: str, user: Owner) -> Response:
    """Delete a conversation and stop what is being written in it."""
    await chat_of(request).delete(user, _conversation_number(number))
    return Response(status_code=204)


@router.get("/conversations/{number}/messages")
async def messages(request: Request, user_id: str, number: str, user: Owner) -> Response:
    """A conversation's messages, newest first; answers carry their HTML, questions their run."""
    chat, wanted = chat_of(request), _conversation_number(number)
    before, limit = query_number(request, "before", None, 1, MAX_ID), query_number(request, "limit", 50, 1, 200)

    def read() -> dict[str, Any]:
        page = chat.store.messages(user, wanted, before, limit or 50)
        for item in page["items"]:
            if item["role"] == "assistant":
                item["html"] = render(item["content"])
        return page

    return JSONResponse(await chat.db.call(read))


@router.post("/conversations/{number}/regenerate")
async def regenerate(request: Request, user_id: str, number: str, user: Owner) -> Response:
    """Answer the last message again, as a stream; the old answer stands until the new one is complete."""
    runs = chat_of(request).runs
    begun = await runs.start(user, Ask(None, _conversation_number(number), key=_idempotency_key(request)))
    return streamed(request, runs.follow(user, begun.run_id))
