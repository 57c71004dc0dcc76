"""The calls that pman makes to SLURM: rest.py and cli.py carry them in two ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pman.executors.slurm.native import Entry


class Transport(Protocol):
    """Every call raises EngineUnreachable where SLURM, or what stands before it, does not answer in time."""

    fields: Sequence[str]
    """The fields of a job that reach SLURM this way; empty where SLURM itself refuses others, by name."""

    async def submit(self, job: Mapping[str, Any], script: str) -> int:
        """The id of the job. Raises EngineRefused."""

    async def release(self, job_id: int, begin: str) -> None:
        """Let it begin then, such as `now`; does nothing where it is gone. Raises EngineRefused."""

    async def cancel(self, job_id: int) -> None:
        """End it; does nothing where it has ended. Raises EngineRefused."""

    async def jobs(self) -> Sequence[Entry]:
        """Return all jobs that SLURM remembers."""

    async def accounting(self, job_id: int) -> Entry | None:
        """Return what slurmdbd has of it; None where there is none, or it knows no such job."""

    async def version(self) -> str: ...
