"""The real engine behind a proxy that delays, drops or refuses chosen calls: what time and chance do."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path

import aiohttp
from aiohttp import web


@dataclass
class Hook:
    """For the first `times` calls whose method and address match."""

    method: str
    address: str
    """A regular expression."""

    after: float = 0
    """Seconds that the answer is held back."""

    until: threading.Event | None = None
    """The answer is held back until it is set."""

    drop: bool = False
    """The connection is closed instead; nothing reaches the engine."""

    late: bool = False
    """With drop: the engine has carried the call out before."""

    status: int = 0
    """Answered instead."""

    times: int = 1_000_000
    seen: int = 0
    paths: list[str] = field(default_factory=list)
    """Of the calls that were seen."""

    passing: set[asyncio.Transport] = field(default_factory=set)
    """The connections whose answers are on their way."""

    loop: asyncio.AbstractEventLoop | None = None

    def takes(self, request: web.Request) -> bool:
        found = (
            self.times > 0
            and re.fullmatch(self.method, request.method) is not None
            and re.search(self.address, request.raw_path) is not None
        )
        if found:
            self.times -= 1
            self.seen += 1
            self.paths.append(request.raw_path)
        return found

    def become(self, other: Hook) -> None:
        """Takes the part of another one, in a proxy that several tests share."""
        for each in fields(self):
            if each.name not in ("passing", "loop"):
                setattr(self, each.name, getattr(other, each.name))

    def cut(self) -> None:
        """The answers that are on their way; events have no other end."""
        assert self.loop is not None
        for connection in list(self.passing):
            self.loop.call_soon_threadsafe(connection.abort)


async def passed_on(
    request: web.Request, answer: aiohttp.ClientResponse, passing: set[asyncio.Transport]
) -> web.StreamResponse:
    """As it comes."""
    kept = {name: value for name, value in answer.headers.items() if name in ("Content-Type", "Date")}
    response = web.StreamResponse(status=answer.status, headers=kept)
    assert request.transport is not None
    connection = request.transport
    passing.add(connection)
    try:
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
    except OSError:
        """Nobody listens any more."""
    finally:
        passing.discard(connection)
    return response


@contextmanager
def before(engine: str, socket: Path, *hooks: Hook) -> Iterator[str]:
    """The address of a proxy before an engine at `unix:///...` or `http://...`.

    A body of the caller's is read first.
    """
    ready, loop = threading.Event(), asyncio.new_event_loop()
    for hook in hooks:
        hook.loop = loop
    done = asyncio.Event()

    async def serve() -> None:
        connector: aiohttp.BaseConnector
        if engine.startswith("http:"):
            connector, base = aiohttp.TCPConnector(limit=0), engine
        else:
            connector, base = aiohttp.UnixConnector(engine.removeprefix("unix://"), limit=0), "http://engine"
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

            async def relay(request: web.Request) -> web.StreamResponse:
                hook = next((hook for hook in hooks if hook.takes(request)), None)
                if hook and hook.drop and not hook.late:
                    assert request.transport is not None
                    request.transport.close()
                    return web.Response()
                if hook and hook.status:
                    return web.json_response({"message": "the proxy says no"}, status=hook.status)
                kept = {name: value for name, value in request.headers.items() if name == "Content-Type"}
                body = await request.read()
                async with session.request(
                    request.method, f"{base}{request.raw_path}", data=body or None, headers=kept
                ) as answer:
                    await asyncio.sleep(hook.after if hook else 0)
                    if hook and hook.until:
                        await asyncio.to_thread(hook.until.wait, 60)
                    if hook and hook.late:
                        assert request.transport is not None
                        request.transport.close()
                        return web.Response()
                    return await passed_on(request, answer, hook.passing if hook else set())

            app = web.Application(client_max_size=2**26)
            app.router.add_route("*", "/{address:.*}", relay)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            await web.UnixSite(runner, str(socket)).start()
            ready.set()
            await done.wait()
            await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(180)
    try:
        yield f"unix://{socket}"
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()
