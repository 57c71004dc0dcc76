"""Previews and other work on templates: one at a time, so that jobs have the rest of the machine."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from pman import executors
from pman.errors import Busy, TooLarge
from pman.settings import Settings
from pman.translation.preview import Previews

T = TypeVar("T")
P = ParamSpec("P")

QUEUE_LENGTH = 16
"""Pieces of work at once, the one that is done included; a preview of a large request takes seconds."""

LARGEST_REQUEST_BYTES = 256 * 2**10
"""A larger request is not tried here; a job may have more (HTTP_BODY_BYTES), since it is rendered once."""


class PreviewQueue:
    """One for a process: a thread of its own, which neither submit nor an executor waits for."""

    def __init__(self, settings: Settings) -> None:
        self.previews = Previews(settings, executors.names())
        """For work within `run` only."""

        self._thread = ThreadPoolExecutor(1, "dry-runs")
        self._waiting = 0

    async def run(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Do the work in its turn and return its result. Raises Busy where too many wait."""
        if self._waiting >= QUEUE_LENGTH:
            raise Busy("too many dry runs at once; try again in some seconds")
        self._waiting += 1
        try:
            context = contextvars.copy_context()  # of the request, as asyncio.to_thread hands it on
            return await asyncio.wrap_future(self._thread.submit(lambda: context.run(work, *args, **options)))
        finally:
            self._waiting -= 1

    async def cached(self, make: Callable[[], T]) -> T:
        """Return what `make` makes of the site's templates, until a file of them changes. Raises Busy."""
        return await self.run(self.previews.cached, make, "site", make)


installed = executors.names
"""Lists the engines that a preview may be asked for."""


def check_size(size: int) -> None:
    """Raises TooLarge."""
    if size > LARGEST_REQUEST_BYTES:
        raise TooLarge(
            f"a request of more than {LARGEST_REQUEST_BYTES} bytes is not tried here; `pman render` tries it"
        )
