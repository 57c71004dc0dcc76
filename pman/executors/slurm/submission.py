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
from pman.executors.slurm.directory import Directories, Kept
from pman.executors.slurm.listing import Jobs, Listing
from pman.executors.slurm.native import Entry, is_held
from pman.executors.slurm.transport import Transport

log = logging.getLogger(__name__)

STRAY = 120
"""Seconds for which a job that is held and counts for nothing may still be taken up."""


class Submission:
    def __init__(self, directories: Directories, transport: Transport, listing: Listing) -> None:
        self._directories = directories
        self._transport = transport
        self._listing = listing
        self._going_on: dict[str, asyncio.Task[None]] = {}

    async def go_on(self, jid: str, *, first: bool) -> None:
        """Until SLURM runs it; nothing where it does. `first`: nobody has tried before.

        Raises EngineRefused, EngineUnreachable.
        """
        if (task := self._going_on.get(jid)) is None:
            self._going_on[jid] = task = asyncio.create_task(self._go_on(jid, first))
            task.add_done_callback(lambda done: self._done(jid, done))
        await asyncio.shield(task)

    def _done(self, jid: str, done: asyncio.Task[None]) -> None:
        del self._going_on[jid]
        if not done.cancelled():
            done.exception()  # told to those who wait, if any still do

    async def _go_on(self, jid: str, first: bool) -> None:
        kept = await asyncio.to_thread(self._directories.read, jid)
        if kept is None and first:
            raise _deleted()
        if kept is None or not kept.unfinished:
            return
        identity = kept.identity
        if identity is None:
            identity = None if first else await self._take_up(kept)
            identity = await self._submit(kept) if identity is None else identity
        await self._transport.release(identity, kept.job)
        await asyncio.to_thread(self._directories.begun, kept)

    async def _take_up(self, kept: Kept) -> int | None:
        """What somebody has submitted already; None where nobody has."""
        jobs = await self._listing.get(since=time.monotonic(), hurry=True)
        now = await asyncio.to_thread(self._directories.read, kept.jid)
        if now and now.identity is not None and now.made == kept.made:
            return now.identity
        for entry in jobs.by_name.get(kept.jid, ()):
            if is_held(entry) and entry["comment"] == kept.job["comment"]:
                return await self._claim(kept, entry["id"])
        return None

    async def _submit(self, kept: Kept) -> int:
        try:
            script = await asyncio.to_thread(self._directories.script, kept.jid)
        except FileNotFoundError:
            raise _deleted() from None
        identity = await self._transport.submit(kept.job, script)
        return await self._claim(kept, identity)

    async def _claim(self, kept: Kept, identity: int) -> int:
        """The id of the job, of this submission or of one that was faster."""
        try:
            claimed = await asyncio.to_thread(self._directories.claim, kept, identity)
        except OSError as error:  # no space, most likely; what no directory tells of must not wait in SLURM
            await self._transport.cancel(identity)
            raise EngineRefused("submit", 500, str(error)) from error
        if claimed != identity:
            log.info("%s: job %d was submitted in vain; it has %s", kept.jid, identity, claimed)
            await self._transport.cancel(identity)
        if claimed is None:
            raise _deleted()
        return claimed

    async def tidy(self, jobs: Jobs) -> None:
        """Cancel what was submitted in vain, by a pman that ended before it could.

        Not what has no directory here: it may be of a pman with another storebase.
        """
        for jid, entries in jobs.by_name.items():
            for entry in entries:
                if is_held(entry) and time.time() - entry["submitted"] > STRAY:
                    kept = await asyncio.to_thread(self._directories.read, jid)
                    if kept and kept.identity not in (None, entry["id"]):
                        await self._cancel_stray(entry)

    async def _cancel_stray(self, entry: Entry) -> None:
        try:
            log.info("%s: job %d is held and was submitted in vain", entry["name"], entry["id"])
            await self._transport.cancel(entry["id"])
        except (EngineRefused, EngineUnreachable) as error:
            log.warning("%s: job %d cannot be cancelled: %s", entry["name"], entry["id"], error)


def _deleted() -> EngineRefused:
    return EngineRefused("submit", 409, "the job was deleted while it was submitted")
