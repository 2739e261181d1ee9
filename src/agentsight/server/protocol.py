"""HTTP/1.1 with an end to its patience: uvicorn alone waits for ever for a head, a body nobody reads, a reader that stalls."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 20  # a request's head has arrived, or the connection is cut
HEAD_BYTES = 65_536
# So long, and so much, of a body that was answered early is still taken, so that its sender reads the answer.
REST_S = 5
REST_BYTES = 64 * 1024 * 1024
STALL_S = 30  # a client that takes nothing of its answer for so long is cut


class PatientProtocol(HttpToolsProtocol):
    """One connection. While the application reads a body, the time it takes is the application's business."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._head_bytes = 0
        self._rest_bytes = 0
        self._end: asyncio.TimerHandle | None = None  # of the wait for a head, or for the rest of a body
        self._stalled: asyncio.TimerHandle | None = None

    # -- what is waited for ------------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait(None)
        self._move()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        is_first = self._is_idle() and not self._head_bytes
        if self._is_idle():
            self._head_bytes += len(data)
        super().data_received(data)
        if is_first and self._head_bytes:  # most heads come whole
            self._wait(HEAD_S)
        if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self._refuse_head()

    def _is_idle(self) -> bool:
        """No request is being read or answered."""
        return self.cycle is None or (self.cycle.response_complete and not self.cycle.more_body)

    def _is_answered_early(self) -> bool:
        return self.cycle is not None and self.cycle.response_complete and self.cycle.more_body

    def on_headers_complete(self) -> None:
        self._head_bytes = self._rest_bytes = 0
        self._wait(None)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_answered_early() and not self.transport.is_closing():
            self._wait(REST_S)

    def on_body(self, body: bytes) -> None:
        if self._is_answered_early():
            self._rest_bytes += len(body)
            if self._rest_bytes > REST_BYTES:
                self.transport.close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_answered_early():
            self.cycle.more_body = False
            self._wait(self.timeout_keep_alive)
        super().on_message_complete()

    def _wait(self, seconds: float | None) -> None:
        if self._end is not None:
            self._end.cancel()
        self._end = None if seconds is None else self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _refuse_head(self) -> None:
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        self.transport.close()

    # -- a reader that stalls ----------------------------------------------------------------------------------------
    def pause_writing(self) -> None:
        super().pause_writing()
        self._move()
        self._stalled = self.loop.call_later(STALL_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._move()

    def _move(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
