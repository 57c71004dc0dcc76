"""Containers of pman's: create, start once, find, delete."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any
from urllib.parse import quote

from pman.errors import EngineRefused, EngineUnreachable, NameTaken
from pman.executors.docker.api import Api, filtered, words
from pman.executors.docker.cache import Cache
from pman.executors.docker.guard import Directories, Guard, refusal, rivals
from pman.executors.docker.markers import Markers
from pman.executors.docker.mounted import Identities, mounted
from pman.executors.docker.network import Network
from pman.executors.shared.bounded import Bounded
from pman.executors.shared.tasks import Attempts, Background, SingleFlight
from pman.job import JID_LABEL

log = logging.getLogger(__name__)

BEING_REMOVED = "no such container"
"""Podman 4.3.1 says so, with 500, of a container that another call removes at this moment."""

START_LEASE_SECONDS = 5.0
"""Start lease: after so long, any pman may start a container that its creator has not started."""

OWN_START_LEASE_SECONDS = 2.0
"""So long its creator starts it without another look. The engine tells ages in whole seconds."""

START_INTERVAL_SECONDS = 0.1
"""Between two looks whether a container's creator has started it."""

VISIBLE_INTERVAL_SECONDS, VISIBLE_TIMEOUT_SECONDS, VISIBLE_ATTEMPTS = 0.05, 5.0, 100
"""An engine reserves a name some 0.1 s before it shows the container; a slow one, a few answers before."""

MAX_STARTED = 10_000
"""Containers of which this pman knows that it started them; a race can only be about the last few."""

_NOT_STARTED = ("created", "configured", "initialized")


class NoSuchImageError(Exception):
    """The engine has to pull first."""


class Containers:
    def __init__(self, api: Api, markers: Markers, cache: Cache, network: Network) -> None:
        self._api = api
        self._markers = markers
        self._cache = cache
        self.guard: Guard | None = None
        """Looks at a job's directories before it is started; None until the storebase is known."""

        self._comparing = Background()
        self._network = network
        self._starting = SingleFlight[str, None]()
        self._started = Bounded[str, None](MAX_STARTED)

    async def create(self, jid: str, body: Mapping[str, Any]) -> str:
        """The new container's id. Raises NoSuchImageError, NameTaken, EngineRefused."""
        with self._cache.creating(jid):
            create = partial(self._api.create, self._api.bodies.path, query={"name": jid}, json=body)
            status, answer = await self._network.needed(create)
            if status == 201:
                return str(json.loads(answer)["Id"])
            message = words(answer)
            if (status == 404 and "no such image" in message.lower()) or "image not known" in message:
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
            refused.leftover = identity
            raise

    async def resume(self, jid: str) -> None:
        """Start what nobody has started; who created it has the first seconds. Raises EngineRefused."""
        identity = None
        async for _ in Attempts(START_INTERVAL_SECONDS):
            container, age = await self._find(jid)
            if not container or not not_started(container) or identity not in (None, container["Id"]):
                return
            identity = container["Id"]
            if age >= START_LEASE_SECONDS or identity in self._starting:
                await self._start(identity)
                return

    async def find(self, jid: str) -> Mapping[str, Any] | None:
        """The job's container; None for what is not pman's."""
        return (await self._find(jid))[0]

    async def _find(self, jid: str) -> tuple[Mapping[str, Any] | None, float]:
        """The container, and its age in seconds by the engine's clock."""
        with self._cache.asking(jid) as question:
            async with self._api.request("GET", _path(jid)) as response:
                body = await response.read()
            if response.status == 404 or (response.status == 500 and BEING_REMOVED in words(body)):
                return None, 0
            if response.status != 200:
                raise EngineUnreachable(f"{self._api.kind} cannot tell the state of {jid}: {words(body)}")
            container: Mapping[str, Any] = json.loads(body)
            # The engine also finds containers by a part of their id.
            labels = container["Config"].get("Labels") or {}
            if container["Name"] != f"/{jid}" or labels.get(JID_LABEL) != jid:
                return None, 0
            # That one is not started may stand in a marker only, and no event tells that a start failed.
            if not not_started(container) or container["State"].get("Error"):
                question.answer = body
        return container, _age(container["Created"], response.headers.get("Date"))

    async def kill(self, jid: str, identity: str) -> None:
        """End it, unless it has ended. Raises EngineRefused."""
        status, answer = await self._api.call("POST", f"/containers/{identity}/kill", {"signal": "SIGKILL"})
        if status in (204, 404, 409):  # 404: gone meanwhile; 409: it does not run
            return
        container = await self.find(jid)
        if container and container["Id"] == identity and container["State"]["Running"]:  # Podman: 500 for 409
            raise EngineRefused("end", status, words(answer))

    async def delete(self, identity: str) -> None:
        """Delete it, running or not. Raises EngineRefused."""
        query = {"force": "1", "v": "1"}
        status, answer = await self._api.call("DELETE", f"/containers/{identity}", query)
        gone = status == 404 or (status == 500 and BEING_REMOVED in words(answer))
        if not gone and status not in (200, 204, 409):  # 409: being removed already
            raise EngineRefused("remove", status, words(answer))

    async def jids(self, **filters: Sequence[str]) -> set[str]:
        """The jobs whose container fits: it has pman's label, with its name for a value."""
        containers = await self._labelled(**filters)
        names = ((each["Labels"][JID_LABEL], each.get("Names") or ()) for each in containers)
        return {jid for jid, own in names if f"/{jid}" in own}

    async def _visible(self, jid: str) -> None:
        """Returns when the engine shows what has taken a name, or after a while."""
        async for _ in Attempts(
            VISIBLE_INTERVAL_SECONDS, within=VISIBLE_TIMEOUT_SECONDS, at_least=VISIBLE_ATTEMPTS
        ):
            status, _ = await self._api.call("GET", _path(jid))
            if status != 404:
                return

    async def _start(self, identity: str) -> None:
        """Start it, once: to start what has ended meanwhile would run it twice."""
        if identity not in self._started:
            await self._starting.run(identity, lambda: self._start_now(identity))

    async def _start_now(self, identity: str) -> None:
        try:
            expected = await self._look(identity)
            await self._begin(identity)
        except EngineRefused as refused:
            left = await self._api.json(f"/containers/{identity}/json")
            if not left["State"].get("Error"):  # Podman forgets why
                await self._markers.fail(left["Name"].lstrip("/"), left["Config"], refused)
            raise
        self._started[identity] = None
        if expected:
            self._comparing.begin(self._compared(identity, *expected))

    async def _compared(self, identity: str, own: Directories, expected: Identities) -> None:
        try:
            await self._compare(identity, own, expected)
        except (EngineUnreachable, EngineRefused) as error:
            log.warning("nobody knows which directories %s was given: %s", own.jid, error)

    async def _compare(self, identity: str, own: Directories, expected: Identities) -> None:
        """End a job that was given another directory than pman saw, and say so in its place."""
        container = await self.find(own.jid)
        if container is None or container["Id"] != identity:
            return
        given = await asyncio.to_thread(mounted, container, (own.incoming, own.outgoing))
        if given in (None, expected):
            return
        message = (
            "a directory of the job was exchanged as it started, or its image has a link there; pman ended it"
        )
        log.error("%s: %s", own.jid, message)
        await self.kill(own.jid, identity)
        await self._markers.fail(own.jid, container["Config"], EngineRefused("mount", 409, message))
        await self.delete(identity)
        self._cache.forget(own.jid)

    async def close(self) -> None:
        await self._comparing.close()

    async def _begin(self, identity: str) -> None:
        """Raises EngineRefused."""
        start = partial(self._api.call, "POST", f"/containers/{identity}/start")
        status, answer = await self._network.needed(start)
        if status not in (204, 304):
            raise EngineRefused("start", status, words(answer))

    async def _look(self, identity: str) -> tuple[Directories, Identities] | None:
        """Return its directories where what is mounted is to be compared with them.

        Raises EngineRefused where it may not be given them; see guard.py for why so.
        """
        if self.guard is None:
            return None
        containers = await self._labelled(status=self._api.bodies.living)
        known = {each["Id"]: Directories.of(each["Labels"]) for each in containers}
        own = known.pop(identity, None)
        if own is None:
            log.warning("the labels of %s do not tell its directories, so nobody looks at them", identity)
            return None
        runs = {each["Id"]: each["State"] not in _NOT_STARTED for each in containers}
        for rival in rivals(own, ((known[other], runs[other]) for other in known)):
            if not await self._has_failed(rival.jid):
                raise refusal(own, rival)
        expected = await self.guard.check(own, identity)
        return (own, expected) if expected else None

    async def _has_failed(self, jid: str) -> bool:
        """Tells a job that could not be started, and will not be."""
        container = await self.find(jid)
        if container is None or not not_started(container):
            return False
        return bool(container["State"].get("Error") or await self._markers.find("failed", jid))

    async def _labelled(self, **filters: Sequence[str]) -> list[Mapping[str, Any]]:
        """The containers with pman's label that the filters let through."""
        query = {"all": "1", **filtered(label=[JID_LABEL], **filters)}
        containers: list[Mapping[str, Any]] = await self._api.json("/containers/json", query)
        return containers


def not_started(container: Mapping[str, Any]) -> bool:
    return container["State"]["Status"] in _NOT_STARTED


def _path(jid: str) -> str:
    return f"/containers/{quote(jid, safe='')}/json"


def _age(created: str, date: str | None) -> float:
    """Seconds by two clocks: Created has nanoseconds, which datetime cannot read; Date whole seconds."""
    now = parsedate_to_datetime(date) if date else datetime.now(UTC)
    return (now - datetime.fromisoformat(created[:19] + "+00:00")).total_seconds()
