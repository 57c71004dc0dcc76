"""The thinnest HTTP client at hand, the same for pman and for the engine: a blocking socket and a parser.

Whatever it costs is in both figures, so the less it costs the stricter is their ratio: `http.client`
in its place makes the floor of a poll 0.13 ms slower, and so flatters pman.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from typing import Any, Self
from urllib.parse import urlsplit

import httptools

IDLE = 3
"""Seconds after which a connection is renewed: uvicorn closes what was idle for 5."""


def open_socket(address: str) -> socket.socket:
    """For unix:///path/of/the.sock or tcp://host:port."""
    parts = urlsplit(address)
    if parts.scheme == "unix":
        local = socket.socket(socket.AF_UNIX)
        local.connect(parts.path)
        return local
    remote = socket.create_connection((parts.hostname or "localhost", parts.port or 80))
    remote.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return remote


def request_bytes(method: str, path: str, body: bytes = b"", more: str = "") -> bytes:
    """A whole request; only what HTTP/1.1 needs, and `more` lines of its header."""
    kind = {"POST": "application/json", "PATCH": "application/merge-patch+json"}.get(method)
    said = f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n" if kind else ""
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{more}{said}\r\n".encode() + body


class Connection:
    """One kept-alive connection, one request at a time."""

    def __init__(
        self, address: str, timeout: float = 120, *, tls: ssl.SSLContext | None = None, more: str = ""
    ) -> None:
        """`more`: lines of the header of each request."""
        self._address = address
        self._timeout = timeout
        self._tls = tls
        self._more = more
        self._body = bytearray()
        self._complete = False
        self._open()

    def _open(self) -> None:
        self._socket = open_socket(self._address)
        if self._tls:
            name = urlsplit(self._address).hostname
            self._socket = self._tls.wrap_socket(self._socket, server_hostname=name)
        self._socket.settimeout(self._timeout)
        self._parser = httptools.HttpResponseParser(self)
        self._used = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body. Raises OSError when the other side hangs up."""
        if time.monotonic() - self._used > IDLE:
            self._socket.close()
            self._open()
        self._body.clear()
        self._complete = False
        self._socket.sendall(request_bytes(method, path, body, self._more))
        while not self._complete:
            received = self._socket.recv(2**16)
            if not received:
                raise ConnectionError(f"{method} {path}: the connection was closed")
            self._parser.feed_data(received)
        self._used = time.monotonic()
        return self._parser.get_status_code(), bytes(self._body)

    def expect(self, status: int, method: str, path: str, body: bytes = b"") -> Any:
        """The answer as data; None for no body. Raises WrongAnswer for another status."""
        got, answer = self.request(method, path, body)
        if got != status:
            raise WrongAnswer(f"{method} {path}: {got} instead of {status}: {answer[:500].decode()}")
        return json.loads(answer) if answer else None

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._complete = True


class WrongAnswer(Exception):
    """Nothing that is measured may fail, so this ends the run."""
