"""One query for all polls of a moment, so that slurmctld has no more of them however many callers poll."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from pman.executors.shared.tasks import cancel
from pman.executors.slurm.native import Entry, is_marked

POLL_INTERVAL_SECONDS = 1.0
"""Between the beginnings of two queries for those who poll."""

IDLE_RATIO = 4
"""The interval is at least so many times as long as a query took: slurmctld may have thousands of jobs."""

URGENT_INTERVAL_SECONDS = 0.2
"""Between two queries for a caller who waits for a job to go, or finds a name taken."""


@dataclass(frozen=True, slots=True)
class Jobs:
    """An answer of SLURM's: pman's jobs that it remembers."""

    begun: float
    """When the query began, time.monotonic()."""

    by_id: Mapping[int, Entry]
    by_name: Mapping[str, Sequence[Entry]]


class Listing:
    def __init__(
        self, ask: Callable[[], Awaitable[Sequence[Entry]]], seen: Callable[[Jobs], Awaitable[None]]
    ) -> None:
        """`seen` gets each answer before any caller does."""
        self._ask = ask
        self._seen = seen
        self._last: Jobs | None = None
        self._asked_at = float("-inf")
        self._interval = POLL_INTERVAL_SECONDS
        self._query: asyncio.Task[Jobs] | None = None

    async def get(self, *, since: float | None = None, hurry: bool = False) -> Jobs:
        """An answer that SLURM was asked for after `since`, else a moment ago. Raises EngineUnreachable.

        `hurry`: with URGENT_INTERVAL_SECONDS since the last query.
        """
        after = time.monotonic() - self._interval if since is None else since
        while True:
            if self._last and self._last.begun > after:
                return self._last
            if self._query and not self._query.done():
                if self._asked_at > after:
                    return await asyncio.shield(self._query)
                await asyncio.wait([self._query])
                continue
            pause = self._asked_at + (URGENT_INTERVAL_SECONDS if hurry else self._interval) - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            else:
                self._asked_at = time.monotonic()
                self._query = asyncio.create_task(self._fetch(self._asked_at))
                self._query.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def close(self) -> None:
        await cancel(self._query)

    async def _fetch(self, begun: float) -> Jobs:
        answer = await self._ask()
        jobs = await asyncio.to_thread(_jobs, begun, answer)  # there may be thousands
        self._interval = max(POLL_INTERVAL_SECONDS, IDLE_RATIO * (time.monotonic() - begun))
        await self._seen(jobs)
        self._last = jobs
        return jobs


def _jobs(begun: float, answer: Sequence[Entry]) -> Jobs:
    marked = [entry for entry in answer if is_marked(entry)]
    by_name: dict[str, list[Entry]] = {}
    for entry in sorted(marked, key=lambda entry: int(entry["id"])):
        by_name.setdefault(entry["name"], []).append(entry)
    return Jobs(begun, {entry["id"]: entry for entry in marked}, by_name)
