"""A hosted AgentSight, asked page by page for what it has. Only servers of the public internet, only over TLS."""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson

from agentsight.errors import ConnectionFailed, Invalid

PAGE = 50
PATIENCE_S = 60
MOST_BYTES = 64 * 2**20  # of one answer
KEY = re.compile(r"ags_[0-9a-f]{32}_[0-9a-f]{6}", re.I)


@dataclass(frozen=True, slots=True)
class Hosted:
    """Where to ask. The key is kept in memory alone."""

    host: str
    port: int
    path: str
    key: str

    @classmethod
    def of(cls, url: str, key: str) -> Hosted:
        """Raises Invalid when this is no server to ask: not https, not of the public internet, or no key of the shape."""
        parts = urlsplit(url.strip())
        try:
            host, port = parts.hostname, parts.port or 443
        except ValueError:
            host, port = None, 0
        if parts.scheme != "https" or not host or parts.username or parts.query or parts.fragment:
            raise Invalid.of("url", "must be an https address such as https://api.agentsight.io")
        if not KEY.fullmatch(key.strip()):
            raise Invalid.of("key", "must be an API key: ags_, 32 digits, _, 6 digits")
        public_address(host, port)
        return cls(host, port, parts.path.rstrip("/"), key.strip())

    def page(self, number: int) -> dict[str, Any]:
        """One page of its conversations: `count`, `next`, `results`. Raises ConnectionFailed, which says why."""
        query = urlencode({"page": number, "page_size": PAGE})
        connection = _Pinned(self.host, self.port, timeout=PATIENCE_S)
        try:
            headers = {"Authorization": f"Api-Key {self.key}", "Accept": "application/json"}
            connection.request("GET", f"{self.path}/api/conversations/?{query}", headers=headers)
            answer = connection.getresponse()
            body = answer.read(MOST_BYTES + 1)
        except (OSError, http.client.HTTPException) as wrong:
            raise ConnectionFailed(f"{self.host} did not answer ({type(wrong).__name__})") from wrong
        finally:
            connection.close()
        if answer.status != 200:
            raise ConnectionFailed(f"{self.host} answered {answer.status}" + _why(answer.status))
        try:
            told = orjson.loads(body) if len(body) <= MOST_BYTES else None
        except ValueError:
            told = None
        if not isinstance(told, dict) or not isinstance(told.get("results"), list):
            raise ConnectionFailed(f"{self.host} did not answer as an AgentSight API does")
        return told


def _why(status: int) -> str:
    return {401: ": the key is not known there", 403: ": the key may not read", 404: ": there is no such API"}.get(
        status, ""
    )


def public_address(host: str, port: int) -> str:
    """An address of this host. Raises Invalid unless every one it has is of the public internet."""
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        raise Invalid.of("url", "names a server that cannot be found") from None
    if not found or not all(ipaddress.ip_address(str(address).split("%")[0]).is_global for address in found):
        raise Invalid.of("url", "must be a server of the public internet")
    return str(sorted(found, key=lambda address: ":" in str(address))[0])


class _Pinned(http.client.HTTPSConnection):
    """Connects to the very address that was looked at, whatever the name says a moment later."""

    def connect(self) -> None:
        raw = socket.create_connection((public_address(self.host, self.port), self.port), self.timeout)
        self.sock = ssl.create_default_context().wrap_socket(raw, server_hostname=self.host)
