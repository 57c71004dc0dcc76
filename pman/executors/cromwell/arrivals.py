"""Workflows that Cromwell may have taken and does not tell of yet: looked for together, in few calls."""

from __future__ import annotations

import asyncio

from pman.errors import EngineUnreachable
from pman.executors.cromwell.server import IN_A_QUERY, Server

LOOK_AGAIN = 0.25
"""Seconds between two looks, which are one query or two, however many wait."""

AWAITED = 2 * IN_A_QUERY
"""Workflows at a time, most of which were never submitted; who asks for one more has to come again."""


class Arrivals:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._awaited: dict[str, _Awaited] = {}
        self._looking: asyncio.Task[None] | None = None

    async def arrive(self, workflow: str, seconds: float) -> None:
        """Returns once a query finds the workflow, or after so long. Raises EngineUnreachable."""
        if workflow not in self._awaited and len(self._awaited) >= AWAITED:
            raise EngineUnreachable(
                f"{AWAITED} jobs are asked for at once that Cromwell does not tell of",
                "it may have taken them just now, or nobody ever submitted jobs of these names",
            )
        awaited = self._awaited.setdefault(workflow, _Awaited())
        awaited.waiting += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        try:
            await asyncio.wait([awaited.found], timeout=seconds)
            if awaited.found.done():
                awaited.found.result()
        finally:
            awaited.waiting -= 1
            if not awaited.waiting and self._awaited.get(workflow) is awaited:
                del self._awaited[workflow]

    async def close(self) -> None:
        if self._looking:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look(self) -> None:
        while self._awaited:
            try:
                for workflow in await self._server.rows(list(self._awaited)):
                    if awaited := self._awaited.pop(workflow, None):
                        awaited.found.set_result(None)
            except Exception as error:  # all who wait are told
                while self._awaited:
                    _, awaited = self._awaited.popitem()
                    awaited.found.set_exception(error)
                    awaited.found.exception()  # who waited may have gone
            await asyncio.sleep(LOOK_AGAIN)
        self._looking = None


class _Awaited:
    def __init__(self) -> None:
        self.found: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting = 0
        """How many wait for it."""
