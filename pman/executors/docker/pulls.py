"""Jobs whose image has to be pulled first: held by the engine as a marker, taken when it has the image.

Each image is pulled once at a time, with the registry credentials of this machine.

Several pmans may wait for one job, and it may be deleted, or deleted and asked for anew, meanwhile.
So whoever waits looks before and after it creates the container whether the marker is still that of
its own job; who finds the name taken by the same job sees to it that it is started.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import docker.utils

from pman.errors import EngineRefused, NameTaken
from pman.executors.docker.api import Api, registry_auth, words
from pman.executors.docker.containers import Containers, NoSuchImageError, not_started
from pman.executors.docker.markers import Markers, is_same
from pman.executors.shared.tasks import Attempts, SingleFlight, until_reachable

log = logging.getLogger(__name__)

SUBMISSION_WAIT_SECONDS = 2.0
"""So long a submission waits for a pull, so that a wrong name of an image is told at once."""

RETRY_INTERVAL_SECONDS = 2.0
"""An engine that did not answer is asked again after so long."""

PULL_RETRY_SECONDS = 5.0
"""An engine that went away during a pull is asked again after so long."""

NAME_INTERVAL_SECONDS, NAME_TIMEOUT_SECONDS, NAME_ATTEMPTS = 0.2, 5.0, 25
"""A name that something else has is tried again so often, for so long and at least so many times."""


class Pulls:
    def __init__(self, api: Api, markers: Markers, containers: Containers) -> None:
        self._api = api
        self._markers = markers
        self._containers = containers
        self._images = SingleFlight[str, None]()
        self._tasks = SingleFlight[tuple[str, str], None]()

    async def hold(self, jid: str, body: Mapping[str, Any]) -> None:
        """Mark the job and see it through; returns when it is taken, or after a while.

        Raises NameTaken when another job of that name was faster, EngineRefused with what is left.
        """
        if not await self._markers.hold(jid, body):
            raise NameTaken(f"a job {jid} waits for its image")
        if await self._containers.find(jid):
            raise NameTaken(f"a job {jid} exists")  # a marker beside its container does no harm
        task = self.take(jid, body)
        await asyncio.wait({task}, timeout=SUBMISSION_WAIT_SECONDS)
        if task.done():
            task.result()

    def take(self, jid: str, body: Mapping[str, Any]) -> asyncio.Task[None]:
        """A task that sees the job through, for each job one at a time; it goes on by itself."""
        return self._tasks.begin(
            (jid, json.dumps(body, sort_keys=True)), lambda: self._until_taken(jid, body)
        )

    async def close(self) -> None:
        await self._tasks.close()
        await self._images.close()

    async def _until_taken(self, jid: str, body: Mapping[str, Any]) -> None:
        """Raises EngineRefused, after a marker or the container itself tells everybody why."""
        try:
            await until_reachable(
                lambda: self._take(jid, body), RETRY_INTERVAL_SECONDS, f"{jid} waits for its image"
            )
        except Exception as error:  # whoever asked for the job may wait no more
            log.warning("%s: %s", jid, error)
            raise

    async def _take(self, jid: str, body: Mapping[str, Any]) -> None:
        try:
            image = str(self._api.bodies.config(body)["Image"])
            waits = f"pull of {image} interrupted"
            await self._images.run(
                image, lambda: until_reachable(lambda: self._pull(image), PULL_RETRY_SECONDS, waits)
            )
            await self._start(jid, body)
        except EngineRefused as refused:
            # Repeated alone, never with the pull: a caller may have read of the refusal by now.
            mark = partial(self._mark_refused, jid, body, refused)
            await until_reachable(mark, RETRY_INTERVAL_SECONDS, f"{jid} is refused")
            raise

    async def _pull(self, image: str) -> None:
        repository, tag = docker.utils.parse_repository_tag(image)
        query = {"fromImage": repository, "tag": tag or "latest"}
        headers = await asyncio.to_thread(registry_auth, repository)
        async with self._api.request(
            "POST", "/images/create", query, headers=headers, stream=True, endless=True
        ) as response:
            if response.status != 200:
                raise EngineRefused("pull", response.status, words(await response.read()))
            async for line in response.content:
                if line.strip() and (error := json.loads(line).get("error")):
                    raise EngineRefused("pull", response.status, str(error))

    async def _mark_refused(self, jid: str, body: Mapping[str, Any], refused: EngineRefused) -> None:
        """Put a failed marker in the pending one's place; a container that did not start says so itself."""
        if refused.native["call"] != "start" and await self._is_wanted(jid, body):
            config = self._api.bodies.config(body)
            refused.leftover = (await self._markers.fail(jid, config, refused)).identity
        await self._unmark(jid, body)

    async def _start(self, jid: str, body: Mapping[str, Any]) -> None:
        """Create and start the container, for as long as somebody wants it."""
        async for _ in Attempts(NAME_INTERVAL_SECONDS, within=NAME_TIMEOUT_SECONDS, at_least=NAME_ATTEMPTS):
            if not await self._is_wanted(jid, body):
                return
            asked = time.monotonic()
            try:
                identity = await self._containers.create(jid, body)
            except NoSuchImageError as error:
                raise EngineRefused("pull", 404, "the engine did not keep the image") from error
            except NameTaken:
                if not is_same(await self._containers.find(jid), self._api.bodies.config(body)):
                    continue  # what was deleted just now, and its pman does not know yet
                await self._containers.resume(jid)
            else:
                if not await self._is_wanted(jid, body):
                    await self._delete_unstarted(jid, identity)
                    return
                await self._containers.start(jid, identity, asked)
            await self._unmark(jid, body)
            return
        raise EngineRefused("create", 409, f"the name {jid} is taken by something else")

    async def _unmark(self, jid: str, body: Mapping[str, Any]) -> None:
        """Delete the marker. One that stays does no harm: the container counts more, or why there is none."""
        try:
            await self._markers.remove("pending", jid, body)
        except EngineRefused as refused:
            log.warning("%s waits no more, though it is marked so: %s", jid, refused)

    async def _is_wanted(self, jid: str, body: Mapping[str, Any]) -> bool:
        """Tells whether the marker is there, and is this job's, not that of a later one of its name."""
        marker = await self._markers.find("pending", jid)
        return marker is not None and marker.body == body

    async def _delete_unstarted(self, jid: str, identity: str) -> None:
        """Delete it, unless another pman has started it: then it was wanted after all."""
        container = await self._containers.find(jid)
        if container and container["Id"] == identity and not_started(container):
            await self._containers.delete(identity)
