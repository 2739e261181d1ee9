"""Events in by the older routes: one a request, attachments as base64 or as a form."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from agentsight import wire
from agentsight.core import attachments, conversations, ingest
from agentsight.core.model import Agent, Attachment, Conversation, Scope, Verdict
from agentsight.core.ports import Blobs, Store
from agentsight.errors import Invalid, NotFound, ServerFailed, TooLarge
from agentsight.wire import Draft

from . import bodies, described, http, render, translate
from .http import Json

router = APIRouter(tags=["ingest"])

_TRACK_BYTES = 8 * 1024 * 1024
_EXTENDED_NAME = re.compile(rb"filename\*\s*=\s*utf-8'[a-z-]*'([^;\s]*)", re.IGNORECASE)


async def _body(request: Request) -> tuple[Agent, dict[str, Any]]:
    asking = await http.principal(request)
    agent = conversations.only_agent(asking.agent)
    bodies.require_json(request)
    return agent, bodies.decode_object(await bodies.read_body(request, _TRACK_BYTES))


def _accept(store: Store, agent: Agent, drafts: Sequence[Draft], now_us: int) -> list[Verdict]:
    """As `ingest.accept`; what a deleted conversation was told is no repeat for the one that has its conversation_id now."""
    verdicts = ingest.accept(store, agent, drafts, now_us)
    scope = Scope(agent.organization_id, (agent.id,))
    for place, draft in enumerate(drafts):
        while (gone := _told_before(store, scope, draft, verdicts[place])) is not None:
            draft.event_id = translate.anew(draft.event_id, gone)
            verdicts[place] = ingest.accept(store, agent, [draft], now_us)[0]
    return verdicts


def _told_before(store: Store, scope: Scope, draft: Draft, verdict: Verdict) -> int | None:
    """The deleted conversation that was told the same; None: none was, or the sender chose the id, which holds for good."""
    row = verdict.conversation
    if verdict.verdict != "duplicate" or row is None or not translate.is_natural(draft.event_id):
        return None
    return row if store.conversations.get(scope, row) is None else None


def _accept_one(store: Store, agent: Agent, draft: Draft, now_us: int) -> Verdict:
    return _accept(store, agent, [draft], now_us)[0]


@router.post(
    "/api/conversations/",
    summary="Create or find a conversation by its conversation_id",
    status_code=201,
    responses=described.KNOWN,
    openapi_extra=described.body("conversation"),
)
@http.needs("events.write")
async def post_conversation(request: Request) -> Response:
    agent, body = await _body(request)
    now_us = http.now_us()
    conversation_id = wire.read_conversation_id(body.get("conversation_id"))
    if http.knows_spans(request):  # before an upload: nobody spoke yet
        body = {"environment": "production", "is_used": False, **body}
    draft = translate.draft("conversation", conversation_id, body, body, now_us)

    def change(store: Store) -> tuple[Conversation | None, bool]:
        existed = conversation_id in store.conversations.live(agent.id, [conversation_id])
        if _accept_one(store, agent, draft, now_us).discarded:
            return None, False
        return conversations.lookup(store, agent, conversation_id), not existed

    head, created = await http.write(request, change, alongside=True)
    if head is None:  # it was erased: an old client must hear that all is well, or it sends it again and again
        return Json({"id": None, "conversation_id": conversation_id, "created": False, "discarded": True}, 200)
    answer = render.lean(head) | {"created": created}
    warning = translate.unknown_environment(body)
    return Json(answer | ({"warnings": [warning]} if warning else {}), 201 if created else 200)


@router.post(
    "/api/track/",
    summary="Store one message",
    status_code=201,
    responses=described.KNOWN,
    openapi_extra=described.body("message"),
)
@http.needs("events.write")
async def post_message(request: Request) -> Response:
    agent, body = await _body(request)
    said = [wire.check("message", fields) for fields in translate.message_fields(body)]
    verdicts = await _place_all(request, agent, body, "message", said)
    first, fields = verdicts[-1], said[-1]
    answer = {
        "id": first.row,
        "conversation": first.conversation,
        "sender": fields["sender"],
        "content": fields["content"],
        "timestamp": _timestamp(body),
        "metadata": fields.get("metadata", {}),
    }
    return Json(answer | _discarded(first), _status(first))


@router.post(
    "/api/action_logs/",
    summary="Store one action, or the token usage of a process",
    status_code=201,
    responses=described.KNOWN,
    openapi_extra=described.body("action"),
)
@http.needs("events.write")
async def post_action(request: Request) -> Response:
    agent, body = await _body(request)
    kind, raw = translate.action_fields(body)
    fields = wire.check(kind, raw)
    (verdict,) = await _place_all(request, agent, body, kind, [fields])
    answer = {
        "id": verdict.row,
        "message": verdict.row,
        "conversation": verdict.conversation,
        "action_name": "token_usage" if kind == "token_usage" else fields["action_name"],
        "duration_ms": fields.get("duration_ms"),
        "error_message": fields.get("error_msg") or "",
        "timestamp": _timestamp(body),
        "metadata": fields.get("metadata", {}),
    }
    return Json(answer | _discarded(verdict), _status(verdict))


@router.post(
    "/api/buttons/",
    summary="Store one click on a button",
    status_code=201,
    responses=described.KNOWN,
    openapi_extra=described.body("button"),
)
@http.needs("events.write")
async def post_button(request: Request) -> Response:
    agent, body = await _body(request)
    fields = wire.check("button", body)
    (verdict,) = await _place_all(request, agent, body, "button", [fields])
    answer = {"id": verdict.row, "message": verdict.row, "conversation": verdict.conversation, **fields}
    return Json(answer | {"timestamp": _timestamp(body)} | _discarded(verdict), _status(verdict))


async def _place_all(
    request: Request, agent: Agent, body: Mapping[str, Any], kind: str, every: list[dict[str, Any]]
) -> list[Verdict]:
    """Store checked fields in the conversation the body names, all or nothing."""
    now_us = http.now_us()
    at = translate.place(body)

    def change(store: Store) -> list[Verdict]:
        key = translate.resolve(store, agent, at)
        drafts = [_placed(kind, key, body, dict(fields), now_us) for fields in every]
        return _accept(store, agent, drafts, now_us)

    verdicts = await http.write(request, change, alongside=True)
    request.app.state.ledger.note(request, verdicts)
    return verdicts


def _placed(kind: str, key: str, body: Mapping[str, Any], fields: dict[str, Any], now_us: int) -> Draft:
    event_id = translate.natural_id(kind, key, body, fields)
    return Draft(event_id, kind, key, translate.occurred_us(body, now_us), 0, fields)


def _timestamp(body: Mapping[str, Any]) -> str:
    return wire.instant(translate.occurred_us(body, http.now_us()))


def _status(verdict: Verdict) -> int:
    return 200 if verdict.verdict == "duplicate" or verdict.discarded else 201


def _discarded(verdict: Verdict) -> dict[str, Any]:
    """Says of an event of something erased that it was let go of at once."""
    return {"discarded": True} if verdict.discarded else {}


# -- attachments -----------------------------------------------------------------------------------------------------
@router.post(
    "/api/attachments/",
    summary="Store files, as base64 in JSON or as multipart/form-data",
    status_code=201,
    responses=described.KNOWN,
    openapi_extra=described.FILES,
)
@http.needs("events.write")
async def post_attachments(request: Request) -> Response:
    asking = await http.principal(request)
    agent = conversations.only_agent(asking.agent)
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        body, files = await _form(request)
    else:
        bodies.require_json(request)
        body = bodies.decode_object(await bodies.read_body(request, wire.MAX_UPLOAD_BYTES))
        files = await run_in_threadpool(_base64_files, body)
    if not files:
        raise Invalid.of("attachments", "must hold at least one file")
    if len(files) > wire.MAX_FILES:
        raise TooLarge(f"an upload may have {wire.MAX_FILES} files at most")
    blobs: Blobs = request.app.state.blobs
    rows = [await run_in_threadpool(attachments.keep, blobs, data, name, mime) for data, name, mime in files]
    return await _store_files(request, agent, body, rows)


async def _form(request: Request) -> tuple[dict[str, Any], list[tuple[bytes, Any, Any]]]:
    if bodies.declared_bytes(request) > wire.MAX_UPLOAD_BYTES:
        raise bodies.over(wire.MAX_UPLOAD_BYTES)
    body = bodies.capped(request.receive, wire.MAX_UPLOAD_BYTES)
    try:
        async with asyncio.timeout(bodies.BODY_S * 2), aclosing(Request(request.scope, body).stream()) as stream:
            parser = _Parts(
                request.headers, stream, max_files=wire.MAX_FILES + 1, max_fields=64, max_part_size=1_048_576
            )
            form = await parser.parse()
    except TimeoutError:
        raise Invalid.of("body", "took too long to arrive") from None
    except ClientDisconnect:
        raise Invalid.of("body", "was cut short") from None
    except MultiPartException as wrong:
        if "Too many" in wrong.message:
            raise TooLarge(f"an upload may have {wire.MAX_FILES} files and 64 fields at most") from None
        raise Invalid.of("body", f"is not multipart/form-data: {wrong.message[:120]}") from None
    except OSError as wrong:  # the folder for temporary files
        raise ServerFailed("the upload cannot be kept now; storage is full", retry_after_s=5) from wrong
    async with _closing(form):
        return await _form_parts(form)


class _Parts(MultiPartParser):
    """A form's parts; file names as RFC 2231 writes them too, for older HTTP libraries send what is not ASCII so."""

    def on_headers_finished(self) -> None:
        told = self._current_part.content_disposition or b""
        self._current_part.content_disposition = _EXTENDED_NAME.sub(_plain_name, told)
        super().on_headers_finished()


def _plain_name(extended: re.Match[bytes]) -> bytes:
    return b'filename="' + unquote_to_bytes(extended[1]).replace(b'"', b"%22") + b'"'


class _closing:
    def __init__(self, form: FormData):
        self._form = form

    async def __aenter__(self) -> FormData:
        return self._form

    async def __aexit__(self, *_: object) -> None:
        await self._form.close()


async def _form_parts(form: FormData) -> tuple[dict[str, Any], list[tuple[bytes, Any, Any]]]:
    body: dict[str, Any] = {}
    files: list[tuple[bytes, Any, Any]] = []
    size = 0
    for name, part in form.multi_items():
        if isinstance(part, UploadFile):
            data = await part.read()
            size += len(data)
            if size > wire.MAX_UPLOAD_BYTES:
                raise bodies.over(wire.MAX_UPLOAD_BYTES)
            files.append((data, part.filename, part.content_type))
        else:
            body[name] = part
    body["metadata"] = _form_metadata(body.get("metadata"))
    return body, files


def _form_metadata(text: Any) -> Any:
    if not isinstance(text, str) or not text.strip():
        return None
    try:
        return bodies.decode(text.encode("utf-8", "surrogatepass"))
    except Invalid:
        return {"value": text}


def _base64_files(body: Mapping[str, Any]) -> list[tuple[bytes, Any, Any]]:
    listed = body.get("attachments")
    if not isinstance(listed, list):
        raise Invalid.of("attachments", "must be an array of {filename, mime_type, data}")
    files = []
    for item in listed:
        if not isinstance(item, dict) or not isinstance(item.get("data"), str):
            raise Invalid.of("attachments", "must be an array of {filename, mime_type, data}, data as base64 text")
        files.append((attachments.decode(item["data"], "attachments"), item.get("filename"), item.get("mime_type")))
    return files


async def _store_files(request: Request, agent: Agent, body: dict[str, Any], rows: list[dict[str, Any]]) -> Response:
    now_us = http.now_us()
    at = translate.place(body)
    told = {"sender": body.get("sender") or "end_user", "metadata": body.get("metadata"), "data": ""}
    fields = wire.check("attachment", {**told, "message_event_id": body.get("message_event_id")})
    fields = {name: value for name, value in fields.items() if name != "data"} | {"files": rows}
    if at.message is not None:
        fields["message"] = at.message

    def change(store: Store) -> tuple[Verdict, list[Attachment]]:
        key = translate.resolve(store, agent, at)
        if at.message is not None and at.conversation is not None:
            place = translate.resolve(store, agent, replace(at, message=None))
            if place != key:
                raise NotFound("no such message in this conversation")
        event_id = translate.told_id(body) or translate.natural_id("attachment", key, body, fields)
        draft = Draft(event_id, "attachment", key, translate.occurred_us(body, now_us), 0, dict(fields))
        verdict = _accept_one(store, agent, draft, now_us)
        stored = store.conversations.attachments(agent.id, [verdict.conversation or 0])
        return verdict, [file for file in stored[verdict.conversation or 0] if file.event == verdict.row]

    verdict, files = await http.write(request, change, alongside=True)
    request.app.state.ledger.note(request, [verdict])
    base = http.base_url(request)
    listed = [render.attachment(file, request.app.state.signer, base) for file in files]
    message = at.message if at.message is not None else verdict.row
    answer = {"message_id": message, "id": message, "conversation": verdict.conversation, "attachments": listed}
    return Json(answer | _discarded(verdict), _status(verdict))
