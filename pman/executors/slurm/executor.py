"""The protocol of an executor over SLURM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from pman.errors import ConfigError, EngineRefused, EngineUnreachable, UnknownJob
from pman.executors.shared.logfile import FOLLOW_INTERVAL_SECONDS, chunks
from pman.executors.shared.pathmap import seen
from pman.executors.slurm.cli import Cli
from pman.executors.slurm.directory import Directories, Kept, identity_in
from pman.executors.slurm.listing import Jobs, Listing
from pman.executors.slurm.native import Entry, has_ended, is_held, labels
from pman.executors.slurm.rest import Rest
from pman.executors.slurm.submission import Submission
from pman.executors.slurm.transport import Transport
from pman.job import Document

log = logging.getLogger(__name__)

REMOVAL = 60.0
"""Seconds for which a removal waits for a job's processes; SLURM kills them after KillWait (30 s)."""

LOOK = 10.0
"""Seconds between two looks while nobody polls: SLURM forgets what has ended after MinJobAge (300 s)."""

LOST_FOR_NOW = 60.0
"""Seconds after which accounting is asked again for a job that nobody knew the end of."""


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
        self._theirs = settings["SLURM_DIRECTORY"] or f"{self._storebase.rstrip('/')}/.pman"
        self._directories = Directories(seen(self._theirs, settings["PATH_MAP"]), settings["SLURM_USER"])
        self._listing = Listing(transport.jobs, self._seen)
        self._submission = Submission(self._directories, transport, self._listing)
        self._kept: set[int] = set()
        self._lost: dict[int, float] = {}
        self._looking: asyncio.Task[None] | None = None

    # --- the protocol ------------------------------------------------------------------------------

    async def facts(self) -> Mapping[str, Any]:
        version = await self._transport.version()
        try:
            await asyncio.to_thread(self._directories.prepare)
        except OSError as error:
            raise ConfigError(
                f"the directory of the jobs, {self._theirs}, cannot be used: {error}",
                "pman and the nodes must see it and write there: SLURM_DIRECTORY names another one, and "
                "PATH_MAP says where pman sees it",
            ) from error
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        return {
            "storebase": self._storebase,
            "seen": str(self._seen_storebase),
            "native": {"version": version},
            "documents": {"job.json": _accepted(self._transport.words())},
        }

    async def apply(self, jid: str, documents: Sequence[Document]) -> Mapping[str, Any]:
        contents = [document.content for document in documents if isinstance(document.content, Mapping)]
        scripts = [document.text for document in documents if document.name.endswith(".sh")]
        if len(contents) != 1 or len(scripts) != 1 or not contents[0].keys() >= {"job", "notes"}:
            raise ConfigError(
                "templates: a job of SLURM is one script (job.sh.j2) and job and notes in one job.json.j2"
            )
        self._transport.check(contents[0]["job"])
        made = await asyncio.to_thread(self._directories.create, jid, contents[0], scripts[0])
        try:
            await self._submission.go_on(jid, first=True)
        except EngineRefused as refused:
            refused.made = made
            raise
        return {
            "source": "controller",
            "notes": contents[0]["notes"],
            "sent": contents[0]["job"],
            "asked": "",
            "job": {"states": ["PENDING"]},
        }

    async def discard(self, jid: str, made: str) -> None:
        """The directory of a job that SLURM has not got."""
        kept = await asyncio.to_thread(self._directories.read, jid)
        if kept and kept.made == made and kept.identity is None:
            with contextlib.suppress(UnknownJob):
                aside = await asyncio.to_thread(self._directories.set_aside, jid, made)
                await asyncio.to_thread(self._directories.delete, aside)

    async def resume(self, jid: str) -> None:
        await self._submission.go_on(jid, first=False)

    async def unfinished(self) -> Sequence[str]:
        return await asyncio.to_thread(self._directories.names, unfinished=True)

    async def inspect(self, jid: str, *, fresh: bool = False) -> Mapping[str, Any]:
        kept = await asyncio.to_thread(self._directories.read, jid)
        if kept and kept.end:
            return _told(kept, "kept", kept.end)
        if kept and kept.unfinished and kept.identity is None:
            return _told(kept, "unsubmitted", None)
        asked = time.monotonic()
        jobs = await self._listing.get(since=asked if fresh else None, hurry=fresh)
        if kept is None:
            if jobs.begun < asked:  # nobody is told that there is no such job by what SLURM said before
                jobs = await self._listing.get(since=asked, hurry=jid in jobs.by_name)
            return _without_directory(jid, jobs)
        found = _own(kept, jobs)
        if found is None and jobs.begun < asked:
            found = _own(kept, await self._listing.get(since=asked))
        if found is None:
            return await self._forgotten(jid)
        return _told(kept, "unsubmitted" if kept.unfinished and not has_ended(found) else "controller", found)

    async def held(self, jid: str) -> Mapping[str, str]:
        """Without the script once SLURM has it: it holds the environment, and is deleted here."""
        return await asyncio.to_thread(self._directories.documents, jid)

    async def logs(self, jid: str, tail: int, *, follow: bool = False) -> AsyncIterator[bytes]:
        file = self._directories.directory(jid) / "log"

        async def ended() -> bool:
            return await self._has_ended(jid)

        while follow and not await asyncio.to_thread(file.exists) and not await ended():  # noqa: ASYNC110  (of a file)
            await asyncio.sleep(FOLLOW_INTERVAL_SECONDS)
        with contextlib.suppress(FileNotFoundError):
            async for chunk in chunks(file, tail, ended if follow else None):
                yield chunk

    async def remove(self, jid: str) -> None:
        kept = await asyncio.to_thread(self._directories.read, jid)
        if kept is None:
            if not (alive := await self._alive(jid)):
                raise UnknownJob(jid)
            await self._end([entry["id"] for entry in alive])
            return
        if kept.unfinished or not kept.end:  # first, so that nothing is forgotten where SLURM is away
            alive = await self._alive(jid)
            await self._end([one["id"] for one in alive if one["id"] == kept.identity or is_held(one)])
        aside = await asyncio.to_thread(self._directories.set_aside, jid, kept.made)
        late = await asyncio.to_thread(identity_in, aside)
        if late != kept.identity:  # submitted meanwhile
            await self._end([one["id"] for one in await self._alive(jid) if one["id"] == late])
        await asyncio.to_thread(self._directories.delete, aside)

    async def active(self) -> Sequence[str]:
        jobs = await self._listing.get()
        return sorted(
            jid for jid, entries in jobs.by_name.items() if not all(has_ended(entry) for entry in entries)
        )

    async def end(self, jid: str, reason: str) -> None:
        kept = await asyncio.to_thread(self._directories.read, jid)
        if kept is None:
            raise UnknownJob(jid)
        if kept.end is None:
            for entry in await self._alive(jid):
                if entry["id"] == kept.identity:
                    await asyncio.to_thread(self._directories.ask, jid, reason)
                    await self._transport.cancel(entry["id"])

    async def list(self) -> Sequence[str]:
        names = set(await asyncio.to_thread(self._directories.names))
        return sorted(names.union(await self.active()))

    async def ping(self) -> str:
        return await self._transport.version()

    async def close(self) -> None:
        if self._looking:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._listing.close()
        await self._transport.close()

    # --- how jobs end ------------------------------------------------------------------------------

    async def _seen(self, jobs: Jobs) -> None:
        """Keep how jobs ended, before anybody is told and before SLURM forgets it."""
        new = [entry for entry in jobs.by_id.values() if entry["id"] not in self._kept and has_ended(entry)]
        if new:
            await asyncio.to_thread(self._directories.keep, new)
        self._kept = {entry["id"] for entry in jobs.by_id.values() if has_ended(entry)}

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            try:
                await self._submission.tidy(await self._listing.get())
            except EngineUnreachable as error:
                log.debug("how jobs end is not seen for now: %s", error)
            except Exception:  # the edge of this task: it must go on
                log.exception("how jobs end is not seen, by a bug")

    async def _forgotten(self, jid: str) -> Mapping[str, Any]:
        """A job that SLURM has forgotten: as its script left it, as accounting has it, or lost."""
        kept = await asyncio.to_thread(self._directories.read, jid)
        if kept is None:
            raise UnknownJob(jid)
        if kept.end:
            return _told(kept, "kept", kept.end)
        if kept.identity is None:
            return _told(kept, "unsubmitted", None)
        if kept.code is not None:
            return _told(kept, "files", await self._by_script(kept))
        if time.monotonic() - self._lost.get(kept.identity, float("-inf")) > LOST_FOR_NOW:
            found = await self._transport.accounting(kept.identity)
            if found and found["name"] == jid:
                if has_ended(found):
                    await asyncio.to_thread(self._directories.keep, [found])
                return _told(kept, "accounting", found)
            self._lost[kept.identity] = time.monotonic()
        return _told(kept, "lost", {"id": kept.identity})

    async def _by_script(self, kept: Kept) -> Entry:
        rc = self._directories.directory(kept.jid) / "rc"
        ended = await asyncio.to_thread(rc.stat)
        return {
            "id": kept.identity,
            "states": ["FAILED" if kept.code else "COMPLETED"],
            "exit_code": kept.code,
            "end": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ended.st_mtime)),
        }

    async def _has_ended(self, jid: str) -> bool:
        try:
            native = await self.inspect(jid)
        except UnknownJob:
            return True
        return native["source"] in ("kept", "files", "lost") or bool(
            native["job"] and has_ended(native["job"])
        )

    # --- removal -----------------------------------------------------------------------------------

    async def _alive(self, jid: str) -> Sequence[Entry]:
        """What SLURM has of the name and has not ended. By no number alone is anything ended: slurmctld may
        have given it to another job since it lost its state."""
        jobs = await self._listing.get(since=time.monotonic(), hurry=True)
        return [entry for entry in jobs.by_name.get(jid, ()) if not has_ended(entry)]

    async def _end(self, identities: Sequence[int]) -> None:
        """Returns when nothing of them runs any more, or much later."""
        for identity in identities:
            await self._transport.cancel(identity)
        deadline = time.monotonic() + REMOVAL
        left = list(identities)
        while left and time.monotonic() < deadline:
            jobs = await self._listing.get(since=time.monotonic(), hurry=True)
            left = [one for one in left if one in jobs.by_id and not has_ended(jobs.by_id[one])]
        if left:
            log.warning("removed, though SLURM has not ended them yet: jobs %s", ", ".join(map(str, left)))


def _accepted(words: Sequence[str]) -> Mapping[str, Any]:
    """The JSON Schema of job.json."""
    names = {"propertyNames": {"description": "sbatch has no option for it", "enum": words}} if words else {}
    return {"required": ["job", "notes"], "properties": {"job": names}}


def _own(kept: Kept, jobs: Jobs) -> Entry | None:
    """By its id; not another one that has the number since slurmctld began to count anew."""
    found = jobs.by_id.get(kept.identity or 0)
    return found if found and found["name"] == kept.jid else None


def _told(kept: Kept, source: str, entry: Entry | None) -> Mapping[str, Any]:
    return {"source": source, "notes": kept.notes, "sent": kept.job, "asked": kept.asked, "job": entry}


def _without_directory(jid: str, jobs: Jobs) -> Mapping[str, Any]:
    """Somebody has deleted the directory of a job that SLURM still has. Raises UnknownJob."""
    for entry in jobs.by_name.get(jid, ()):
        if not has_ended(entry):
            notes = {"labels": labels(entry["comment"])}
            return {"source": "controller", "notes": notes, "sent": {}, "asked": "", "job": entry}
    raise UnknownJob(jid)
