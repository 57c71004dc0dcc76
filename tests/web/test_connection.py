"""The bounds of connections, by a small app: what nobody takes, and what is refused before the app."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from functools import partial
from http import HTTPStatus
from typing import Any

import aiohttp
import pytest
import uvicorn

from pman import settings
from pman.web.connection import Connection, Connections
from pman.web.handshake import Handshake
from tests.live import DEADLINE

MIB = 2**20
LARGE = 20 * MIB
FEW = {"HTTP_UNFINISHED_BYTES": str(MIB), "HTTP_BODY_BYTES": str(MIB // 2)}


async def app(scope: Any, _receive: Any, send: Any) -> None:
    size = LARGE if scope["path"] == "/large" else 0
    length = (b"content-length", str(size).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": bytes(size)})


@contextlib.asynccontextmanager
async def served(**environ: str) -> AsyncIterator[tuple[Connections, int]]:
    connections = Connections(settings.load({**FEW, **environ}, ["docker"]), 100)
    config = uvicorn.Config(
        app,
        port=0,
        http=partial(Connection, connections),  # type: ignore[arg-type]  # called as a class is
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    watching = asyncio.create_task(connections.watch())
    try:
        await eventually(lambda: server.started)
        yield connections, server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        watching.cancel()
        await serving


async def eventually(probe: Any) -> None:
    async with asyncio.timeout(DEADLINE):
        while not probe():  # noqa: ASYNC110  (of any kind)
            await asyncio.sleep(0.01)


async def answer(port: int, sent: bytes) -> bytes:
    """All that comes until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    text = await asyncio.wait_for(reader.read(), DEADLINE)
    writer.close()
    return text


async def test_answers_that_nobody_takes_make_room_for_others() -> None:
    async with served() as (connections, port), aiohttp.ClientSession() as session:
        deaf = [await asyncio.open_connection("127.0.0.1", port, limit=1) for _ in range(4)]
        for _, writer in deaf:
            writer.write(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await eventually(lambda: connections.refused)

        async with session.get(f"http://127.0.0.1:{port}/") as response:
            assert response.status == 200
        assert connections.held <= MIB
        for _, writer in deaf:
            writer.close()
    assert connections.held == 0


async def test_a_whole_answer_that_is_larger_than_the_bound_reaches_who_takes_it() -> None:
    async with served() as (connections, port), aiohttp.ClientSession() as session:
        for _ in range(2):  # by one connection: nothing that was not asked for stands between them
            async with session.get(f"http://127.0.0.1:{port}/large") as response:
                assert len(await response.read()) == LARGE

    assert not connections.refused


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", HTTPStatus.BAD_REQUEST),
        (b"GET /" + b"a" * 40_000, HTTPStatus.REQUEST_URI_TOO_LONG),
        (b"GET / HTTP/1.1\r\nX-Request-ID: mine\r\nA:", HTTPStatus.REQUEST_TIMEOUT),
    ],
)
async def test_what_is_refused_before_the_app_has_the_headers_of_every_answer(
    sent: bytes, status: HTTPStatus
) -> None:
    async with served(HTTP_HEADER_SECONDS="1") as (_, port):
        text = (await answer(port, sent)).decode()

    assert text.startswith(f"HTTP/1.1 {status.value} ")
    assert text.count("HTTP/1.1") == 1
    assert "X-Request-ID: " + ("mine" if b"mine" in sent else "") in text
    assert "Cache-Control: no-store" in text
    assert '{"message": ' in text


async def test_one_connection_too_many_is_told_when_to_come_back() -> None:
    async with served() as (connections, port):
        connections.most = 0
        text = (await answer(port, b"")).decode()

    assert text.startswith("HTTP/1.1 503 ")
    assert "Retry-After: " in text


async def test_a_connection_that_cannot_be_looked_at_does_not_end_the_bounds_of_others() -> None:
    class Broken:
        def look(self, _now: float) -> None:
            raise RuntimeError

    async with served(HTTP_HEADER_SECONDS="1") as (connections, port):
        connections.open.add(Broken())  # type: ignore[arg-type]  # what a bug would be
        silent = await answer(port, b"")
        connections.open = {one for one in connections.open if not isinstance(one, Broken)}

    assert silent == b""


async def test_a_handshake_that_is_ended_before_it_has_begun_leaves_its_place() -> None:
    connections = Connections(settings.load({}, ["docker"]), 100)
    ours, theirs = socket.socketpair()
    handshake = Handshake(connections, theirs, "192.0.2.1")
    connections.open.add(handshake)

    handshake.begin(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), lambda _: Connection(connections))
    handshake.end()
    await eventually(lambda: not connections.open)

    with ours:
        assert await asyncio.to_thread(ours.recv, 1) == b""
