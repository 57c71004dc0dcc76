"""The connections to an API server with one set of credentials."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from pman.errors import ConfigError
from pman.executors.kubernetes.access import authorization

MAX_CALLS = 64
"""Calls at a time; more of them wait. Streams last, so they have connections of their own, with no limit."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str] | None
    body: object
    timeout: aiohttp.ClientTimeout
    stream: bool


class Connections:
    """One pool for the calls, which is limited, and one for the streams."""

    def __init__(
        self,
        configuration: Configuration,
        credentials_timeout: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        """`credentials_timeout`: within which credentials are renewed."""
        self.address = configuration.host
        self._configuration = configuration
        self._credentials_timeout = credentials_timeout
        self._requests = 0
        self.is_replaced = False
        try:
            self._calls, self._streams = RESTClientObject(configuration), RESTClientObject(configuration)
        except OSError as error:
            raise ConfigError(f"KUBECONFIG: its certificates cannot be read: {error}") from error
        # A plugin that failed leaves none, which the kubernetes package only logs.
        self.is_anonymous = not configuration.api_key and not configuration.cert_file
        self._calls.maxsize, self._streams.maxsize = MAX_CALLS, 0  # 0: no limit

    @asynccontextmanager
    async def in_use(self) -> AsyncIterator[None]:
        """Hold them for one request. Replaced ones are closed after their last request: a set is 350 KiB."""
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1
            if self.is_replaced and not self._requests:
                await self.close()

    async def send(self, request: Request) -> aiohttp.ClientResponse:
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
