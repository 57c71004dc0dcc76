"""The protocol of an executor over SLURM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

from pman.errors import ConfigError, EngineRefused, UnknownJob
from pman.executors import Closable
from pman.executors.shared.logfile import chunks
from pman.executors.shared.pathmap import seen
from pman.executors.shared.tasks import cancel, repeat
from pman.executors.slurm import options
from pman.executors.slurm.cli import Cli
from pman.executors.slurm.directory import Directories, Record, native_state, number_in
from pman.executors.slurm.ends import Ends
from pman.executors.slurm.listing import Jobs, Listing
from pman.executors.slurm.native import Entry, has_ended, is_held, labels
from pman.executors.slurm.rest import Rest
from pman.executors.slurm.submission import Submission
from pman.executors.slurm.transport import Transport
from pman.job import Document

log = logging.getLogger(__name__)

REMOVAL_TIMEOUT_SECONDS = 60.0
"""For a removal to see a job's processes end; SLURM kills them after KillWait (30 s)."""

RECORD_INTERVAL_SECONDS = 10.0
"""Between two queries while nobody polls: SLURM forgets what has ended after MinJobAge (300 s)."""

_BY_PLUGIN = (
    "pman's script compares input_dir and output_dir with where they must be, and SLURM's plugin opens them "
    "anew: who exchanges one for a link in between leads a job elsewhere; others mount what was compared"
)

LEFT_OPEN: Mapping[str, Sequence[str]] = {
    "enroot": [f"SLURM_RUNTIME=enroot: {_BY_PLUGIN}"],
    "oci": [f"SLURM_RUNTIME=oci: {_BY_PLUGIN}"],
    "none": [
        "SLURM_RUNTIME=none: jobs are programs of the nodes with all rights of their user, also to what pman "
        "keeps of that user's jobs, unless a template of the site isolates them"
    ],
}
"""Warnings of the start, by runtime."""


def connect(settings: Mapping[str, Any]) -> SlurmExecutor:
    """Raises ConfigError."""
    transport: Transport = Rest(settings) if settings["SLURM_MODE"] == "rest" else Cli(settings)
    return SlurmExecutor(transport, settings)


class SlurmExecutor:
    """See Executor for what each call means."""

    def __init__(self, transport: Transport, settings: Mapping[str, Any]) -> None:
        self._transport = transport
        self._storebase = str(settings["STOREBASE"])
        self._seen_storebase = seen(self._storebase, settings["PATH_MAP"])
        self._root = settings["SLURM_DIRECTORY"] or f"{self._storebase.rstrip('/')}/.pman"
        self._runtime = str(settings["SLURM_RUNTIME"])
        self._directories = Directories(seen(self._root, settings["PATH_MAP"]), settings["SLURM_USER"])
        self._ends = Ends(self._directories, transport)
        self._listing = Listing(transport.jobs, self._ends.record)
        self._submission = Submission(self._directories, transport, self._listing)
        self._recording: asyncio.Task[None] | None = None

    async def facts(self) -> Mapping[str, Any]:
        version = await self._transport.version()
        try:
            await asyncio.to_thread(self._directories.prepare)
        except OSError as error:
            raise ConfigError(
                f"the directory of the jobs, {self._root}, cannot be used: {error}",
                "pman and the nodes must see it and write there: SLURM_DIRECTORY names another one, and "
                "PATH_MAP says where pman sees it",
            ) from error
        if self._recording is None:
            purpose = "how jobs end is not recorded"
            self._recording = asyncio.create_task(repeat(self._tidy, RECORD_INTERVAL_SECONDS, purpose))
        return {
            "storebase": self._storebase,
            "seen": str(self._seen_storebase),
            "native": {"version": version},
            "documents": {"job.json": _schema(self._transport.fields)},
            "warnings": LEFT_OPEN.get(self._runtime, ()),
        }

    async def apply(self, jid: str, documents: Sequence[Document]) -> Mapping[str, Any]:
        contents = [document.content for document in documents if isinstance(document.content, Mapping)]
        scripts = [document.text for document in documents if document.name.endswith(".sh")]
        if len(contents) != 1 or len(scripts) != 1 or not contents[0].keys() >= {"job", "notes"}:
            raise ConfigError(
                "templates: a job of SLURM is one script (job.sh.j2) and job and notes in one job.json.j2"
            )
        if self._transport.fields:
            options.check(contents[0]["job"])
        incarnation = await asyncio.to_thread(self._directories.create, jid, contents[0], scripts[0])
        try:
            await self._submission.go_on(jid, first=True)
        except EngineRefused as refused:
            refused.leftover = incarnation
            raise
        return native_state("controller", {"states": ["PENDING"]}, contents[0]["notes"], contents[0]["job"])

    async def discard(self, jid: str, leftover: str) -> None:
        """Delete the directory of a job that SLURM has not got."""
        record = await asyncio.to_thread(self._directories.read, jid)
        if record and record.incarnation == leftover and record.job_id is None:
            with contextlib.suppress(UnknownJob):
                aside = await asyncio.to_thread(self._directories.set_aside, jid, leftover)
                await asyncio.to_thread(self._directories.delete, aside)

    async def resume(self, jid: str) -> None:
        await self._submission.go_on(jid, first=False)

    async def unfinished(self) -> Sequence[str]:
        return await asyncio.to_thread(self._directories.names, unfinished=True)

    async def inspect(self, jid: str, *, fresh: bool = False) -> Mapping[str, Any]:
        record = await asyncio.to_thread(self._directories.read, jid)
        if record and record.end:
            return record.native_state("kept", record.end)
        if record and record.is_unfinished and record.job_id is None:
            return record.native_state("unsubmitted", None)
        now = time.monotonic()
        jobs = await self._listing.get(since=now if fresh else None, hurry=fresh)
        if record is None:
            if jobs.begun < now:  # "no such job" must not come from an answer that is older than the question
                jobs = await self._listing.get(since=now, hurry=jid in jobs.by_name)
            return _without_directory(jid, jobs)
        entry = _entry(record, jobs)
        if entry is None and jobs.begun < now:
            entry = _entry(record, await self._listing.get(since=now))
        if entry is None:
            return await self._ends.find(jid)
        if has_ended(entry):  # since it was read, the script may have said why the job is not run
            record = await asyncio.to_thread(self._directories.read, jid) or record
        is_submitting = record.is_unfinished and not has_ended(entry)
        return record.native_state("unsubmitted" if is_submitting else "controller", entry)

    async def held(self, jid: str) -> Mapping[str, str]:
        """Without the script once SLURM has it: it holds the environment, and is deleted here."""
        return await asyncio.to_thread(self._directories.documents, jid)

    async def logs(self, jid: str, tail: int, *, follow: bool = False) -> AsyncIterator[bytes]:
        ended = partial(self._has_ended, jid) if follow else None
        directory = self._directories.directory(jid)
        async for chunk in chunks(directory / "log", tail, ended, within=directory):
            yield chunk

    def log_end(self, jid: str, tail: int, limit: int) -> AsyncIterator[bytes]:
        directory = self._directories.directory(jid)
        return chunks(directory / "log", tail, within=directory, limit=limit)

    async def remove(self, jid: str) -> None:
        record = await asyncio.to_thread(self._directories.read, jid)
        if record is None:
            if not (running := await self._running(jid)):
                raise UnknownJob(jid)
            await self._end([entry["id"] for entry in running])
            return
        if record.is_unfinished or not record.end:  # first, so that nothing is forgotten where SLURM is away
            running = await self._running(jid)
            own = [entry for entry in running if entry["id"] == record.job_id or is_held(entry)]
            await self._end([entry["id"] for entry in own])
        aside = await asyncio.to_thread(self._directories.set_aside, jid, record.incarnation)
        late = await asyncio.to_thread(number_in, aside / "id")
        if late != record.job_id:  # submitted meanwhile
            await self._end([entry["id"] for entry in await self._running(jid) if entry["id"] == late])
        await asyncio.to_thread(self._directories.delete, aside)

    async def active(self) -> Sequence[str]:
        jobs = await self._listing.get()
        return sorted(
            jid for jid, entries in jobs.by_name.items() if not all(has_ended(entry) for entry in entries)
        )

    async def end(self, jid: str, reason: str) -> None:
        record = await asyncio.to_thread(self._directories.read, jid)
        if record is None:
            raise UnknownJob(jid)
        if record.end is None:
            for entry in await self._running(jid):
                if entry["id"] == record.job_id:
                    await asyncio.to_thread(self._directories.write_end_reason, jid, reason)
                    await self._transport.cancel(entry["id"])

    async def list(self) -> Sequence[str]:
        names = set(await asyncio.to_thread(self._directories.names))
        return sorted(names.union(await self.active()))

    async def ping(self) -> str:
        return await self._transport.version()

    async def close(self) -> None:
        await cancel(self._recording)
        await self._listing.close()
        if isinstance(self._transport, Closable):
            await self._transport.close()

    async def _tidy(self) -> None:
        await self._submission.tidy(await self._listing.get())

    async def _has_ended(self, jid: str) -> bool:
        try:
            native = await self.inspect(jid)
        except UnknownJob:
            return True
        return native["source"] in ("kept", "files", "lost") or bool(
            native["job"] and has_ended(native["job"])
        )

    async def _running(self, jid: str) -> Sequence[Entry]:
        """SLURM's jobs of the name that have not ended.

        Never ended by their id alone: slurmctld may have given it to another job since it lost its state.
        """
        jobs = await self._listing.get(since=time.monotonic(), hurry=True)
        return [entry for entry in jobs.by_name.get(jid, ()) if not has_ended(entry)]

    async def _end(self, job_ids: Sequence[int]) -> None:
        """Cancel them; returns when nothing of them runs any more, or after REMOVAL_TIMEOUT_SECONDS."""
        for job_id in job_ids:
            await self._transport.cancel(job_id)
        deadline = time.monotonic() + REMOVAL_TIMEOUT_SECONDS
        left = list(job_ids)
        while left and time.monotonic() < deadline:
            jobs = await self._listing.get(since=time.monotonic(), hurry=True)
            left = [one for one in left if one in jobs.by_id and not has_ended(jobs.by_id[one])]
        if left:
            log.warning("removed, though SLURM has not ended them yet: jobs %s", ", ".join(map(str, left)))


def _schema(fields: Sequence[str]) -> Mapping[str, Any]:
    """The JSON Schema of job.json."""
    names = (
        {"propertyNames": {"description": "sbatch has no option for it", "enum": fields}} if fields else {}
    )
    return {"required": ["job", "notes"], "properties": {"job": names}}


def _entry(record: Record, jobs: Jobs) -> Entry | None:
    """Find the job by its id; not another one that has the id since slurmctld began to count anew."""
    entry = jobs.by_id.get(record.job_id or 0)
    return entry if entry and entry["name"] == record.jid else None


def _without_directory(jid: str, jobs: Jobs) -> Mapping[str, Any]:
    """A job that SLURM still has, and whose directory somebody has deleted. Raises UnknownJob."""
    for entry in jobs.by_name.get(jid, ()):
        if not has_ended(entry):
            return native_state("controller", entry, {"labels": labels(entry["comment"])}, {})
    raise UnknownJob(jid)
