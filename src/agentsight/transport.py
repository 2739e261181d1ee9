"""One HTTP exchange over kept-alive connections, with the standard library; and the retrying client for single calls.

`exchange` is the seam: everything the SDK sends goes through it. http and ssl are imported at the first request.
"""

from __future__ import annotations

import io
import json
import logging
import os
import random
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, unquote, urlencode, urljoin, urlsplit

from .config import Config, version
from .exceptions import ConversationNetworkException, refusal

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

TIMEOUT_S = 15.0
CONNECT_S = 5.0
IDLE_S = 3.0  # servers close idle connections after about five
MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_RETRY_AFTER_S = 300.0
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})

logger = logging.getLogger("agentsight")


@dataclass(slots=True)
class Answer:
    """What a server said. `body` is decoded JSON, or the text when it is not JSON."""

    status: int
    body: Any
    is_json: bool
    retry_after_s: float | None = None


class Transport:
    """A few kept-alive connections to wherever `config` points; safe to share between threads."""

    def __init__(self, config: Config):
        self.config = config
        self._idle: list[tuple[float, tuple[str, str, int], HTTPConnection]] = []

    def exchange(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Answer:
        """Send one request and read its answer, all within `timeout_s`.

        Raises:
            ConversationNetworkException: no answer came, or none that can be read.
            NoApiKeyException, InvalidApiKeyException: there is no key to send.
        """
        deadline = time.monotonic() + timeout_s
        sent = {
            "Accept": "application/json",
            "Authorization": f"Api-Key {self.config.key}",
            "User-Agent": _user_agent(),
            **(headers or {}),
        }
        url = f"{self.config.base_url}{path}"
        for _ in range(4):
            answer, elsewhere = self._once(method, url, body, sent, deadline)
            if elsewhere is None:
                return answer
            if not _same_host(url, elsewhere):
                raise ConversationNetworkException(
                    f"The server redirects to another host ({urlsplit(elsewhere).hostname}); is the endpoint right?"
                )
            url = elsewhere
        raise ConversationNetworkException("The server redirects in circles")

    def close(self) -> None:
        """Drop the connections that wait; also what a forked child does."""
        idle, self._idle = self._idle, []
        for _, _, connection in idle:
            connection.close()

    def _once(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], deadline: float
    ) -> tuple[Answer, str | None]:
        _load()
        from http.client import HTTPException

        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConversationNetworkException(
                f"The endpoint (AGENTSIGHT_API_ENDPOINT) must look like https://api.example.com, not {url[:60]!r}"
            )
        place = (parts.scheme, parts.netloc, os.getpid())  # a forked child must not talk on its parent's connection
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (f"?{parts.query}" if parts.query else "")
        for reused in (True, False):
            connection = self._take(place) if reused else None
            if reused and connection is None:
                continue
            fresh = connection is None
            try:
                connection = connection or _connect(parts.scheme, parts.netloc, deadline)
                connection.deadline = deadline  # type: ignore[attr-defined]
                if connection.sock is not None:
                    connection.sock.settimeout(max(0.05, deadline - time.monotonic()))
                full = f"{parts.scheme}://{parts.netloc}{target}" if _by_proxy(connection) else target
                connection.request(method, full, body, {**headers, **getattr(connection, "proxy_headers", {})})
                response = connection.getresponse()
                answer = _read(response, deadline)
            except (OSError, HTTPException, ValueError) as trouble:
                if connection is not None:
                    connection.close()
                if fresh or isinstance(trouble, TimeoutError):
                    raise ConversationNetworkException(_say(trouble, _place(parts))) from None
                continue  # the server had closed the waiting connection; a new one decides
            location = response.getheader("Location") if answer.status in (301, 302, 307, 308) else None
            if response.will_close:
                connection.close()
            else:
                self._idle.append((time.monotonic(), place, connection))
            return answer, urljoin(url, location) if location else None
        raise AssertionError("a fresh connection either answers or raises")

    def _take(self, place: tuple[str, str, int]) -> HTTPConnection | None:
        while self._idle:
            try:
                since, where, connection = self._idle.pop()
            except IndexError:
                return None
            if where == place and time.monotonic() - since < IDLE_S:
                return connection
            connection.close()
        return None


class HTTPClient(Transport):
    """Single calls: decoded JSON on success, an exception of `agentsight.exceptions` otherwise.

    A call that may have reached the server is repeated only when repeating it cannot do it twice.
    """

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """GET with query parameters; a list repeats its name."""
        return self.call("GET", f"{path}?{urlencode(params, doseq=True)}" if params else path)

    def post(self, path: str, data: Any = None) -> Any:
        """POST of a JSON body."""
        return self.call("POST", path, data)

    def patch(self, path: str, data: Any = None) -> Any:
        """PATCH of a JSON body."""
        return self.call("PATCH", path, data)

    def delete(self, path: str) -> Any:
        """DELETE."""
        return self.call("DELETE", path)

    def call(self, method: str, path: str, data: Any = None, repeatable: bool | None = None) -> Any:
        """Up to three attempts within 15 seconds.

        Raises:
            ConversationApiException: the server said no; the subclass says how.
            ConversationNetworkException: no usable answer came.
        """
        body = None if data is None else dump(data)
        headers = {"Content-Type": "application/json"}
        if method == "POST":
            headers["Idempotency-Key"] = random.randbytes(16).hex()
        deadline = time.monotonic() + TIMEOUT_S
        repeatable = method != "POST" if repeatable is None else repeatable
        for attempt in range(3):
            wait_s = random.uniform(0, 0.5 * 2**attempt)
            trouble: Exception
            try:
                answer = self.exchange(method, path, body, headers, max(0.1, deadline - time.monotonic()))
                if answer.status < 300 and (answer.is_json or answer.body in (None, "")):
                    return answer.body if answer.is_json else {}
                if answer.status < 300:
                    raise ConversationNetworkException("The server's answer is not JSON")
                trouble = refusal(answer.status, answer.body, answer.retry_after_s)
                again = answer.status in RETRIED and (repeatable or answer.status in (429, 503))
                wait_s = max(wait_s, answer.retry_after_s or 0)
            except ConversationNetworkException as failed:
                trouble, again = failed, repeatable or _never_left(failed)
            if not again or attempt == 2 or time.monotonic() + wait_s > deadline:
                raise trouble
            time.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")


# -- pieces ----------------------------------------------------------------------------------------------------------
def dump(value: Any) -> bytes:
    """`value` as UTF-8 JSON; enums by their value."""
    return json.dumps(
        value, ensure_ascii=False, separators=(",", ":"), default=lambda odd: getattr(odd, "value", None) or str(odd)
    ).encode("utf-8", "replace")


def multipart(
    fields: Iterable[tuple[str, str]], files: Iterable[tuple[str, str, str, bytes]]
) -> tuple[bytes, Mapping[str, str]]:
    """A multipart/form-data body and its header. `files` are (name, filename, mime type, bytes)."""
    boundary = random.randbytes(16).hex()
    parts: list[bytes] = []
    for name, text in fields:
        parts += [_part_head(boundary, f'name="{name}"'), text.encode("utf-8", "replace"), b"\r\n"]
    for name, filename, mime_type, content in files:
        safe = filename.replace("\\", "\\\\").replace('"', '\\"').replace("\r", " ").replace("\n", " ")
        mime = "".join(char for char in mime_type if char.isprintable()) or "application/octet-stream"
        parts += [_part_head(boundary, f'name="{name}"; filename="{safe}"', mime), content, b"\r\n"]
    parts.append(f"--{boundary}--\r\n".encode())
    return b"".join(parts), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def _part_head(boundary: str, disposition: str, mime_type: str = "") -> bytes:
    kind = f"Content-Type: {mime_type}\r\n" if mime_type else ""
    head = f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n{kind}\r\n"
    return head.encode("utf-8", "replace")


def _user_agent() -> str:
    return f"agentsight-python/{version()}"


def _same_host(url: str, elsewhere: str) -> bool:
    here, there = urlsplit(url), urlsplit(elsewhere)
    return here.hostname == there.hostname and (here.scheme, there.scheme) != ("https", "http")


def _never_left(trouble: Exception) -> bool:
    return "refused" in str(trouble) or "could not be found" in str(trouble)


def _place(url: SplitResult) -> str:
    """Which server this is, without what may be secret about how it is reached."""
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}"


def _say(trouble: Exception, place: str) -> str:
    if isinstance(trouble, ConnectionRefusedError):
        return f"The connection to {place} was refused; is the server running, and is AGENTSIGHT_API_ENDPOINT right?"
    if isinstance(trouble, TimeoutError):
        return f"The server at {place} took too long"
    if type(trouble).__name__ == "gaierror":
        return f"The server's name in {place} could not be found; is AGENTSIGHT_API_ENDPOINT right?"
    return f"The exchange with {place} failed: {type(trouble).__name__} {trouble}"[:300]


_loading = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_loading.acquire, after_in_parent=_loading.release, after_in_child=_loading.release)


def _load() -> None:
    """Import what the network needs, at the first exchange, whole: a fork waits, or its child had half of a module."""
    with _loading:
        for name in ("email.utils", "encodings.idna", "http.client", "urllib.request"):
            import_module(name)


def _connect(scheme: str, netloc: str, deadline: float) -> HTTPConnection:
    import http.client
    from base64 import b64encode
    from urllib.request import getproxies, proxy_bypass

    class Patient(http.client.HTTPResponse):
        """An answer read within the deadline of its exchange, however slowly it trickles in."""

        def __init__(self, sock: Any, *args: Any, **kwargs: Any):
            super().__init__(sock, *args, **kwargs)
            raw = self.fp.detach()
            self.fp = io.BufferedReader(_Deadline(raw, sock, connection))

    timeout_s = max(0.05, min(CONNECT_S, deadline - time.monotonic()))
    host = netloc.rpartition("@")[2]
    proxy = None if proxy_bypass(host) else getproxies().get(scheme)
    there = urlsplit(proxy if proxy and "://" in proxy else f"http://{proxy}") if proxy else None
    first = f"{there.hostname}:{there.port or (443 if there.scheme == 'https' else 80)}" if there else host
    secure = scheme == "https" if there is None or scheme == "https" else there.scheme == "https"
    connection = (http.client.HTTPSConnection if secure else http.client.HTTPConnection)(first, timeout=timeout_s)
    connection.response_class = Patient
    if there is not None:
        pair = f"{unquote(there.username or '')}:{unquote(there.password or '')}"
        auth = {"Proxy-Authorization": f"Basic {b64encode(pair.encode()).decode()}"} if there.username else {}
        if scheme == "https":
            connection.set_tunnel(host, headers=auth)
        else:
            connection.proxy_headers = auth  # type: ignore[attr-defined]
    connection.connect()
    return connection


def _by_proxy(connection: HTTPConnection) -> bool:
    return hasattr(connection, "proxy_headers")


class _Deadline(io.RawIOBase):
    """Bytes of a socket until the connection's deadline."""

    def __init__(self, raw: Any, sock: Any, connection: Any):
        self.raw, self.sock, self.connection = raw, sock, connection

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> Any:
        left_s = self.connection.deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self.sock.settimeout(left_s)
        return self.raw.readinto(into)

    def close(self) -> None:
        self.raw.close()
        super().close()


def _read(response: HTTPResponse, deadline: float) -> Answer:
    blob = response.read(MAX_ANSWER_BYTES + 1)
    if len(blob) > MAX_ANSWER_BYTES:
        response.close()
        raise ValueError("the answer is too large")
    if response.length:  # cut off before its end
        raise ConnectionResetError("the answer was cut off")
    text = blob.decode("utf-8", "replace")
    try:
        body, is_json = json.loads(text), True
    except ValueError:
        body, is_json = text, False
    return Answer(response.status, body, is_json, _retry_after_s(response.getheader("Retry-After")))


def _retry_after_s(value: str | None) -> float | None:
    """Seconds from a Retry-After header, which may also be a date."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        from email.utils import parsedate_to_datetime

        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
