"""HTTP to the API server, over kept-alive connections: plain data in and out."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp

from pman.errors import ConnectionCut, EngineRefused, EngineUnreachable
from pman.executors.kubernetes.access import Access, Connections

Object = Mapping[str, Any]
"""A Kubernetes object, as plain data."""

JOBS = "/apis/batch/v1 jobs"
PODS = "/api/v1 pods"
EVENTS = "/api/v1 events"

PAGE_SIZE = 200
"""Objects in a page of a list: some 10 MiB, as Python has them."""

BUSY_ATTEMPTS = 3
"""Attempts of a call to an API server that is too busy."""

RETRY_AFTER_LIMIT_SECONDS = 5.0
"""The longest pause before such an attempt, whatever the server asks for in Retry-After."""

CREDENTIALS_RELOAD_SECONDS = 10.0
"""Between two readings of the kubeconfig where the API server refuses the credentials."""


class Forbidden(EngineUnreachable):
    """403: the API server knows pman's user, who lacks a permission."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content: Any
    """The parsed body; for an error, a Status."""

    @property
    def message(self) -> str:
        """The message of an error, in one line."""
        return " ".join(str(self.content.get("message") or self.content).split())


class Api:
    """Every call may raise EngineUnreachable, ConfigError. Create it inside the event loop that uses it."""

    def __init__(self, access: Access, namespace: str) -> None:
        """`namespace`: the one of `path`."""
        self.timeout = access.timeout
        self.namespace = namespace
        self._access = access
        self._connections: Connections | None = None
        self._connecting = asyncio.Lock()
        self._credentials_read_at = 0.0

    @property
    def address(self) -> str:
        return self._connections.address if self._connections else "an address not known yet"

    def path(self, resource: str, name: str = "") -> str:
        """The path of a resource such as `/api/v1 pods`, or of one object of it."""
        prefix, plural = resource.split()
        where = f"{namespace_path(self.namespace, prefix)}/{plural}"
        return f"{where}/{quote(name, safe='')}" if name else where

    async def read(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """GET what must be there: any refusal is EngineUnreachable."""
        answer = await self.call("GET", path, query)
        if answer.status >= 400:
            raise self.unexpected("GET", path, answer)
        return answer.content

    async def get(self, path: str) -> Object | None:
        """GET one object; None where there is none."""
        answer = await self.call("GET", path)
        if answer.status >= 400 and answer.status != 404:
            raise self.unexpected("GET", path, answer)
        return None if answer.status == 404 else answer.content

    async def list_all(self, path: str, query: Mapping[str, str]) -> list[Object]:
        return [item async for page, _ in self.pages(path, query) for item in page]

    async def pages(self, path: str, query: Mapping[str, str]) -> AsyncIterator[tuple[list[Object], str]]:
        """List in pages; with each, the resourceVersion of the list, to watch from."""
        position: dict[str, str] = {}
        while True:
            page = await self.read(path, {**query, "limit": str(PAGE_SIZE), **position})
            yield page.get("items") or [], str(page["metadata"]["resourceVersion"])
            position = {"continue": page["metadata"].get("continue", "")}
            if not position["continue"]:
                return

    async def call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: object = None
    ) -> Answer:
        """The answer, be it a refusal (4xx); a PATCH is a merge patch (RFC 7386).

        Raises EngineUnreachable for a server that is busy (429), broken (5xx) or refuses credentials (401).
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

    async def change(self, call: str, method: str, path: str, body: object) -> Answer:
        """The answer, which may say that the object is gone (404) or has changed (409).

        Raises EngineRefused, of a `call` such as `remove`, for any other refusal.
        """
        answer = await self.call(method, path, body=body)
        if answer.status >= 400 and answer.status not in (404, 409):
            raise EngineRefused(call, answer.status, answer.message)
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

        A stream may take as long as it likes, though not without a byte for `idle_timeout` seconds. Where the
        credentials are refused, it is sent once more, with those that were read anew.
        """
        options: dict[str, Any] = {"params": query, "json": body}
        if stream:
            timeout = aiohttp.ClientTimeout(total=None, connect=self.timeout, sock_read=idle_timeout)
            options |= {"stream": True, "timeout": timeout}
        connections = await self._connect()
        async with connections.send(method, path, **options) as response:
            is_refused = response.status == 401 or (response.status == 403 and connections.is_anonymous)
            renewed = await self._reconnect(connections) if is_refused else connections
            if renewed is connections:
                yield response
                return
        async with renewed.send(method, path, **options) as response:
            yield response

    def answer(self, status: int, content: bytes) -> Answer:
        """Parse a body. Raises ConnectionCut for a success that is no JSON: the call may have worked."""
        try:
            body = json.loads(content)
        except ValueError as error:
            text = content.decode(errors="replace")
            if status < 400:
                raise ConnectionCut(
                    f"what answers at {self.address} is no Kubernetes: {text:.200}", self._access.source
                ) from error
            body = text
        return Answer(status, body if isinstance(body, dict) else {"message": str(body)})

    def unexpected(self, method: str, path: str, answer: Answer) -> EngineUnreachable:
        """The exception for an answer that its caller cannot use."""
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

    async def _connect(self) -> Connections:
        async with self._connecting:
            if self._connections is None:
                self._connections = Connections(self._access, await self._access.load())
                self._credentials_read_at = time.monotonic()
            return self._connections

    async def _reconnect(self, refused: Connections) -> Connections:
        """Connections with credentials that were read anew, where it is time for that; else the same ones."""
        async with self._connecting:
            if (
                self._connections is refused
                and time.monotonic() - self._credentials_read_at > CREDENTIALS_RELOAD_SECONDS
            ):
                self._credentials_read_at = time.monotonic()
                self._connections = Connections(self._access, await self._access.load())
                refused.is_replaced = True
            return self._connections or refused


def namespace_path(namespace: str, prefix: str = "/api/v1") -> str:
    return f"{prefix}/namespaces/{quote(namespace, safe='')}"


def _pause(response: aiohttp.ClientResponse) -> float | None:
    """The seconds that a busy server asks for, which has done nothing then; None where it does not ask."""
    seconds = response.headers.get("Retry-After", "")
    if response.status in (429, 503) and seconds.isdigit():
        return min(float(seconds), RETRY_AFTER_LIMIT_SECONDS)
    return None
