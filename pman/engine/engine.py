"""An engine: its translation, which is pure, and its executor, which is not. Submit, status, logs, remove."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from pman import executors
from pman.engine.cache import EndedDetails, EndedJobs, RecentLogs
from pman.engine.logtail import Tail, with_cause
from pman.errors import (
    BadRequest,
    ConfigError,
    Conflict,
    EngineRefused,
    EngineUnreachable,
    Fault,
    NameTaken,
    Refused,
    UnknownJob,
)
from pman.executors import Executor
from pman.job import Document, Job, JobDetails, JobInfo
from pman.settings import Settings
from pman.translation.explain import Explanation, explain
from pman.translation.rules import NativeState
from pman.translation.translation import Translation

log = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")

ReadDetails = Callable[[str, NativeState, Mapping[str, Any]], JobDetails]
"""Of a job's name, its native state and the engine's facts."""

LARGE = 64 * 2**10
"""Bytes of a request; most have one or two thousand."""


ASK_AGAIN = 5
"""Seconds after which an engine that is away is asked again: who it is, what was left unstarted."""

LOOK_AGAIN = 5
"""Seconds between two looks whether a job is overdue, such as one above its time limit."""


class Engine:
    """One for a process; made inside the event loop that uses it."""

    def __init__(self, translation: Translation, executor: Executor) -> None:
        self.settings = translation.settings
        self._translation = translation
        self._executor = executor
        self._facts: Mapping[str, Any] | None = None
        self._asking: asyncio.Task[Mapping[str, Any]] | None = None
        self._ended = EndedJobs()
        self._recent = RecentLogs(self._tail)
        self._told_details = EndedDetails()
        self._background: set[asyncio.Task[Any]] = set()

    @classmethod
    async def start(cls, settings: Settings) -> Engine:
        """Raises ConfigError for what can never work; an engine that is away for now is none of that."""
        translation = Translation(settings)
        engine = cls(translation, executors.connect(settings.engine, settings.values))
        try:
            await engine._ask()
        except EngineUnreachable as error:
            log.warning("%s (%s); asked again until it answers", error, error.hint)
            engine._spawn(engine._ask_until_told())
        except BaseException:
            await engine.close()
            raise
        return engine

    async def _ask(self) -> Mapping[str, Any]:
        """What only the engine can tell; all who want it wait for one answer.

        Raises ConfigError, EngineUnreachable.
        """
        if self._facts is not None:
            return self._facts
        if self._asking is None:
            self._asking = self._spawn(self._told())
            self._asking.add_done_callback(self._asked)
        return await asyncio.shield(self._asking)

    def _asked(self, done: asyncio.Task[Mapping[str, Any]]) -> None:
        self._asking = None
        if not done.cancelled():
            done.exception()  # told to those who wait, if any still do

    async def _told(self) -> Mapping[str, Any]:
        """What it tells, and with that the work begins that needs it."""
        facts = await self._executor.facts()
        self._translation.check(facts)
        self._facts = facts
        self._spawn(self._take_up())
        if self._translation.rules.tell_overdue:
            self._spawn(self._end_overdue())
        return facts

    async def _ask_until_told(self) -> None:
        """So that time limits hold, and what was left is taken up, whether or not anybody calls."""
        while self._facts is None:
            await asyncio.sleep(ASK_AGAIN)
            with contextlib.suppress(EngineUnreachable):
                await self.facts()

    async def facts(self) -> Mapping[str, Any]:
        """What the engine told at start, or tells now that it is back. Raises EngineUnreachable."""
        try:
            return await self._ask()
        except ConfigError as error:
            raise EngineUnreachable(f"the engine cannot be used: {error}", error.hint) from error

    def described(self) -> str:
        """Storebase and templates, for the first line of the log."""
        storebase = (
            self._facts["storebase"] or self.settings["VOLUME_NAME"] if self._facts else "not known yet"
        )
        templates = ", ".join([*self.settings["PMAN_TEMPLATES"], "the shipped ones"])
        return f"storebase {storebase}, templates: {templates}"

    async def ping(self) -> str:
        return await self._executor.ping()

    async def parse(self, body: bytes | str) -> Job:
        """Raises BadRequest with every error at once."""
        return await _off_the_loop(len(body), self._translation.parse, body)

    async def show(self, job: Job) -> Sequence[Document]:
        """What submit would send, the values of the environment masked; nothing is sent.

        Needs the engine only where nothing else knows the storebase. Raises BadRequest.
        """
        try:
            facts = await self.facts()
        except EngineUnreachable:
            if self._translation.needs_storebase and not self.settings["STOREBASE"]:
                raise
            facts = self._translation.assumed_facts()
        return await _off_the_loop(_size(job), self._translation.show, job, facts)

    async def submit(self, job: Job) -> JobInfo:
        """The job as the engine has it. An identical repeat answers the same and starts nothing twice.

        Goes on to its end when the caller hangs up. Raises BadRequest, Conflict, Refused,
        EngineUnreachable.
        """
        facts = await self.facts()
        documents = await _off_the_loop(_size(job), self._translation.render, job, facts)
        await asyncio.to_thread(_check_directories, facts.get("seen", facts["storebase"]), job)
        return await asyncio.shield(self._spawn(self._submit(job, documents)))

    async def status(self, jid: str) -> tuple[JobInfo, bytes]:
        """The job, and the JSON that answers for it. Raises UnknownJob, EngineUnreachable."""
        if remembered := self.remembered(jid):
            return remembered
        info, revision = await self._look(jid)
        if info.status == "notstarted":
            return info, info.json("")
        if remembered := self._ended.same(info, revision):
            return remembered
        body = info.json(with_cause(await self._recent.get(jid, ended=info.ended), info))
        if info.ended:
            self._ended.remember(info, body, revision)
        return info, body

    def remembered(self, jid: str) -> tuple[JobInfo, bytes] | None:
        """The same without a question to the engine, of a job that is known to have ended."""
        return self._ended.unchanged(jid, self._executor.revision(jid))

    async def info(self, jid: str) -> JobInfo:
        return (await self._look(jid))[0]

    async def _look(self, jid: str, *, fresh: bool = False) -> tuple[JobInfo, Hashable]:
        """The job, and what tells whether the engine says the same of it later.

        Nothing may come between the two calls of the executor, or they may speak of different states.
        """
        native = await self._executor.inspect(jid, fresh=fresh)
        revision = self._executor.revision(jid)
        return self._translation.rules.read(jid, native), revision

    async def _details(self, jid: str, facts: Mapping[str, Any], read: ReadDetails) -> JobDetails:
        """Of a job that has ended from memory, while the engine is known to say the same of it."""
        if kept := self._told_details.unchanged(jid, self._executor.revision(jid)):
            return kept
        native = await self._executor.inspect(jid)
        revision = self._executor.revision(jid)
        details = read(jid, native, facts)
        if details.info.ended:
            self._told_details.remember(jid, details, revision)
        return details

    async def logs(self, jid: str, tail: int, *, follow: bool) -> AsyncIterator[bytes]:
        """The log as it comes. Raises UnknownJob before the first byte."""
        await self.info(jid)
        return self._executor.logs(jid, tail, follow=follow)

    async def remove(self, jid: str) -> None:
        """End and forget the job, unless REMOVE_JOBS=no. Raises UnknownJob, Refused."""
        if self.settings["REMOVE_JOBS"]:
            await asyncio.shield(self._spawn(self._remove(jid)))
        else:
            await self._executor.inspect(jid)

    async def jobs(self) -> Sequence[JobDetails]:
        """All of pman's jobs, without their logs, by name; see Translation.listed.

        Raises EngineUnreachable where the engine itself does not answer.
        """
        facts = await self.facts()
        jids = await self._executor.list()
        turns = asyncio.Semaphore(16)

        async def one(jid: str) -> JobDetails | None:
            async with turns:
                await asyncio.sleep(0)  # from memory, a thousand of them would be one piece of work
                try:
                    return await self._details(jid, facts, self._translation.listed)
                except UnknownJob:
                    return None  # removed since it was listed

        return [details for details in await asyncio.gather(*map(one, sorted(jids))) if details]

    async def details(self, jid: str) -> JobDetails:
        """One of them. Raises UnknownJob; EngineUnreachable by a rule, ConfigError where one fails."""
        return await self._details(jid, await self.facts(), self._translation.details)

    async def native(self, jid: str) -> Mapping[str, Any]:
        """What the engine says of the job now, masked. Raises UnknownJob."""
        facts = await self.facts()
        native = await self._executor.inspect(jid, fresh=True)
        masked: Mapping[str, Any] = self._translation.masking(native, facts).masked(native)
        return masked

    async def explain(self, jid: str) -> Explanation:
        """Which rule decides what pman answers of the job; values masked. Raises UnknownJob."""
        facts = await self.facts()
        native = await self._executor.inspect(jid, fresh=True)
        found = explain(self._translation.rules, jid, native)
        masking = self._translation.masking(native, facts)
        return replace(
            found,
            message=masking.text(found.message),
            hint=masking.text(found.hint),
            values=masking.masked(found.values),
        )

    async def applied(self, jid: str) -> Sequence[Document]:
        """The job's documents as the engine holds them, masked. Raises UnknownJob."""
        facts = await self.facts()
        native = await self._executor.inspect(jid, fresh=True)
        return self._translation.applied(native, await self._executor.held(jid), facts)

    async def close(self) -> None:
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._executor.close()

    async def _submit(self, job: Job, documents: Sequence[Document]) -> JobInfo:
        try:
            native = await self._executor.apply(job.jid, documents)
        except NameTaken as taken:
            return await self._same(job, taken)
        except EngineRefused as refused:
            if answer := await self._refusal(job.jid, refused):
                return await self._unless_there(job, answer)
            native = await self._executor.inspect(job.jid, fresh=True)
        return self._translation.rules.read(job.jid, native)

    async def _same(self, job: Job, taken: NameTaken) -> JobInfo:
        """The job of that name, if the same request made it."""
        try:
            info, _ = await self._look(job.jid, fresh=True)
        except UnknownJob:
            raise Conflict(
                f"the name {job.jid} is taken on the engine by something that is not pman's",
                f"the engine says: {taken}",
            ) from taken
        _check_digest(job, info)
        if info.status == "notstarted":
            try:
                await self._executor.resume(job.jid)
            except EngineRefused as refused:
                if answer := await self._refusal(job.jid, refused):
                    raise answer from refused
            info, _ = await self._look(job.jid, fresh=True)
        return info

    async def _unless_there(self, job: Job, answer: Refused) -> JobInfo:
        """An engine may refuse before it looks whether the name is taken; a job that is there stays."""
        try:
            info, _ = await self._look(job.jid, fresh=True)
        except UnknownJob:
            raise answer from None
        _check_digest(job, info)
        return info

    async def _refusal(self, jid: str, refused: EngineRefused) -> Refused | None:
        """What to answer, with nothing left behind; None for a job that is to be seen as failed."""
        answer = self._translation.rules.refusal(refused)
        if answer.status == 201:
            return None
        if refused.made is not None:
            await self._executor.discard(jid, refused.made)
        return answer

    async def _remove(self, jid: str) -> None:
        try:
            await self._executor.remove(jid)
        except EngineRefused as refused:
            raise self._translation.rules.refusal(refused) from refused
        finally:
            self._ended.forget(jid)
            self._recent.forget(jid)
            self._told_details.forget(jid)

    async def _tail(self, jid: str) -> str:
        tail = Tail(self.settings["JOB_LOGS_BYTES"])
        if lines := self.settings["JOB_LOGS_TAIL"]:
            async for chunk in self._executor.logs(jid, lines):
                tail.add(chunk)
        return tail.text()

    async def _take_up(self) -> None:
        """Start what another pman, or this one before, has left unstarted."""
        left: list[str] | None = None
        while left is None or left:
            try:
                if left is None:
                    left = list(await self._executor.unfinished())
                while left:
                    await self._take_up_one(left[0])
                    left.pop(0)
            except EngineUnreachable as error:
                log.warning("what was left unstarted waits: %s", error)
                await asyncio.sleep(ASK_AGAIN)

    async def _take_up_one(self, jid: str) -> None:
        try:
            info, _ = await self._look(jid, fresh=True)
            if info.status == "notstarted":
                log.info("%s was never started (%s); taking it up", jid, info.message)
                await self._executor.resume(jid)
        except (UnknownJob, ConfigError, EngineRefused) as error:
            log.warning("%s could not be taken up: %s", jid, error)

    async def _end_overdue(self) -> None:
        """End what a rule calls overdue: what no engine does of itself, such as a time limit of Docker's."""
        while True:
            await asyncio.sleep(LOOK_AGAIN)
            try:
                for jid in await self._executor.active():
                    await self._end_if_overdue(jid)
                    await asyncio.sleep(0)  # from memory, a thousand looks would be one piece of work
            except EngineUnreachable as error:
                log.debug("overdue jobs wait: %s", error)
            except Exception:  # the edge of this task: time limits must hold after it
                log.exception("overdue jobs wait, by a bug")

    async def _end_if_overdue(self, jid: str) -> None:
        """Asks again before it ends a job that may be doing well by now. Raises EngineUnreachable."""
        try:
            if not (await self.info(jid)).overdue:
                return
            info, _ = await self._look(jid, fresh=True)
            if info.overdue:
                await self._executor.end(jid, info.message)
                log.info("%s was ended: %s", jid, info.message)
        except UnknownJob:
            return
        except (ConfigError, EngineRefused) as error:
            log.warning("%s is overdue and could not be ended: %s", jid, error)
        except EngineUnreachable as error:
            log.warning("whether %s is overdue cannot be told: %s", jid, error)
            await self._executor.ping()  # raises where that holds for all of them

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task that outlives the request that began it."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


async def _off_the_loop(size: int, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """In a thread where there is enough of it that other callers would wait; some 11 us an argument."""
    if size < LARGE:
        return work(*args, **options)
    return await asyncio.to_thread(work, *args, **options)


def _size(job: Job) -> int:
    return sum(map(len, (*job.args, *job.env)))


def _check_digest(job: Job, info: JobInfo) -> None:
    """Raises Conflict where another request made the job of that name."""
    if info.digest != job.digest:
        raise Conflict(
            f"a job {job.jid} exists with another content; it is {info.status}",
            "delete it first, or use another jid",
        )


def _check_directories(storebase: str, job: Job) -> None:
    """Where pman sees the storebase: the directories must exist in it, symbolic links resolved.

    What is swapped after this look is up to the engine: the storebase is pfcon's, not the job's.
    """
    if not os.path.isdir(storebase):  # noqa: PTH112  (False where pman may not look, unlike Path.is_dir)
        return
    root = os.path.realpath(storebase)
    faults = []
    for name in ("input_dir", "output_dir"):
        given = getattr(job, name)
        real = os.path.realpath(f"{root}/{given}")
        if os.path.commonpath([root, real]) != root or real == root:
            faults.append(Fault(f"$.{name}", f"{given!r} leads out of the storebase"))
        elif not os.path.isdir(real):  # noqa: PTH112  (as above)
            faults.append(Fault(f"$.{name}", f"{given!r} is no directory in the storebase"))
    if faults:
        raise BadRequest.of(faults, f"the directories must exist below {storebase} before; pfcon makes them")
