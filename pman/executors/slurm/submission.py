"""A job is submitted once, whoever tries, at the same time or after whoever began it has ended.

The job's directory claims the name. What is submitted does not begin until its id stands in the directory,
where only one fits; who comes second cancels what he has submitted himself. So a crash leaves, at the most, a
directory without an id, or jobs that do not begin, are found by their name, and are taken up or cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import time

from pman.errors import EngineRefused, EngineUnreachable
from pman.executors.shared.tasks import SingleFlight
from pman.executors.slurm.directory import Directories, Record
from pman.executors.slurm.listing import Jobs, Listing
from pman.executors.slurm.native import Entry, is_held
from pman.executors.slurm.transport import Transport

log = logging.getLogger(__name__)

HELD_UNTIL = "now+3650days"
"""The time before which a job that is submitted does not begin, unless it is released. `hold` in its place
would keep SLURM (22.05) from refusing what no node can give."""

STRAY_SECONDS = 120
"""After so long a job that is held and does not count is cancelled; until then it may still be taken up."""


class Submission:
    def __init__(self, directories: Directories, transport: Transport, listing: Listing) -> None:
        self._directories = directories
        self._transport = transport
        self._listing = listing
        self._submissions = SingleFlight[str, None]()

    async def go_on(self, jid: str, *, first: bool) -> None:
        """Submit the job, unless that is done; returns when SLURM has it. `first`: nobody has tried before.

        Raises EngineRefused, EngineUnreachable.
        """
        await self._submissions.run(jid, lambda: self._go_on(jid, first))

    async def _go_on(self, jid: str, first: bool) -> None:
        record = await asyncio.to_thread(self._directories.read, jid)
        if record is None and first:
            raise _deleted()
        if record is None or not record.is_unfinished:
            return
        job_id = record.job_id
        if job_id is None:
            job_id = None if first else await self._take_up(record)
            job_id = await self._submit(record) if job_id is None else job_id
        await self._transport.release(job_id, record.job.get("begin_time", "now"))
        await asyncio.to_thread(self._directories.forget_script, record)

    async def _take_up(self, record: Record) -> int | None:
        """The id of what somebody has submitted already; None where nobody has."""
        jobs = await self._listing.get(since=time.monotonic(), hurry=True)
        now = await asyncio.to_thread(self._directories.read, record.jid)
        if now and now.job_id is not None and now.incarnation == record.incarnation:
            return now.job_id
        for entry in jobs.by_name.get(record.jid, ()):
            if is_held(entry) and entry["comment"] == record.job["comment"]:
                return await self._claim(record, entry["id"])
        return None

    async def _submit(self, record: Record) -> int:
        try:
            script = await asyncio.to_thread(self._directories.script, record.jid)
        except FileNotFoundError:
            raise _deleted() from None
        job_id = await self._transport.submit({**record.job, "begin_time": HELD_UNTIL}, script)
        return await self._claim(record, job_id)

    async def _claim(self, record: Record, job_id: int) -> int:
        """The id of the job, of this submission or of one that was faster."""
        try:
            claimed = await asyncio.to_thread(self._directories.claim, record, job_id)
        except OSError as error:  # no space, most likely; what no directory tells of must not wait in SLURM
            await self._transport.cancel(job_id)
            raise EngineRefused("submit", 500, str(error)) from error
        if claimed != job_id:
            log.info("%s: job %d was submitted in vain; it has %s", record.jid, job_id, claimed)
            await self._transport.cancel(job_id)
        if claimed is None:
            raise _deleted()
        return claimed

    async def tidy(self, jobs: Jobs) -> None:
        """Cancel what was submitted in vain, by a pman that ended before it could.

        Not what has no directory here: it may be of a pman with another storebase.
        """
        for jid, entries in jobs.by_name.items():
            for entry in entries:
                if is_held(entry) and time.time() - entry["submitted"] > STRAY_SECONDS:
                    record = await asyncio.to_thread(self._directories.read, jid)
                    if record and record.job_id not in (None, entry["id"]):
                        await self._cancel_stray(entry)

    async def _cancel_stray(self, entry: Entry) -> None:
        try:
            log.info("%s: job %d is held and was submitted in vain", entry["name"], entry["id"])
            await self._transport.cancel(entry["id"])
        except (EngineRefused, EngineUnreachable) as error:
            log.warning("%s: job %d cannot be cancelled: %s", entry["name"], entry["id"], error)


def _deleted() -> EngineRefused:
    return EngineRefused("submit", 409, "the job was deleted while it was submitted")
