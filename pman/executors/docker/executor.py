"""The protocol of an executor over Docker's API: a job is one container, by the job's name."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import quote

import aiohttp

from pman.errors import ConfigError, EngineRefused, EngineUnreachable, NameTaken, UnknownJob
from pman.executors.docker.api import UNLIMITED, Api, docker_address, podman_address, words
from pman.executors.docker.images import Images
from pman.executors.docker.markers import Markers
from pman.job import JID_LABEL, Document

log = logging.getLogger(__name__)

PULL_GRACE = 2.0
"""Seconds for which apply waits for a pull, so that a wrong name is told at once."""

START_LEASE = 3.0
"""Seconds in which whoever created a container is trusted to start it."""

STARTED = 10_000
"""How many containers that this pman started it remembers; a race can only be about the last few."""

STOREBASE_MOUNT = "/var/local/storeBase"
"""Where pfcon's container mounts the storebase."""

_NOT_STARTED = ("created", "configured", "initialized")


def connect_docker(settings: Mapping[str, Any]) -> DockerExecutor:
    return DockerExecutor(Api("Docker", *docker_address(settings), settings["ENGINE_TIMEOUT"]), settings)


def connect_podman(settings: Mapping[str, Any]) -> DockerExecutor:
    return DockerExecutor(Api("Podman", *podman_address(settings), settings["ENGINE_TIMEOUT"]), settings)


class DockerExecutor:
    """See Executor for what each call means."""

    def __init__(self, api: Api, settings: Mapping[str, Any]) -> None:
        self._api = api
        self._settings = settings
        self._markers = Markers(api)
        self._images = Images(api)
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._started: dict[str, None] = {}
        self._waiting: dict[str, asyncio.Task[None]] = {}

    async def facts(self) -> Mapping[str, Any]:
        version, info = await asyncio.gather(self._api.json("/version"), self._api.json("/info"))
        components = [component["Name"] for component in version.get("Components") or ()]
        native = {**info, "ApiVersion": version["ApiVersion"], "Components": components}
        return {"storebase": await self._storebase(), "native": native}

    async def apply(self, jid: str, documents: Sequence[Document]) -> Mapping[str, Any]:
        (document,) = documents
        body = cast(Mapping[str, Any], document.content)
        if await self._markers.latest(jid):
            raise NameTaken(f"a job {jid} waits for its image, or could not get it")
        try:
            identity = await self._create(jid, body)
        except _NoSuchImageError:
            await self._hold(jid, body)
            task = self._wait_for_image(jid, body)
            await asyncio.wait({task}, timeout=PULL_GRACE)
            if task.done():
                task.result()
            return await self.inspect(jid)
        await self._start(identity)
        return _as_started(jid, body)

    async def resume(self, jid: str) -> None:
        container, age = await self._container(jid)
        if container is None:
            if jid not in self._waiting and (marker := await self._markers.find("pending", jid)):
                self._wait_for_image(jid, marker.body)
            return
        identity = container["Id"]
        while container and container["Id"] == identity and container["State"]["Status"] in _NOT_STARTED:
            if age >= START_LEASE or identity in self._starting:
                await self._start(identity)
                return
            await asyncio.sleep(0.1)
            container, age = await self._container(jid)

    async def unfinished(self) -> Sequence[str]:
        created = self._containers({"status": ["created"]})
        return sorted(set().union(*await asyncio.gather(created, self._markers.jids(["pending"]))))

    async def inspect(self, jid: str) -> Mapping[str, Any]:
        container, _ = await self._container(jid)
        if container is None:
            if marker := await self._markers.latest(jid):
                return marker.native(jid)
            container, _ = await self._container(jid)  # taken by the engine between the two questions
            if container is None:
                raise UnknownJob(jid)
        state = container["State"]
        if state["Status"] in _NOT_STARTED and not state.get("Error"):
            failed = await self._markers.find("failed", jid)
            return {**container, "State": {**state, "Error": failed.reason}} if failed else container
        return container

    async def logs(self, jid: str, tail: int, *, follow: bool = False) -> AsyncIterator[bytes]:
        query = {"stdout": "1", "stderr": "1", "tail": str(tail), "follow": str(int(follow))}
        limit = UNLIMITED if follow else self._api.each_read
        path = f"/containers/{quote(jid)}/logs"
        async with self._api.request("GET", path, query, limit=limit) as response:
            if response.status == 200:
                async for chunk in demultiplexed(response.content.iter_any()):
                    yield chunk

    async def remove(self, jid: str) -> None:
        container, _ = await self._container(jid)
        if task := self._waiting.pop(jid, None):
            task.cancel()
        # The marker goes first: whoever pulls for it then knows that nobody wants the job any more.
        marked = await self._markers.remove_all(jid)
        if container:
            await self._delete(container["Id"])
        elif not marked:
            raise UnknownJob(jid)

    async def list(self) -> Sequence[str]:
        return sorted(set().union(*await asyncio.gather(self._containers({}), self._markers.jids())))

    async def ping(self) -> str:
        version = await self._api.json("/version")
        return f"{self._api.kind} {version['Version']} (API {version['ApiVersion']})"

    async def close(self) -> None:
        waiting = list(self._waiting.values())
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await self._images.close()
        await self._api.close()

    async def _create(self, jid: str, body: Mapping[str, Any]) -> str:
        """The new container's id. Raises NameTaken, EngineRefused."""
        try:
            status, answer = await self._api.call("POST", "/containers/create", {"name": jid}, body)
        except EngineUnreachable as error:
            # A kept-alive connection that the engine closed meanwhile. Whether or not the call went
            # through, a second one is safe: the name can be taken only once.
            if not isinstance(error.__cause__, aiohttp.ServerDisconnectedError):
                raise
            status, answer = await self._api.call("POST", "/containers/create", {"name": jid}, body)
        if status == 201:
            return str(json.loads(answer)["Id"])
        told = words(answer)
        if status == 404 and "no such image" in told.lower():
            raise _NoSuchImageError
        if status == 409 or "is already in use" in told:  # Podman: 500
            await self._visible(jid)
            raise NameTaken(told)
        raise EngineRefused("create", status, told)

    async def _visible(self, jid: str) -> None:
        """Wait for what has taken a name: an engine reserves it some 0.1 s before it shows the container."""
        for _ in range(100):
            status, _ = await self._api.call("GET", f"/containers/{quote(jid)}/json")
            if status != 404:
                return
            await asyncio.sleep(0.05)

    async def _start(self, identity: str) -> None:
        """Once for each container: to start what has ended meanwhile would run it twice."""
        if identity in self._started:
            return
        if identity not in self._starting:
            self._starting[identity] = task = asyncio.create_task(self._start_now(identity))
            task.add_done_callback(lambda _: self._starting.pop(identity, None))
        await asyncio.shield(self._starting[identity])

    async def _start_now(self, identity: str) -> None:
        status, answer = await self._api.call("POST", f"/containers/{identity}/start")
        if status in (204, 304):
            self._started[identity] = None
            if len(self._started) > STARTED:
                del self._started[next(iter(self._started))]
            return
        refused = EngineRefused("start", status, words(answer))
        left = await self._api.json(f"/containers/{identity}/json")
        if not left["State"].get("Error"):  # Podman forgets why
            await self._markers.fail(left["Name"].lstrip("/"), left["Config"], refused)
        raise refused

    async def _container(self, jid: str) -> tuple[Mapping[str, Any] | None, float]:
        """The container and its age in seconds by the engine's clock; None for what is not pman's."""
        async with self._api.request("GET", f"/containers/{quote(jid)}/json") as response:
            body = await response.read()
        if response.status == 404:
            return None, 0
        if response.status != 200:
            raise EngineUnreachable(f"{self._api.kind} cannot tell the state of {jid}: {words(body)}")
        found: Mapping[str, Any] = json.loads(body)
        # The engine also finds containers by a part of their id.
        if found["Name"] != f"/{jid}" or (found["Config"].get("Labels") or {}).get(JID_LABEL) != jid:
            return None, 0
        return found, _age(found["Created"], response.headers.get("Date"))

    async def _delete(self, identity: str) -> None:
        query = {"force": "1", "v": "1"}
        status, answer = await self._api.call("DELETE", f"/containers/{identity}", query)
        if status not in (200, 204, 404, 409):  # 404: gone meanwhile; 409: being removed already
            raise EngineRefused("remove", status, words(answer))

    async def _containers(self, filters: Mapping[str, Sequence[str]]) -> set[str]:
        query = {"all": "1", "filters": json.dumps({"label": [JID_LABEL], **filters})}
        return {item["Labels"][JID_LABEL] for item in await self._api.json("/containers/json", query)}

    async def _hold(self, jid: str, body: Mapping[str, Any]) -> None:
        """Raises NameTaken when another job of that name was faster, as a marker or as a container."""
        if not await self._markers.hold(jid, body):
            raise NameTaken(f"a job {jid} waits for its image")
        container, _ = await self._container(jid)
        if container:
            await self._markers.remove("pending", jid)
            raise NameTaken(f"a job {jid} exists")

    def _wait_for_image(self, jid: str, body: Mapping[str, Any]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._take(jid, body))
        self._waiting[jid] = task
        task.add_done_callback(lambda done: self._taken(jid, done))
        return task

    def _taken(self, jid: str, task: asyncio.Task[None]) -> None:
        if self._waiting.get(jid) is task:
            del self._waiting[jid]
        if not task.cancelled() and (error := task.exception()):
            log.warning("%s: %s", jid, error)

    async def _take(self, jid: str, body: Mapping[str, Any]) -> None:
        """Pull, create, start; gives up as soon as the marker is gone, since the job was deleted.

        Raises EngineRefused, after a marker or the container itself tells everybody why.
        """
        try:
            await self._images.pull(str(body["Image"]))
            if not await self._markers.find("pending", jid):
                return
            identity = await self._create(jid, body)
            if not await self._markers.find("pending", jid):
                await self._delete(identity)
                return
            await self._start(identity)
        except NameTaken:
            pass  # another pman that waited for the same image was first
        except (EngineRefused, _NoSuchImageError) as error:
            vanished = EngineRefused("pull", 404, "the engine did not keep the image")
            refused = error if isinstance(error, EngineRefused) else vanished
            if refused.native["call"] != "start":
                await self._markers.fail(jid, body, refused)
            await self._markers.remove("pending", jid)
            raise refused from error
        await self._markers.remove("pending", jid)

    async def _storebase(self) -> str:
        """Where the engine's host has it. Raises ConfigError."""
        if self._settings["STORAGE_TYPE"] == "host":
            return str(self._settings["STOREBASE"])
        mount = (
            {"Name": self._settings["VOLUME_NAME"]} if self._settings["VOLUME_NAME"] else await self._mount()
        )
        if mount.get("Type") == "bind":
            return str(mount["Source"])
        status, answer = await self._api.call("GET", f"/volumes/{quote(mount['Name'], safe='')}")
        if status == 404:
            raise ConfigError(f"VOLUME_NAME={mount['Name']!r}: {self._api.kind} has no such volume")
        return str(json.loads(answer)["Mountpoint"])

    async def _mount(self) -> Mapping[str, Any]:
        """pfcon's mount of the storebase."""
        selector = self._settings["PFCON_SELECTOR"]
        query = {"filters": json.dumps({"label": [selector]})}
        for container in await self._api.json("/containers/json", query):
            for mount in container["Mounts"]:
                if mount["Destination"] == STOREBASE_MOUNT:
                    return cast(Mapping[str, Any], mount)
        raise ConfigError(
            f"PFCON_SELECTOR={selector!r}: no running container so labelled mounts {STOREBASE_MOUNT}",
            "start pfcon before pman, or set VOLUME_NAME, or STORAGE_TYPE=host and STOREBASE",
        )


class _NoSuchImageError(Exception):
    """The engine has to pull first."""


def _as_started(jid: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """What has just been started, in the shape of its inspection.

    To inspect it now would wait for the engine's own work on it: 0.1 s for a job that ends at once,
    half of what create and start take (Docker 20.10).
    """
    state = {"Status": "running", "StartedAt": ""}
    return {"Name": f"/{jid}", "Config": body, "HostConfig": body.get("HostConfig") or {}, "State": state}


def _age(created: str, date: str | None) -> float:
    """Seconds. Created has nanoseconds, which datetime cannot read; Date has whole seconds."""
    now = parsedate_to_datetime(date) if date else datetime.now(UTC)
    return (now - datetime.fromisoformat(created[:19] + "+00:00")).total_seconds()


async def demultiplexed(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The payloads of Docker's frames: 1 byte stream, 3 zero, 4 length; a terminal's log has none.

    API 1.41 does not say which of the two it sends, but no text begins as a frame does.
    """
    buffer, framed = bytearray(), None
    async for chunk in chunks:
        buffer += chunk
        if framed is None and len(buffer) >= 4:
            framed = buffer[0] <= 2 and not any(buffer[1:4])
        if framed is False:
            yield bytes(buffer)
            buffer.clear()
        payload, start = bytearray(), 0
        while framed and len(buffer) >= start + 8:
            end = start + 8 + int.from_bytes(buffer[start + 4 : start + 8])
            if end > len(buffer):
                break
            payload += buffer[start + 8 : end]
            start = end
        if payload:
            yield bytes(payload)
        del buffer[:start]
    if buffer and not framed:
        yield bytes(buffer)
