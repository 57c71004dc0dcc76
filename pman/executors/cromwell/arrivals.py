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
        self._awaited: dict[str, set[asyncio.Future[None]]] = {}
        """The callers that wait, by what they wait for."""
        self._querying: asyncio.Task[None] | None = None

    async def arrive(self, workflow: str, seconds: float) -> None:
        """Wait until a query finds the workflow, or for so many seconds. Raises EngineUnreachable."""
        if workflow not in self._awaited and len(self._awaited) >= MAX_AWAITED:
            raise EngineUnreachable(
                f"{MAX_AWAITED} jobs are asked for at once that Cromwell does not tell of",
                "it may have taken them just now, or nobody ever submitted jobs of these names",
            )
        waiting = self._awaited.setdefault(workflow, set())
        arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.add(arrival)
        if self._querying is None:
            self._querying = asyncio.create_task(self._query())
        try:
            await asyncio.wait([arrival], timeout=seconds)
            if arrival.done():
                arrival.result()
        finally:
            waiting.discard(arrival)
            if not waiting and self._awaited.get(workflow) is waiting:
                del self._awaited[workflow]

    async def close(self) -> None:
        await cancel(self._querying)

    async def _query(self) -> None:
        while self._awaited:
            try:
                for workflow in await self._server.rows(list(self._awaited)):
                    for arrival in self._awaited.pop(workflow, ()):
                        arrival.set_result(None)
            except Exception as error:  # raised to all who wait
                while self._awaited:
                    for arrival in self._awaited.popitem()[1]:
                        arrival.set_exception(error)
                        arrival.exception()  # who waited may have gone
            await asyncio.sleep(QUERY_INTERVAL_SECONDS)
        self._querying = None
