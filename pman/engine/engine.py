"""An engine: its translation, which is pure, and its executor, which is not. Submit, status, logs, remove."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ParamSpec, TypeVar

from pman import executors
from pman.engine.overdue import CHECK_INTERVAL_SECONDS, end_overdue
from pman.engine.reader import Reader
from pman.engine.submission import RETRY_INTERVAL_SECONDS, Submission, check_directories
from pman.errors import ConfigError, EngineRefused, EngineUnreachable
from pman.executors import Executor, Holding
from pman.executors.shared.tasks import Background, SingleFlight, repeat
from pman.job import Document, Job, JobDetails, JobInfo
from pman.settings import Settings
from pman.translation.explain import Explanation, explain
from pman.translation.translation import Translation

log = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")

LARGE = 64 * 2**10
"""Bytes of a request from which on a thread works on it; most have one or two thousand."""


class Engine:
    """One for a process; made inside the event loop that uses it."""

    def __init__(
        self,
        translation: Translation,
        executor: Executor,
        *,
        overdue_interval: float = CHECK_INTERVAL_SECONDS,
    ) -> None:
        """`overdue_interval`: seconds between two looks for jobs that are overdue."""
        self.settings = translation.settings
        self._translation = translation
        self._executor = executor
        self._reader = Reader(translation, executor)
        # What needs nothing but the reader is asked of it directly.
        self.status = self._reader.status
        self.cached_status = self._reader.cached_status
        self.info = self._reader.info
        self._submission = Submission(executor, translation.rules, self._reader)
        self._overdue_interval = overdue_interval
        self._facts: Mapping[str, Any] | None = None
        self._asking: SingleFlight[None, Mapping[str, Any]] = SingleFlight()
        self._background = Background()

    @classmethod
    async def start(cls, settings: Settings) -> Engine:
        """Raises ConfigError for what can never work; an engine that is away for now is none of that."""
        translation = Translation(settings)
        engine = cls(translation, executors.connect(settings.engine, settings.values))
        try:
            await engine._ask()
        except EngineUnreachable as error:
            log.warning("%s (%s); asked again until it answers", error, error.hint)
            engine._background.begin(engine._ask_until_answered())
        except BaseException:
            await engine.close()
            raise
        return engine

    async def _ask(self) -> Mapping[str, Any]:
        """The engine's facts; all who ask wait for one answer. Raises ConfigError, EngineUnreachable."""
        if self._facts is not None:
            return self._facts
        return await self._asking.run(None, self._begin)

    async def _begin(self) -> Mapping[str, Any]:
        """Ask for the facts, and begin the work that needs them."""
        facts = await self._executor.facts()
        self._translation.check(facts)
        self._facts = facts
        for warning in facts.get("warnings", ()):
            log.warning("%s", warning)
        self._background.begin(self._submission.resume_unfinished())
        if self._translation.rules.calls_overdue:
            end = partial(end_overdue, self._executor, self._reader)
            self._background.begin(repeat(end, self._overdue_interval, "overdue jobs are not ended"))
        return facts

    async def _ask_until_answered(self) -> None:
        """So that time limits hold, and what was left is started, whether or not anybody calls."""
        while self._facts is None:
            await asyncio.sleep(RETRY_INTERVAL_SECONDS)
            with contextlib.suppress(EngineUnreachable):
                await self.facts()

    async def facts(self) -> Mapping[str, Any]:
        """Say what the engine is, as it said at start or when it came back. Raises EngineUnreachable."""
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
        """Return what submit would send, the values of the environment masked; nothing is sent.

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
        await asyncio.to_thread(check_directories, facts.get("seen", facts["storebase"]), job)
        return await asyncio.shield(self._background.begin(self._submission.submit(job, documents)))

    async def logs(self, jid: str, tail: int, *, follow: bool) -> AsyncIterator[bytes]:
        """The log as it comes. Raises UnknownJob before the first byte."""
        await self.info(jid)
        return self._executor.logs(jid, tail, follow=follow)

    async def remove(self, jid: str) -> None:
        """End and forget the job, unless REMOVE_JOBS=no. Raises UnknownJob, Refused."""
        if self.settings["REMOVE_JOBS"]:
            await asyncio.shield(self._background.begin(self._remove(jid)))
        else:
            await self._executor.inspect(jid)

    async def jobs(self) -> Sequence[JobDetails]:
        """List all of pman's jobs, without their logs, by name; see Translation.listed.

        Raises EngineUnreachable where the engine itself does not answer.
        """
        return await self._reader.list(await self.facts())

    async def details(self, jid: str) -> JobDetails:
        """One of them. Raises UnknownJob; EngineUnreachable by a rule, ConfigError where one fails."""
        return await self._reader.details(jid, await self.facts())

    async def native(self, jid: str) -> Mapping[str, Any]:
        """Ask what the engine says of the job now, masked. Raises UnknownJob."""
        facts = await self.facts()
        native = await self._executor.inspect(jid, fresh=True)
        return await asyncio.to_thread(self._masked, native, facts)

    def _masked(self, native: Mapping[str, Any], facts: Mapping[str, Any]) -> Mapping[str, Any]:
        masked: Mapping[str, Any] = self._translation.masking(native, facts).masked(native)
        return masked

    async def explain(self, jid: str) -> Explanation:
        """Tell which rule decides what pman answers of the job; values masked. Raises UnknownJob."""
        facts = await self.facts()
        native = await self._executor.inspect(jid, fresh=True)
        return await asyncio.to_thread(self._explained, jid, native, facts)

    def _explained(self, jid: str, native: Mapping[str, Any], facts: Mapping[str, Any]) -> Explanation:
        explanation = explain(self._translation.rules, jid, native)
        masking = self._translation.masking(native, facts)
        return replace(
            explanation,
            message=masking.text(explanation.message),
            hint=masking.text(explanation.hint),
            values=masking.masked(explanation.values),
        )

    async def applied(self, jid: str) -> Sequence[Document]:
        """The job's documents as the engine holds them, masked. Raises UnknownJob."""
        facts = await self.facts()
        native = await self._executor.inspect(jid, fresh=True)
        held = await self._executor.held(jid) if isinstance(self._executor, Holding) else {}
        return await asyncio.to_thread(self._translation.applied, native, held, facts)

    async def close(self) -> None:
        await self._asking.close()
        await self._background.close()
        await executors.close(self._executor)

    async def _remove(self, jid: str) -> None:
        try:
            await self._executor.remove(jid)
        except EngineRefused as refused:
            raise self._translation.rules.refusal(refused) from refused
        finally:
            self._reader.forget(jid)


async def _off_the_loop(size: int, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """In a thread where there is enough of it that other callers would wait; some 11 us an argument."""
    if size < LARGE:
        return work(*args, **options)
    return await asyncio.to_thread(work, *args, **options)


def _size(job: Job) -> int:
    return sum(map(len, (*job.args, *job.env)))
