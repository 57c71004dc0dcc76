"""An API server of Kubernetes behind a proxy that counts, and that fails where a test wants it to."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from yarl import URL

from tests.engines.cluster import Cluster

KEPT = ("Authorization", "Content-Type", "Accept")


@dataclass
class Fault:
    """For the first `times` requests whose method, address and body match."""

    method: str
    address: str
    """A regular expression."""

    status: int = 0
    """Answered instead of asking the API server."""

    headers: dict[str, str] = field(default_factory=dict)
    cut: str = ""
    """`before` the API server is asked, or `after`, when it has answered."""

    body: str = ""
    """Part of it."""

    times: int = 1_000_000
    seen: int = 0

    def takes(self, request: web.Request, body: bytes) -> bool:
        found = self.times > 0 and self.method == request.method and self.body.encode() in body
        found = found and re.search(self.address, request.raw_path) is not None
        self.times -= found
        self.seen += found
        return found


class Proxy:
    """Speaks plain HTTP; whoever asks brings their own credentials."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._open: dict[web.StreamResponse, web.Request] = {}
        self._port = 0
        self.faults: list[Fault] = []
        self.seen: list[tuple[str, str]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def count(self, method: str, address: str) -> int:
        return sum(each == method and re.search(address, path) is not None for each, path in self.seen)

    async def down(self) -> None:
        """Every connection breaks, new ones are refused."""
        await self._site.stop()
        for request in list(self._open.values()):
            _abort(request)
        for connection in self._runner.server.connections if self._runner.server else ():
            if connection.transport:
                connection.transport.abort()

    async def up(self) -> None:
        """At the same address as before."""
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", self._port))
        self._port = listening.getsockname()[1]
        self._site = web.SockSite(self._runner, listening)
        await self._site.start()

    async def expire_watches(self) -> None:
        """Tell all who watch that the changes since their version are not known any more."""
        status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
        for response in self.watches():
            await response.write(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")

    def cut_watches(self) -> None:
        for response in self.watches():
            _abort(self._open[response])

    def watches(self) -> list[web.StreamResponse]:
        return [response for response, request in self._open.items() if "watch=1" in request.raw_path]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{address:.*}", self._relay)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        authority = ssl.create_default_context(cadata=self._cluster.authority.decode())
        connector = aiohttp.TCPConnector(ssl=authority, limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as self._session:
            await self.up()
            try:
                yield self
            finally:
                await self._runner.cleanup()

    async def _relay(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.method, request.raw_path))
        body = await request.read()
        fault = next((fault for fault in self.faults if fault.takes(request, body)), None)
        if fault and fault.cut == "before":
            _abort(request)
            return web.Response()
        if fault and fault.status:
            told = {"kind": "Status", "code": fault.status, "message": "the proxy says no"}
            return web.json_response(told, status=fault.status, headers=fault.headers)
        headers = {name: request.headers[name] for name in KEPT if name in request.headers}
        headers["Accept-Encoding"] = "identity"
        url = URL(self._cluster.server + request.raw_path, encoded=True)
        async with self._session.request(request.method, url, data=body or None, headers=headers) as answer:
            if fault and fault.cut == "after":
                await answer.read()
                _abort(request)
                return web.Response()
            return await self._passed_on(request, answer)

    async def _passed_on(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status)
        response.content_type = answer.content_type
        await response.prepare(request)
        self._open[response] = request
        try:
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
        except (ConnectionError, aiohttp.ClientError):
            _abort(request)
        finally:
            del self._open[response]
        return response


def _abort(request: web.Request) -> None:
    transport: asyncio.Transport | None = request.transport
    if transport:
        transport.abort()
