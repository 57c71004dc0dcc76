"""Containers of pman's: create, start once, find, delete."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from pman.errors import EngineRefused, EngineUnreachable, NameTaken
from pman.executors.docker.api import Api, words
from pman.executors.docker.cache import Cache
from pman.executors.docker.markers import Markers
from pman.job import JID_LABEL

BEING_REMOVED = "no such container"
"""What Podman 4.3.1 answers with 500 for a container that another call removes at this moment."""

START_LEASE_SECONDS = 5.0
"""Seconds after its creation from which on a container that is not started is anybody's to start."""

OWN_START_LEASE_SECONDS = 2.0
"""Seconds in which its creator starts it without another look. The engine tells ages in whole seconds."""

MAX_STARTED = 10_000
"""How many containers that this pman started it remembers; a race can only be about the last few."""

_NOT_STARTED = ("created", "configured", "initialized")


class NoSuchImageError(Exception):
    """The engine has to pull first."""


class Containers:
    def __init__(self, api: Api, markers: Markers, cache: Cache) -> None:
        self._api = api
        self._markers = markers
        self._cache = cache
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._started: dict[str, None] = {}

    async def create(self, jid: str, body: Mapping[str, Any]) -> str:
        """The new container's id. Raises NoSuchImageError, NameTaken, EngineRefused."""
        with self._cache.creating(jid):
            return await self._create(jid, body)

    async def _create(self, jid: str, body: Mapping[str, Any]) -> str:
        status, answer = await self._api.create("/containers/create", {"name": jid}, body)
        if status == 201:
            return str(json.loads(answer)["Id"])
        message = words(answer)
        if status == 404 and "no such image" in message.lower():
            raise NoSuchImageError
        if status == 409 or "is already in use" in message:  # Podman: 500
            await self._visible(jid)
            raise NameTaken(message)
        raise EngineRefused("create", status, message)

    async def start(self, jid: str, identity: str, asked: float) -> None:
        """Start what was created by a call at `asked` (time.monotonic).

        Raises EngineRefused, with the container that is left.
        """
        try:
            if time.monotonic() - asked < OWN_START_LEASE_SECONDS:
                await self._start(identity)
            else:
                await self.resume(jid)
        except EngineRefused as refused:
            refused.made = identity
            raise

    async def resume(self, jid: str) -> None:
        """Start what nobody has started; who created it has the first seconds. Raises EngineRefused."""
        container, age = await self.find(jid)
        identity = container["Id"] if container else ""
        while container and container["Id"] == identity and not_started(container):
            if age >= START_LEASE_SECONDS or identity in self._starting:
                await self._start(identity)
                return
            await asyncio.sleep(0.1)
            container, age = await self.find(jid)

    async def find(self, jid: str) -> tuple[Mapping[str, Any] | None, float]:
        """The container and its age in seconds by the engine's clock; None for what is not pman's."""
        with self._cache.asking(jid) as ask:
            async with self._api.request("GET", _path(jid)) as response:
                body = await response.read()
            if response.status == 404 or (response.status == 500 and BEING_REMOVED in words(body)):
                return None, 0
            if response.status != 200:
                raise EngineUnreachable(f"{self._api.kind} cannot tell the state of {jid}: {words(body)}")
            found: Mapping[str, Any] = json.loads(body)
            # The engine also finds containers by a part of their id.
            if found["Name"] != f"/{jid}" or (found["Config"].get("Labels") or {}).get(JID_LABEL) != jid:
                return None, 0
            # That one is not started may stand in a marker only, and no event tells that a start failed.
            if not not_started(found) or found["State"].get("Error"):
                ask.keep(body)
        return found, _age(found["Created"], response.headers.get("Date"))

    async def kill(self, jid: str, identity: str) -> None:
        """Nothing where it has ended. Raises EngineRefused."""
        status, answer = await self._api.call("POST", f"/containers/{identity}/kill", {"signal": "SIGKILL"})
        if status in (204, 404, 409):  # 404: gone meanwhile; 409: it does not run
            return
        container, _ = await self.find(jid)
        if container and container["Id"] == identity and container["State"]["Running"]:  # Podman: 500 for 409
            raise EngineRefused("end", status, words(answer))

    async def delete(self, identity: str) -> None:
        """Running or not. Raises EngineRefused."""
        query = {"force": "1", "v": "1"}
        status, answer = await self._api.call("DELETE", f"/containers/{identity}", query)
        gone = status == 404 or (status == 500 and BEING_REMOVED in words(answer))
        if not gone and status not in (200, 204, 409):  # 409: being removed already
            raise EngineRefused("remove", status, words(answer))

    async def jids(self, filters: Mapping[str, Sequence[str]]) -> set[str]:
        """Of pman's containers: those whose label is their name."""
        query = {"all": "1", "filters": json.dumps({"label": [JID_LABEL], **filters})}
        found = await self._api.json("/containers/json", query)
        return {
            item["Labels"][JID_LABEL]
            for item in found
            if f"/{item['Labels'][JID_LABEL]}" in (item.get("Names") or ())
        }

    async def _visible(self, jid: str) -> None:
        """Wait for what has taken a name: an engine reserves it some 0.1 s before it shows the container."""
        for _ in range(100):
            status, _ = await self._api.call("GET", _path(jid))
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
            if len(self._started) > MAX_STARTED:
                del self._started[next(iter(self._started))]
            return
        refused = EngineRefused("start", status, words(answer))
        left = await self._api.json(f"/containers/{identity}/json")
        if not left["State"].get("Error"):  # Podman forgets why
            await self._markers.fail(left["Name"].lstrip("/"), left["Config"], refused)
        raise refused


def not_started(container: Mapping[str, Any]) -> bool:
    return container["State"]["Status"] in _NOT_STARTED


def _path(jid: str) -> str:
    return f"/containers/{quote(jid, safe='')}/json"


def _age(created: str, date: str | None) -> float:
    """Seconds. Created has nanoseconds, which datetime cannot read; Date has whole seconds."""
    now = parsedate_to_datetime(date) if date else datetime.now(UTC)
    return (now - datetime.fromisoformat(created[:19] + "+00:00")).total_seconds()
