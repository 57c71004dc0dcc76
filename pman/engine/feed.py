"""Tells what happens to jobs as it happens, by one look a second for all who follow, and none for nobody."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from pman.engine.engine import Engine
from pman.errors import PmanError
from pman.job import JobDetails

log = logging.getLogger(__name__)

LOOK_INTERVAL_SECONDS = 1.0
"""Seconds between two looks at the engine, at least."""

REST_PER_LOOK = 4
"""How many times as long as it looks, it does not: a look at a thousand jobs takes a while of a core."""

EVENTS_AT_ONCE = 100
"""Events that a follower is given together: each giving costs more than an event."""

EVENT_LIMIT = 1000
"""Events for those who come back, or are slow."""

Event = Mapping[str, Any]
"""`id` ('' for what is no place to go on from), and `type` with what belongs to it:

added, changed, removed: `job`; of a removed one as it was last seen.
synced: `jids`; all jobs were told just now, by `added`, and those that are not in it are gone.
unavailable: `message`; the engine does not answer, and the next event comes when it does.
"""


class Feed:
    """One for a process; made inside the event loop that uses it."""

    def __init__(
        self, engine: Engine, *, pause: float = LOOK_INTERVAL_SECONDS, limit: int = EVENT_LIMIT
    ) -> None:
        self._engine = engine
        self._pause = pause
        self._name = secrets.token_hex(4)
        """Names this process: the ids of another one mean nothing here."""

        self._count = 0
        self._events: deque[Event] = deque(maxlen=limit)
        """The last of them; the last one has the id `_count`."""

        self._beginning: Sequence[Event] | None = None
        """Holds the events that new followers get, until the next look."""

        self._jobs: dict[str, JobDetails] = {}
        self._away: str | None = None
        self._followers = 0
        self._watching: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()
        """Set once the engine was asked since somebody follows."""

        self._news = asyncio.Event()
        """Another one after each piece of news."""

    async def jobs(self) -> Sequence[JobDetails]:
        """List jobs as Engine.jobs does; while somebody follows, as the last look found them."""
        if self._looked.is_set() and self._away is None:
            return list(self._jobs.values())
        return await self._engine.jobs()

    async def subscribe(self, since: str | None = None) -> AsyncGenerator[Sequence[Event], None]:
        """Yield all jobs as they are, then what happens; with `since`, an event's id, what happened after it.

        As many events at a time as there are, up to EVENTS_AT_ONCE; all who follow are given the same ones.

        Who asks for more than is kept, or falls behind it, is told all jobs anew. It never ends by itself:
        end it by `contextlib.aclosing`, or by its task.
        """
        with self._following():
            place = self._place(since)
            while True:
                news = self._news
                if place is None or place < self._count - len(self._events):
                    await self._looked.wait()
                    place, all_jobs = self._count, self._all()
                    for at in range(0, len(all_jobs), EVENTS_AT_ONCE):
                        yield all_jobs[at : at + EVENTS_AT_ONCE]
                elif place < self._count:
                    missed = len(self._events) + place - self._count
                    events = list(islice(self._events, missed, missed + EVENTS_AT_ONCE))
                    place += len(events)
                    yield events
                else:
                    await news.wait()

    @contextlib.contextmanager
    def _following(self) -> Iterator[None]:
        self._followers += 1
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            self._followers -= 1
            if not self._followers:
                self._watching.cancel()
                self._watching = None
                self._looked.clear()

    def _place(self, since: str | None) -> int | None:
        name, _, count = (since or "").partition("-")
        is_ours = name == self._name and count.isascii() and count.isdigit() and len(count) < 20
        return int(count) if is_ours and int(count) <= self._count else None

    def _all(self) -> Sequence[Event]:
        """List the events that a new follower needs; only after the last of them may it go on from its id.

        Ages are those of the first follower since the last look.
        """
        if self._beginning is None:
            events: list[Event] = [
                {"id": "", "type": "added", "job": _answer(job)} for job in self._jobs.values()
            ]
            if self._away is None:
                events.append({"id": self._last, "type": "synced", "jids": list(self._jobs)})
            else:
                events.append({"id": "", "type": "unavailable", "message": self._away})
            self._beginning = events
        return self._beginning

    @property
    def _last(self) -> str:
        return f"{self._name}-{self._count}"

    def _tell(self, kind: str, **rest: object) -> None:
        self._count += 1
        self._events.append({"id": self._last, "type": kind, **rest})
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _watch(self) -> None:
        """Look again and again, as long as somebody follows."""
        while True:
            began = time.monotonic()
            try:
                self._compare({details.info.jid: details for details in await self._engine.jobs()})
            except PmanError as error:  # away, or a rule that fails, which its message tells
                self._unavailable(str(error))
            except Exception:  # the edge of this task: who follows must hear of the next look
                log.exception("what happens to jobs cannot be told, by a bug")
                self._unavailable("pman failed to look, which is a bug; its log has the details")
            self._beginning = None
            self._looked.set()
            await asyncio.sleep(max(self._pause, REST_PER_LOOK * (time.monotonic() - began)))

    def _unavailable(self, message: str) -> None:
        if self._away is None:
            self._away = message
            self._tell("unavailable", message=message)

    def _compare(self, jobs: dict[str, JobDetails]) -> None:
        before, self._jobs = self._jobs, jobs
        if self._away is not None:  # to all who follow as to those who come: they may have missed something
            self._away = None
            self._count += 1
            self._events.clear()
            self._wake()
            return
        for jid, job in before.items():
            if jid not in jobs:
                self._tell("removed", job=_answer(job))
        for jid, job in jobs.items():
            if jid not in before:
                self._tell("added", job=_answer(job))
            elif job != before[jid]:
                self._tell("changed", job=_answer(job))


def _answer(job: JobDetails) -> Mapping[str, Any]:
    """The job as API v2 answers it; its ages are those of now."""
    return job.answer(datetime.now(UTC))
