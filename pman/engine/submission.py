"""Carries a job's documents to the engine, once however often they are sent, and starts what was left."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from pman.engine.reader import Reader
from pman.errors import (
    BadRequest,
    ConfigError,
    Conflict,
    EngineRefused,
    Fault,
    NameTaken,
    PmanError,
    Refused,
    UnknownJob,
)
from pman.executors import Executor, Startable
from pman.executors.shared.directories import fault, is_visible
from pman.executors.shared.tasks import until_reachable
from pman.job import Document, Job, JobInfo
from pman.translation.rules import Rules

log = logging.getLogger(__name__)

RETRY_INTERVAL_SECONDS = 5
"""Until an engine that is away is asked again."""

_WAITS = "what was left unstarted waits"


class Submission:
    """One for an engine."""

    def __init__(self, executor: Executor, rules: Rules, reader: Reader) -> None:
        self._executor = executor
        self._startable = executor if isinstance(executor, Startable) else None
        self._rules = rules
        self._reader = reader

    async def submit(self, job: Job, documents: Sequence[Document]) -> JobInfo:
        """The job as the engine has it. Raises Conflict, Refused, EngineUnreachable."""
        try:
            native = await self._executor.apply(job.jid, documents)
        except NameTaken as taken:
            return await self._same(job, taken)
        except EngineRefused as refused:
            if answer := await self._refusal(job.jid, refused):
                return await self._existing(job, answer)  # it may refuse before it looks at the name
            native = await self._executor.inspect(job.jid, fresh=True)
        return self._rules.read(job.jid, native)

    async def _same(self, job: Job, taken: NameTaken) -> JobInfo:
        """The job of that name, if the same request made it."""
        message = f"the name {job.jid} is taken on the engine by something that is not pman's"
        info = await self._existing(job, Conflict(message, f"the engine says: {taken}"))
        if info.status == "notstarted" and self._startable:
            try:
                await self._startable.resume(job.jid)
            except EngineRefused as refused:
                if answer := await self._refusal(job.jid, refused):
                    raise answer from refused
            info = await self._reader.info(job.jid, fresh=True)
        return info

    async def _existing(self, job: Job, otherwise: PmanError) -> JobInfo:
        """The job that the same request made before. Raises Conflict; `otherwise` where there is none."""
        try:
            info = await self._reader.info(job.jid, fresh=True)
        except UnknownJob:
            raise otherwise from None
        if info.digest != job.digest:
            raise Conflict(
                f"a job {job.jid} exists with another content; it is {info.status}",
                "delete it first, or use another jid",
            )
        return info

    async def _refusal(self, jid: str, refused: EngineRefused) -> Refused | None:
        """The answer, with nothing left behind; None for a job that is to be seen as failed."""
        answer = self._rules.refusal(refused)
        if answer.status == 201:
            return None
        if refused.leftover is not None and self._startable:
            await self._startable.discard(jid, refused.leftover)
        return answer

    async def resume_unfinished(self) -> None:
        """Start the jobs that another pman, or this one before, has applied and not started."""
        if self._startable is None:
            return
        for jid in await until_reachable(self._startable.unfinished, RETRY_INTERVAL_SECONDS, _WAITS):
            await until_reachable(partial(self._resume, self._startable, jid), RETRY_INTERVAL_SECONDS, _WAITS)

    async def _resume(self, executor: Startable, jid: str) -> None:
        try:
            info = await self._reader.info(jid, fresh=True)
            if info.status == "notstarted":
                log.info("%s was never started (%s); taking it up", jid, info.message)
                await executor.resume(jid)
        except (UnknownJob, ConfigError, EngineRefused) as error:
            log.warning("%s could not be taken up: %s", jid, error)


def check_directories(storebase: str, job: Job) -> None:
    """Raises BadRequest where pman sees the storebase and the job's directories are not in it by their names.

    A symbolic link is refused wherever it leads: a job that left it must not choose what the next one is
    given. What is exchanged after this look is the engine's to resolve safely (docs/security.md).
    """
    if not is_visible(storebase):
        return
    given = {name: fault(storebase, getattr(job, name)) for name in ("input_dir", "output_dir")}
    if faults := [Fault(f"$.{name}", message) for name, message in given.items() if message]:
        raise BadRequest.of(faults, f"the directories must exist below {storebase} before; pfcon makes them")
