"""The logs of several workers as one stream, each line with its worker's name where there are several."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from pman.executors.shared.tasks import cancel

AHEAD = 100
"""Chunks that are read before whoever wants them takes them; a slow client slows its sources down."""


class Sources:
    """Sources that are read into one stream; more may come for as long as the stream goes on."""

    def __init__(self) -> None:
        self.chunks: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(AHEAD)
        """Chunks, then None at the end, or an exception instead of it."""
        self._reading: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._reading)

    def __contains__(self, key: str) -> bool:
        return key in self._reading

    def add(self, key: str, source: AsyncGenerator[bytes]) -> None:
        self._reading[key] = asyncio.create_task(self._read(source))

    def check(self) -> None:
        """Raises what has kept a source from its end."""
        for task in self._reading.values():
            if task.done():
                task.result()

    async def ended(self, within: float | None = None) -> None:
        """Returns when all have ended, or after some seconds; raises like `check`."""
        if self._reading:
            wait_for = asyncio.FIRST_EXCEPTION
            await asyncio.wait(self._reading.values(), timeout=within, return_when=wait_for)
        self.check()

    async def close(self) -> None:
        await cancel(*self._reading.values())

    async def _read(self, source: AsyncGenerator[bytes]) -> None:
        async with aclosing(source):
            async for chunk in source:
                await self.chunks.put(chunk)


async def multiplexed(feed: Callable[[Sources], Awaitable[None]]) -> AsyncGenerator[bytes]:
    """The chunks of all sources that `feed` adds, as they come, until it returns."""
    sources = Sources()
    feeding = asyncio.create_task(_fed(sources, feed))
    try:
        while (chunk := await sources.chunks.get()) is not None:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk
    finally:
        await cancel(feeding)
        await sources.close()


async def _fed(sources: Sources, feed: Callable[[Sources], Awaitable[None]]) -> None:
    """When it is cancelled nobody takes the chunks any more: a full queue has no place for the end then."""
    end: Exception | None = None
    try:
        await feed(sources)
    except Exception as error:  # handed on to whoever takes the chunks
        end = error
    await sources.chunks.put(end)


async def prefixed(worker: str, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Whole lines, each with the worker's name before, the last one ended."""
    prefix, rest = f"[{worker}] ".encode(), b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            yield b"".join(prefix + line + b"\n" for line in lines)
    if rest:
        yield prefix + rest + b"\n"
