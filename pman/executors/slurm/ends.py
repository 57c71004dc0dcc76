"""How jobs ended: written in their directories in time, and found after SLURM has forgotten them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from pman.errors import UnknownJob
from pman.executors.shared.bounded import Bounded
from pman.executors.slurm.directory import Directories, Record
from pman.executors.slurm.listing import Jobs
from pman.executors.slurm.native import Entry, has_ended
from pman.executors.slurm.transport import Transport

ACCOUNTING_RETRY_SECONDS = 60.0
"""Until accounting is asked again for a job of which it did not know the end."""

MAX_LOST_JOBS = 100_000
"""Jobs that accounting did not know, of which the time of the last query is remembered."""


class Ends:
    def __init__(self, directories: Directories, transport: Transport) -> None:
        self._directories = directories
        self._transport = transport
        self._recorded: set[int] = set()
        """SLURM's ids of the jobs whose end is written in their directory."""

        self._lost: Bounded[int, float] = Bounded(MAX_LOST_JOBS)
        """When accounting did not know a job, by SLURM's id; time.monotonic()."""

    async def record(self, jobs: Jobs) -> None:
        """Write how jobs ended, before any caller learns it and before SLURM forgets it."""
        ended = [entry for entry in jobs.by_id.values() if has_ended(entry)]
        new = [entry for entry in ended if entry["id"] not in self._recorded]
        if new:
            await asyncio.to_thread(self._directories.write_ends, new)
        self._recorded = {entry["id"] for entry in ended}

    async def find(self, jid: str) -> Mapping[str, Any]:
        """The state of a job that SLURM has forgotten: its end by its script or by accounting, or lost.

        Raises UnknownJob, EngineUnreachable.
        """
        record = await asyncio.to_thread(self._directories.read, jid)
        if record is None:
            raise UnknownJob(jid)
        if record.end:
            return record.native_state("kept", record.end)
        if record.job_id is None:
            return record.native_state("unsubmitted", None)
        if record.exit_code is not None:
            return record.native_state("files", await self._by_script(record))
        if time.monotonic() - self._lost.get(record.job_id, float("-inf")) > ACCOUNTING_RETRY_SECONDS:
            entry = await self._transport.accounting(record.job_id)
            if entry and entry["name"] == jid:
                if has_ended(entry):
                    await asyncio.to_thread(self._directories.write_ends, [entry])
                return record.native_state("accounting", entry)
            self._lost[record.job_id] = time.monotonic()
        return record.native_state("lost", {"id": record.job_id})

    async def _by_script(self, record: Record) -> Entry:
        written = await asyncio.to_thread((self._directories.directory(record.jid) / "rc").lstat)
        return {
            "id": record.job_id,
            "states": ["FAILED" if record.exit_code else "COMPLETED"],
            "exit_code": record.exit_code,
            "end": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(written.st_mtime)),
        }
