"""Reads what the engine says of jobs, and answers from a cache while that is certain to hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

from pman.engine.cache import EndedJobs, RecentLogs
from pman.engine.logtail import Tail, with_cause
from pman.errors import EngineUnreachable, UnknownJob
from pman.executors import Cached, Executor, LogFiles
from pman.executors.shared.bounded import Bounded
from pman.job import JobDetails, JobInfo
from pman.translation.fields import without_fields
from pman.translation.rules import NativeState
from pman.translation.translation import Translation

ReadDetails = Callable[[str, NativeState, Mapping[str, Any]], JobDetails]
"""Takes a job's name, its native state and the engine's facts."""

CONCURRENT_READS = 16
"""Jobs that are read at a time for one list."""

READ_AT_ONCE = 100
"""Jobs whose states are held until they are read."""

LISTED_WITHIN_SECONDS = 10.0
"""A list waits so long for one of its jobs, and then shows the others."""

SILENT_AT_MOST = CONCURRENT_READS
"""Jobs of a list that the engine may not tell of; of more, it is the engine that does not answer."""

DETAILS_SIZE = 16 * 2**20
"""Characters of the details that are kept of jobs that have ended, roughly."""


class Reader:
    """One for an engine, with its cache; made inside the event loop that uses it."""

    def __init__(self, translation: Translation, executor: Executor) -> None:
        self._translation = translation
        self._executor = executor
        self._revision: Callable[[str], Hashable] = lambda _: None
        if isinstance(executor, Cached):  # the others must be asked each time whether they say the same
            self._revision = executor.revision
        self._ended = EndedJobs()
        self._details: Bounded[str, tuple[Hashable, JobDetails]] = Bounded(DETAILS_SIZE, _characters)
        """The details of jobs that have ended, each with the revision of what the engine says of it."""

        self._logs = RecentLogs(self._tail)

    async def status(self, jid: str) -> tuple[JobInfo, bytes]:
        """The job, and the JSON that answers for it. Raises UnknownJob, EngineUnreachable."""
        if cached := self.cached_status(jid):
            return cached
        info, revision = await self._read(jid)
        if info.status == "notstarted":
            return info, info.json("")
        if cached := self._ended.same(info, revision):
            return cached
        body = info.json(with_cause(await self._logs.get(jid, ended=info.ended), info))
        if info.ended:
            self._ended.remember(info, body, revision)
        return info, body

    def cached_status(self, jid: str) -> tuple[JobInfo, bytes] | None:
        """Answers as `status`, without a question to the engine, where a job is known to have ended."""
        return self._ended.unchanged(jid, self._revision(jid))

    async def info(self, jid: str, *, fresh: bool = False) -> JobInfo:
        """The job without its log; fresh: asked of the engine now. Raises UnknownJob, EngineUnreachable."""
        return (await self._read(jid, fresh=fresh))[0]

    async def _read(self, jid: str, *, fresh: bool = False) -> tuple[JobInfo, Hashable]:
        """The job, and the revision of what the engine says of it.

        Nothing may come between the two calls of the executor, or they may speak of different states.
        """
        native = await self._executor.inspect(jid, fresh=fresh)
        revision = self._revision(jid)
        return self._translation.rules.read(jid, native), revision

    async def details(self, jid: str, facts: Mapping[str, Any]) -> JobDetails:
        """Read all that API v2 answers of a job. Raises as Translation.details."""
        (details,) = await self._read_details([jid], facts, self._translation.details)
        return details

    async def list(self, facts: Mapping[str, Any]) -> Sequence[JobDetails]:
        """List all of pman's jobs, by name, without those removed meanwhile.

        A job that the engine does not tell of says so in its message. Raises EngineUnreachable where
        the engine itself does not answer, or tells nothing of many jobs.
        """
        details: list[JobDetails] = []
        silent: dict[str, EngineUnreachable] = {}
        for jids in _batches(sorted(await self._executor.list())):
            details += await self._read_details(jids, facts, self._translation.listed, silent)
            if len(silent) > SILENT_AT_MOST:
                break
        if len(silent) > SILENT_AT_MOST or 1 < len(silent) == len(details):
            raise next(iter(silent.values()))
        return details

    async def _read_details(
        self,
        jids: Sequence[str],
        facts: Mapping[str, Any],
        read: ReadDetails,
        silent: dict[str, EngineUnreachable] | None = None,
    ) -> Sequence[JobDetails]:
        """Read jobs by a thread: one with thousands of arguments takes a while.

        A job that has ended comes from the cache, while the engine is known to say the same of it.
        `silent`: for a list, gets the jobs that the engine does not tell of; those removed are left out.
        """
        turns = asyncio.Semaphore(CONCURRENT_READS)
        details: dict[str, JobDetails] = {}

        async def state(jid: str) -> tuple[str, NativeState, Hashable] | None:
            """What is to be read yet."""
            revision, cached = self._details.get(jid, (None, None))
            if cached and revision == self._revision(jid):
                details[jid] = cached
                return None
            async with turns:
                if silent is None:
                    return jid, await self._executor.inspect(jid), self._revision(jid)
                try:
                    return jid, await self._listed(jid), self._revision(jid)
                except UnknownJob:  # removed since it was listed
                    return None
                except EngineUnreachable as error:
                    silent[jid] = error
                    info = JobInfo(jid=jid, status="started", message=str(error), hint=error.hint)
                    details[jid] = without_fields(info)
                    return None

        if states := [each for each in await asyncio.gather(*map(state, jids)) if each]:
            details |= await asyncio.to_thread(
                lambda: {jid: read(jid, native, facts) for jid, native, _ in states}
            )
        for jid, _, revision in states:
            if details[jid].info.ended and revision is not None:
                self._details[jid] = revision, details[jid]
        return [details[jid] for jid in jids if jid in details]

    async def _listed(self, jid: str) -> NativeState:
        """The native state, for a list. Raises UnknownJob, EngineUnreachable."""
        try:
            async with asyncio.timeout(LISTED_WITHIN_SECONDS):
                return await self._executor.inspect(jid)
        except TimeoutError as error:
            message = f"the engine does not tell the state of {jid} within {LISTED_WITHIN_SECONDS:.0f} s"
            raise EngineUnreachable(message) from error

    def forget(self, jid: str) -> None:
        """Drop the job from the cache: its name may be given to another one."""
        self._ended.forget(jid)
        self._logs.forget(jid)
        self._details.pop(jid, None)

    async def _tail(self, jid: str) -> str:
        limit, lines = (self._translation.settings[name] for name in ("JOB_LOGS_BYTES", "JOB_LOGS_TAIL"))
        tail = Tail(limit)
        if lines:
            executor = self._executor
            async for chunk in (
                executor.log_end(jid, lines, limit)
                if isinstance(executor, LogFiles)
                else executor.logs(jid, lines)
            ):
                tail.add(chunk)
        return tail.text()


def _batches(jids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (jids[at : at + READ_AT_ONCE] for at in range(0, len(jids), READ_AT_ONCE))


def _characters(entry: tuple[Hashable, JobDetails]) -> int:
    """Counts the command, which is there twice, and the objects around it."""
    return 2 * len(entry[1].info.cmd) + 2000
