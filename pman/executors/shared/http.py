"""HTTP to one engine over one kept-alive pool; whatever keeps it from answering is ConnectionCut.

aiohttp, and not requests: it does not block the event loop, and speaks over unix sockets too.
"""

from __future__ import annotations

import errno
import logging
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp

from pman.errors import ConfigError, ConnectionCut, TimedOut

log = logging.getLogger(__name__)


class Http:
    """Made inside the event loop that uses it."""

    def __init__(
        self,
        kind: str,
        address: str,
        timeout: int,
        *,
        hint: str,
        server: str = "the engine",
        tls: ssl.SSLContext | None = None,
        **session: Any,
    ) -> None:
        """`address`: unix:///path of a socket, or http(s)://host:port; `hint`: where it was configured.

        `server`: what messages call it; `session`: aiohttp's options of one. Raises ConfigError for another
        address.
        """
        self.kind = kind
        self.address = _shown(address.removeprefix("http+"))
        """The address as users write it, and as messages may show it."""

        self._hint, self._server = hint, server
        self._timeout = timeout
        # Streams last, so they must not use up the connections of the calls; those wait for their turn.
        self._session = self._connected(64, tls, session)
        self._streams = self._connected(0, tls, session)
        self._base = "http://localhost" if self.address.startswith("unix:") else address.rstrip("/")

    @asynccontextmanager
    async def request(
        self, method: str, path: str, *, stream: bool = False, endless: bool = False, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response whose body is still to be read; `options` are aiohttp's (params, json, data, headers).

        A stream may take as long as it likes, though not without a byte; an endless one may be silent.
        Options may have another timeout. Raises ConnectionCut.
        """
        session = self._streams if stream else self._session
        if stream:
            silence = None if endless else self._timeout
            options.setdefault("timeout", aiohttp.ClientTimeout(total=None, sock_read=silence))
        began, status, call = time.monotonic(), 0, f"{method} {path}"
        try:
            with self._errors(call):
                async with session.request(method, f"{self._base}{path}", **options) as response:
                    status = response.status
                    yield response
        finally:
            if log.isEnabledFor(logging.DEBUG):
                took = (time.monotonic() - began) * 1e3
                log.debug("%s %s %.1f ms", call, status or "unanswered", took)

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, bytes]:
        """Status and body. Raises ConnectionCut."""
        async with self.request(method, path, **options) as response:
            return response.status, await response.read()

    async def close(self) -> None:
        await self._session.close()
        await self._streams.close()

    def _connected(
        self, connections: int, tls: ssl.SSLContext | None, session: Mapping[str, Any]
    ) -> aiohttp.ClientSession:
        """`connections` at the most; 0: as many as are asked for."""
        connector: aiohttp.BaseConnector
        if self.address.startswith("unix:"):
            path = "/" + self.address.removeprefix("unix:").lstrip("/")
            connector = aiohttp.UnixConnector(path, limit=connections)
        elif self.address.lower().startswith(("http:", "https:")):
            connector = aiohttp.TCPConnector(limit=connections, ssl=tls or True)
        else:
            raise ConfigError(
                f"{self.kind} at {self.address!r}: use unix:///path/of/the.sock or http://host:port"
            )
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        return aiohttp.ClientSession(connector=connector, timeout=timeout, **session)

    @contextmanager
    def _errors(self, call: str) -> Iterator[None]:
        """Raise ConnectionCut for what keeps the engine from answering the call."""
        try:
            yield
        except TimeoutError as error:
            raise TimedOut(
                f"{self.kind} at {self.address} did not answer {call} within {self._timeout} s",
                f"{self._server} hangs or is too busy; ENGINE_TIMEOUT sets how long pman waits",
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            denied = self.address.startswith("unix:") and getattr(error, "errno", None) == errno.EACCES
            words = "" if isinstance(error, aiohttp.InvalidURL) else str(error)  # that one shows all of it
            raise ConnectionCut(
                f"{self.kind} does not answer at {self.address}: {words or type(error).__name__}",
                f"pman's user may not use this socket: it must be in the socket's group. {self._hint}"
                if denied
                else f"is it running? {self._hint}",
            ) from error


async def lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines of a body as they end, of any length, unlike aiohttp's readline; without empty ones."""
    rest = b""
    async for chunk in chunks:
        *ended, rest = (rest + chunk).split(b"\n")
        for line in ended:
            if line.strip():
                yield line


def _shown(address: str) -> str:
    """Without the name and the password that it may hold; also where it is no proper URL."""
    scheme, separator, rest = address.partition("://")
    return address if scheme == "unix" else f"{scheme}{separator}{rest.rpartition('@')[2]}"
