"""The logs of a service's tasks, as one: by name where there are several."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from pman.errors import EngineUnreachable
from pman.executors.docker.api import Api, words
from pman.executors.docker.frames import demultiplexed
from pman.executors.swarm.services import ENDED, Services, Task, container_id, firsts, is_closed, slot

LOG_LABEL = "org.chrisproject.pman.log"
"""The end of the log of a job that pman ended: the swarm removes the tasks, and their logs with them."""

LOOK_AGAIN = 0.5
"""Seconds between two looks whether a job that is followed has more tasks by now."""

LOOKS = 10
"""After how many such looks a log that has not come to its last line is at its end."""

ENOUGH = 2**14
"""Bytes of the last line that are compared."""

_SILENT = frozenset(["new", "allocated", "pending", "assigned", "accepted", "preparing", "ready"])
"""The states in which nothing has started: the engine then answers with an error instead of a log."""


class Logs:
    def __init__(self, api: Api, services: Services) -> None:
        self._api = api
        self._services = services

    async def read(self, jid: str, tail: int) -> AsyncIterator[bytes]:
        """As much as there is, worker after worker."""
        service = await self._services.find(jid)
        if service is None or not tail:
            return
        if (kept := service["Spec"]["Labels"].get(LOG_LABEL)) is not None:
            yield "".join(kept.splitlines(keepends=True)[-tail:]).encode()
            return
        tasks = firsts(await self._services.tasks(service))
        for task in filter(_speaks, sorted(tasks, key=slot)):
            async for chunk in self._task(jid, task, len(tasks), tail, follow=False):
                yield chunk

    async def follow(self, jid: str, tail: int) -> AsyncIterator[bytes]:
        """To the end of the last worker, also of those that start later."""
        chunks: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=100)
        following = asyncio.create_task(self._follow(jid, tail, chunks))
        try:
            while (chunk := await chunks.get()) is not None:
                yield chunk
            await following
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def _follow(self, jid: str, tail: int, chunks: asyncio.Queue[bytes | None]) -> None:
        """Into the queue; None is the end."""
        readers: dict[str, asyncio.Task[None]] = {}

        async def pump(source: AsyncIterator[bytes]) -> None:
            async for chunk in source:
                await chunks.put(chunk)

        try:
            while tasks := await self._begun(jid):
                for task in tasks:
                    if _speaks(task) and task["ID"] not in readers:
                        source = self._task(jid, task, len(tasks), tail, follow=True)
                        readers[task["ID"]] = asyncio.create_task(pump(source))
                if all(task["Status"]["State"] in ENDED for task in tasks):
                    break
                await asyncio.sleep(LOOK_AGAIN)
            await asyncio.gather(*readers.values())
            if not readers:
                await pump(self.read(jid, tail))
        finally:
            for reader in readers.values():
                reader.cancel()
            await asyncio.gather(*readers.values(), return_exceptions=True)
            await chunks.put(None)

    async def _begun(self, jid: str) -> Sequence[Task]:
        """None only where there will be none: a service has its tasks a moment after it is made."""
        while (service := await self._services.find(jid)) is not None:
            tasks = firsts(await self._services.tasks(service))
            if tasks or is_closed(service):
                return tasks
            await asyncio.sleep(LOOK_AGAIN)
        return ()

    async def _task(
        self, jid: str, task: Task, workers: int, tail: int, *, follow: bool
    ) -> AsyncIterator[bytes]:
        """The chunks of one task; of several workers whole lines, each with the task's name before."""
        source = self._followed if follow else self._chunks
        chunks = source(task["ID"], max(tail // workers, 1) if tail else 0)
        if workers == 1:
            async for chunk in chunks:
                yield chunk
            return
        name, rest = f"[{jid}.{slot(task)}] ".encode(), b""
        async for chunk in chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            if lines:
                yield b"".join(name + line + b"\n" for line in lines)
        if rest:
            yield name + rest + b"\n"

    async def _followed(self, identity: str, tail: int) -> AsyncIterator[bytes]:
        """To the last line of a task that has ended: the engine keeps its stream open (20.10.24)."""
        stream = self._chunks(identity, tail, follow=True)
        coming = asyncio.ensure_future(anext(stream, None))
        received, looks = b"", 0
        try:
            while looks < LOOKS:
                done, _ = await asyncio.wait({coming}, timeout=LOOK_AGAIN)
                if done:
                    if (chunk := coming.result()) is None:
                        return
                    yield chunk
                    received = (received + chunk)[-ENOUGH:]
                    coming = asyncio.ensure_future(anext(stream, None))
                elif await self._services.is_over(identity):
                    looks += 1
                    last = b"".join([chunk async for chunk in self._chunks(identity, 1)])
                    if received.endswith(last[-ENOUGH:]):
                        return
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)

    async def _chunks(self, identity: str, tail: int, *, follow: bool = False) -> AsyncIterator[bytes]:
        query = {"stdout": "1", "stderr": "1", "tail": str(tail), "follow": str(int(follow))}
        path = f"/tasks/{identity}/logs"
        async with self._api.request("GET", path, query, stream=True, endless=follow) as response:
            if response.status == 200:
                async for chunk in demultiplexed(response.content.iter_any()):
                    yield chunk
                return
            told = words(await response.read())
        if "not support reading" in told:
            yield f"pman: the engine does not show this log: {told}\n".encode()
        elif response.status != 404:
            raise EngineUnreachable(f"the swarm cannot show the log of a task: {told}")


def _speaks(task: Task) -> bool:
    return bool(container_id(task)) and task["Status"]["State"] not in _SILENT
