"""What is asked of SLURM, whichever way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pman.executors.slurm.native import Entry

WAITS = "now+3650days"
"""The time before which a job that is submitted does not begin, unless it is released. `hold` in its place
would keep SLURM (22.05) from refusing what no node can give."""


class Transport(Protocol):
    """Every call raises EngineUnreachable where SLURM, or what stands before it, does not answer in time."""

    def words(self) -> Sequence[str]:
        """Those of a job that reach SLURM this way; none where SLURM itself refuses others, by name."""

    def check(self, job: Mapping[str, Any]) -> None:
        """Raises ConfigError for words of a job that do not reach SLURM this way."""

    async def submit(self, job: Mapping[str, Any], script: str) -> int:
        """The id of the job, which waits until it is released. Raises EngineRefused."""

    async def release(self, identity: int, job: Mapping[str, Any]) -> None:
        """Let it run; nothing where it is not there any more. Raises EngineRefused."""

    async def cancel(self, identity: int) -> None:
        """End it; nothing where it has ended. Raises EngineRefused."""

    async def jobs(self) -> Sequence[Entry]:
        """All that SLURM remembers."""

    async def accounting(self, identity: int) -> Entry | None:
        """What slurmdbd keeps of it; None where there is none, or it knows no such job."""

    async def version(self) -> str: ...

    async def close(self) -> None: ...
