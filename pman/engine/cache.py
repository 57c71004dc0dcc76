"""Answers that need not be asked for again: of jobs that have ended, and logs of a moment ago."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, replace

from cachetools import TLRUCache

from pman.executors.shared.bounded import Bounded
from pman.executors.shared.tasks import SingleFlight
from pman.job import JobInfo

LOG_LIFETIME_SECONDS = 1.0
"""For so long the log of a running job is good enough for all who poll it."""

COMPRESSED_FROM = 4096
"""Bytes of an answer from which on it is kept compressed."""


@dataclass(frozen=True, slots=True)
class _Answer:
    info: JobInfo
    body: bytes
    """Compressed where it is long, since of a thousand such logs not a hundred would fit."""

    is_compressed: bool
    revision: Hashable

    @property
    def size(self) -> int:
        """Bytes, roughly: the objects around it and the command, which the info has once more."""
        return len(self.body) + 4 * len(self.info.cmd) + 1000

    def read(self) -> tuple[JobInfo, bytes]:
        return self.info, zlib.decompress(self.body) if self.is_compressed else self.body


class EndedJobs:
    """The answers for jobs that have ended, the last used ones.

    The log of an ended job cannot change, so while the engine says the same of it, it is not
    fetched again; a log of 1,000 lines costs the engine forty times an inspection.
    """

    def __init__(self, limit: int = 32 * 2**20) -> None:
        """`limit`: bytes, of answers as they are kept."""
        self._answers: Bounded[str, _Answer] = Bounded(limit, lambda answer: answer.size)

    def unchanged(self, jid: str, revision: Hashable) -> tuple[JobInfo, bytes] | None:
        """The answer, where this revision of what the engine says is the one that it was made of."""
        answer = self._answers.get(jid)
        if answer is None or revision is None or answer.revision != revision:
            return None
        return answer.read()

    def same(self, info: JobInfo, revision: Hashable) -> tuple[JobInfo, bytes] | None:
        """The answer, where the engine says of the job what it said then; good for this revision, too."""
        answer = self._answers.get(info.jid)
        if answer is None or answer.info != info:
            return None
        if answer.revision != revision:
            self._answers[info.jid] = replace(answer, revision=revision)
        return answer.read()

    def remember(self, info: JobInfo, body: bytes, revision: Hashable) -> None:
        is_long = len(body) > COMPRESSED_FROM
        self._answers[info.jid] = _Answer(
            info, zlib.compress(body, 1) if is_long else body, is_long, revision
        )

    def forget(self, jid: str) -> None:
        self._answers.pop(jid, None)


class RecentLogs:
    """The ends of logs, each asked for once at a time and at most once in LOG_LIFETIME_SECONDS."""

    def __init__(self, read: Callable[[str], Awaitable[str]]) -> None:
        self._read = read
        self._reads: SingleFlight[tuple[str, bool], str] = SingleFlight()
        self._texts: TLRUCache[str, tuple[float, str]] = TLRUCache(
            math.inf, lambda _, text, __: text[0] + LOG_LIFETIME_SECONDS, time.monotonic
        )
        """Each with the moment when it was asked for."""

    async def get(self, jid: str, *, ended: bool) -> str:
        """`ended`: the job has ended, so its log is read after its end."""
        if not ended and (text := self._texts.get(jid)):
            return text[1]
        return await self._reads.run((jid, ended), lambda: self._fetch(jid, ended))

    def forget(self, jid: str) -> None:
        """The name may be given to another job."""
        self._texts.pop(jid, None)
        for ended in (True, False):
            self._reads.forget((jid, ended))

    async def _fetch(self, jid: str, ended: bool) -> str:
        asked = time.monotonic()
        text = await self._read(jid)
        if not ended and self._reads.is_current((jid, ended)):
            self._texts[jid] = (asked, text)
        self._texts.expire()
        return text
