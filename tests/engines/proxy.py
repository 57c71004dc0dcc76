"""The real engine behind a proxy that delays, drops or refuses chosen calls: what time and chance do."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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

    drop: bool = False
    """The connection is closed instead; nothing reaches the engine."""

    status: int = 0
    """Answered instead."""

    times: int = 1_000_000
    seen: int = 0

    def takes(self, request: web.Request) -> bool:
        found = (
            self.times > 0
            and self.method == request.method
            and re.search(self.address, request.raw_path) is not None
        )
        self.times -= found
        self.seen += found
        return found


@contextmanager
def before(engine: str, socket: Path, *hooks: Hook) -> Iterator[str]:
    """The address of a proxy before an engine at `unix:///...`; short answers only."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    done = asyncio.Event()

    async def serve() -> None:
        connector = aiohttp.UnixConnector(engine.removeprefix("unix://"), limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

            async def relay(request: web.Request) -> web.Response:
                hook = next((hook for hook in hooks if hook.takes(request)), None)
                if hook and hook.drop:
                    assert request.transport is not None
                    request.transport.close()
                    return web.Response()
                if hook and hook.status:
                    return web.json_response({"message": "the proxy says no"}, status=hook.status)
                kept = {name: value for name, value in request.headers.items() if name == "Content-Type"}
                body = await request.read()
                async with session.request(
                    request.method, f"http://engine{request.raw_path}", data=body or None, headers=kept
                ) as answer:
                    content = await answer.read()
                    date = {"Date": answer.headers["Date"]} if "Date" in answer.headers else {}
                await asyncio.sleep(hook.after if hook else 0)
                return web.Response(
                    body=content, status=answer.status, content_type=answer.content_type, headers=date
                )

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
    assert ready.wait(20)
    try:
        yield f"unix://{socket}"
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()
