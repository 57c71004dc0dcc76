"""The feed as server-sent events, to a real client of a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import uvicorn
from quart import Quart, Response, request

from pman.web.api.sse import streamed_events
from tests.a_job import a_job_details
from tests.engine.test_feed import Listed, feed
from tests.live import DEADLINE


@contextlib.asynccontextmanager
async def served(engine: Listed) -> AsyncIterator[str]:
    app, source = Quart("test"), feed(engine)

    @app.get("/events")
    async def events() -> Response:
        jid = request.args.get("jid")
        return streamed_events(source, request.headers.get("Last-Event-ID"), jid, heartbeat=0.02)

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/events"
    finally:
        server.should_exit = True
        await serving


async def told(response: aiohttp.ClientResponse, count: int) -> list[tuple[str, str, Any]]:
    """The next events: id, event, data."""
    found: list[tuple[str, str, Any]] = []
    fields: dict[str, str] = {}
    while len(found) < count:
        line = (await asyncio.wait_for(response.content.readline(), DEADLINE)).decode()
        assert line, "the stream ended"
        name, _, value = line.rstrip("\n").partition(": ")
        if name == "" and "data" in fields:
            found.append((fields.get("id", ""), fields["event"], json.loads(fields["data"])))
            fields = {}
        fields[name] = value
    return found


async def test_a_client_is_told_and_goes_on_where_it_was() -> None:
    engine = Listed("one")
    async with served(engine) as url, aiohttp.ClientSession() as session:
        async with session.get(url) as response:
            assert response.content_type == "text/event-stream"
            assert response.headers["Cache-Control"] == "no-store"
            (_, added, data), (place, synced, _) = await told(response, 2)
        engine.found["two"] = a_job_details(jid="two")
        async with session.get(url, headers={"Last-Event-ID": place}) as response:
            ((_, later, job),) = await told(response, 1)

    assert (added, data["job"]["jid"], synced) == ("added", "one", "synced")
    assert (later, job["job"]["jid"]) == ("added", "two")


async def test_a_silent_stream_has_a_heartbeat() -> None:
    async with served(Listed()) as url, aiohttp.ClientSession() as session, session.get(url) as response:
        await told(response, 1)

        assert (await asyncio.wait_for(response.content.readline(), DEADLINE)).startswith(b":")


async def test_nobody_looks_any_more_once_the_client_has_gone() -> None:
    engine = Listed("one")
    async with served(engine) as url, aiohttp.ClientSession() as session:
        async with session.get(url) as response:
            await told(response, 2)

        async def still() -> bool:
            before = engine.looks
            await asyncio.sleep(0.1)
            return engine.looks == before

        async with asyncio.timeout(DEADLINE):
            while not await still():
                pass


async def test_the_stream_of_one_job_tells_of_no_other_and_ends_with_it() -> None:
    engine = Listed("one", "two")
    async with (
        served(engine) as url,
        aiohttp.ClientSession() as session,
        session.get(url, params={"jid": "one"}) as response,
    ):
        assert [(name, data["job"]["jid"]) for _, name, data in await told(response, 1)] == [("added", "one")]
        engine.found["two"] = a_job_details(jid="two", message="other")
        del engine.found["one"]
        assert [name for _, name, _ in await told(response, 1)] == ["removed"]
        rest = await asyncio.wait_for(response.content.read(), DEADLINE)

    assert b"data" not in rest


@pytest.mark.parametrize("since", [None, "0-0"])
async def test_the_stream_of_a_job_that_is_gone_already_ends(since: str | None) -> None:
    headers = {"Last-Event-ID": since} if since else {}
    async with (
        served(Listed("two")) as url,
        aiohttp.ClientSession() as session,
        session.get(url, params={"jid": "one"}, headers=headers) as response,
    ):
        rest = await asyncio.wait_for(response.content.read(), DEADLINE)

    assert b"data" not in rest
