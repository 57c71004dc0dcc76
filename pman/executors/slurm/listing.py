"""The one query for all polls of a moment: slurmctld is asked no oftener, however many poll."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from pman.executors.slurm.native import Entry, is_marked

PACE = 1.0
"""Seconds between the beginnings of two queries for those who poll."""

SHARE = 4
"""How many times as long as a query took slurmctld has its peace: it may have thousands of jobs."""

HURRY = 0.2
"""Seconds between two queries for who waits for a job to go, or finds a name taken."""


@dataclass(frozen=True, slots=True)
class Jobs:
    """Of pman's, those that SLURM remembers."""

    begun: float
    """When SLURM was asked, time.monotonic()."""

    by_id: Mapping[int, Entry]
    by_name: Mapping[str, Sequence[Entry]]


class Listing:
    def __init__(
        self, ask: Callable[[], Awaitable[Sequence[Entry]]], seen: Callable[[Jobs], Awaitable[None]]
    ) -> None:
        """`seen` is told of each answer before anybody else is."""
        self._ask = ask
        self._seen = seen
        self._last: Jobs | None = None
        self._tried = float("-inf")
        self._pace = PACE
        self._asking: asyncio.Task[Jobs] | None = None

    async def get(self, *, since: float | None = None, hurry: bool = False) -> Jobs:
        """Asked after `since`; else a moment ago. Raises EngineUnreachable."""
        after = time.monotonic() - self._pace if since is None else since
        while True:
            if self._last and self._last.begun > after:
                return self._last
            if self._asking and not self._asking.done():
                begun = self._tried
                if begun > after:
                    return await asyncio.shield(self._asking)
                await asyncio.wait([self._asking])
                continue
            pause = self._tried + (HURRY if hurry else self._pace) - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            else:
                self._tried = time.monotonic()
                self._asking = asyncio.create_task(self._fetch(self._tried))
                self._asking.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def close(self) -> None:
        if self._asking:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _fetch(self, begun: float) -> Jobs:
        answer = await self._ask()
        found = await asyncio.to_thread(_jobs, begun, answer)  # there may be thousands
        self._pace = max(PACE, SHARE * (time.monotonic() - begun))
        await self._seen(found)
        self._last = found
        return found


def _jobs(begun: float, answer: Sequence[Entry]) -> Jobs:
    marked = [entry for entry in answer if is_marked(entry)]
    by_name: dict[str, list[Entry]] = {}
    for entry in sorted(marked, key=lambda entry: int(entry["id"])):
        by_name.setdefault(entry["name"], []).append(entry)
    return Jobs(begun, {entry["id"]: entry for entry in marked}, by_name)
