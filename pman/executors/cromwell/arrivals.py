"""Workflows that Cromwell may have taken and does not tell of yet: looked for together, in few calls."""

from __future__ import annotations

import asyncio

from pman.errors import EngineUnreachable
from pman.executors.cromwell.server import QUERY_SIZE, Server
from pman.executors.shared.tasks import cancel

QUERY_INTERVAL_SECONDS = 0.25
"""Between two looks, which are one query or two, however many wait."""

MAX_AWAITED = 2 * QUERY_SIZE
"""Workflows at a time, most of which were never submitted; whoever asks for one more has to come again."""


class Arrivals:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._awaited: dict[str, _Awaited] = {}
        self._querying: asyncio.Task[None] | None = None

    async def arrive(self, workflow: str, seconds: float) -> None:
        """Wait until a query finds the workflow, or for so many seconds. Raises EngineUnreachable."""
        if workflow not in self._awaited and len(self._awaited) >= MAX_AWAITED:
            raise EngineUnreachable(
                f"{MAX_AWAITED} jobs are asked for at once that Cromwell does not tell of",
                "it may have taken them just now, or nobody ever submitted jobs of these names",
            )
        awaited = self._awaited.setdefault(workflow, _Awaited())
        awaited.waiting += 1
        if self._querying is None:
            self._querying = asyncio.create_task(self._query())
        try:
            await asyncio.wait([awaited.arrival], timeout=seconds)
            if awaited.arrival.done():
                awaited.arrival.result()
        finally:
            awaited.waiting -= 1
            if not awaited.waiting and self._awaited.get(workflow) is awaited:
                del self._awaited[workflow]

    async def close(self) -> None:
        await cancel(self._querying)

    async def _query(self) -> None:
        while self._awaited:
            try:
                for workflow in await self._server.rows(list(self._awaited)):
                    if awaited := self._awaited.pop(workflow, None):
                        awaited.arrival.set_result(None)
            except Exception as error:  # raised to all who wait
                while self._awaited:
                    _, awaited = self._awaited.popitem()
                    awaited.arrival.set_exception(error)
                    awaited.arrival.exception()  # who waited may have gone
            await asyncio.sleep(QUERY_INTERVAL_SECONDS)
        self._querying = None


class _Awaited:
    def __init__(self) -> None:
        self.arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting = 0
        """How many wait for it."""
