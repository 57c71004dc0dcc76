"""The protocol of an executor over a Cromwell server: a job is one workflow, marked by labels."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pman.errors import NameTaken, UnknownJob
from pman.executors.cromwell.cache import ENDED, REMOVED_LABEL
from pman.executors.cromwell.directory import CallDirectory
from pman.executors.cromwell.server import Metadata, Server, calls
from pman.executors.cromwell.workflows import Workflows, is_removed
from pman.executors.shared.http import Http
from pman.executors.shared.pathmap import seen
from pman.executors.shared.tasks import Attempts
from pman.job import JID_LABEL, LABEL_PREFIX, REASON_LABEL, Document

log = logging.getLogger(__name__)

KIND_LABEL = f"{LABEL_PREFIX}kind"
"""A label that all of pman's workflows have; its value is `job`."""

FORM = {
    "workflow.wdl": ("workflowSource", "workflow"),
    "labels.json": ("labels", "labels"),
    "options.json": ("workflowOptions", "options"),
}
"""The field of a submission, and the name among the submittedFiles of metadata, by document."""

REMOVAL_TIMEOUT_SECONDS = 30.0
"""For a removal to see a job's end, which Cromwell may see five minutes late."""

END_CHECK_SECONDS = 1.0
"""Between two looks whether a job has ended whose log is followed."""


def connect(settings: Mapping[str, Any]) -> CromwellExecutor:
    http = Http("Cromwell", settings["CROMWELL_URL"], settings["ENGINE_TIMEOUT"], hint="See CROMWELL_URL")
    return CromwellExecutor(Server(http), settings)


class CromwellExecutor:
    """See Executor for what each call means."""

    def __init__(self, server: Server, settings: Mapping[str, Any]) -> None:
        self._server = server
        self._workflows = Workflows(server, float(settings["CROMWELL_LAG_SECONDS"]))
        self._lag = float(settings["CROMWELL_LAG_SECONDS"])
        self._storebase: str = settings["STOREBASE"]
        self._path_map: Mapping[str, str] = settings["PATH_MAP"]

    async def facts(self) -> Mapping[str, Any]:
        version = await self._server.version()
        release = re.match(r"[0-9]+", version)
        native = {"version": version, "release": int(release[0]) if release else None}
        where = str(seen(self._storebase, self._path_map))
        return {"storebase": self._storebase, "seen": where, "native": native}

    async def apply(self, jid: str, documents: Sequence[Document]) -> Mapping[str, Any]:
        """Returns as soon as Cromwell has taken the job; it tells of it seconds later only."""
        form = {FORM[document.name][0]: document.text for document in documents}
        content = {document.name: document.content for document in documents}
        for generation, workflow in self._workflows.ids(jid):
            try:
                await self._server.submit(
                    workflow, {**form, "workflowType": "WDL", "workflowTypeVersion": "1.0"}
                )
            except NameTaken:
                if await self._workflows.is_removed(jid, generation, workflow):
                    continue
                raise
            metadata = {
                "id": workflow,
                "status": "Submitted",
                "labels": content["labels.json"],
                "submittedFiles": {"options": form["workflowOptions"]},
            }
            self._workflows.submitted[workflow] = metadata
            return _native(metadata, is_visible=False, files={})
        raise AssertionError  # there is always a next generation

    async def inspect(self, jid: str, *, fresh: bool = False) -> Mapping[str, Any]:
        _, metadata, is_visible = await self._workflows.find(jid, fresh=fresh)
        directory = self._directory(metadata) if metadata.get("status") == "Failed" else None
        files = await asyncio.to_thread(directory.native) if directory else {}
        return _native(metadata, is_visible=is_visible, files=files)

    async def held(self, jid: str) -> Mapping[str, str]:
        """The documents as they were submitted, once Cromwell tells of them."""
        _, metadata, _ = await self._workflows.find(jid, fresh=False)
        submitted = await self._server.metadata(metadata["id"], ["submittedFiles"]) or {}
        files = submitted.get("submittedFiles") or {}
        return {name: text for name, (_, file) in FORM.items() if (text := files.get(file))}

    def logs(self, jid: str, tail: int, *, follow: bool = False) -> AsyncIterator[bytes]:
        return self._log(jid, tail, follow=follow)

    def log_end(self, jid: str, tail: int, limit: int) -> AsyncIterator[bytes]:
        return self._log(jid, tail, limit=limit)

    async def _log(
        self, jid: str, tail: int, *, follow: bool = False, limit: int | None = None
    ) -> AsyncIterator[bytes]:
        ended = self._end_check(jid)
        async for _ in Attempts(END_CHECK_SECONDS / 4):
            directory = self._directory((await self.inspect(jid))["metadata"])
            if directory or not follow or await ended():
                break
        if directory is None:
            return
        if await asyncio.to_thread(directory.is_visible):
            async for chunk in directory.log(tail, ended if follow else None, limit):
                yield chunk
        else:
            yield f"pman does not see the log of this job: on the cluster it is in {directory}\n".encode()

    async def remove(self, jid: str) -> None:
        """Cromwell forgets nothing: the workflow is marked, and all pmans go on with the next generation."""
        try:
            generation, metadata, is_visible = await self._workflows.find(jid, fresh=True)
        except UnknownJob:
            # A caller who hears that there is none does not ask again: Cromwell may be slower than it should.
            _, workflow = next(self._workflows.ids(jid))
            if await self._server.abort(workflow):
                raise self._workflows.silent(jid) from None
            raise
        workflow = metadata["id"]
        if not _has_ended(metadata):
            await self._server.abort(workflow)
            if not is_visible and await self._workflows.visible(workflow) is None:
                raise self._workflows.silent(jid)
            if not await self._until(workflow, _has_ended, REMOVAL_TIMEOUT_SECONDS):
                log.warning("%s: removed, though Cromwell does not say yet that it has ended", jid)
        if not await self._workflows.label(workflow, {REMOVED_LABEL: "yes"}):
            raise self._workflows.silent(jid)
        # Whoever asks next, on another pman too, must hear that it is gone.
        await self._until(workflow, is_removed, 2 * self._lag)
        self._workflows.forget(jid, generation, workflow)

    async def active(self) -> Sequence[str]:
        return await self._named({"status": status} for status in ("On Hold", "Submitted", "Running"))

    async def end(self, jid: str, reason: str) -> None:
        _, metadata, _ = await self._workflows.find(jid, fresh=True)
        workflow = metadata["id"]
        if not _has_ended(metadata):
            await self._workflows.label(workflow, {REASON_LABEL: reason[:255]})
            await self._server.abort(workflow)

    async def list(self) -> Sequence[str]:
        return await self._named(())

    async def ping(self) -> str:
        return f"Cromwell {await self._server.version()}"

    async def close(self) -> None:
        await self._workflows.close()
        await self._server.close()

    async def _until(self, workflow: str, holds: Callable[[Metadata], bool], seconds: float) -> bool:
        """Wait until the metadata are so; False where that takes too long."""
        async for _ in Attempts(0.05, 0.5, within=seconds):
            metadata = await self._workflows.cache.read(workflow)
            if metadata and holds(metadata):
                return True
        log.debug("%s: not as it should be after %.0f s", workflow, seconds)
        return False

    def _directory(self, metadata: Metadata) -> CallDirectory | None:
        """The directory of the last attempt, or None before it has one."""
        root = next((str(call.get("callRoot") or "") for call in reversed(calls(metadata))), "")
        return CallDirectory(root, self._path_map) if root else None

    def _end_check(self, jid: str) -> Callable[[], Any]:
        """Tells whether the job has ended; asks once in END_CHECK_SECONDS at the most."""
        last: list[float] = []

        async def ended() -> bool:
            if last and time.monotonic() - last[0] < END_CHECK_SECONDS:
                return False
            try:
                metadata = (await self.inspect(jid))["metadata"]
            except UnknownJob:
                return True
            last[:] = [time.monotonic()]
            return _has_ended(metadata)

        return ended

    async def _named(self, filters: Iterable[Mapping[str, str]]) -> Sequence[str]:
        """The jobs that match, without those that were deleted."""
        mine = [{"label": f"{KIND_LABEL}:job"}, {"excludeLabelOr": f"{REMOVED_LABEL}:yes"}]
        rows = await self._server.query([*mine, *filters])
        return sorted({row["labels"][JID_LABEL] for row in rows})


def _native(metadata: Metadata, *, is_visible: bool, files: Mapping[str, Any]) -> Mapping[str, Any]:
    """See templates/cromwell/state.yaml."""
    return {"metadata": metadata, "known": is_visible, "causes": _causes(metadata), "files": files}


def _causes(metadata: Metadata) -> list[str]:
    """The innermost messages: those around them say that something failed, and no more."""
    failures = [failure for part in (metadata, *calls(metadata)) for failure in part.get("failures") or ()]
    return list(dict.fromkeys(message for failure in failures for message in _leaves(failure)))


def _leaves(failure: Mapping[str, Any]) -> Iterator[str]:
    if not failure.get("causedBy"):
        yield str(failure.get("message", ""))
    for cause in failure.get("causedBy") or ():
        yield from _leaves(cause)


def _has_ended(metadata: Metadata) -> bool:
    return metadata.get("status") in ENDED
