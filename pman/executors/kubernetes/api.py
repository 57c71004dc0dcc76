"""HTTP to one API server over one kept-alive pool: plain data in and out."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from pman.errors import ConfigError, ConnectionCut, EngineUnreachable, TimedOut
from pman.executors.kubernetes.access import Access, authorization

log = logging.getLogger(__name__)

Object = Mapping[str, Any]
"""A Kubernetes object, as plain data."""

PAGE_SIZE = 200
"""Objects of one answer to a list: some 10 MiB, as Python has them."""

BUSY_ATTEMPTS = 3
"""How often a server that is too busy is asked."""

RETRY_AFTER_LIMIT_SECONDS = 5.0
"""Seconds for which a server that is too busy is left alone at the most, whatever it asks for."""

CREDENTIALS_RELOAD_SECONDS = 10.0
"""Seconds that must pass before refused credentials are read from their source again."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


class Forbidden(EngineUnreachable):
    """The API server knows who asks, and that they may not."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content: Any
    """As parsed; of an error, a Status."""

    @property
    def message(self) -> str:
        """What the API says of an error, one line."""
        return " ".join(str(self.content.get("message") or self.content).split())


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    query: Mapping[str, str] | None
    body: object
    timeout: aiohttp.ClientTimeout
    stream: bool


class Api:
    """Made inside the event loop that uses it. Every call may raise EngineUnreachable, ConfigError."""

    def __init__(self, access: Access, timeout: int) -> None:
        self.timeout = timeout
        self._access = access
        self._connections: _Connections | None = None
        self._connecting = asyncio.Lock()
        self._credentials_read_at = 0.0

    @property
    def address(self) -> str:
        return self._connections.address if self._connections else "an address not known yet"

    async def read(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """The answer of a GET that cannot be refused."""
        answer = await self.call("GET", path, query)
        if answer.status >= 400:
            raise self.unexpected("GET", path, answer)
        return answer.content

    async def get(self, path: str) -> Object | None:
        """One object, if it is there."""
        answer = await self.call("GET", path)
        if answer.status >= 400 and answer.status != 404:
            raise self.unexpected("GET", path, answer)
        return None if answer.status == 404 else answer.content

    async def list_all(self, path: str, query: Mapping[str, str]) -> list[Object]:
        return [found async for page, _ in self.pages(path, query) for found in page]

    async def pages(self, path: str, query: Mapping[str, str]) -> AsyncIterator[tuple[list[Object], str]]:
        """All objects, some at a time, and the version of the whole to watch from."""
        following: dict[str, str] = {}
        while True:
            page = await self.read(path, {**query, "limit": str(PAGE_SIZE), **following})
            yield page.get("items") or [], str(page["metadata"]["resourceVersion"])
            following = {"continue": page["metadata"].get("continue", "")}
            if not following["continue"]:
                return

    async def call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: object = None
    ) -> Answer:
        """Anything that is told of the objects, be it a refusal; a PATCH is a merge patch (RFC 7386).

        A server that is busy or broken did not answer, which is EngineUnreachable.
        """
        for attempt in range(BUSY_ATTEMPTS):
            async with self.request(method, path, query, body=body) as response:
                content = await response.read()
            pause = _pause(response) if attempt < BUSY_ATTEMPTS - 1 else None
            if pause is None:
                break
            await asyncio.sleep(pause)
        answer = self.answer(response.status, content)
        if answer.status in (401, 429) or answer.status >= 500:
            raise self.unexpected(method, path, answer)
        return answer

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: object = None,
        stream: bool = False,
        idle_timeout: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response whose body is still to be read.

        A stream may take as long as it likes, though not without a byte for `idle_timeout` seconds.
        """
        began, status = time.monotonic(), 0
        timeout = aiohttp.ClientTimeout(total=self.timeout)
        if stream:
            timeout = aiohttp.ClientTimeout(total=None, connect=self.timeout, sock_read=idle_timeout)
        try:
            async with self._sent(_Request(method, path, query, body, timeout, stream)) as response:
                status = response.status
                yield response
        except TimeoutError as error:
            raise TimedOut(
                f"Kubernetes at {self.address} did not answer {method} {path} within {self.timeout} s",
                "the API server hangs or is too busy; ENGINE_TIMEOUT sets how long pman waits",
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionCut(
                f"Kubernetes does not answer at {self.address}: {error or type(error).__name__}",
                f"is it running? {self._access.source}",
            ) from error
        finally:
            if log.isEnabledFor(logging.DEBUG):
                took = (time.monotonic() - began) * 1e3
                log.debug("%s %s %s %.1f ms", method, path, status or "unanswered", took)

    def answer(self, status: int, content: bytes) -> Answer:
        try:
            found = json.loads(content)
        except ValueError as error:
            text = content.decode(errors="replace")
            if status < 400:
                raise EngineUnreachable(
                    f"what answers at {self.address} is no Kubernetes: {text:.200}", self._access.source
                ) from error
            found = text
        return Answer(status, found if isinstance(found, dict) else {"message": str(found)})

    def unexpected(self, method: str, path: str, answer: Answer) -> EngineUnreachable:
        """What to raise where an answer leaves nothing to decide."""
        if answer.status == 401:
            return EngineUnreachable(
                f"Kubernetes at {self.address} does not know pman's credentials: {answer.message}",
                f"they are wrong or too old: {self._access.source}",
            )
        if answer.status == 403:
            anonymous = self._connections and self._connections.is_anonymous
            return Forbidden(
                f"pman lacks a permission in Kubernetes: {answer.message}",
                f"it has no credentials: {self._access.source}"
                if anonymous
                else "`pman check` lists what is missing; deploy/kubernetes has the role",
            )
        return EngineUnreachable(
            f"Kubernetes at {self.address} answers {answer.status} to {method} {path}: {answer.message}"
        )

    async def close(self) -> None:
        if self._connections:
            await self._connections.close()

    @asynccontextmanager
    async def _sent(self, request: _Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """Credentials that are refused are read anew, once."""
        refused = await self._connected()
        async with refused.used(), await refused.send(request) as response:
            clients = refused
            if response.status == 401 or (response.status == 403 and refused.is_anonymous):
                clients = await self._reconnected(refused)
            if clients is refused:
                yield response
                return
        async with clients.used(), await clients.send(request) as response:
            yield response

    async def _connected(self) -> _Connections:
        async with self._connecting:
            if self._connections is None:
                self._connections = _Connections(await self._configuration(), self._credentials_timeout)
                self._credentials_read_at = time.monotonic()
            return self._connections

    async def _reconnected(self, refused: _Connections) -> _Connections:
        """Others than those that were refused, where there may be."""
        async with self._connecting:
            if (
                self._connections is refused
                and time.monotonic() - self._credentials_read_at > CREDENTIALS_RELOAD_SECONDS
            ):
                self._credentials_read_at = time.monotonic()
                configuration = await self._configuration()
                self._connections = _Connections(configuration, self._credentials_timeout)
                refused.is_replaced = True
            return self._connections or refused

    async def _configuration(self) -> Configuration:
        async with self._credentials_timeout():
            return await self._access.load()

    @asynccontextmanager
    async def _credentials_timeout(self) -> AsyncIterator[None]:
        """A plugin for credentials, or who gives tokens, may hang."""
        try:
            async with asyncio.timeout(self.timeout):
                yield
        except TimeoutError as error:
            raise EngineUnreachable(
                f"no credentials for Kubernetes within {self.timeout} s",
                f"a plugin of the kubeconfig may hang: {self._access.source}",
            ) from error


class _Connections:
    """Connections with one configuration: those of the calls are limited, the streams have their own."""

    def __init__(
        self,
        configuration: Configuration,
        credentials_timeout: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        """`credentials_timeout`: within which credentials are renewed."""
        self.address = configuration.host
        self._configuration = configuration
        self._credentials_timeout = credentials_timeout
        self._uses = 0
        self.is_replaced = False
        try:
            self._calls, self._streams = RESTClientObject(configuration), RESTClientObject(configuration)
        except OSError as error:
            raise ConfigError(f"KUBECONFIG: its certificates cannot be read: {error}") from error
        # Credentials of a plugin that failed are none, which the package only logs.
        self.is_anonymous = not configuration.api_key and not configuration.cert_file
        self._calls.maxsize, self._streams.maxsize = 64, 0  # 0: no limit

    @asynccontextmanager
    async def used(self) -> AsyncIterator[None]:
        """For one request. Those that were replaced are closed after their last one: a set is 350 KiB."""
        self._uses += 1
        try:
            yield
        finally:
            self._uses -= 1
            if self.is_replaced and not self._uses:
                await self.close()

    async def send(self, request: _Request) -> aiohttp.ClientResponse:
        kind = "application/merge-patch+json" if request.method == "PATCH" else "application/json"
        async with self._credentials_timeout():
            credentials = await authorization(self._configuration)
        headers = {"Content-Type": kind, "User-Agent": "pman", **credentials}
        query = f"?{urlencode(request.query)}" if request.query else ""
        client = self._streams if request.stream else self._calls
        answer = await client.request(  # type: ignore[no-untyped-call]
            request.method,
            f"{self.address}{request.path}{query}",
            headers,
            request.body,
            _request_timeout=request.timeout,
        )
        response: aiohttp.ClientResponse = answer.response
        return response

    async def close(self) -> None:
        await self._calls.close()
        await self._streams.close()


def is_name(text: str) -> bool:
    """Whether an object can have it for its name; what cannot must not get into a path."""
    return _NAME.fullmatch(text) is not None


def namespace_path(namespace: str, prefix: str = "/api/v1") -> str:
    return f"{prefix}/namespaces/{quote(namespace, safe='')}"


def path(namespace: str, kind: str, name: str = "") -> str:
    """E.g. of `/api/v1 pods`, or of one of them."""
    prefix, plural = kind.split()
    return f"{namespace_path(namespace, prefix)}/{plural}{'/' if name else ''}{quote(name, safe='')}"


def _pause(response: aiohttp.ClientResponse) -> float | None:
    """Seconds for which a busy server asks; None where it did not say. It has done nothing then."""
    asked = response.headers.get("Retry-After", "")
    if response.status in (429, 503) and asked.isdigit():
        return min(float(asked), RETRY_AFTER_LIMIT_SECONDS)
    return None
