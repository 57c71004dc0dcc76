"""The protocol of an executor over a Cromwell server: a job is one workflow, marked by labels."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from pman.errors import EngineUnreachable, NameTaken, UnknownJob
from pman.executors.cromwell.arrivals import Arrivals
from pman.executors.cromwell.attributes import Attributes
from pman.executors.cromwell.cache import ENDED, REMOVED_LABEL, Polls
from pman.executors.cromwell.directory import CallDirectory
from pman.executors.cromwell.names import workflow_id
from pman.executors.cromwell.server import Metadata, Server, last_call
from pman.executors.shared.http import Http
from pman.executors.shared.pathmap import seen
from pman.job import JID_LABEL, LABEL_PREFIX, REASON_LABEL, Document

log = logging.getLogger(__name__)

KIND_LABEL = f"{LABEL_PREFIX}kind"
"""A label that all of pman's workflows have; its value is `job`."""

FORM = {"workflow.wdl": "workflowSource", "labels.json": "labels", "options.json": "workflowOptions"}
"""By document, the field of a submission."""

_FILES = {"workflowSource": "workflow", "labels": "labels", "workflowOptions": "options"}
"""By field of a submission, its name among the submittedFiles of metadata."""

KEPT = 600.0
"""Seconds for which a workflow of one's own that Cromwell does not tell of is told from memory."""

REMEMBERED = 20_000
"""Names whose deletions are known without asking."""

REMOVAL = 30.0
"""Seconds for which a removal waits for the end of a job; Cromwell may see it five minutes late."""

LOOK_AGAIN = 1.0
"""Seconds between two looks whether a job has ended whose log is followed."""


def connect(settings: Mapping[str, Any]) -> CromwellExecutor:
    http = Http("Cromwell", settings["CROMWELL_URL"], settings["ENGINE_TIMEOUT"], setting="CROMWELL_URL")
    return CromwellExecutor(Server(http), settings)


class CromwellExecutor:
    """See Executor for what each call means."""

    def __init__(self, server: Server, settings: Mapping[str, Any]) -> None:
        self._server = server
        self._polls = Polls(server)
        self._arrivals = Arrivals(server)
        self._attributes = Attributes(server)
        self._storebase: str = settings["STOREBASE"]
        self._lag = float(settings["CROMWELL_LAG_SECONDS"])
        self._path_map: Mapping[str, str] = settings["PATH_MAP"]
        self._generations: dict[str, int] = {}
        """Of names that were deleted, the last ones: those below are gone for good."""

        self._submitted: dict[str, tuple[float, Metadata]] = {}
        """By a workflow's id: what this pman has submitted and Cromwell does not tell of yet."""

    async def facts(self) -> Mapping[str, Any]:
        version = await self._server.version()
        release = re.match(r"[0-9]+", version)
        native = {"version": version, "release": int(release[0]) if release else None}
        where = str(seen(self._storebase, self._path_map))
        return {"storebase": self._storebase, "seen": where, "native": native}

    async def apply(self, jid: str, documents: Sequence[Document]) -> Mapping[str, Any]:
        """Answers as soon as Cromwell has taken it, which tells of it seconds later only."""
        form = {FORM[document.name]: document.text for document in documents}
        content = {document.name: document.content for document in documents}
        for generation, workflow in self._ids(jid):
            try:
                await self._server.submit(
                    workflow, {**form, "workflowType": "WDL", "workflowTypeVersion": "1.0"}
                )
            except NameTaken:
                if await self._is_removed(jid, generation, workflow):
                    continue
                raise
            metadata = {
                "id": workflow,
                "status": "Submitted",
                "labels": content["labels.json"],
                "submittedFiles": {"options": form["workflowOptions"]},
            }
            self._keep(workflow, metadata)
            self._attributes.sent(workflow, form["workflowSource"])
            return _native(metadata, known=False)
        raise AssertionError  # there is always a next generation

    async def inspect(self, jid: str, *, fresh: bool = False) -> Mapping[str, Any]:
        """Who asks for a name that Cromwell does not tell of waits until it surely would.

        It may have been submitted by another pman, or by this one before it was started anew.
        """
        _, metadata, known = await self._find(jid, fresh=fresh)
        await self._attributes.compare(metadata["id"], metadata)
        return _native(metadata, known=known, files=await self._files(metadata))

    async def held(self, jid: str) -> Mapping[str, str]:
        """What was submitted, once Cromwell tells of it."""
        _, metadata, _ = await self._find(jid, fresh=False)
        files = await self._server.submitted(metadata["id"])
        return {name: text for name, field in FORM.items() if (text := files.get(_FILES[field]))}

    async def logs(self, jid: str, tail: int, *, follow: bool = False) -> AsyncIterator[bytes]:
        ended = self._watch(jid)
        directory = await self._directory(jid)
        while follow and not await _begun(directory) and not await ended():
            await asyncio.sleep(LOOK_AGAIN / 4)
            directory = directory or await self._directory(jid)
        if directory is None:
            return
        if await asyncio.to_thread(directory.is_visible):
            async for chunk in directory.log(tail, ended if follow else None):
                yield chunk
        else:
            yield f"pman does not see the log of this job: on the cluster it is in {directory}\n".encode()

    async def remove(self, jid: str) -> None:
        """Cromwell forgets nothing: the workflow is marked, and all pmans go on with the next generation."""
        try:
            generation, metadata, known = await self._find(jid, fresh=True)
        except UnknownJob:
            # Who is told that there is none will not ask again: Cromwell may be slower than it should.
            _, workflow = next(self._ids(jid))
            if await self._server.abort(workflow):
                raise self._silent(jid) from None
            raise
        workflow = metadata["id"]
        if not _has_ended(metadata):
            await self._server.abort(workflow)
            if not known and await self._visible(workflow) is None:
                raise self._silent(jid)
            if await self._until(workflow, _has_ended, REMOVAL) is None:
                log.warning("%s: removed, though Cromwell does not say yet that it has ended", jid)
        if not await self._labelled(workflow, {REMOVED_LABEL: "yes"}):
            raise self._silent(jid)
        # Whoever asks next, on another pman too, must be told so.
        await self._until(workflow, _is_marked, 2 * self._lag)
        self._forget(jid, generation, workflow)

    async def active(self) -> Sequence[str]:
        return await self._named({"status": status} for status in ("On Hold", "Submitted", "Running"))

    async def end(self, jid: str, reason: str) -> None:
        _, metadata, _ = await self._find(jid, fresh=True)
        workflow = metadata["id"]
        if not _has_ended(metadata):
            await self._labelled(workflow, {REASON_LABEL: reason[:255]})
            await self._server.abort(workflow)

    async def list(self) -> Sequence[str]:
        return await self._named(())

    async def ping(self) -> str:
        return f"Cromwell {await self._server.version()}"

    async def close(self) -> None:
        await self._arrivals.close()
        await self._polls.close()
        await self._server.close()

    # --- which workflow is the job's ---------------------------------------------------------------

    def _ids(self, jid: str) -> Iterator[tuple[int, str]]:
        """Of the generation that may be there, then of the next ones."""
        for generation in count(self._generations.get(jid, 1)):
            yield generation, workflow_id(jid, generation)

    async def _find(self, jid: str, *, fresh: bool) -> tuple[int, Metadata, bool]:
        """Its generation, its metadata, and whether Cromwell tells of it yet. Raises UnknownJob."""
        ask = self._polls.ask_alone if fresh else self._polls.ask
        for generation, workflow in self._ids(jid):
            metadata = await ask(workflow)
            if metadata is None and (own := self._own(workflow)):
                return generation, own, False
            if metadata is None:
                metadata = await self._visible(workflow)
            if metadata is None:
                raise UnknownJob(jid)
            self._submitted.pop(workflow, None)
            if not _is_marked(metadata):
                return generation, metadata, True
            self._forget(jid, generation, workflow)
        raise AssertionError  # there is always a next generation

    def _forget(self, jid: str, generation: int, workflow: str) -> None:
        """A job that was deleted, by this pman or another one."""
        self._submitted.pop(workflow, None)
        self._generations[jid] = max(generation + 1, self._generations.pop(jid, 1))
        if len(self._generations) > REMEMBERED:  # a name that is forgotten is asked for from the first one on
            del self._generations[next(iter(self._generations))]

    async def _is_removed(self, jid: str, generation: int, workflow: str) -> bool:
        """Of a workflow that is there. Raises EngineUnreachable where Cromwell does not tell of it."""
        if self._own(workflow):
            return False
        metadata = await self._visible(workflow)
        if metadata is None:
            raise self._silent(jid)
        if _is_marked(metadata):
            self._forget(jid, generation, workflow)
        return _is_marked(metadata)

    def _silent(self, jid: str) -> EngineUnreachable:
        return EngineUnreachable(
            f"Cromwell has a workflow for {jid} and does not tell of it within {self._lag:.0f} s",
            "it is slow to write its metadata; CROMWELL_LAG_SECONDS sets how long pman waits",
        )

    def _keep(self, workflow: str, metadata: Metadata) -> None:
        """What was submitted, in the order in which it was; without what nobody has asked for in time."""
        now = time.monotonic()
        self._submitted[workflow] = now, metadata
        while now - next(iter(self._submitted.values()))[0] > KEPT:
            del self._submitted[next(iter(self._submitted))]

    def _own(self, workflow: str) -> Metadata | None:
        """What this pman has submitted lately."""
        at, metadata = self._submitted.get(workflow, (0.0, None))
        return metadata if time.monotonic() - at < KEPT else None

    # --- what Cromwell says only later -------------------------------------------------------------

    async def _visible(self, workflow: str) -> Metadata | None:
        """As soon as Cromwell tells of it; None once it would have."""
        await self._arrivals.arrive(workflow, self._lag)
        return await self._polls.ask_alone(workflow)

    async def _until(
        self, workflow: str, holds: Callable[[Metadata], bool], seconds: float
    ) -> Metadata | None:
        """The metadata once this holds; None where that takes too long."""
        end, pause = time.monotonic() + seconds, 0.05
        while True:
            asked = time.monotonic()
            found = await self._polls.ask_alone(workflow)
            if found and holds(found):
                return found
            if asked > end:
                log.debug("%s: not as it should be after %.0f s", workflow, seconds)
                return None
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.5)

    async def _labelled(self, workflow: str, labels: Mapping[str, str]) -> bool:
        """Cromwell labels only what it tells of."""
        return await self._server.label(workflow, labels) or (
            await self._visible(workflow) is not None and await self._server.label(workflow, labels)
        )

    # --- all that is said of a job -----------------------------------------------------------------

    async def _files(self, metadata: Metadata) -> Mapping[str, Any]:
        root = _root(metadata)
        if metadata.get("status") != "Failed" or not root:
            return {}
        return await asyncio.to_thread(CallDirectory(root, self._path_map).told)

    async def _directory(self, jid: str) -> CallDirectory | None:
        """None while its call has none."""
        root = _root((await self.inspect(jid))["metadata"])
        return CallDirectory(root, self._path_map) if root else None

    def _watch(self, jid: str) -> Callable[[], Any]:
        """Whether it has ended, looked at once a second at the most."""
        last: list[float] = []

        async def ended() -> bool:
            if last and time.monotonic() - last[0] < LOOK_AGAIN:
                return False
            try:
                metadata = (await self.inspect(jid))["metadata"]
            except UnknownJob:
                return True
            last[:] = [time.monotonic()]
            return _has_ended(metadata)

        return ended

    async def _named(self, asked: Any) -> Sequence[str]:
        """The jobs that a query finds, without those that were deleted."""
        mine = [{"label": f"{KIND_LABEL}:job"}, {"excludeLabelOr": f"{REMOVED_LABEL}:yes"}]
        rows = await self._server.query([*mine, *asked])
        return sorted({row["labels"][JID_LABEL] for row in rows})


async def _begun(directory: CallDirectory | None) -> bool:
    return directory is not None and await asyncio.to_thread(directory.has_begun)


def _native(metadata: Metadata, *, known: bool, files: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """See templates/cromwell/state.yaml."""
    return {"metadata": metadata, "known": known, "causes": _causes(metadata), "files": files or {}}


def _causes(metadata: Metadata) -> list[str]:
    """The innermost messages: those around them say that something failed, and no more."""
    calls = [call for attempts in (metadata.get("calls") or {}).values() for call in attempts]
    failures = [failure for told in (metadata, *calls) for failure in told.get("failures") or ()]
    return list(dict.fromkeys(message for failure in failures for message in _leaves(failure)))


def _leaves(failure: Mapping[str, Any]) -> Iterator[str]:
    if not failure.get("causedBy"):
        yield str(failure.get("message", ""))
    for cause in failure.get("causedBy") or ():
        yield from _leaves(cause)


def _root(metadata: Metadata) -> str:
    """Of the last attempt's directory; '' before it has one."""
    return str(last_call(metadata).get("callRoot") or "")


def _has_ended(metadata: Metadata) -> bool:
    return metadata.get("status") in ENDED


def _is_marked(metadata: Metadata) -> bool:
    return REMOVED_LABEL in (metadata.get("labels") or {})
