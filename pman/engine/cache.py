"""Answers that need not be asked for again: of jobs that have ended, and logs of a moment ago."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable

from pman.job import JobDetails, JobInfo

FRESH = 1.0
"""Seconds for which the log of a running job is good enough for all who poll it."""

LONG = 4096
"""Bytes of an answer from which on it is kept compressed."""


class EndedJobs:
    """The answers for jobs that have ended, the last used ones.

    The log of an ended job cannot change, so while the engine says the same of it, it is not
    fetched again; a log of 1,000 lines costs the engine forty times an inspection.
    """

    def __init__(self, limit: int = 32 * 2**20) -> None:
        """`limit`: bytes, of answers as they are kept."""
        self._limit = limit
        self._size = 0
        self._answers: OrderedDict[str, _Kept] = OrderedDict()

    def unchanged(self, jid: str, revision: Hashable) -> tuple[JobInfo, bytes] | None:
        """The answer, where the engine's word is known to be the one it was made of."""
        found = self._unchanged(jid, revision)
        return found.answer() if found else None

    def _unchanged(self, jid: str, revision: Hashable) -> _Kept | None:
        found = self._answers.get(jid)
        if found is None or revision is None or found.revision != revision:
            return None
        self._answers.move_to_end(jid)
        return found

    def same(self, info: JobInfo, revision: Hashable) -> tuple[JobInfo, bytes] | None:
        """The answer, where the engine says of the job what it said then."""
        found = self._answers.get(info.jid)
        if found is None or found.info != info:
            return None
        found.revision = revision
        self._answers.move_to_end(info.jid)
        return found.answer()

    def remember(self, info: JobInfo, body: bytes, revision: Hashable) -> None:
        self.forget(info.jid)
        self._answers[info.jid] = kept = _Kept(info, body, revision)
        self._size += kept.size
        while self._size > self._limit:
            self.forget(next(iter(self._answers)))

    def forget(self, jid: str) -> None:
        if found := self._answers.pop(jid, None):
            self._size -= found.size


class _Kept:
    """One answer; a long one compressed, since of a thousand such logs not a hundred would fit."""

    __slots__ = ("_body", "_compressed", "info", "revision")

    def __init__(self, info: JobInfo, body: bytes, revision: Hashable) -> None:
        self.info = info
        self.revision = revision
        self._compressed = len(body) > LONG
        self._body = zlib.compress(body, 1) if self._compressed else body

    @property
    def size(self) -> int:
        """Bytes, roughly: the objects around it and the command, which the info has once more."""
        return len(self._body) + 4 * len(self.info.cmd) + 1000

    def answer(self) -> tuple[JobInfo, bytes]:
        return self.info, zlib.decompress(self._body) if self._compressed else self._body


class EndedDetails:
    """The details of jobs that have ended, the last used ones, while the engine says the same of them."""

    def __init__(self, limit: int = 16 * 2**20) -> None:
        """`limit`: characters of their requests."""
        self._limit = limit
        self._size = 0
        self._details: OrderedDict[str, tuple[Hashable, JobDetails]] = OrderedDict()

    def unchanged(self, jid: str, revision: Hashable) -> JobDetails | None:
        found = self._details.get(jid)
        if found is None or revision is None or found[0] != revision:
            return None
        self._details.move_to_end(jid)
        return found[1]

    def remember(self, jid: str, details: JobDetails, revision: Hashable) -> None:
        """Nothing where the engine does not tell whether it says the same later."""
        self.forget(jid)
        if revision is None:
            return
        self._details[jid] = revision, details
        self._size += _characters(details)
        while self._size > self._limit:
            self.forget(next(iter(self._details)))

    def forget(self, jid: str) -> None:
        if found := self._details.pop(jid, None):
            self._size -= _characters(found[1])


def _characters(details: JobDetails) -> int:
    """Roughly: the command is there twice, and the objects around it."""
    return 2 * len(details.info.cmd) + 2000


class RecentLogs:
    """The ends of logs, each asked for once at a time and at most once in FRESH seconds."""

    def __init__(self, read: Callable[[str], Awaitable[str]]) -> None:
        self._read = read
        self._reading: dict[tuple[str, bool], asyncio.Task[str]] = {}
        self._texts: OrderedDict[str, tuple[float, str]] = OrderedDict()

    async def get(self, jid: str, *, ended: bool) -> str:
        """Of a job that has ended: read since its end."""
        found = self._texts.get(jid)
        if found and not ended and time.monotonic() - found[0] < FRESH:
            return found[1]
        return await asyncio.shield(self._task(jid, ended))

    def forget(self, jid: str) -> None:
        """The name may be given to another job."""
        self._texts.pop(jid, None)
        for ended in (True, False):
            self._reading.pop((jid, ended), None)

    def _task(self, jid: str, ended: bool) -> asyncio.Task[str]:
        key = (jid, ended)
        if key not in self._reading:
            self._reading[key] = task = asyncio.create_task(self._fetch(jid, ended))
            task.add_done_callback(lambda done: self._done(key, done))
        return self._reading[key]

    def _done(self, key: tuple[str, bool], task: asyncio.Task[str]) -> None:
        if self._reading.get(key) is task:
            del self._reading[key]
        if not task.cancelled():
            task.exception()  # told to those who wait, if any still do

    async def _fetch(self, jid: str, ended: bool) -> str:
        asked = time.monotonic()
        text = await self._read(jid)
        if not ended and self._reading.get((jid, ended)) is asyncio.current_task():
            self._texts[jid] = (asked, text)
            self._texts.move_to_end(jid)
        while self._texts and asked - next(iter(self._texts.values()))[0] > FRESH:
            self._texts.popitem(last=False)
        return text
