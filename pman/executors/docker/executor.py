"""The protocol of an executor over Docker's API: a job is one container, by the job's name."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, cast
from urllib.parse import quote

from pman.errors import EngineRefused, NameTaken, UnknownJob
from pman.executors.docker.api import Api, docker_api, podman_address
from pman.executors.docker.bodies import PODMAN
from pman.executors.docker.cache import Cache
from pman.executors.docker.containers import Containers, NoSuchImageError, not_started
from pman.executors.docker.frames import NoLogError, read_log
from pman.executors.docker.guard import Guard
from pman.executors.docker.lens import PREFIX
from pman.executors.docker.markers import Kind, Markers, inspection, is_same
from pman.executors.docker.network import BRIDGE, PODMAN_BRIDGE, Network, Own
from pman.executors.docker.pulls import Pulls
from pman.executors.docker.storebase import Storebase, facts, find, podman_facts
from pman.executors.shared.tasks import Attempts
from pman.job import Document

log = logging.getLogger(__name__)

FOLLOW_INTERVAL_SECONDS = 0.5
"""Between two looks whether a job that is followed has its image by now."""


def connect_docker(settings: Mapping[str, Any]) -> DockerExecutor:
    return DockerExecutor(docker_api(settings), settings, facts, BRIDGE)


def connect_podman(settings: Mapping[str, Any]) -> DockerExecutor:
    api = Api("Podman", *podman_address(settings), settings["ENGINE_TIMEOUT"], PODMAN)
    return DockerExecutor(api, settings, podman_facts, PODMAN_BRIDGE)


class DockerExecutor:
    """See Executor for what each call means."""

    def __init__(
        self,
        api: Api,
        settings: Mapping[str, Any],
        facts: Callable[[Api, Storebase], Awaitable[Mapping[str, Any]]],
        network: Own,
    ) -> None:
        self._api = api
        self._facts = facts
        self._settings = settings
        self._markers = Markers(api)
        self._cache = Cache(api)
        self._network = Network(api, settings, network)
        self._containers = Containers(api, self._markers, self._cache, self._network)
        self._pulls = Pulls(api, self._markers, self._containers)

    async def facts(self) -> Mapping[str, Any]:
        storebase = await find(self._api, self._settings)
        stated = await self._facts(self._api, storebase)
        # Docker's network keeps nothing apart on Podman; that it is the other engine, the rules' checks say.
        if ("Podman Engine" in stated["native"]["Components"]) == (self._api.bodies is PODMAN):
            await self._network.ensure()
        self._containers.guard = Guard(self._api, storebase, by_path="warnings" in stated)
        return stated

    async def apply(self, jid: str, documents: Sequence[Document]) -> Mapping[str, Any]:
        (document,) = documents
        body = cast(Mapping[str, Any], document.content)
        if jid.startswith(PREFIX):
            raise NameTaken(f"no job may have a name that begins with {PREFIX}")
        if await self._markers.latest(jid):
            raise NameTaken(f"a job {jid} waits for its image, or could not get it")
        asked = time.monotonic()
        try:
            identity = await self._containers.create(jid, body)
        except NoSuchImageError:
            await self._pulls.hold(jid, body)
            return await self.inspect(jid)
        await self._containers.start(jid, identity, asked)
        # To inspect it now would wait for the engine's own work on it: 0.1 s for a job that ends at once,
        # half of what create and start take (Docker 20.10).
        return inspection(jid, self._api.bodies.config(body), {"Status": "running", "StartedAt": ""})

    async def discard(self, jid: str, leftover: str) -> None:
        """Delete the marker that tells why there is no job, and the container, where it never started."""
        container = await self._containers.find(jid)
        left = container if container and container["Id"] == leftover and not_started(container) else None
        failed = await self._markers.find("failed", jid)
        try:
            if failed and (failed.identity == leftover or is_same(left, failed.config)):
                await self._markers.remove("failed", jid, failed.body)
            if left:
                await self._containers.delete(leftover)
        except EngineRefused as refused:
            log.warning("%s was refused, and something of it is left: %s", jid, refused)
        finally:
            self._cache.forget(jid)

    async def resume(self, jid: str) -> None:
        container = await self._containers.find(jid)
        if container:
            await self._containers.resume(jid)
        elif marker := await self._markers.find("pending", jid):
            self._pulls.take(jid, marker.body)

    async def unfinished(self) -> Sequence[str]:
        return await self._jids(["pending"], status=self._api.bodies.unstarted)

    async def inspect(self, jid: str, *, fresh: bool = False) -> Mapping[str, Any]:
        if not fresh and (inspection := self._cache.inspection(jid)):
            return cast(Mapping[str, Any], json.loads(inspection))
        container = await self._containers.find(jid)
        if container is None:
            if marker := await self._markers.latest(jid):
                return marker.native(jid)
            container = await self._containers.find(jid)  # taken between the two questions
            if container is None:
                raise UnknownJob(jid)
        if not_started(container) and not container["State"].get("Error"):
            failed = await self._markers.find("failed", jid)
            state = {**container["State"], **failed.state} if failed else container["State"]
            return {**container, "State": state}
        return container

    def revision(self, jid: str) -> Hashable | None:
        return self._cache.revision(jid)

    async def logs(self, jid: str, tail: int, *, follow: bool = False) -> AsyncIterator[bytes]:
        path = f"/containers/{quote(jid, safe='')}/logs"
        subject = f"{self._api.kind} cannot show the log of {jid}"
        async for _ in Attempts(FOLLOW_INTERVAL_SECONDS):
            try:
                async with aclosing(read_log(self._api, path, subject, tail, follow=follow)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            except NoLogError:
                if not follow or not await self._markers.find("pending", jid):
                    return
            else:
                return

    async def end(self, jid: str, reason: str) -> None:
        container = await self._containers.find(jid)
        if container and not not_started(container):
            await self._containers.kill(jid, container["Id"])
            self._cache.forget(jid)
        elif container and not container["State"].get("Error"):
            await self._markers.fail(jid, container["Config"], EngineRefused("end", 0, reason))
        elif marker := await self._markers.find("pending", jid):
            await self._markers.fail(jid, marker.config, EngineRefused("end", 0, reason))
            await self._markers.remove("pending", jid, marker.body)
        elif not container and not await self._markers.find("failed", jid):
            raise UnknownJob(jid)

    async def active(self) -> Sequence[str]:
        # Podman knows no `restarting` and refuses the question; Docker is in it for an instant.
        return await self._jids(["pending"], status=self._api.bodies.living)

    async def remove(self, jid: str) -> None:
        container = await self._containers.find(jid)
        # The marker goes first: whoever waits for the image then knows that nobody wants the job.
        marked = await asyncio.gather(
            self._markers.remove("pending", jid), self._markers.remove("failed", jid)
        )
        if container:
            if container["State"]["Running"]:
                # Podman would give it ten seconds to heed SIGTERM, and does not list it as running meanwhile.
                with suppress(EngineRefused):
                    await self._containers.kill(jid, container["Id"])
            await self._containers.delete(container["Id"])
            self._cache.forget(jid)
        elif not any(marked):
            raise UnknownJob(jid)

    async def list(self) -> Sequence[str]:
        return await self._jids(["pending", "failed"])

    async def ping(self) -> str:
        return f"{self._api.kind} {await self._api.version()}"

    async def close(self) -> None:
        await self._pulls.close()
        await self._containers.close()
        await self._cache.close()
        await self._api.close()

    async def _jids(self, kinds: Sequence[Kind], **filters: Sequence[str]) -> Sequence[str]:
        """The jobs that have such a marker, or a container that the filters let through."""
        jids = await asyncio.gather(self._markers.jids(kinds), self._containers.jids(**filters))
        return sorted(set().union(*jids))
