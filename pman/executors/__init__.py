"""Executors carry rendered documents to an engine: the protocol that they meet, one folder an engine.

Each is named by an entry point of the group `pman.executors`, so that a package of its own may add another;
`shared/` has what several of them need. An executor knows of pman only jobs and
errors; the types here are for `engine/` and `cli/`. Begin with `Executor`, then read `docker/executor.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Hashable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Protocol, runtime_checkable

from pman.errors import ConfigError
from pman.job import Document
from pman.resources import ENGINES


class Executor(Protocol):
    """Carries rendered documents to one engine and brings its answers back unread.

    Every call raises EngineUnreachable when the engine does not answer in time.
    """

    async def facts(self) -> Mapping[str, Any]:
        """The facts that only the engine can tell, asked once.

        `storebase`: where it finds the storebase; `seen`: where pman sees it, if elsewhere; `native`: what
        it says of itself; `documents`: by name, a JSON Schema of what it takes; `warnings`: sentences on
        what it leaves open, for the log of the start and `pman check`; more as the templates need it.
        Raises ConfigError when the storebase cannot be found.
        """

    async def apply(self, jid: str, documents: Sequence[Document]) -> Mapping[str, Any]:
        """Create and start what the documents describe, in order; the job as `inspect` would tell it.

        Raises NameTaken when something of that name is there already, EngineRefused (in the
        engine's own words), which names what it has left.
        """

    async def inspect(self, jid: str, *, fresh: bool = False) -> Mapping[str, Any]:
        """The job in the engine's words, as plain data, all of it. Raises UnknownJob.

        From a cache that the engine keeps up to date, where there is one; fresh: asked now.
        """

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


@runtime_checkable
class LogFiles(Protocol):
    """Has logs that are files, of which the end can be read without what is before it."""

    def log_end(self, jid: str, tail: int, limit: int) -> AsyncIterator[bytes]:
        """The last `tail` lines as `logs` gives them, of which the last `limit` bytes are enough."""


@runtime_checkable
class Startable(Protocol):
    """Creates a job and starts it in two steps, so that one may be left between the two."""

    async def resume(self, jid: str) -> None:
        """Start what was created and never started, unless that is done already. Raises EngineRefused."""

    async def unfinished(self) -> Sequence[str]:
        """The jobs that were applied and never started, since whoever applied them ended before."""

    async def discard(self, jid: str, leftover: str) -> None:
        """Delete what a refused call has left (EngineRefused.leftover), and nothing else of that name."""


@runtime_checkable
class Cached(Protocol):
    """Knows without asking whether the engine still says the same of a job."""

    def revision(self, jid: str) -> Hashable | None:
        """Differs as soon as `inspect` would; None where that is not known at the moment."""


@runtime_checkable
class Holding(Protocol):
    """Has documents of a job that `inspect` does not tell."""

    async def held(self, jid: str) -> Mapping[str, str]:
        """Their texts, by name; seldom asked for. Raises UnknownJob."""


@runtime_checkable
class Closable(Protocol):
    """Has connections or tasks of its own."""

    async def close(self) -> None:
        """End them; no call is made thereafter."""


def names() -> list[str]:
    """The engines that are installed."""
    return sorted(entry_points(group=ENGINES).names)


def connect(engine: str, settings: Mapping[str, Any]) -> Executor:
    """A client for an engine; nothing is sent yet. Raises ConfigError for one that cannot be used."""
    (entry,) = entry_points(group=ENGINES, name=engine)
    try:
        client = entry.load()
    except Exception as error:  # it is another's code
        message = f"the engine {engine} cannot be used: {entry.module} cannot be imported"
        raise ConfigError(message, f"{type(error).__name__}: {error}") from error
    executor: Executor = client(settings)
    if missing := sorted(_missing(executor)):
        raise ConfigError(
            f"the engine {engine} cannot be used: its executor has no {', '.join(missing)}",
            f"{entry.value} must return what has all methods of Executor, see pman/executors/__init__.py",
        )
    return executor


async def close(executor: Executor) -> None:
    """End what the executor has open, if it has anything."""
    if isinstance(executor, Closable):
        await executor.close()


def _missing(executor: object) -> Iterator[str]:
    """The methods of Executor that it lacks, and of Startable where it has some of them only."""
    for protocol in (Executor, Startable):
        methods = [name for name, value in vars(protocol).items() if callable(value) and name[0] != "_"]
        absent = [name for name in methods if not callable(getattr(executor, name, None))]
        if protocol is Executor or len(absent) < len(methods):
            yield from absent
