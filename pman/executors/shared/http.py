"""HTTP to one engine over one kept-alive pool; whatever keeps it from answering is ConnectionCut.

aiohttp, and not requests: it does not block the event loop, and speaks over unix sockets too.
"""

from __future__ import annotations

import errno
import logging
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp

from pman.errors import ConfigError, ConnectionCut, TimedOut

log = logging.getLogger(__name__)


class Http:
    """Made inside the event loop that uses it."""

    def __init__(
        self, kind: str, address: str, timeout: int, *, setting: str, tls: ssl.SSLContext | None = None
    ) -> None:
        """`address`: unix:///path of a socket, or http(s)://host:port; `setting`: where it was configured.

        Raises ConfigError for another address.
        """
        self.kind = kind
        self.address = _shown(address.removeprefix("http+"))
        """The address as users write it, and as messages may show it."""

        self._setting = setting
        self._timeout = timeout
        # Streams last, so they must not use up the connections of the calls; those wait for their turn.
        self._session = self._connected(tls, connections=64)
        self._streams = self._connected(tls, connections=0)
        self._base = "http://localhost" if self.address.startswith("unix:") else address.rstrip("/")

    @asynccontextmanager
    async def request(
        self, method: str, path: str, *, stream: bool = False, endless: bool = False, **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response whose body is still to be read; `options` are aiohttp's (params, json, data, headers).

        A stream may take as long as it likes, though not without a byte; an endless one may be silent.
        Raises ConnectionCut.
        """
        session = self._streams if stream else self._session
        if stream:
            silence = None if endless else self._timeout
            options["timeout"] = aiohttp.ClientTimeout(total=None, sock_read=silence)
        began = time.monotonic()
        call, hint = f"{method} {path}", f"See {self._setting}"
        with engine_errors(self.kind, self.address, call, self._timeout, hint=hint):
            async with session.request(method, f"{self._base}{path}", **options) as response:
                yield response
        if log.isEnabledFor(logging.DEBUG):
            took = (time.monotonic() - began) * 1e3
            log.debug("%s %d %.1f ms", call, response.status, took)

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, bytes]:
        """Status and body. Raises ConnectionCut."""
        async with self.request(method, path, **options) as response:
            return response.status, await response.read()

    async def close(self) -> None:
        await self._session.close()
        await self._streams.close()

    def _connected(self, tls: ssl.SSLContext | None, connections: int) -> aiohttp.ClientSession:
        """`connections` at the most; 0: as many as are asked for."""
        connector: aiohttp.BaseConnector
        if self.address.startswith("unix:"):
            path = "/" + self.address.removeprefix("unix:").lstrip("/")
            connector = aiohttp.UnixConnector(path, limit=connections)
        elif self.address.startswith(("http:", "https:")):
            connector = aiohttp.TCPConnector(limit=connections, ssl=tls or True)
        else:
            raise ConfigError(
                f"{self.kind} at {self.address!r}: use unix:///path/of/the.sock or http://host:port"
            )
        return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=self._timeout))


@contextmanager
def engine_errors(
    kind: str, address: str, call: str, timeout: int, *, hint: str, server: str = "the engine"
) -> Iterator[None]:
    """Raise ConnectionCut for what keeps the engine from answering the call; `hint`: what set its address."""
    try:
        yield
    except TimeoutError as error:
        raise TimedOut(
            f"{kind} at {address} did not answer {call} within {timeout} s",
            f"{server} hangs or is too busy; ENGINE_TIMEOUT sets how long pman waits",
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        denied = address.startswith("unix:") and getattr(error, "errno", None) == errno.EACCES
        words = "" if isinstance(error, aiohttp.InvalidURL) else str(error)  # that one shows all of it
        raise ConnectionCut(
            f"{kind} does not answer at {address}: {words or type(error).__name__}",
            f"pman's user may not use this socket: it must be in the socket's group. {hint}"
            if denied
            else f"is it running? {hint}",
        ) from error


def _shown(address: str) -> str:
    """Without the name and the password that it may hold; also where it is no proper URL."""
    scheme, separator, rest = address.partition("://")
    return address if scheme == "unix" else f"{scheme}{separator}{rest.rpartition('@')[2]}"
