"""Dry runs and other looks at templates: one at a time, so that jobs have the rest of the machine."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from pman import executors
from pman.errors import Busy, TooLarge
from pman.settings import Settings
from pman.translation.preview import Previews

T = TypeVar("T")
P = ParamSpec("P")

WAITING = 16
"""Pieces of work, the one that is done included; one of a large request takes seconds."""

LARGEST = 256 * 2**10
"""Bytes of a request that is tried; a job may have more (request.MAX_BODY), since it is rendered once."""


class DryRuns:
    """One for a process: a thread of its own, which neither submit nor an executor waits for."""

    def __init__(self, settings: Settings) -> None:
        self.previews = Previews(settings, executors.names())
        """For work within `run` only."""

        self._thread = ThreadPoolExecutor(1, "dry-runs")
        self._waiting = 0
        self._made: dict[Callable[[], Any], tuple[object, Any]] = {}

    async def run(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """What the work returns, in its turn. Raises Busy where too many wait."""
        if self._waiting >= WAITING:
            raise Busy("too many dry runs at once; try again in some seconds")
        self._waiting += 1
        try:
            context = contextvars.copy_context()  # of the request, as asyncio.to_thread hands it on
            return await asyncio.wrap_future(self._thread.submit(lambda: context.run(work, *args, **options)))
        finally:
            self._waiting -= 1

    async def made(self, make: Callable[[], T]) -> T:
        """What a function makes of the templates, made once until a file of them changes. Raises Busy."""
        return await self.run(self._make, make)

    def _make(self, make: Callable[[], T]) -> T:
        stamp = self.previews.stamp("site")
        kept = self._made.get(make)
        if kept is None or kept[0] != stamp:
            kept = self._made[make] = (stamp, make())
        found: T = kept[1]
        return found


def installed() -> list[str]:
    """The engines that are installed: those that a dry run may be asked for."""
    return executors.names()


def check_size(size: int) -> None:
    """Raises TooLarge."""
    if size > LARGEST:
        raise TooLarge(f"a request of more than {LARGEST} bytes is not tried here; `pman render` tries it")
