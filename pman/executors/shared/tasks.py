"""Work that goes on beside its callers: shared by several of them, repeated, ended with its owner."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Generic, Self, TypeVar

from pman.errors import EngineUnreachable

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """One call for each key at a time: who wants it while it is under way awaits the same one.

    A caller that is cancelled ends neither the call nor the wait of the others.
    """

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[T]] = {}

    def __contains__(self, key: K) -> bool:
        return self._under_way(key) is not None

    async def run(self, key: K, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the call that is under way, or of a new one; raises what that raises."""
        return await asyncio.shield(self.begin(key, work))

    def begin(self, key: K, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """The same as a task, for those who do not wait for its end; cancelling it cuts all who do."""
        task = self._under_way(key)
        if task is None:
            self._tasks[key] = task = asyncio.create_task(work())
            task.add_done_callback(lambda done: self._end(key, done))
        return task

    def forget(self, key: K) -> None:
        """Let the next caller begin anew; those who wait already get their answer."""
        self._tasks.pop(key, None)

    def is_current(self, key: K) -> bool:
        """True for the task that asks while the next caller would join it; False once it is forgotten."""
        return self._tasks.get(key) is asyncio.current_task()

    async def close(self) -> None:
        await cancel(*self._tasks.values())

    def _under_way(self, key: K) -> asyncio.Task[T] | None:
        """The task of the key; None for one that has ended, though its callbacks have not run yet.

        Awaiting that one would not give way to them: a caller that repeats its call would never stop.
        """
        task = self._tasks.get(key)
        return None if task is None or task.done() else task

    def _end(self, key: K, task: asyncio.Task[T]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
        if not task.cancelled():
            task.exception()  # raised to those who wait, if any still do


class Background:
    """Tasks that outlive the caller who began them, and end with their owner."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        await cancel(*self._tasks)


async def cancel(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and return when they have ended; what they raise at their end is dropped."""
    begun = [task for task in tasks if task]
    for task in begun:
        task.cancel()
    await asyncio.gather(*begun, return_exceptions=True)


class Attempts:
    """`async for _ in Attempts(0.1): ...` goes on at once, then after each pause, until the caller leaves it.

    The pauses are `pause` seconds, or double from it up to `longest`. The last attempt is one that begins
    after `within` seconds, and not one of the first `at_least`; then see the loop's `else`.
    """

    def __init__(
        self, pause: float, longest: float = 0.0, *, within: float = float("inf"), at_least: int = 1
    ) -> None:
        self._first = self._pause = pause
        self._longest = max(pause, longest)
        self._deadline = time.monotonic() + within
        self._left = at_least
        self._began_at = float("-inf")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> None:
        if self._began_at >= self._deadline and self._left <= 0:
            raise StopAsyncIteration
        if self._began_at > float("-inf"):
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, self._longest)
        self._began_at = time.monotonic()
        self._left -= 1

    def reset(self) -> None:
        """Make the next pause the first one again."""
        self._pause = self._first


async def until_reachable(work: Callable[[], Awaitable[T]], pause: float, waits: str) -> T:
    """The result of the work, repeated after a pause (seconds) for as long as it raises EngineUnreachable.

    `waits`: what the log says then, before the error, such as "the pull of alpine is interrupted".
    """
    while True:
        try:
            return await work()
        except EngineUnreachable as error:
            log.warning("%s: %s", waits, error)
            await asyncio.sleep(pause)


async def repeat(work: Callable[[], Awaitable[object]], interval: float, purpose: str) -> None:
    """Do the work for ever, the first time after an interval (seconds); no error of it ends that.

    `purpose`: what the log says does not happen for now, such as "overdue jobs are not ended".
    """
    while True:
        await asyncio.sleep(interval)
        try:
            await work()
        except EngineUnreachable as error:
            log.debug("%s for now: %s", purpose, error)
        except Exception:  # the edge of the task
            log.exception("%s, by a bug", purpose)
