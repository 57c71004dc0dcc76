"""The connections to an API server with one set of credentials."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from pman.errors import ConfigError
from pman.executors.kubernetes.access import authorization

MAX_CALLS = 64
"""Calls at a time; more of them wait. Streams last, so they have connections of their own, with no limit."""


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
    async def send(
        self, method: str, path: str, body: object, limits: aiohttp.ClientTimeout, *, stream: bool
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response whose body is still to be read; `path` with its query.

        Connections that were replaced are closed after their last request: a set is 350 KiB.
        """
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        client, url = self._streams if stream else self._calls, f"{self.address}{path}"
        self._requests += 1
        try:
            async with self._credentials_timeout():
                credentials = await authorization(self._configuration)
            headers = {"Content-Type": kind, "User-Agent": "pman", **credentials}
            answer = await client.request(method, url, headers, body, _request_timeout=limits)  # type: ignore[no-untyped-call]
            async with answer.response as response:
                yield response
        finally:
            self._requests -= 1
            if self.is_replaced and not self._requests:
                await self.close()

    async def close(self) -> None:
        await self._calls.close()
        await self._streams.close()
