"""Jobs whose image has to be pulled first: held by the engine as a marker, taken when it has the image.

Several pmans may wait for one job, and it may be deleted, or deleted and asked for anew, meanwhile.
So whoever waits looks before and after it creates the container whether the marker is still that of
its own job; who finds the name taken by the same job sees to it that it is started.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from pman.errors import EngineRefused, EngineUnreachable, NameTaken
from pman.executors.docker.containers import Containers, NoSuchImageError, not_started
from pman.executors.docker.images import Images
from pman.executors.docker.markers import Markers

log = logging.getLogger(__name__)

PULL_WAIT_SECONDS = 2.0
"""Seconds for which a submission waits for a pull, so that a wrong name is told at once."""

RETRY_INTERVAL_SECONDS = 2.0
"""Seconds after which an engine that did not answer is asked again."""

_TRIES = 25
"""How often a name is asked for that something else has; with `_PAUSE` between, some 5 seconds."""

_PAUSE = 0.2


class Pulls:
    def __init__(self, markers: Markers, images: Images, containers: Containers) -> None:
        self._markers = markers
        self._images = images
        self._containers = containers
        self._tasks: dict[str, tuple[Mapping[str, Any], asyncio.Task[None]]] = {}

    async def hold(self, jid: str, body: Mapping[str, Any]) -> None:
        """Mark the job and see it through; returns when it is taken, or after a while.

        Raises NameTaken when another job of that name was faster, EngineRefused with what is left.
        """
        if not await self._markers.hold(jid, body):
            raise NameTaken(f"a job {jid} waits for its image")
        if (await self._containers.find(jid))[0]:
            raise NameTaken(f"a job {jid} exists")  # a marker beside its container does no harm
        task = self.take(jid, body)
        await asyncio.wait({task}, timeout=PULL_WAIT_SECONDS)
        if task.done():
            task.result()

    def take(self, jid: str, body: Mapping[str, Any]) -> asyncio.Task[None]:
        """Goes on by itself; one at a time for each job."""
        if jid in self._tasks and self._tasks[jid][0] == body:
            return self._tasks[jid][1]
        task = asyncio.create_task(self._until_taken(jid, body))
        self._tasks[jid] = (body, task)
        task.add_done_callback(lambda done: self._done(jid, done))
        return task

    async def close(self) -> None:
        tasks = [task for _, task in self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, jid: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(jid, (None, None))[1] is task:
            del self._tasks[jid]
        if not task.cancelled() and (error := task.exception()):
            log.warning("%s: %s", jid, error)

    async def _until_taken(self, jid: str, body: Mapping[str, Any]) -> None:
        """Raises EngineRefused, after a marker or the container itself tells everybody why."""
        while True:
            try:
                await self._take(jid, body)
            except EngineUnreachable as error:
                log.warning("%s waits for its image: %s", jid, error)
                await asyncio.sleep(RETRY_INTERVAL_SECONDS)
            except EngineRefused as refused:
                if refused.native["call"] != "start" and await self._is_wanted(jid, body):
                    refused.made = (await self._markers.fail(jid, body, refused)).identity
                await self._unmark(jid, body)
                raise
            else:
                return

    async def _take(self, jid: str, body: Mapping[str, Any]) -> None:
        """Pull, create, start, for as long as somebody wants it."""
        await self._images.pull(str(body["Image"]))
        for _ in range(_TRIES):
            if not await self._is_wanted(jid, body):
                return
            asked = time.monotonic()
            try:
                identity = await self._containers.create(jid, body)
            except NoSuchImageError as error:
                raise EngineRefused("pull", 404, "the engine did not keep the image") from error
            except NameTaken:
                if await self._is_same(jid, body):
                    await self._containers.resume(jid)
                    await self._unmark(jid, body)
                    return
                await asyncio.sleep(_PAUSE)  # what was deleted just now, and its pman does not know yet
                continue
            if await self._is_wanted(jid, body):
                await self._containers.start(jid, identity, asked)
                await self._unmark(jid, body)
            else:
                await self._delete_unstarted(jid, identity)
            return
        raise EngineRefused("create", 409, f"the name {jid} is taken by something else")

    async def _unmark(self, jid: str, body: Mapping[str, Any]) -> None:
        """What stays of it does no harm: what is found first is the container, or why there is none."""
        try:
            await self._markers.remove("pending", jid, body)
        except EngineRefused as refused:
            log.warning("%s waits no more, though it is marked so: %s", jid, refused)

    async def _is_wanted(self, jid: str, body: Mapping[str, Any]) -> bool:
        """Whether the marker is there, and is this job's, not that of a later one of its name."""
        marker = await self._markers.find("pending", jid)
        return marker is not None and marker.body == body

    async def _is_same(self, jid: str, body: Mapping[str, Any]) -> bool:
        container, _ = await self._containers.find(jid)
        return container is not None and container["Config"]["Labels"] == body.get("Labels")

    async def _delete_unstarted(self, jid: str, identity: str) -> None:
        """Unless another pman has started it: then it was wanted after all."""
        container, _ = await self._containers.find(jid)
        if container and container["Id"] == identity and not_started(container):
            await self._containers.delete(identity)
