"""What carries rendered documents to an engine; one module a transport, found by entry point."""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Protocol

from pman.job import Document


class Executor(Protocol):
    """Carries rendered documents to one engine and brings its answers back unread.

    Every call raises EngineUnreachable when the engine does not answer in time.
    """

    async def facts(self) -> Mapping[str, Any]:
        """What only the engine can tell, asked once.

        `storebase`: where it finds the storebase; `seen`: where pman sees it, if elsewhere; `native`: what
        it says of itself; `documents`: by name, a JSON Schema of what it takes; more as the templates
        need it. Raises ConfigError when the storebase cannot be found.
        """

    async def apply(self, jid: str, documents: Sequence[Document]) -> Mapping[str, Any]:
        """Create and start what the documents describe, in order; the job as `inspect` would tell it.

        Raises NameTaken when something of that name is there already, EngineRefused (in the
        engine's own words), which names what it has left.
        """

    async def discard(self, jid: str, made: str) -> None:
        """Delete what a refused call has left, and nothing else of that name."""

    async def resume(self, jid: str) -> None:
        """Start what was created and never started; nothing where nothing is left to do.

        Raises EngineRefused.
        """

    async def unfinished(self) -> Sequence[str]:
        """The jobs that were applied and never started, since whoever applied them ended before."""

    async def inspect(self, jid: str, *, fresh: bool = False) -> Mapping[str, Any]:
        """All that the engine says of the job, as plain data. Raises UnknownJob.

        From a memory that the engine keeps up to date, where there is one; fresh: asked now.
        """

    def revision(self, jid: str) -> Hashable | None:
        """Differs as soon as `inspect` would; None where that cannot be known without asking."""

    async def held(self, jid: str) -> Mapping[str, str]:
        """The texts of documents that are kept beside what `inspect` tells, by name; seldom asked for."""

    def logs(self, jid: str, tail: int, *, follow: bool = False) -> AsyncIterator[bytes]:
        """The last `tail` lines, stdout and stderr as they came, undecoded; with follow, to the end."""

    async def remove(self, jid: str) -> None:
        """End it if it runs, and forget it. Raises UnknownJob."""

    async def active(self) -> Sequence[str]:
        """The jobs that have not ended."""

    async def end(self, jid: str, reason: str) -> None:
        """End it if it runs or waits, and keep it; the reason too, where the engine can.

        Raises UnknownJob, EngineRefused.
        """

    async def list(self) -> Sequence[str]:
        """The names of all jobs of pman's."""

    async def ping(self) -> str:
        """The engine's name and version."""

    async def close(self) -> None: ...


def names() -> list[str]:
    """The engines that are installed."""
    return sorted(entry_points(group="pman.executors").names)


def connect(engine: str, settings: Mapping[str, Any]) -> Executor:
    """A client for an engine; nothing is sent yet."""
    (found,) = entry_points(group="pman.executors", name=engine)
    factory = found.load()
    executor: Executor = factory(settings)
    return executor
