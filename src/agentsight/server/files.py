"""Files out, by a signed link; from a folder or a bucket alike, never whole in memory."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from typing import BinaryIO
from urllib.parse import quote

from fastapi import APIRouter, Request
from itsdangerous import BadSignature
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from agentsight.core import attachments
from agentsight.core.model import Attachment
from agentsight.core.ports import Blobs, Store
from agentsight.errors import NotFound

from . import http

router = APIRouter(tags=["conversations"])

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_CHUNK = 262_144


@router.get("/files/{token}/{name}", summary="The bytes of a file, by a signed link", include_in_schema=False)
@http.needs("anybody")
async def download(request: Request, token: str, name: str) -> Response:
    """Offered for download under a cleaned name; only pictures whose bytes are pictures are shown, and only on demand."""
    try:
        row = request.app.state.signer.loads(token, max_age=attachments.LINK_LIFETIME_S)
    except BadSignature:
        raise NotFound("this link is not valid any more; ask for a new one") from None

    def ask(store: Store) -> Attachment | None:
        found = store.conversations.attachment(row)
        agent = store.tenants.agent(found.agent_id) if found else None
        return found if agent and http.at_home(request, agent.organization_id) else None

    kept = await http.read(request, ask)
    if kept is None:
        raise NotFound("this file is gone")
    return await run_in_threadpool(_answer, request, kept)


def _answer(request: Request, kept: Attachment) -> Response:
    tag, caching = f'"{kept.sha256}"', "private, max-age=600"
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers={"ETag": tag, "Cache-Control": caching})
    blobs: Blobs = request.app.state.blobs
    file = blobs.open(kept.sha256)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    shown = _picture(file) if request.query_params.get("inline") else None
    headers = {
        "Content-Disposition": _disposition("inline" if shown else "attachment", kept.filename),
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": caching,
        "Accept-Ranges": "bytes",
        "ETag": tag,
    }
    wanted = _wanted(request, kept, size)
    if wanted is None:
        file.close()
        return Response(status_code=416, headers=headers | {"Content-Range": f"bytes */{size}"})
    first, after = wanted
    headers["Content-Length"] = str(after - first)
    partial = (first, after) != (0, size)
    if partial:
        headers["Content-Range"] = f"bytes {first}-{after - 1}/{size}"
    return StreamingResponse(
        _stretch(file, first, after), 206 if partial else 200, headers, shown or "application/octet-stream"
    )


def _wanted(request: Request, kept: Attachment, size: int) -> tuple[int, int] | None:
    """(first byte, byte after the last): what one Range asks for, else all of it; None: it lies beyond the end."""
    told = _RANGE.fullmatch(request.headers.get("range", ""))
    if (
        told is None
        or told[0] == "bytes=-"
        or request.headers.get("if-range", f'"{kept.sha256}"') != f'"{kept.sha256}"'
    ):
        return 0, size
    if not told[1]:
        return (max(0, size - int(told[2])), size) if int(told[2]) and size else None
    first, after = int(told[1]), min(size, int(told[2]) + 1 if told[2] else size)
    if first >= size:
        return None
    return (first, after) if first < after else (0, size)


async def _stretch(file: BinaryIO, first: int, after: int) -> AsyncIterator[bytes]:
    try:
        await run_in_threadpool(file.seek, first)
        while first < after:
            chunk = bytes(await run_in_threadpool(file.read, min(_CHUNK, after - first)))
            if not chunk:
                return
            first += len(chunk)
            yield chunk
    finally:
        file.close()


def _picture(file: BinaryIO) -> str | None:
    kind = attachments.sniffed(bytes(file.read(16)))
    return kind if kind and kind.startswith("image/") else None


def _disposition(how: str, filename: str) -> str:
    """As RFC 6266 has it: plain where the name is plain, else percent-encoded UTF-8."""
    plain = quote(filename)
    return f'{how}; filename="{filename}"' if plain == filename else f"{how}; filename*=utf-8''{plain}"
