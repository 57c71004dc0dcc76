"""The logs of a service's tasks, as one: by name where there are several."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import UTC, datetime

from pman.errors import EngineUnreachable
from pman.executors.docker.api import Api
from pman.executors.docker.frames import NoLogError, OnError, read_log
from pman.executors.shared.multiplex import Sources, multiplexed, prefixed
from pman.executors.shared.tasks import Attempts, cancel
from pman.executors.swarm.services import Services, Task, container_id, firsts, is_closed, is_over, slot
from pman.job import LABEL_PREFIX

LOG_LABEL = f"{LABEL_PREFIX}log"
"""The end of the log of a job that pman ended: the swarm removes the tasks, and their logs with them."""

FOLLOW_INTERVAL_SECONDS = 0.5
"""Between two looks whether a job that is followed has more tasks by now."""

LAST_LINE_ATTEMPTS = 10
"""After so many such looks a log that has not come to its last line is at its end."""

COMPARED_BYTES = 2**14
"""The last line is compared by so much of its end."""

WHOLE_LOG_SECONDS = 300.0
"""So long after the end of a job its log must be whole; thereafter the swarm's words may stand for what it
cannot fetch, say from a node that is gone."""

_NOT_BEGUN = frozenset(["new", "allocated", "pending", "assigned", "accepted", "preparing", "ready"])
"""The states in which nothing has started: the engine then answers with an error instead of a log."""


class Logs:
    def __init__(self, api: Api, services: Services) -> None:
        self._api = api
        self._services = services

    async def read(self, jid: str, tail: int) -> AsyncGenerator[bytes]:
        """The last lines there are, worker after worker.

        Raises EngineUnreachable where the swarm cannot fetch a part of it for now: the platform asks for
        the log of a job once it has ended, and no more.
        """
        service = await self._services.find(jid)
        if service is None or not tail:
            return
        if (text := service["Spec"]["Labels"].get(LOG_LABEL)) is not None:
            yield _last_lines(text, tail).encode()
            return
        tasks = firsts(await self._services.tasks(service))
        on_error = _unfetched if _ended_lately(tasks) else None
        for task in filter(_speaks, sorted(tasks, key=slot)):
            chunks = self._chunks(task["ID"], _share(tail, len(tasks)), on_error=on_error)
            async for chunk in _named(jid, task, len(tasks), chunks):
                yield chunk

    def follow(self, jid: str, tail: int) -> AsyncIterator[bytes]:
        """The logs to the end of the last worker, also of those that start later."""
        return multiplexed(lambda sources: self._feed(sources, jid, tail))

    async def _feed(self, sources: Sources, jid: str, tail: int) -> None:
        while tasks := await self._begun(jid):
            for task in filter(_speaks, tasks):
                if task["ID"] not in sources:
                    chunks = self._followed(task["ID"], _share(tail, len(tasks)))
                    sources.add(task["ID"], _named(jid, task, len(tasks), chunks))
            if all(map(is_over, tasks)):
                break
            await asyncio.sleep(FOLLOW_INTERVAL_SECONDS)
            sources.check()
        await sources.ended()
        if not sources:
            sources.add(jid, self.read(jid, tail))
            await sources.ended()

    async def _begun(self, jid: str) -> Sequence[Task]:
        """Empty only where there will be none: a service has its tasks a moment after it is made."""
        async for _ in Attempts(FOLLOW_INTERVAL_SECONDS):
            if (service := await self._services.find(jid)) is None:
                break
            tasks = firsts(await self._services.tasks(service))
            if tasks or is_closed(service):
                return tasks
        return ()

    async def _followed(self, identity: str, tail: int) -> AsyncGenerator[bytes]:
        """The log to the last line of a task that has ended: the engine keeps its stream open (20.10.24)."""
        stream = self._chunks(identity, tail, follow=True)
        coming = asyncio.ensure_future(anext(stream, None))
        received, looks = b"", 0
        try:
            while looks < LAST_LINE_ATTEMPTS:
                done, _ = await asyncio.wait({coming}, timeout=FOLLOW_INTERVAL_SECONDS)
                if done:
                    if (chunk := coming.result()) is None:
                        return
                    yield chunk
                    received = (received + chunk)[-COMPARED_BYTES:]
                    coming = asyncio.ensure_future(anext(stream, None))
                elif await self._services.is_over(identity):
                    looks += 1
                    last = b"".join([chunk async for chunk in self._chunks(identity, 1)])
                    if received.endswith(last[-COMPARED_BYTES:]):
                        return
        finally:
            await cancel(coming)
            await stream.aclose()  # it goes on where its last chunk was taken, and the reader has gone

    async def _chunks(
        self,
        identity: str,
        tail: int,
        *,
        follow: bool = False,
        on_error: OnError | None = None,
    ) -> AsyncGenerator[bytes]:
        path, subject = f"/tasks/{identity}/logs", "the swarm cannot show the log of a task"
        source = read_log(self._api, path, subject, tail, follow=follow, on_error=on_error)
        async with contextlib.aclosing(source) as chunks:
            with contextlib.suppress(NoLogError):
                async for chunk in chunks:
                    yield chunk


def _named(jid: str, task: Task, workers: int, chunks: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    return chunks if workers == 1 else prefixed(f"{jid}.{slot(task)}", chunks)


def _share(tail: int, workers: int) -> int:
    return max(tail // workers, 1) if tail else 0


def _last_lines(text: str, count: int) -> str:
    """Lines as an engine counts them: by newlines, and by nothing else that Unicode takes for their end."""
    lines = text.split("\n")
    ended = not lines[-1]
    return "\n".join(lines[-count - ended :])


def _ended_lately(tasks: Sequence[Task]) -> bool:
    if not tasks or not all(map(is_over, tasks)):
        return False
    last = max(str(task["Status"]["Timestamp"])[:19] for task in tasks)  # with nanoseconds, always UTC
    return (datetime.now(UTC) - datetime.fromisoformat(f"{last}+00:00")).total_seconds() < WHOLE_LOG_SECONDS


def _unfetched(message: bytes) -> None:
    raise EngineUnreachable(
        f"the swarm cannot fetch the log of a task for now: {message.decode(errors='replace').strip()}",
        "its node must be up to tell it",
    )


def _speaks(task: Task) -> bool:
    return bool(container_id(task)) and task["Status"]["State"] not in _NOT_BEGUN
